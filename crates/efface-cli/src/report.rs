//! What a command says when it is done: a few aligned lines for people, or one JSON document.
//!
//! * `layout`: how it is laid out
//! * `pending`: the reports around requests that wait

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use efface::config::Config;
use efface::engine::{IndexReport, IndexState, Inspection};
use efface::erase::delete::DeleteReport;
use efface::export::sink::Written;
use efface::find::verify::Verification;
use efface::index::compare::Comparison;
use efface::plan::{Plan, PlanReport, SubjectPlan};
use efface::queue::Status;
use efface::request::{Disclosure, Kind};
use efface::shard::rewrite::RewriteReport;
use efface::{Error, Result};
use indicatif::HumanBytes;
use serde_json::{Value, json};

mod layout;
pub(crate) mod pending;

use crate::hint::told;
use layout::{LISTED_MAX, table};
pub(crate) use layout::{Report, bytes, counted, grouped, seconds};

pub(crate) fn init(config: &Config) -> Report {
    let or_found = |columns: &[String]| {
        if columns.is_empty() {
            "found by name".to_owned()
        } else {
            columns.join(", ")
        }
    };
    let time = config.time.as_slice();
    let json = json!({
        "path": Config::PATH,
        "subject": config.subject,
        "time": config.time,
        "time_unit": config.time_unit,
        "source": config.source,
        "json_column": config.json_column,
        "text_column": config.text_column,
        "aliases": config.aliases,
    });
    let aliases = config.aliases.as_deref().unwrap_or("none");
    Report::new(format!("Wrote {}; every shard fits it", Config::PATH), json)
        .fact("subject", or_found(&config.subject))
        .fact("time", or_found(time))
        .fact("source", or_found(&config.source))
        .fact("aliases", aliases)
        .note("next: efface index DATASET")
}

