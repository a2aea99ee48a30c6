//! Parts of messages.

/// The tasks that are new.
pub(super) fn news(again: &[u32]) -> String {
    match again {
        [] => String::new(),
        again => format!(
            " (new, because the shard or what is asked of it changed: {})",
            list(again)
        ),
    }
}

/// The first few of a list of positions.
pub(super) fn list(positions: &[impl ToString]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<_> = positions
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    let shown = shown.join(", ");
    match positions.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage in a message needs no more than 52 bits"
)]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / (whole.max(1)) as f64 * 100.0
}
