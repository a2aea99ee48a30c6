//! The service behind `efface serve`: owners and admins of a project file requests by form or over HTTP, and a worker
//! carries them out in the project's window.
//!
//! ```text
//!   public   /api/app/data-{deletions,retrievals}/v3.0 (tokens), pages for people (sessions)
//!   private  /healthz, /readyz, /metrics
//!   worker   a thread for each project
//! ```
//!
//! # Invariants
//! * Requests and evidence lie in each dataset's queue and receipts, where the command sees the same. People, tokens and
//!   the audit log lie in one file of `SQLite`.
//! * No raw subject id reaches a log, a URL, a metric, the audit log, a page's address or an error.
//! * An answer that was given survives a power cut.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    unsafe_code
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may end so"
    )
)]

mod api;
mod app;
mod config;
mod error;
mod filing;
mod http;
mod limit;
mod listen;
mod measure;
mod pages;
mod password;
mod preview;
mod private;
mod project;
mod secrets;
mod service;
mod store;
mod wish;
mod worker;

pub use app::Clock;
pub use config::{Config, Limits, ProjectConfig, Proxy, Window};
pub use error::{Error, Result};
pub use service::Service;
