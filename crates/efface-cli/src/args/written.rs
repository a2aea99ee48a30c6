//! How an export is written.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use efface::export::sink::Format;

use super::mode;
use crate::failure::{Failure, Result};

/// How an export is written.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Written {
    /// How to write it: parquet, jsonl, csv, arrow (an IPC stream), or report (a directory of pages for people)
    /// [default: by the ending of PATH; jsonl for - and for --per-subject]
    #[arg(long)]
    pub(crate) format: Option<Form>,

    /// Where to write it; - is standard output, the report then goes to standard error
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub(crate) output: PathBuf,

    /// Make PATH a directory with a file for each submitted id, named by its position, and a manifest
    #[arg(long)]
    pub(crate) per_subject: bool,

    /// Who else may read what is written, as an octal mode such as 640; by default nobody, not even under a wider umask
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub(crate) mode: Option<u32>,

    /// In CSV, put a ' in front of text that a spreadsheet would take for a formula
    #[arg(long)]
    pub(crate) csv_safe: bool,
}

/// What an export becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// Rows.
    Rows(Format),
    /// Pages for people.
    Report,
}

impl FromStr for Form {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "report" => Ok(Self::Report),
            _ => name
                .parse()
                .map(Self::Rows)
                .map_err(|_| "expected parquet, jsonl, csv, arrow or report"),
        }
    }
}

impl Form {
    /// The same, with CSV that spreadsheets can be trusted with if `safe`.
    ///
    /// # Errors
    /// When it is no CSV.
    pub(crate) fn in_safe_csv(self, safe: bool) -> Result<Self> {
        match (self, safe) {
            (Self::Rows(Format::Csv { .. }), safe) => Ok(Self::Rows(Format::Csv { safe })),
            (_, true) => Err(Failure::usage("--csv-safe", "the format is not csv")),
            (_, false) => Ok(self),
        }
    }
}

impl Written {
    /// What is to be written.
    ///
    /// # Errors
    /// When it isn't said, or options don't go together.
    pub(crate) fn form(&self) -> Result<Form> {
        let is_directory = self.per_subject || self.format == Some(Form::Report);
        if is_directory && self.output.as_os_str() == "-" {
            return Err(Failure::usage("-o", "name a directory for the files"));
        }
        let form = match self.format {
            Some(form) => form,
            None if self.per_subject => Form::Rows(Format::Jsonl),
            None => Form::Rows(format_of(&self.output)?),
        };
        form.in_safe_csv(self.csv_safe)
    }
}

/// The format that the name of the output asks for.
fn format_of(output: &Path) -> Result<Format> {
    if output.as_os_str() == "-" {
        return Ok(Format::Jsonl);
    }
    let ending = output.extension().unwrap_or_default();
    if ending.eq_ignore_ascii_case("parquet") {
        Ok(Format::Parquet)
    } else if ending.eq_ignore_ascii_case("jsonl") || ending.eq_ignore_ascii_case("ndjson") {
        Ok(Format::Jsonl)
    } else if ending.eq_ignore_ascii_case("csv") {
        Ok(Format::Csv { safe: false })
    } else if ending.eq_ignore_ascii_case("arrow") || ending.eq_ignore_ascii_case("arrows") {
        Ok(Format::Arrow)
    } else {
        Err(Failure::usage(
            "--format",
            format!(
                "the ending of {} doesn't tell the format: say --format parquet, jsonl, csv or arrow",
                output.display()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_the_output_tells_the_format() {
        for (path, parquet) in [("-", false), ("a.jsonl", false), ("b/c.PARQUET", true)] {
            let format = format_of(Path::new(path)).unwrap();
            assert_eq!(matches!(format, Format::Parquet), parquet, "{path}");
        }
        assert_eq!(
            format_of(Path::new("a.CSV")).unwrap(),
            Format::Csv { safe: false }
        );
        assert_eq!(format_of(Path::new("a.arrow")).unwrap(), Format::Arrow);
        assert!(format_of(Path::new("rows")).is_err());
    }
}
