//! What the library logs goes to Python's `logging`, under the name `efface`.

use std::fmt::{self, Write as _};

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

/// From now on in this process; a second call changes nothing.
pub(crate) fn forward() {
    // Another module of this process may have been first.
    tracing::subscriber::set_global_default(registry().with(Forward)).ok();
}

struct Forward;

impl<S: Subscriber> Layer<S> for Forward {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("efface") {
            return;
        }
        let level = match *metadata.level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG => 10,
            Level::TRACE => return,
        };
        let mut line = Line::default();
        event.record(&mut line);
        Python::attach(|py| {
            let log = || -> PyResult<()> {
                let logger = py
                    .import("logging")?
                    .call_method1("getLogger", ("efface",))?;
                // With an argument, so that a `%` in the text stays one.
                logger.call_method1("log", (level, "%s", line.0.as_str()))?;
                Ok(())
            };
            if let Err(error) = log() {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// The message, and after it `name=value` of each field.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string can't fail.
        if field.name() == "message" {
            self.0.insert_str(0, &format!("{value:?}"));
        } else {
            write!(self.0, " {}={value:?}", field.name()).ok();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
