//! A plan as Python sees it: its figures, its digest, and a table of both.

use std::fmt::Write as _;

use efface::plan::PlanReport;
use pyo3::prelude::*;

use crate::report;

/// Shards that a table shows at most.
const SHOWN_MAX: usize = 20;

/// What a request touches, and what that will cost. Made by `Dataset.plan`; touches nothing.
///
/// Give its `digest` to `export(.., plan=..)` or `delete(.., plan=..)`, which then do just what it says or refuse.
#[pyclass(module = "efface", frozen)]
pub(crate) struct Plan {
    report: PlanReport,
}

impl Plan {
    pub(crate) fn new(report: PlanReport) -> Self {
        Self { report }
    }

    pub(crate) fn report(&self) -> &PlanReport {
        &self.report
    }

    fn facts(&self) -> [(&'static str, String); 6] {
        let report = &self.report;
        [
            (
                "rows",
                format!("{} of {}", report.rows, report.dataset_rows),
            ),
            ("shards", report.shards.to_string()),
            ("row groups", report.row_groups.to_string()),
            ("pages", report.pages.to_string()),
            ("bytes", report.bytes.to_string()),
            ("digest", report.digest.clone()),
        ]
    }
}

#[pymethods]
impl Plan {
    /// `export` or `delete`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.report.kind.as_str()
    }

    /// Rows that match.
    #[getter]
    fn rows(&self) -> u64 {
        self.report.rows
    }

    /// Shards that hold such rows.
    #[getter]
    fn shards(&self) -> u64 {
        self.report.shards
    }

    /// Row groups that hold such rows.
    #[getter]
    fn row_groups(&self) -> u64 {
        self.report.row_groups
    }

    /// Pages that will be read or rewritten.
    #[getter]
    fn pages(&self) -> u64 {
        self.report.pages
    }

    /// Bytes that will be read or rewritten.
    #[getter]
    fn bytes(&self) -> u64 {
        self.report.bytes
    }

    /// Rows of the whole dataset.
    #[getter]
    fn dataset_rows(&self) -> u64 {
        self.report.dataset_rows
    }

    /// What the plan is recognised by.
    #[getter]
    fn digest(&self) -> &str {
        &self.report.digest
    }

    /// Aliases that also map to a covered id and were left out.
    #[getter]
    fn left_out(&self) -> u64 {
        self.report.left_out
    }

    /// Why it would be refused, or `None`.
    #[getter]
    fn refused(&self) -> Option<&str> {
        self.report.refused.as_deref()
    }

    /// For each submitted id its position, whether it was found, and its rows.
    #[getter]
    fn subjects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        report::dict(py, &self.report.subjects)
    }

    /// All of it, with the keys of the command's `--json`.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        report::dict(py, &self.report)
    }

    fn __repr__(&self) -> String {
        let mut text = format!("Plan of {}", article(self.kind()));
        for (name, value) in self.facts() {
            // Writing to a string can't fail.
            write!(text, "\n  {name:<12}{value}").ok();
        }
        if let Some(reason) = self.refused() {
            write!(text, "\n  refused     {reason}").ok();
        }
        text
    }

    fn _repr_html_(&self) -> String {
        let mut html = format!("<table><caption>Plan of {}</caption>", article(self.kind()));
        for (name, value) in self.facts() {
            write!(html, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&value)).ok();
        }
        if let Some(reason) = self.refused() {
            write!(
                html,
                "<tr><th>refused</th><td>{}</td></tr>",
                escaped(reason)
            )
            .ok();
        }
        html.push_str(
            "</table><table><tr><th>shard</th><th>rows</th><th>row groups</th><th>bytes</th></tr>",
        );
        for shard in self.report.per_shard.iter().take(SHOWN_MAX) {
            write!(
                html,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&shard.path),
                shard.rows,
                shard.row_groups,
                shard.price.bytes
            )
            .ok();
        }
        html.push_str("</table>");
        if let Some(more) = self
            .report
            .per_shard
            .len()
            .checked_sub(SHOWN_MAX)
            .filter(|more| *more > 0)
        {
            write!(html, "<p>and {more} more</p>").ok();
        }
        html
    }
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with('e') { "an" } else { "a" };
    format!("{article} {kind}")
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
