//! The service as programs and people meet it: its router is called as a server would call it.
//!
//! * [`door`]: a service on a dataset that is made for each test, a program and a person who call it
//! * [`api`]: the five operations, and what they refuse
//! * [`pages`]: logging in, filing, roles
//! * [`queue`]: the lists, compared with the queue of the dataset
//! * [`safety`]: tries that must come to nothing
//!
//! Every subject id of these tests holds [`door::MARK`], and no file that the service writes may hold it.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's own files needn't be durable"
)]

mod api;
mod door;
mod pages;
mod queue;
mod safety;
