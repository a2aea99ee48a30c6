//! Footers that are needed again soon, kept within a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::FOOTERS_HELD_BYTES;
use crate::parquet_bytes::footer::Footer;

/// Says which footers are kept: those that are shown first, up to [`FOOTERS_HELD_BYTES`] of them.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    bytes: AtomicU64,
}

impl Holder {
    /// `footer`, if there is still room for it.
    pub(crate) fn hold(&self, footer: &Arc<Footer>) -> Option<Arc<Footer>> {
        let bytes = footer.file_len - footer.offset;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (before.saturating_add(bytes) <= FOOTERS_HELD_BYTES).then(|| Arc::clone(footer))
    }
}
