//! The commands around requests that wait: submit, status, cancel, compact, receipts, suppress.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use efface::engine::Engine;
use efface::erase::{CompactOptions, CompactReport};
use efface::queue::{RequestState, Status, Submission};
use efface::receipts::Receipt;
use efface::request::{Kind, Request, Suppress};
use efface::shard::chunk::level::ZstdLevel;
use efface::tracking::{ParseError, TrackingId};
use efface::{Error, ErrorKind};
use jiff::Timestamp;

use crate::args::{Args, SubmitArgs, SuppressedIds, Suppression};
use crate::asked::asked;
use crate::failure::{Failure, Result};
use crate::ids;
use crate::output::{Destination, io_error};
use crate::report::Report;
use crate::report::pending as report;
use crate::session::open;

/// The exit status when something is damaged or unsupported.
const DAMAGED: u8 = 5;
/// The exit status when a request was refused.
pub(crate) const REFUSED: u8 = 3;

pub(crate) fn submit(args: &Args, words: &SubmitArgs) -> Result<Report> {
    if words.request.expected_plan.is_some() {
        return Err(Failure::usage(
            "--plan",
            "what waits is planned when it is carried out: use delete",
        ));
    }
    if words.kind == Kind::Delete && words.archive.is_given() {
        return Err(Failure::usage(
            "--kind",
            "a delete has no archive: say --kind export, or leave --format and its like out",
        ));
    }
    let mut asked = asked(words.kind, &words.request, Some(&words.guard))?;
    asked.suppress = words.suppression.suppress();
    asked.check()?;
    let now = Timestamp::now();
    let submission = Submission {
        due: words.due,
        by: words.provenance.provenance(),
        contents: words.archive.contents()?,
        needs_approval: words.hold,
        ..Submission::new(TrackingId::draw(now), asked, now)
    };
    let engine = open(args, &words.dataset)?;
    Ok(report::submitted(&engine.submit_with(&submission)?))
}

pub(crate) fn approve(engine: &Engine, tracking_id: &str, by: &str) -> Result<Report> {
    let tracking_id = parsed("TRACKING_ID", tracking_id)?;
    engine.approve(tracking_id, by)?;
    Ok(report::status(
        &engine.status(tracking_id, Timestamp::now())?,
    )?)
}

pub(crate) fn deny(engine: &Engine, tracking_id: &str, by: &str, reason: &str) -> Result<Report> {
    let now = Timestamp::now();
    let tracking_id = parsed("TRACKING_ID", tracking_id)?;
    engine.deny(tracking_id, by, reason, now)?;
    Ok(report::status(&engine.status(tracking_id, now)?)?)
}

/// Copies an archive, and notes that it was fetched once the copy is there.
pub(crate) fn fetch(engine: &Engine, tracking_id: &str, output: &Path) -> Result<Report> {
    let now = Timestamp::now();
    let tracking_id = parsed("TRACKING_ID", tracking_id)?;
    let Some(archive) = engine.archive(tracking_id, now)? else {
        return Err(Failure::Library(Error::NoArchive { tracking_id }));
    };
    let destination = Destination::of(output, "-o")?;
    destination.write(None, |to| {
        let written = to.write_all(&archive);
        written.map_err(Error::io("write", &output.display().to_string()))
    })?;
    engine.archive_fetched(tracking_id, now)?;
    Ok(report::status(&engine.status(tracking_id, now)?)?)
}

pub(crate) fn extend(
    engine: &Engine,
    tracking_id: &str,
    reason: &str,
    until: Option<Timestamp>,
) -> Result<Report> {
    let now = Timestamp::now();
    let tracking_id = parsed("TRACKING_ID", tracking_id)?;
    engine.extend(tracking_id, until, reason, now)?;
    Ok(report::status(&engine.status(tracking_id, now)?)?)
}

/// Tracking ids are parsed here: the parser of the command line would repeat what may be a subject id.
pub(crate) fn parsed(word: &'static str, tracking_id: &str) -> Result<TrackingId> {
    let parsed = tracking_id.parse();
    parsed.map_err(|error: ParseError| Failure::usage(word, error.to_string()))
}

pub(crate) fn status(engine: &Engine, tracking_id: &str) -> Result<Report> {
    let id = parsed("TRACKING_ID", tracking_id)?;
    let status = engine.status(id, Timestamp::now())?;
    Ok(report::status(&status)?)
}

