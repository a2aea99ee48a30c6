//! How the command line says what the library's errors say of fields and advise.

use efface::Error;
use efface::error::{CannotClear, RequestFault};

/// What can be done about an error by a flag or another command, if there is such a one.
pub(crate) fn hint(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Held { source, .. } => return hint(source),
        Error::OtherRoles { .. } => {
            "compact carries out each request under the roles that it was submitted with: leave the flags out"
        }
        Error::Underway { .. } => "efface compact DATASET ends it",
        Error::Request {
            fault: RequestFault::LookBackUnderGdpr,
        } => "--regulation ccpa has a look-back",
        Error::FormatLacks { .. } => "--format arrow can hold every column",
        Error::ForeignFile { .. } => "-o names the directory",
        Error::SourceName { .. } => "--source names a column, or a key of JSON by its path",
        Error::IdsFile { .. } => "--ids-column names the column with the ids",
        Error::UnknownSubjects { .. } => "--unknown report carries out the rest",
        Error::IdentityCap { .. } => {
            "--identity-cap raises the cap, and --identity exact expands no id"
        }
        Error::OverMatch { .. } => "--max-match raises the guard",
        Error::CannotBeNull {
            reason: CannotClear::Required,
            ..
        } => "--required-columns default writes the type's empty value",
        Error::CannotBeNull {
            reason: CannotClear::Role,
            ..
        } => "--source names the columns that are sources",
        Error::MaybeJson { .. } => "--json-column or --text-column says which it is",
        Error::NoTimeColumn { .. } => "--time names the time column",
        Error::NoTimeUnit { .. } => "--time-unit says the unit: s, ms, us or ns",
        Error::MissingColumn { role, .. } | Error::ColumnType { role, .. } => match *role {
            "subject" => "--subject names the subject column",
            "time" => "--time names the time column",
            "source" => "--source names the columns that are sources",
            "JSON" => "--json-column names the columns of JSON objects",
            "text" => "--text-column names the columns of plain text",
            "alias" => {
                "--alias-column and --alias-distinct-id-column name the columns of the alias table"
            }
            _ => return None,
        },
        Error::ManagedTable { .. } => {
            "efface rewrite IN OUT writes a single file without some rows"
        }
        _ => return None,
    })
}

/// What went wrong; fields are named as they are given on the command line.
pub(crate) fn message(error: &Error) -> String {
    match error {
        Error::Request { fault } => format!("--{}: {fault}", fault.field().replace('_', "-")),
        error => error.to_string(),
    }
}

/// What went wrong and what can be done about it, in one line.
pub(crate) fn told(error: &Error) -> String {
    let message = message(error);
    match hint(error) {
        Some(hint) => format!("{message} ({hint})"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use efface::error::{Catalog, Keeper};

    use super::*;
    use crate::args::Args;

    /// Errors that have a hint.
    fn errors() -> Vec<Error> {
        let path = || "a.parquet".to_owned();
        let cannot_be_null = |reason| Error::CannotBeNull {
            path: path(),
            column: "lib".to_owned(),
            reason,
        };
        let missing = |role| Error::MissingColumn {
            path: path(),
            role,
            column: "who".to_owned(),
            columns: Vec::new(),
        };
        vec![
            RequestFault::LookBackUnderGdpr.into(),
            Error::FormatLacks {
                format: "csv",
                column: "tags".to_owned(),
                reason: "it is a map".to_owned(),
            },
            Error::SourceName {
                name: "a..b".to_owned(),
            },
            Error::IdsFile {
                record: 1,
                reason: "the file has 2 columns".to_owned(),
            },
            Error::UnknownSubjects {
                positions: vec![1],
                of: 1,
            },
            Error::IdentityCap {
                position: 1,
                cap: 10,
            },
            Error::OverMatch {
                matched: 2,
                rows: 3,
                max_match: 0.5,
            },
            cannot_be_null(CannotClear::Required),
            cannot_be_null(CannotClear::Role),
            Error::NoTimeColumn {
                path: path(),
                columns: Vec::new(),
            },
            Error::NoTimeUnit {
                path: path(),
                column: "at".to_owned(),
                found: "INT64".to_owned(),
            },
            missing("subject"),
            missing("time"),
            missing("source"),
            missing("JSON"),
            missing("alias"),
            Error::ManagedTable {
                catalog: Catalog {
                    path: "_delta_log".to_owned(),
                    keeper: Keeper::Delta,
                },
            },
        ]
    }

    #[test]
    fn every_flag_and_command_of_a_hint_is_there() {
        let command = Args::command();
        let flags: Vec<&str> = command
            .get_subcommands()
            .flat_map(clap::Command::get_arguments)
            .filter_map(clap::Arg::get_long)
            .collect();
        for error in errors() {
            let hint = hint(&error).unwrap_or_else(|| panic!("no hint for {error:?}"));
            let words: Vec<&str> = hint.split(' ').collect();
            let mut named = 0;
            for pair in words.windows(2) {
                if let Some(flag) = pair[0].strip_prefix("--") {
                    assert!(flags.contains(&flag), "{hint}");
                    named += 1;
                } else if pair[0] == "efface" {
                    assert!(command.find_subcommand(pair[1]).is_some(), "{hint}");
                    named += 1;
                }
            }
            assert!(named > 0, "{hint}");
            assert!(told(&error).ends_with(&format!(" ({hint})")));
        }
    }

    #[test]
    fn a_field_of_a_request_is_named_by_a_flag_that_is_there() {
        let command = Args::command();
        for fault in [
            RequestFault::NotAFraction { found: 2.0 },
            RequestFault::NoIdentity,
            RequestFault::NothingToSuppress,
            RequestFault::LookBackOfDelete,
            RequestFault::NoYearBefore,
            RequestFault::NotADelete,
        ] {
            let message = message(&fault.into());
            let flag = message
                .strip_prefix("--")
                .and_then(|rest| rest.split(':').next());
            let is_there = command
                .get_subcommands()
                .flat_map(clap::Command::get_arguments)
                .any(|argument| argument.get_long() == flag);
            assert!(flag.is_some() && is_there, "{message}");
        }
    }
}
