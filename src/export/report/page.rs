//! The page of a subject, and the page that lists them.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;

use super::chart::Chart;
use super::facts::{Facts, Month};
use super::html::{Number, Text};
use crate::error::{Error, Result};
use crate::export::cells::Cells;
use crate::export::disclosed::About;
use crate::export::failure::written;
use crate::export::headers::Columns;
use crate::export::json::encoder_options;
use crate::export::per_subject::manifest::{Entry, Manifest};
use crate::request::Disclosure;

/// Rows that a page shows.
const ROWS_MAX: usize = 1000;

/// Characters of a cell that a page shows.
const CELL_CHARS: usize = 2000;

/// Events that a page tells apart.
const EVENTS_SHOWN: usize = 50;

/// Values of a source that a page shows.
const VALUES_SHOWN: usize = 8;

const STYLE: &str = include_str!("page.css");

/// The page of a subject.
pub(in crate::export) struct Page<'a> {
    pub(in crate::export) about: &'a About,
    pub(in crate::export) entry: &'a Entry,
    /// Subjects of the request.
    pub(in crate::export) of: usize,
    pub(in crate::export) facts: &'a Facts,
    pub(in crate::export) columns: &'a Columns,
    pub(in crate::export) schema: &'a SchemaRef,
}

impl Page<'_> {
    /// Writes the page; `rows` are the subject's.
    ///
    /// # Errors
    /// When the rows can't be read, or `out` fails.
    pub(in crate::export) fn write(
        &self,
        out: &mut dyn Write,
        rows: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ) -> Result<()> {
        let mut out = BufWriter::new(out);
        let title = format!("Subject {} of {}", self.entry.position, self.of);
        self.front(&mut out, &title).map_err(failed)?;
        self.table(&mut out, rows)?;
        foot(&mut out).and_then(|()| out.flush()).map_err(failed)
    }

    /// Everything above the rows.
    fn front(&self, out: &mut dyn Write, title: &str) -> io::Result<()> {
        head(out, title)?;
        let what = match self.about.disclosure {
            Disclosure::Data => "Everything that is held",
            Disclosure::Categories => "The kinds of data that are held",
            Disclosure::Sources => "How the data was collected",
        };
        write!(
            out,
            "<header><p class=\"kicker\">{what} in <bdi>{}</bdi></p><h1>{title}</h1>",
            Text(&self.about.table)
        )?;
        self.summary(out)?;
        out.write_all(b"</header><main>")?;
        if self.entry.rows > 0 && self.about.disclosure != Disclosure::Categories {
            self.activity(out)?;
            self.headers(out)?;
            self.sources(out)?;
        }
        Ok(())
    }

    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let entry = self.entry;
        if entry.rows == 0 {
            let why = if entry.found {
                "Nothing is held within what was asked for."
            } else {
                "Nothing is held: the identifier does not occur."
            };
            return write!(out, "<p class=\"none\">{why}</p>");
        }
        let unit = match self.about.disclosure {
            Disclosure::Categories => "headers",
            _ => "rows",
        };
        write!(
            out,
            "<dl class=\"cards\"><div><dt>{unit}</dt><dd>{}</dd></div>",
            Number(entry.rows)
        )?;
        if let Some([first, last]) = entry.time {
            write!(
                out,
                "<div><dt>first</dt><dd>{}</dd></div><div><dt>last</dt><dd>{}</dd></div>",
                day(first),
                day(last)
            )?;
        }
        if self.about.disclosure != Disclosure::Categories {
            write!(
                out,
                "<div><dt>columns with data</dt><dd>{}</dd></div>",
                Number(entry.columns.len() as u64)
            )?;
        }
        out.write_all(b"</dl>")
    }

    fn activity(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut all: BTreeMap<Month, u64> = BTreeMap::new();
        for (month, rows) in self.facts.events.values().flatten() {
            *all.entry(*month).or_default() += rows;
        }
        out.write_all(b"<section><h2>When, and what</h2>")?;
        if let Some(chart) = Chart::of(&all, &all)
            && let (Some((first, _)), Some((last, _))) = (chart.bars.first(), chart.bars.last())
        {
            let label = format!(
                "Rows by {} from {first} to {last}, at most {}",
                chart.unit,
                Number(chart.top())
            );
            write!(
                out,
                "<figure>{}<div class=\"axis\"><span>{first}</span><span>{last}</span></div><figcaption>{label}. Times are in UTC.</figcaption></figure>",
                chart.svg("chart", &label)
            )?;
        }
        if self.facts.undated > 0 {
            write!(out, "<p>{} have no time.</p>", rows_of(self.facts.undated))?;
        }
        if self.facts.events.keys().any(|name| !name.is_empty()) {
            let rows = |months: &BTreeMap<Month, u64>| months.values().sum::<u64>();
            let mut events: Vec<_> = self.facts.events.iter().collect();
            events.sort_by_key(|(_, months)| std::cmp::Reverse(rows(months)));
            table_head(
                out,
                "Events",
                &["Event", "Rows", "First", "Last", "Over time"],
                &[1],
            )?;
            for (name, months) in events.iter().take(EVENTS_SHOWN) {
                let name = if name.is_empty() { "(no name)" } else { name };
                let month = |found: Option<(&Month, &u64)>| {
                    found.map(|((year, month), _)| format!("{year:04}-{month:02}"))
                };
                let chart = Chart::of(&all, months);
                write!(
                    out,
                    "<tr><th scope=\"row\"><bdi>{}</bdi></th><td class=\"n\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                    Text(name),
                    Number(rows(months)),
                    month(months.first_key_value()).unwrap_or_default(),
                    month(months.last_key_value()).unwrap_or_default(),
                    chart
                        .map(|chart| chart.svg("spark", "Rows over time"))
                        .unwrap_or_default()
                )?;
            }
            out.write_all(b"</tbody></table></div>")?;
            let more = events.len().saturating_sub(EVENTS_SHOWN);
            if more > 0 {
                write!(out, "<p>And {more} more events.</p>")?;
            }
        }
        out.write_all(b"</section>")
    }

    fn headers(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"<section><h2>Which data</h2><p>Each column, and each key inside of one, that holds a value in these rows.</p>")?;
        table_head(
            out,
            "Columns",
            &["Column", "Type", "Role", "Rows with a value"],
            &[3],
        )?;
        for header in self.columns.headers(&self.facts.counts) {
            write!(
                out,
                "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td><span class=\"role {role}\">{role}</span></td><td class=\"n\">{}</td></tr>",
                Text(&header.column),
                Text(&header.type_name),
                Number(header.rows),
                role = header.role.as_str()
            )?;
        }
        out.write_all(b"</tbody></table></div></section>")
    }

    fn sources(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.facts.sources.is_empty() {
            return Ok(());
        }
        out.write_all(b"<section><h2>How it was collected</h2>")?;
        table_head(
            out,
            "Sources",
            &["Source", "Values, the most frequent first"],
            &[],
        )?;
        for (source, values) in &self.facts.sources {
            write!(
                out,
                "<tr><th scope=\"row\"><bdi>{}</bdi></th><td><ul class=\"values\">",
                Text(source)
            )?;
            let mut values: Vec<_> = values.iter().collect();
            values.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
            for (value, rows) in values.iter().take(VALUES_SHOWN) {
                write!(
                    out,
                    "<li><bdi>{}</bdi> <small>{}</small></li>",
                    Text(value),
                    Number(**rows)
                )?;
            }
            let more = values.len().saturating_sub(VALUES_SHOWN);
            if more > 0 {
                write!(out, "<li>and others</li>")?;
            }
            out.write_all(b"</ul></td></tr>")?;
        }
        out.write_all(b"</tbody></table></div></section>")
    }

    fn table(
        &self,
        out: &mut dyn Write,
        rows: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    ) -> Result<()> {
        if self.entry.rows == 0 {
            return Ok(());
        }
        let shown = self.entry.rows.min(ROWS_MAX as u64);
        let which = if self.entry.rows > shown {
            format!(
                "The first {} of {}",
                Number(shown),
                rows_of(self.entry.rows)
            )
        } else {
            format!("All {}", rows_of(self.entry.rows))
        };
        write!(
            out,
            "<section class=\"rows\" style=\"--columns:{columns}\"><h2>The rows</h2><p>{which}; all of them are in the file <a href=\"{file}\">{file}</a>.</p>",
            columns = self.schema.fields().len(),
            file = self.entry.file
        )
        .map_err(failed)?;
        let names: Vec<&str> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        table_head(out, "Rows", &names, &[]).map_err(failed)?;
        let options = encoder_options();
        let mut left = ROWS_MAX;
        let mut text = String::new();
        for batch in rows {
            let batch = batch.map_err(written)?;
            let mut cells = Cells::of(&batch, &options).map_err(written)?;
            for row in 0..batch.num_rows().min(left) {
                out.write_all(b"<tr>").map_err(failed)?;
                for column in 0..batch.num_columns() {
                    text.clear();
                    cells.push(row, column, &mut text);
                    cell(out, &text).map_err(failed)?;
                }
                out.write_all(b"</tr>\n").map_err(failed)?;
            }
            left = left.saturating_sub(batch.num_rows());
            if left == 0 {
                break;
            }
        }
        out.write_all(b"</tbody></table></div></section>")
            .map_err(failed)
    }
}

