//! The command `efface`: exports or erases one person's rows in Parquet event shards.
//!
//! ```text
//!   args (clap) ──> commands ──> efface::engine ──> report ──> stdout: for people, or one JSON document
//!                                   │    └──> output: a file that is whole or isn't there, or stdout
//!                                   └──> progress ──> stderr, when it is a terminal
//! ```
//!
//! Exit status: 0 done; 1 I/O or internal; 2 usage; 3 request refused; 4 conflict or lock, try again;
//! 5 damaged or unsupported data; 6 `verify` found something. What a signal ends is ended by that signal, which a shell
//! shows as 128 and its number. A reader of our output that goes away is a normal end. No subject
//! id is ever printed: ids are named by their position in the request.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Parser;

use efface::parquet_bytes::guard::is_guarded;
use efface::{Error, ErrorKind};
use tracing_subscriber::filter::LevelFilter;

mod args;
mod asked;
mod commands;
mod demo;
mod failure;
mod filter;
mod hint;
mod ids;
mod output;
mod pending;
mod progress;
mod report;
#[cfg(feature = "serve")]
mod serve;
mod session;
mod signals;
mod tasks;

use args::Args;
use failure::{Failure, Result};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return ExitCode::from(args::explain(&error)),
    };
    // The library makes errors of panics that damaged files cause, and those say enough.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_guarded() {
            told(panic);
        }
    }));
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(Failure::Library(error)) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            match failure.kind() {
                ErrorKind::Cancelled => signals::end(),
                kind => ExitCode::from(exit_status(kind)),
            }
        }
    }
}

fn run(args: &Args) -> Result<u8> {
    start_log(args);
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.get())
            .build_global()
            // The system has no room for so many.
            .map_err(|error| Error::io("start", "threads")(io::Error::other(error)))?;
    }
    commands::run(args)
}

/// Logs go to standard error; those of the service as JSON, a line each.
fn start_log(args: &Args) {
    #[cfg(feature = "serve")]
    if let args::Command::Serve(_) = args.command {
        serve::start_log(args.verbose);
        return;
    }
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(match args.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        })
        .init();
}

fn exit_status(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => 2,
        ErrorKind::Refused => 3,
        ErrorKind::Conflict => 4,
        ErrorKind::Damaged | ErrorKind::Unsupported => 5,
        // I/O, a service that doesn't answer, a bug, and what a newer library may add.
        _ => 1,
    }
}

/// Says what went wrong on standard error.
fn tell(failure: &Failure) {
    let style = if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        AnsiColor::Red.on_default().bold()
    } else {
        Style::new()
    };
    let mut told = format!("{style}error:{style:#} {failure}\n");
    if let Some(hint) = failure.hint() {
        told = format!("{told}hint: {hint}\n");
    }
    // Nobody is left to be told when standard error itself is gone.
    let _ignored = io::stderr().write_all(told.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_the_exit_status_of_the_contract() {
        for (kind, status) in [
            (ErrorKind::Io, 1),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::Internal, 1),
            (ErrorKind::Usage, 2),
            (ErrorKind::Refused, 3),
            (ErrorKind::Conflict, 4),
            (ErrorKind::Damaged, 5),
            (ErrorKind::Unsupported, 5),
        ] {
            assert_eq!(exit_status(kind), status, "{kind:?}");
        }
    }
}
