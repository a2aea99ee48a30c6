//! `efface serve`: starts the service, or makes its first owner.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use efface_server::{Config, Service};
use jiff::Timestamp;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Result;

/// What `serve` is called with.
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "serve.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make a person the owner of every project, and print a one-time link by which the person sets a password
    Init {
        /// The person's e-mail address
        #[arg(long, value_name = "EMAIL")]
        owner: String,
    },
}

/// Logs as JSON, a line each.
pub(crate) fn start_log(verbose: u8) {
    tracing_subscriber::fmt()
        .json()
        .with_writer(io::stderr)
        .with_max_level(match verbose {
            0 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        })
        .init();
}

/// Serves until a signal ends it, or makes an owner.
///
/// # Errors
/// Those of [`Service`].
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let config = Config::load(&args.config)?;
    let service = Service::open(config, Arc::new(Timestamp::now))?;
    match &args.what {
        None => Ok(service.serve()?),
        Some(What::Init { owner }) => {
            let link = service.invite_owner(owner)?;
            let told =
                format!("{owner} is an owner of every project. Within 7 days, once:\n{link}\n");
            let written = io::stdout().write_all(told.as_bytes());
            written.map_err(efface::Error::io("write", "standard output"))?;
            Ok(())
        }
    }
}