/// Writes the page that lists the others.
///
/// # Errors
/// When `out` fails.
pub(in crate::export) fn index(out: &mut dyn Write, manifest: &Manifest) -> Result<()> {
    let mut out = BufWriter::new(out);
    let mut write = || -> io::Result<()> {
        head(&mut out, "Personal data")?;
        write!(
            out,
            "<header><p class=\"kicker\"><bdi>{}</bdi></p><h1>Personal data</h1><p>A page for each identifier of the request, by its position there.</p></header><main><section>",
            Text(&manifest.table)
        )?;
        table_head(
            &mut out,
            "Subjects",
            &["Subject", "Rows", "First", "Last", "Data file"],
            &[1],
        )?;
        for entry in &manifest.subjects {
            let [first, last] = match entry.time {
                Some([first, last]) => [day(first), day(last)],
                None => [String::new(), String::new()],
            };
            let page = entry.page.as_deref().unwrap_or(&entry.file);
            write!(
                out,
                "<tr><th scope=\"row\"><a href=\"{page}\">Subject {}</a></th><td class=\"n\">{}</td><td>{first}</td><td>{last}</td><td><a href=\"{file}\">{file}</a></td></tr>",
                entry.position,
                Number(entry.rows),
                file = entry.file
            )?;
        }
        out.write_all(b"</tbody></table></div></section>")?;
        foot(&mut out)?;
        out.flush()
    };
    write().map_err(failed)
}

