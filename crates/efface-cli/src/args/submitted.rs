//! What is handed over to wait.

use efface::request::Provenance;
use jiff::Timestamp;

use super::values::date_or_time;
use super::{Dataset, Guard, RequestArgs, SuppressionArgs};

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
    #[command(flatten)]
    pub(crate) provenance: ProvenanceArgs,
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