pub(crate) fn index(index: &IndexReport, compared: Option<&Comparison>, took: Duration) -> Report {
    let compared_json = compared.map(|compared| {
        json!({
            "postings": compared.postings,
            "missing": compared.missing,
            "surplus": compared.surplus,
        })
    });
    let json = json!({
        "rows": index.rows,
        "subjects": index.subjects,
        "postings": index.postings,
        "bytes": index.bytes,
        "added": index.added,
        "changed": index.changed,
        "removed": index.removed,
        "unchanged": index.unchanged,
        "rebuilt": index.rebuilt,
        "compared": compared_json,
        "seconds": took.as_secs_f64(),
    });
    let rebuilt = index.rebuilt.as_deref();
    Report::new(format!("The index is fresh ({})", seconds(took)), json)
        .fact("rows", grouped(&index.rows))
        .fact("subject ids", grouped(&index.subjects))
        .fact("postings", grouped(&index.postings))
        .fact("size", HumanBytes(index.bytes).to_string())
        .fact(
            "shards",
            format!(
                "{} added, {} changed, {} removed, {} unchanged",
                grouped(&index.added),
                grouped(&index.changed),
                grouped(&index.removed),
                grouped(&index.unchanged)
            ),
        )
        .note_if(compared.is_some() && rebuilt.is_none(), || {
            "it holds just what the shards do".to_owned()
        })
        .note_if(rebuilt.is_some(), || {
            format!("rebuilt: {}", rebuilt.unwrap_or_default())
        })
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn verify(found: &Verification, took: Duration) -> Result<Report> {
    let json = to_json(found)?;
    let headline = if found.clean {
        format!("Nothing of these ids is left ({})", seconds(took))
    } else {
        format!("Something of these ids is left ({})", seconds(took))
    };
    let mut report = Report::new(headline, json).fact("shards", grouped(&found.shards));
    report.table = table(
        ["count", "place", "row group", "column", "path"],
        found.findings.iter().map(|finding| {
            let place = serde_json::to_value(finding.place).ok();
            let place = place.as_ref().and_then(Value::as_str).unwrap_or_default();
            let group = finding.row_group.map(|group| group.to_string());
            [
                grouped(&finding.count),
                place.replace('_', " "),
                group.unwrap_or_default(),
                finding.column.clone().unwrap_or_default(),
                finding.path.clone(),
            ]
        }),
    );
    Ok(report.other_names(&found.other_names))
}

fn to_json(found: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(found).map_err(|error| Error::Io {
        operation: "write",
        path: "the report".to_owned(),
        source: error.into(),
    })
}

/// The same, with how long it took.
fn timed(found: &impl serde::Serialize, took: Duration) -> Result<Value> {
    let mut json = to_json(found)?;
    json["seconds"] = took.as_secs_f64().into();
    Ok(json)
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn inspect(found: &Inspection, waiting: &[Status]) -> Result<Report> {
    let mut json = to_json(found)?;
    let rows: u64 = found.shards.iter().map(|shard| shard.rows).sum();
    let row_groups: u64 = found.shards.iter().map(|shard| shard.row_groups).sum();
    let bytes: u64 = found.shards.iter().map(|shard| shard.bytes).sum();
    if let Value::Object(json) = &mut json {
        json.insert("rows".to_owned(), rows.into());
        json.insert("row_groups".to_owned(), row_groups.into());
        json.insert("bytes".to_owned(), bytes.into());
        json.insert("pending".to_owned(), to_json(&waiting)?);
    }
    let index = match &found.index {
        IndexState::Missing => "none yet".to_owned(),
        IndexState::Fresh => "fresh".to_owned(),
        IndexState::Stale {
            added,
            changed,
            removed,
        } => format!("stale: shards {added} added, {changed} changed, {removed} removed"),
        IndexState::Damaged(reason) => format!("damaged: {reason}"),
    };
    let overdue = waiting.iter().filter(|status| status.overdue).count();
    let pending = match (waiting.len(), overdue) {
        (0, _) => "none".to_owned(),
        (pending, 0) => grouped(&pending),
        (pending, overdue) => format!("{}, {} overdue", grouped(&pending), grouped(&overdue)),
    };
    let headline = format!(
        "{}, {}, {}",
        counted(found.shards.len() as u64, "shard", "shards"),
        counted(rows, "row", "rows"),
        HumanBytes(bytes)
    );
    let mut report = Report::new(headline, json)
        .fact("subject", found.subject.join(", "))
        .fact("time", found.time.as_deref().unwrap_or("no such column"))
        .fact("row groups", grouped(&row_groups))
        .fact("index", index)
        .fact("pending requests", pending)
        .note_if(found.managed_by.is_some(), || {
            format!(
                "{} lists these files: no delete may change them, and the list may have given some up",
                found.managed_by.as_deref().unwrap_or_default()
            )
        })
        .note_if(!matches!(found.index, IndexState::Fresh), || {
            "next: efface index DATASET (export and delete would do it as well)".to_owned()
        });
    report.table = table(
        ["rows", "row groups", "size", "shard"],
        found.shards.iter().map(|shard| {
            [
                grouped(&shard.rows),
                grouped(&shard.row_groups),
                HumanBytes(shard.bytes).to_string(),
                shard.path.clone(),
            ]
        }),
    );
    Ok(report)
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn plan(plan: &PlanReport, refused: Option<&Error>, took: Duration) -> Result<Report> {
    let mut json = timed(plan, took)?;
    // With what the words of the command can do about it.
    let refused = refused.map(told);
    json["refused"] = to_json(&refused)?;
    let kind = plan.kind;
    let verb = match kind {
        Kind::Export => "read",
        Kind::Delete => "rewrite",
    };
    let headline = format!(
        "This {kind} would {verb} {} of {} in {} ({})",
        counted(plan.row_groups, "row group", "row groups"),
        HumanBytes(plan.bytes),
        counted(plan.shards, "shard", "shards"),
        seconds(took)
    );
    let mut report = Report::new(headline, json)
        .fact(
            "rows",
            format!("{} of {}", grouped(&plan.rows), grouped(&plan.dataset_rows)),
        )
        .fact("pages", grouped(&plan.pages))
        .fact("digest", plan.digest.as_str())
        .subjects(&plan.subjects, plan.left_out)
        .note(match &refused {
            Some(reason) => format!("It would be refused: {reason}"),
            None => format!(
                "Nothing was touched. Next: efface {kind} with the same options and --plan DIGEST"
            ),
        });
    report.table = table(
        ["rows", "row groups", "size", "shard"],
        plan.per_shard.iter().map(|shard| {
            [
                grouped(&shard.rows),
                grouped(&shard.row_groups),
                HumanBytes(shard.price.bytes).to_string(),
                shard.path.clone(),
            ]
        }),
    );
    Ok(report)
}

/// What was exported; `files` of subjects, if `output` is a directory of these.
pub(crate) fn export(
    plan: &Plan,
    written: &Written,
    files: Option<usize>,
    output: &Path,
    took: Duration,
) -> Report {
    let shards = plan.shards.iter().filter(|shard| !shard.rows.is_empty());
    let shards = shards.count() as u64;
    let json = json!({
        "rows": written.rows,
        "shards": shards,
        "row_groups": plan.row_groups,
        "output": output.to_string_lossy(),
        "bytes": written.bytes,
        "disclosure": plan.disclosure(),
        "files": files,
        "digest": plan.digest,
        "left_out": plan.left_out,
        "subjects": plan.subjects,
        "seconds": took.as_secs_f64(),
    });
    let (one, many) = match plan.disclosure() {
        Disclosure::Categories => ("header", "headers"),
        Disclosure::Data | Disclosure::Sources => ("row", "rows"),
    };
    let headline = format!(
        "Exported {} ({})",
        counted(written.rows, one, many),
        seconds(took)
    );
    let to = if output.as_os_str() == "-" {
        "standard output".to_owned()
    } else {
        output.display().to_string()
    };
    let to = match files {
        Some(files) => format!(
            "{to}, {} and a manifest",
            counted(files as u64, "file", "files")
        ),
        None => to,
    };
    Report::new(headline, json)
        .fact(
            "from",
            format!(
                "{} in {}",
                counted(plan.row_groups, "row group", "row groups"),
                counted(shards, "shard", "shards")
            ),
        )
        .fact("to", format!("{to}, {}", HumanBytes(written.bytes)))
        .subjects(&plan.subjects, plan.left_out)
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn delete(done: &DeleteReport, is_clearing: bool, took: Duration) -> Result<Report> {
    let json = timed(done, took)?;
    let what = if is_clearing {
        format!(
            "Cleared {}",
            counted(done.values_cleared, "value", "values")
        )
    } else {
        format!("Deleted {}", counted(done.rows_removed, "row", "rows"))
    };
    let headline = format!("{what} ({})", seconds(took));
    let report = Report::new(headline, json)
        .fact("tracking id", done.tracking_id.to_string())
        .fact(
            "shards",
            format!(
                "{} rewritten, {} removed",
                grouped(&done.shards_rewritten),
                grouped(&done.shards_removed)
            ),
        )
        .fact(
            "row groups",
            format!(
                "{} rewritten, {} dropped",
                grouped(&done.row_groups_rewritten),
                grouped(&done.row_groups_dropped)
            ),
        )
        .fact(
            "pages",
            format!("{} rewritten", grouped(&done.pages_rewritten)),
        )
        .fact("bytes", bytes(done.bytes_copied, done.bytes_encoded))
        .fact(
            "alias rows",
            format!("{} removed", grouped(&done.alias_rows_removed)),
        )
        .note_if(!done.partitions_left.is_empty(), || {
            format!(
                "left as they were, since they are directories: {}",
                done.partitions_left.join(", ")
            )
        })
        .note_if(!done.summaries_removed.is_empty(), || {
            format!(
                "removed, since they would have been stale: {}",
                done.summaries_removed.join(", ")
            )
        })
        .other_names(&done.other_names)
        .sidecars(&done.sidecars_removed)
        .dropped(&done.dropped_key_values)
        .note_if(done.values_cleared_whole > 0, || {
            format!(
                "{} cleared whole: no JSON object, though the column holds these",
                counted(done.values_cleared_whole, "value was", "values were")
            )
        })
        .note_if(!done.sources_left.is_empty(), || {
            format!(
                "left, though named like sources: {}",
                listed(&done.sources_left)
            )
        })
        .subjects(&done.subjects, done.left_out);
    Ok(report)
}

pub(crate) fn rewrite(done: &RewriteReport, took: Duration) -> Report {
    let json = json!({
        "rows_removed": done.rows_removed,
        "row_groups_rewritten": done.row_groups_rewritten,
        "row_groups_dropped": done.row_groups_dropped,
        "pages_rewritten": done.pages_rewritten,
        "bytes_copied": done.bytes_copied,
        "bytes_encoded": done.bytes_encoded,
        "dropped_key_values": done.dropped_key_values,
        "seconds": took.as_secs_f64(),
    });
    let headline = format!(
        "Left out {} ({})",
        counted(done.rows_removed, "row", "rows"),
        seconds(took)
    );
    Report::new(headline, json)
        .fact(
            "row groups",
            format!(
                "{} rewritten, {} dropped",
                grouped(&done.row_groups_rewritten),
                grouped(&done.row_groups_dropped)
            ),
        )
        .fact(
            "pages",
            format!("{} rewritten", grouped(&done.pages_rewritten)),
        )
        .fact("bytes", bytes(done.bytes_copied, done.bytes_encoded))
        .dropped(&done.dropped_key_values)
}

impl Report {
    /// Says the ids without a row by their positions, and those that an expansion left out.
    fn subjects(self, subjects: &[SubjectPlan], left_out: u64) -> Self {
        let missing: Vec<_> = subjects.iter().filter(|subject| !subject.found).collect();
        self.note_if(!missing.is_empty(), || {
            let mut positions = missing
                .iter()
                .take(LISTED_MAX)
                .map(|subject| subject.position.to_string())
                .collect::<Vec<_>>()
                .join(", ");
            if missing.len() > LISTED_MAX {
                let _ = write!(positions, " and {} more", missing.len() - LISTED_MAX);
            }
            format!("not found: the ids at position {positions} of the request")
        })
        .note_if(left_out > 0, || {
            format!(
                "left out: {} to a covered id (--identity cluster takes them in)",
                counted(left_out, "other id that maps", "other ids that map")
            )
        })
    }

    /// Says which files lie under other names, too.
    fn other_names(self, files: &[(String, u64)]) -> Self {
        self.note_if(!files.is_empty(), || {
            let files = files.iter().take(LISTED_MAX).map(|(path, names)| {
                format!("{path} ({})", counted(*names, "other name", "other names"))
            });
            let files = files.collect::<Vec<_>>().join(", ");
            format!("the rows still lie under other names (hard links), which efface doesn't know: {files}")
        })
    }

    fn sidecars(self, removed: &[String]) -> Self {
        self.note_if(!removed.is_empty(), || {
            format!(
                "removed with the old shards, whose bytes they described: {}",
                listed(removed)
            )
        })
    }

    fn dropped(self, keys: &[String]) -> Self {
        self.note_if(!keys.is_empty(), || {
            format!(
                "left out of the footers, since they were made of rows: {}",
                keys.join(", ")
            )
        })
    }
}

/// The first of many names.
fn listed(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let first = first.join(", ");
    match names.len().checked_sub(LISTED_MAX) {
        Some(more) if more > 0 => format!("{first} and {more} more"),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_were_not_found_are_named_by_position() {
        let plans = [(1, true), (4, false), (9, false)].map(|(position, found)| SubjectPlan {
            position,
            found,
            rows: u64::from(found),
        });
        let text = Report::new(String::new(), json!({}))
            .subjects(&plans, 1)
            .render(false);
        assert!(text.contains("position 4, 9 of"), "{text}");
        assert!(text.contains("1 other id that maps to"), "{text}");
    }
}
