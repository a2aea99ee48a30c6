//! The command as its users meet it: the built binary, run on datasets that are made for each test.
//!
//! * [`lake`]: makes a dataset, runs the command on it, tells whether anything changed;
//! * [`refusals`]: requests and options that are refused, and nothing changed;
//! * [`bad_datasets`]: datasets that can't be worked on, and nothing changed;
//! * [`requests`]: what the ids of a request may look like, and what they cover;
//! * [`answers`]: what the commands print when all is well;
//! * [`outputs`]: where the rows of an export go;
//! * [`access`]: who may read what the command writes;
//! * [`interrupts`]: signals that end an export;
//! * [`claims`]: shards that claim more than there is, read with little memory;
//! * [`limits`]: few open files, little memory, few threads, closed streams;
//! * [`remains`]: what a delete leaves behind;
//! * [`clears`]: deletes that clear values and leave the rows;
//! * [`archives`]: exports that wait, approval, events on their way in;
//! * [`readme`]: the lines of the README.
//!
//! Every subject id of these tests holds [`lake::MARK`], and every run checks that none is printed.

mod access;
mod answers;
mod archives;
mod bad_datasets;
mod catalogs;
mod claims;
mod clears;
mod disclosures;
mod interrupts;
mod lake;
mod limits;
mod names;
mod outputs;
mod pending;
mod readme;
mod refusals;
mod remains;
mod requests;
mod workers;
