//! The commands around a pass whose tasks are run elsewhere: compact --tasks, task, commit.

use std::time::Instant;

use efface::engine::Engine;
use efface::erase::{CompactOptions, PassEnd};
use efface::receipts::Ended;
use jiff::Timestamp;
use serde_json::json;

use crate::args::Args;
use crate::failure::{Failure, Result};
use crate::output;
use crate::pending;
use crate::report::Report;
use crate::report::pending as report;

pub(crate) fn hand_out(engine: &Engine, options: &CompactOptions) -> Result<Report> {
    let published = engine.publish_tasks(options)?;
    Ok(report::handed_out(published))
}

/// Runs a task; what came of it is one line of JSON, also without `--json`.
pub(crate) fn run(engine: &Engine, pass: &str, number: &str) -> Result<()> {
    let pass = pending::parsed("PASS", pass)?;
    // The parser of the command line would repeat what may be a subject id.
    let number = number
        .parse()
        .map_err(|_| Failure::usage("N", "it is no number of a task"))?;
    let done = engine.run_numbered_task(pass, number)?;
    let report = done.written.map(|new| new.report);
    let line = json!({
        "pass": pass,
        "task": number,
        "path": done.shard.path,
        "rewritten": report.is_some(),
        "rows_removed": report.as_ref().map_or(0, |report| report.rows_removed),
        "values_cleared": report.as_ref().map_or(0, |report| report.values_cleared),
        "bytes_copied": report.as_ref().map_or(0, |report| report.bytes_copied),
        "bytes_encoded": report.as_ref().map_or(0, |report| report.bytes_encoded),
    });
    Ok(output::print(&format!("{line}\n"))?)
}

pub(crate) fn commit(args: &Args, engine: &Engine, pass: &str) -> Result<u8> {
    let started = Instant::now();
    let pass = pending::parsed("PASS", pass)?;
    match engine.commit_pass(pass, &CompactOptions::at(Timestamp::now()))? {
        PassEnd::Now(done) => pending::compacted(args, &done, started),
        PassEnd::Before(receipts) => {
            report::ended_before(pass, &receipts)?.print(args.json)?;
            let is_refused = receipts
                .iter()
                .any(|receipt| receipt.state == Ended::Failure);
            Ok(if is_refused { pending::REFUSED } else { 0 })
        }
    }
}
