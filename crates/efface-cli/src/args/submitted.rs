//! What is handed over to wait.

use efface::queue::Contents;
use efface::request::{Kind, Provenance};
use jiff::Timestamp;

use super::values::date_or_time;
use super::{Dataset, Form, Guard, RequestArgs, SuppressionArgs};
use crate::failure::Result;

/// A request that is handed over.
#[derive(clap::Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) dataset: Dataset,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    #[command(flatten)]
    pub(crate) guard: Guard,
    #[command(flatten)]
    pub(crate) suppression: SuppressionArgs,
    /// The deadline: a date (UTC) or an RFC 3339 time [default: 28 days after it was asked under the GDPR, 45
    /// under the CCPA]
    #[arg(long, value_name = "DATE", value_parser = date_or_time)]
    pub(crate) due: Option<Timestamp>,
    /// What is asked: delete or export. An export becomes an archive
    #[arg(long, default_value = "delete")]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// Let it wait until somebody approves it
    #[arg(long)]
    pub(crate) hold: bool,
    #[command(flatten)]
    pub(crate) provenance: ProvenanceArgs,
}

/// What the archive of an export holds.
#[derive(clap::Args)]
#[command(next_help_heading = "Archive (of an export)")]
pub(crate) struct ArchiveArgs {
    /// report (pages for people, with CSV), parquet, jsonl, csv or arrow [default: report]
    #[arg(long)]
    format: Option<Form>,

    /// A file for each submitted id, named by its position; without it one file for all. A report always has them
    #[arg(long)]
    per_subject: bool,

    /// In CSV, put a ' in front of text that a spreadsheet would take for a formula
    #[arg(long)]
    csv_safe: bool,
}

impl ArchiveArgs {
    /// Whether any of them is given.
    pub(crate) fn is_given(&self) -> bool {
        self.format.is_some() || self.per_subject || self.csv_safe
    }

    /// # Errors
    /// When options don't go together.
    pub(crate) fn contents(&self) -> Result<Contents> {
        let form = self.format.unwrap_or(Form::Report);
        Ok(match form.in_safe_csv(self.csv_safe)? {
            Form::Report => Contents::default(),
            Form::Rows(format) if self.per_subject => Contents::per_subject(format),
            Form::Rows(format) => Contents::rows(format),
        })
    }
}

/// What the receipt is to say of how a request was asked. It stays for good: no subject id belongs there.
#[derive(clap::Args)]
#[command(next_help_heading = "Evidence")]
pub(crate) struct ProvenanceArgs {
    /// Who asked
    #[arg(long, value_name = "TEXT")]
    requested_by: Option<String>,

    /// Who agreed
    #[arg(long, value_name = "TEXT")]
    approved_by: Option<String>,

    /// The door that it came through
    #[arg(long, value_name = "TEXT", default_value = "cli")]
    origin: String,

    /// What the asker calls the request
    #[arg(long, value_name = "TEXT")]
    subject_request_id: Option<String>,
}

impl ProvenanceArgs {
    pub(crate) fn provenance(&self) -> Provenance {
        Provenance {
            requested_by: self.requested_by.clone(),
            approved_by: self.approved_by.clone(),
            origin: Some(self.origin.clone()),
            subject_request_id: self.subject_request_id.clone(),
        }
    }
}
