//! An archive that a person can read: what is held of each subject, as a page that needs nothing from elsewhere.
//!
//! * `facts`: what a page says besides the rows; `page`: the page; `chart`: rows over time, as SVG; `html`: text that
//!   can't be anything but text
//!
//! Memory: the facts of one subject, whose lists are bounded; one batch of its rows.

mod chart;
mod facts;
mod html;
mod page;

pub(super) use facts::Facts;
pub(super) use page::{Page, index};

/// The name of the page that lists the others.
pub(super) const INDEX: &str = "index.html";