/// The beginning of a page that may load nothing and run nothing.
fn head(out: &mut dyn Write, title: &str) -> io::Result<()> {
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"referrer\" content=\"no-referrer\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head><body>"
    )
}

fn foot(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"</main><footer>This page is complete in itself: it loads nothing and runs no program. It holds personal data; keep it accordingly.</footer></body></html>\n")
}

/// The beginning of a table; the columns at `numbers` hold numbers.
fn table_head(
    out: &mut dyn Write,
    label: &str,
    columns: &[&str],
    numbers: &[usize],
) -> io::Result<()> {
    write!(
        out,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\"><table><thead><tr>"
    )?;
    for (place, column) in columns.iter().enumerate() {
        let class = if numbers.contains(&place) {
            " class=\"n\""
        } else {
            ""
        };
        write!(
            out,
            "<th scope=\"col\"{class}><bdi>{}</bdi></th>",
            Text(column)
        )?;
    }
    out.write_all(b"</tr></thead><tbody>\n")
}

fn cell(out: &mut dyn Write, text: &str) -> io::Result<()> {
    match text.char_indices().nth(CELL_CHARS) {
        None => write!(out, "<td><bdi>{}</bdi></td>", Text(text)),
        Some((end, _)) => write!(
            out,
            "<td><bdi>{}</bdi>… <small>({} characters, all of them in the data file)</small></td>",
            Text(text.get(..end).unwrap_or_default()),
            Number(text.chars().count() as u64)
        ),
    }
}

fn rows_of(rows: u64) -> String {
    format!(
        "{} {}",
        Number(rows),
        if rows == 1 { "row" } else { "rows" }
    )
}

fn day(instant: Timestamp) -> String {
    instant
        .to_string()
        .chars()
        .take_while(|char| *char != 'T')
        .collect()
}

fn failed(source: io::Error) -> Error {
    written(ArrowError::from(source))
}
