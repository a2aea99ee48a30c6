//! What a command says when it is done: a few aligned lines for people, or one JSON document.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use efface::config::Config;
use efface::delete::DeleteReport;
use efface::engine::{IndexReport, IndexState, Inspection};
use efface::export::sink::Written;
use efface::plan::{Plan, SubjectPlan};
use efface::request::Kind;
use efface::shard::rewrite::RewriteReport;
use efface::{Error, Result};
use indicatif::HumanBytes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::output;

/// Lines of a list of shards or positions before it is cut off.
const LISTED_MAX: usize = 20;

/// One report, in both of its forms.
pub(crate) struct Report {
    json: Value,
    headline: String,
    facts: Vec<(&'static str, String)>,
    /// Columns of numbers, then the path that they are about.
    table: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Report {
    fn new(headline: String, json: Value) -> Self {
        Self {
            json,
            headline,
            facts: Vec::new(),
            table: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn fact(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((label, value.into()));
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn note_if(self, condition: bool, note: impl FnOnce() -> String) -> Self {
        if condition { self.note(note()) } else { self }
    }

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

    /// Prints to standard output.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        output::print(&self.render(json))
    }

    /// Prints to standard error, since standard output has the rows.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn print_to_stderr(&self, json: bool) -> Result<()> {
        io::stderr()
            .write_all(self.render(json).as_bytes())
            .map_err(Error::io("write to", "standard error"))
    }

    fn render(&self, json: bool) -> String {
        if json {
            return format!("{}\n", self.json);
        }
        let mut text = format!("{}\n", self.headline);
        let width = self.facts.iter().map(|(label, _)| label.len()).max();
        for (label, value) in &self.facts {
            let _ = writeln!(text, "  {label:<0$}  {value}", width.unwrap_or(0));
        }
        if !self.table.is_empty() {
            text.push('\n');
            render_table(&self.table, &mut text);
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }
}

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

pub(crate) fn index(index: &IndexReport, took: Duration) -> Report {
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
        .note_if(rebuilt.is_some(), || {
            format!("built anew: {}", rebuilt.unwrap_or_default())
        })
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn inspect(found: &Inspection) -> Result<Report> {
    let mut json = serde_json::to_value(found).map_err(|error| Error::Io {
        operation: "write",
        path: "the report".to_owned(),
        source: error.into(),
    })?;
    let rows: u64 = found.shards.iter().map(|shard| shard.rows).sum();
    let row_groups: u64 = found.shards.iter().map(|shard| shard.row_groups).sum();
    let bytes: u64 = found.shards.iter().map(|shard| shard.bytes).sum();
    if let Value::Object(json) = &mut json {
        json.insert("rows".to_owned(), rows.into());
        json.insert("row_groups".to_owned(), row_groups.into());
        json.insert("bytes".to_owned(), bytes.into());
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

pub(crate) fn plan(plan: &Plan, kind: Kind, took: Duration) -> Report {
    let refused = plan.check().err().map(|error| error.to_string());
    let touched = || plan.shards.iter().filter(|shard| !shard.rows.is_empty());
    let json = json!({
        "kind": kind,
        "rows": plan.rows,
        "shards": touched().count(),
        "row_groups": plan.row_groups,
        "pages": plan.pages,
        "bytes": plan.bytes,
        "dataset_rows": plan.dataset_rows,
        "digest": plan.digest,
        "left_out": plan.left_out,
        "refused": refused,
        "subjects": subjects(&plan.subjects),
        "per_shard": touched().map(|shard| json!({
            "path": shard.path,
            "rows": shard.rows.len(),
            "row_groups": shard.row_groups,
            "pages": shard.pages,
            "bytes": shard.bytes,
        })).collect::<Vec<_>>(),
        "seconds": took.as_secs_f64(),
    });
    let verb = match kind {
        Kind::Export => "read",
        Kind::Delete => "rewrite",
    };
    let headline = format!(
        "This {kind} would {verb} {} of {} in {} ({})",
        counted(plan.row_groups, "row group", "row groups"),
        HumanBytes(plan.bytes),
        counted(touched().count() as u64, "shard", "shards"),
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
        touched().map(|shard| {
            [
                grouped(&shard.rows.len()),
                grouped(&shard.row_groups),
                HumanBytes(shard.bytes).to_string(),
                shard.path.clone(),
            ]
        }),
    );
    report
}

pub(crate) fn export(plan: &Plan, written: &Written, output: &Path, took: Duration) -> Report {
    let shards = plan.shards.iter().filter(|shard| !shard.rows.is_empty());
    let shards = shards.count() as u64;
    let json = json!({
        "rows": written.rows,
        "shards": shards,
        "row_groups": plan.row_groups,
        "output": output.to_string_lossy(),
        "bytes": written.bytes,
        "digest": plan.digest,
        "left_out": plan.left_out,
        "subjects": subjects(&plan.subjects),
        "seconds": took.as_secs_f64(),
    });
    let headline = format!(
        "Exported {} ({})",
        counted(written.rows, "row", "rows"),
        seconds(took)
    );
    let to = if output.as_os_str() == "-" {
        "standard output".to_owned()
    } else {
        output.display().to_string()
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

pub(crate) fn delete(done: &DeleteReport, tracking_id: Uuid, took: Duration) -> Report {
    let json = json!({
        "tracking_id": tracking_id.to_string(),
        "rows_removed": done.rows_removed,
        "shards_rewritten": done.shards_rewritten,
        "shards_removed": done.shards_removed,
        "row_groups_rewritten": done.row_groups_rewritten,
        "row_groups_dropped": done.row_groups_dropped,
        "pages_rewritten": done.pages_rewritten,
        "bytes_copied": done.bytes_copied,
        "bytes_encoded": done.bytes_encoded,
        "alias_rows_removed": done.alias_rows_removed,
        "left_out": done.left_out,
        "summaries_removed": done.summaries_removed,
        "dropped_key_values": done.dropped_key_values,
        "digest": done.digest,
        "subjects": subjects(&done.subjects),
        "seconds": took.as_secs_f64(),
    });
    let headline = format!(
        "Deleted {} ({})",
        counted(done.rows_removed, "row", "rows"),
        seconds(took)
    );
    Report::new(headline, json)
        .fact("tracking id", tracking_id.to_string())
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
        .note_if(!done.summaries_removed.is_empty(), || {
            format!(
                "removed, since they would have been stale: {}",
                done.summaries_removed.join(", ")
            )
        })
        .dropped(&done.dropped_key_values)
        .subjects(&done.subjects, done.left_out)
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
    fn dropped(self, keys: &[String]) -> Self {
        self.note_if(!keys.is_empty(), || {
            format!(
                "left out of the footers, since they held record keys: {}",
                keys.join(", ")
            )
        })
    }
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: &impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(&number),
        if number == 1 { one } else { many }
    )
}

/// How long it took.
pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

/// What was copied and what was encoded.
pub(crate) fn bytes(copied: u64, encoded: u64) -> String {
    format!(
        "{} copied, {} encoded",
        HumanBytes(copied),
        HumanBytes(encoded)
    )
}

fn subjects(subjects: &[SubjectPlan]) -> Value {
    subjects
        .iter()
        .map(|subject| {
            json!({
                "position": subject.position,
                "found": subject.found,
                "rows": subject.rows,
            })
        })
        .collect()
}

/// A heading and the first rows of a table; says how many there are besides.
fn table<const N: usize>(
    heading: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Vec<Vec<String>> {
    let mut rows = rows.map(Vec::from).peekable();
    if rows.peek().is_none() {
        return Vec::new();
    }
    let mut table = vec![heading.map(str::to_owned).to_vec()];
    table.extend(rows.by_ref().take(LISTED_MAX));
    let more = rows.count();
    if more > 0 {
        let mut last = vec![String::new(); N];
        if let Some(cell) = last.last_mut() {
            *cell = format!("and {} more (--json lists them all)", grouped(&more));
        }
        table.push(last);
    }
    table
}

/// Numbers to the right; the last column as it is.
fn render_table(table: &[Vec<String>], text: &mut String) {
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for row in table {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 < row.len() {
                let _ = write!(text, "  {cell:>0$}", width(column));
            } else {
                let _ = writeln!(text, "  {cell}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0_u64, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(&number), text);
        }
    }

    #[test]
    fn long_tables_are_cut_and_say_so() {
        let rows = (0..LISTED_MAX + 3).map(|row| [row.to_string(), format!("shard {row}")]);
        let table = table(["rows", "shard"], rows);
        assert_eq!(table.len(), 1 + LISTED_MAX + 1);
        let mut text = String::new();
        render_table(&table, &mut text);
        assert!(
            text.starts_with("  rows  shard\n     0  shard 0\n"),
            "{text}"
        );
        assert!(
            text.ends_with("and 3 more (--json lists them all)\n"),
            "{text}"
        );
    }

    #[test]
    fn a_report_is_one_json_document_or_aligned_lines() {
        let report = Report::new("Done".to_owned(), json!({"rows": 1}))
            .fact("rows", "1")
            .fact("row groups", "2")
            .note("next: rest");
        assert_eq!(report.render(true), "{\"rows\":1}\n");
        assert_eq!(
            report.render(false),
            "Done\n  rows        1\n  row groups  2\n\nnext: rest\n"
        );
    }

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
