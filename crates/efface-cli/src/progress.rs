//! Progress bars on standard error, when it is a terminal.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use efface::observe::{Observer, Silent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows the stages of long work, one after the other, and leaves nothing on the screen.
struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

/// The observer for this run.
pub(crate) fn observer() -> Arc<dyn Observer> {
    if io::stderr().is_terminal() {
        Arc::new(Bars {
            current: Mutex::new(None),
        })
    } else {
        Arc::new(Silent)
    }
}

impl Bars {
    fn show(&self, bar: Option<ProgressBar>) {
        // A panic elsewhere leaves a bar that is still as good as any.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(finished) = std::mem::replace(&mut *current, bar) {
            finished.finish_and_clear();
        }
    }
}

impl Observer for Bars {
    fn begin(&self, stage: &'static str, total: u64) {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{msg:>12} [{bar:40}] {percent:>3} % {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(stage);
        self.show(Some(bar));
    }

    fn advance(&self, amount: u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &*current {
            bar.inc(amount);
        }
    }

    fn end(&self) {
        self.show(None);
    }
}