/// All that have not ended, or a page of them.
pub(crate) fn waiting(
    engine: &Engine,
    after: Option<&str>,
    limit: Option<NonZeroUsize>,
) -> Result<(Report, u8)> {
    let now = Timestamp::now();
    let after = after.map(|id| parsed("--after", id)).transpose()?;
    let Some(limit) = limit else {
        let waiting = match after {
            None => engine.waiting(now)?,
            after => engine.waiting_page(after, usize::MAX, now)?,
        };
        return Ok((report::waiting(&waiting, false)?, whole(&waiting)));
    };
    // One more tells whether there are more.
    let mut page = engine.waiting_page(after, limit.get().saturating_add(1), now)?;
    let goes_on = page.len() > limit.get();
    page.truncate(limit.get());
    Ok((report::waiting(&page, goes_on)?, whole(&page)))
}

/// The exit status of a list of what waits: a damaged file hides nothing, but shows in it.
pub(crate) fn whole(waiting: &[Status]) -> u8 {
    let is_damaged = waiting.iter().any(|status| status.is_damaged);
    if is_damaged { DAMAGED } else { 0 }
}

pub(crate) fn cancel(engine: &Engine, tracking_id: &str) -> Result<Report> {
    let now = Timestamp::now();
    let tracking_id = parsed("TRACKING_ID", tracking_id)?;
    engine.cancel(tracking_id, now)?;
    Ok(report::status(&engine.status(tracking_id, now)?)?)
}

/// How a compaction that begins now is carried out.
pub(crate) fn compact_options(
    max_match: f64,
    zstd_level: ZstdLevel,
    archives: Option<&Path>,
) -> Result<CompactOptions> {
    // The record of an archive says where it lies, whatever directory a later run is started in.
    let archives = archives.map(|path| {
        let path = std::path::absolute(path).map_err(io_error("find", path))?;
        let named = path.to_str().map(str::to_owned);
        named.ok_or_else(|| Failure::usage("--archives", "it is no UTF-8"))
    });
    Ok(CompactOptions {
        zstd_level,
        max_match,
        archives: archives.transpose()?,
        ..CompactOptions::at(Timestamp::now())
    })
}

pub(crate) fn compact(args: &Args, engine: &Engine, options: &CompactOptions) -> Result<u8> {
    let started = Instant::now();
    let done = engine.compact(options)?;
    compacted(args, &done, started)
}

/// Carries out the exports alone.
pub(crate) fn exports(args: &Args, engine: &Engine, options: &CompactOptions) -> Result<u8> {
    let started = Instant::now();
    let done = engine.carry_out_exports(options)?;
    compacted(args, &done, started)
}

/// Reports what a compaction did, and gives the exit status.
pub(crate) fn compacted(args: &Args, done: &CompactReport, started: Instant) -> Result<u8> {
    report::compacted(done, started.elapsed())?.print(args.json)?;
    Ok(status_of(done))
}

/// The exit status of a compaction: what is damaged or unsupported counts first, then what the machine refused, then
/// what is over soon, then requests that were refused.
fn status_of(done: &CompactReport) -> u8 {
    let troubles = done.troubles.iter().map(|kind| match kind {
        ErrorKind::Io | ErrorKind::Unavailable | ErrorKind::Internal => (2, 1),
        ErrorKind::Conflict => (1, 4),
        _ => (3, DAMAGED),
    });
    let damaged = (!done.requests_damaged.is_empty()).then_some((3, DAMAGED));
    let mut requests = done.requests.iter();
    let is_refused = requests.any(|request| request.state == RequestState::Failure);
    let refused = is_refused.then_some((0, REFUSED));
    let worst = troubles.chain(damaged).chain(refused).max();
    worst.map_or(0, |(_, status)| status)
}

pub(crate) fn receipts(engine: &Engine, check: bool) -> Result<Report> {
    let mut listed: Vec<Receipt> = Vec::new();
    let head = engine.receipts(|receipt| {
        if !check {
            listed.push(receipt);
        }
    })?;
    Ok(report::receipts(&head, &listed)?)
}

pub(crate) fn suppress(args: &Args, what: &Suppression) -> Result<Report> {
    let now = Timestamp::now();
    let request = |whose: &SuppressedIds| -> Result<Request> {
        Ok(Request {
            identity: whose.identity,
            ..Request::delete(ids::subjects(&whose.ids)?, now)
        })
    };
    match what {
        Suppression::Add {
            dataset,
            ids,
            before,
        } => {
            let suppress = Suppress { before: *before };
            let engine = open(args, dataset)?;
            let added = engine.suppress(&request(ids)?, suppress, now)?;
            Ok(report::suppressed(
                "added",
                added,
                engine.suppression()?.iter().len(),
            ))
        }
        Suppression::Remove { dataset, ids } => {
            let engine = open(args, dataset)?;
            let removed = engine.unsuppress(&request(ids)?)?;
            Ok(report::suppressed(
                "removed",
                removed,
                engine.suppression()?.iter().len(),
            ))
        }
        Suppression::List { dataset } => {
            Ok(report::suppression(&open(args, dataset)?.suppression()?))
        }
    }
}
