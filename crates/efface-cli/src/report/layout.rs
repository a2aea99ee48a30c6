//! How a report is laid out: a headline, aligned facts, a table and notes, or one JSON document.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::time::Duration;

use efface::{Error, Result};
use indicatif::HumanBytes;
use serde_json::Value;

use crate::shown::shown;
use crate::{closed, output};

/// Lines of a list of shards or positions before it is cut off.
pub(super) const LISTED_MAX: usize = 20;

/// One report, in both of its forms.
pub(crate) struct Report {
    json: Value,
    headline: String,
    facts: Vec<(&'static str, String)>,
    /// Columns of numbers, then the path that they are about.
    pub(super) table: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Report {
    pub(super) fn new(headline: String, json: Value) -> Self {
        Self {
            json,
            headline,
            facts: Vec::new(),
            table: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn fact(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((label, value.into()));
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(super) fn note_if(self, condition: bool, note: impl FnOnce() -> String) -> Self {
        if condition { self.note(note()) } else { self }
    }

    /// Prints to standard output.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        output::print(&self.render(json))
    }

    /// Prints to standard error, because standard output has the rows.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn print_to_stderr(&self, json: bool) -> Result<()> {
        closed::check_stderr()
            .and_then(|()| io::stderr().write_all(self.render(json).as_bytes()))
            .map_err(Error::io("write to", "standard error"))
    }

    pub(super) fn render(&self, json: bool) -> String {
        if json {
            return format!("{}\n", self.json);
        }
        let mut text = format!("{}\n", shown(&self.headline));
        let width = self.facts.iter().map(|(label, _)| label.len()).max();
        for (label, value) in &self.facts {
            let _ = writeln!(text, "  {label:<0$}  {1}", width.unwrap_or(0), shown(value));
        }
        if !self.table.is_empty() {
            text.push('\n');
            render_table(&self.table, &mut text);
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{}", shown(note));
        }
        text
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

/// A heading and the first rows of a table; says how many there are besides.
pub(super) fn table<const N: usize>(
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
        cells
            .map(|cell| shown(cell).chars().count())
            .max()
            .unwrap_or(0)
    };
    for row in table {
        for (column, cell) in row.iter().enumerate() {
            let cell = shown(cell);
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
    use serde_json::json;

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
}
