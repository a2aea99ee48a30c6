//! What the commands around requests that wait say.

use std::time::Duration;

use efface::Result;
use efface::erase::{CompactReport, Published};
use efface::queue::{RequestState, Status, Submitted};
use efface::receipts::{Cause, Head, Receipt};
use efface::suppression::Suppression;
use efface::tracking::TrackingId;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::layout::{Report, bytes, counted, grouped, seconds, table};
use super::{timed, to_json};

pub(crate) fn submitted(submitted: &Submitted) -> Report {
    let id = submitted.tracking_id;
    let json = json!({
        "tracking_id": id,
        "state": RequestState::Pending,
        "joined": submitted.joined,
        "due": submitted.due,
    });
    let headline = if submitted.joined {
        format!("The same was asked before and waits: request {id}")
    } else {
        format!("Request {id} waits for the next compaction")
    };
    Report::new(headline, json)
        .fact("due", day(submitted.due))
        .note(format!(
            "next: efface compact DATASET; efface status DATASET {id}"
        ))
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn status(status: &Status) -> Result<Report> {
    let json = to_json(status)?;
    let headline = format!(
        "Request {} is {}",
        status.tracking_id,
        status.state.as_str()
    );
    let mut report = Report::new(headline, json);
    if status.state == RequestState::NotFound {
        return Ok(report);
    }
    if let Some(kind) = status.kind {
        report = report.fact("kind", kind.as_str());
    }
    report = report.fact("subject ids", grouped(&status.subjects));
    for (label, text) in [
        ("requested by", &status.by.requested_by),
        ("approved by", &status.by.approved_by),
        ("origin", &status.by.origin),
        ("its own id", &status.by.subject_request_id),
    ] {
        if let Some(text) = text {
            report = report.fact(label, text.as_str());
        }
    }
    for (label, time) in [
        ("requested", status.requested_at),
        ("submitted", status.submitted_at),
        ("due", status.due),
        ("ended", status.ended_at),
    ] {
        if let Some(time) = time {
            report = report.fact(label, time.to_string());
        }
    }
    if status.ended_at.is_some() {
        report = report
            .fact("rows removed", grouped(&status.rows_removed))
            .fact("rows cleared", grouped(&status.rows_cleared));
    }
    Ok(report
        .note_if(status.other_names > 0, || {
            format!(
                "rows of it still lie under {} (hard links) of files that were replaced; its receipt names these files",
                counted(status.other_names, "other name", "other names")
            )
        })
        .note_if(status.overdue, || "it is overdue".to_owned())
        .note_if(status.extension.is_some(), || {
            let reason = status.extension.as_ref().map(|extension| &extension.reason);
            format!(
                "its deadline was extended: {}",
                reason.map_or("", String::as_str)
            )
        })
        .note_if(status.reason.is_some(), || {
            status.reason.clone().unwrap_or_default()
        }))
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn waiting(waiting: &[Status], goes_on: bool) -> Result<Report> {
    let overdue = waiting.iter().filter(|status| status.overdue).count() as u64;
    let mut json = json!({
        "requests": to_json(&waiting)?,
        "pending": waiting.len(),
        "overdue": overdue,
    });
    let next = waiting.last().filter(|_| goes_on);
    if let Some(last) = next {
        json["next"] = to_json(&last.tracking_id)?;
    }
    let headline = match (waiting.len() as u64, overdue) {
        (0, _) => "No request waits".to_owned(),
        (all, 0) => format!("{} not ended", counted(all, "request has", "requests have")),
        (all, overdue) => format!(
            "{} not ended, {} overdue",
            counted(all, "request has", "requests have"),
            grouped(&overdue)
        ),
    };
    let mut report = Report::new(headline, json);
    report.table = table(
        ["ids", "state", "due", "", "tracking id"],
        waiting.iter().map(|status| {
            let overdue = if status.overdue { "overdue" } else { "" };
            [
                grouped(&status.subjects),
                status.state.as_str().to_owned(),
                status.due.map(day).unwrap_or_default(),
                overdue.to_owned(),
                status.tracking_id.to_string(),
            ]
        }),
    );
    for held in waiting {
        if let Some(reason) = &held.reason {
            report = report.note(format!("{}: {reason}", held.tracking_id));
        }
    }
    if let Some(last) = next {
        report = report.note(format!(
            "these are not all: go on with --after {}",
            last.tracking_id
        ));
    }
    Ok(report)
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn compacted(done: &CompactReport, took: Duration) -> Result<Report> {
    let json = timed(done, took)?;
    let of = |state| {
        done.requests
            .iter()
            .filter(move |request| request.state == state)
    };
    let is_idle = done.tracking_id.is_none() && done.requests.is_empty();
    let headline = if is_idle && done.requests_damaged.is_empty() {
        "Nothing waits".to_owned()
    } else {
        format!(
            "Carried out {} ({})",
            counted(
                of(RequestState::Success).count() as u64,
                "request",
                "requests"
            ),
            seconds(took)
        )
    };
    let mut report = Report::new(headline, json).sidecars(&done.sidecars_removed);
    if let Some(pass) = done.tracking_id {
        report = report
            .fact("pass", pass.to_string())
            .fact("rows", format!("{} removed", grouped(&done.rows_removed)))
            .fact(
                "shards",
                format!(
                    "{} rewritten, {} removed",
                    grouped(&done.shards_rewritten),
                    grouped(&done.shards_removed)
                ),
            )
            .fact(
                "pages",
                format!("{} rewritten", grouped(&done.pages_rewritten)),
            )
            .fact("bytes", bytes(done.bytes_copied, done.bytes_encoded));
    }
    if done.rows_suppressed > 0 {
        report = report.fact("of suppressed ids", grouped(&done.rows_suppressed));
    }
    let not_done = done
        .requests
        .iter()
        .filter(|request| request.state != RequestState::Success);
    report.table = table(
        ["request", "state", "reason"],
        not_done.map(|request| {
            let reason = request.reason.clone().unwrap_or_default();
            let state = request.state.as_str().to_owned();
            [request.tracking_id.to_string(), state, reason]
        }),
    );
    report = report
        .other_names(&done.other_names)
        .attributes(&done.attributes_left_out);
    for (path, reason) in &done.shards_failed {
        report = report.note(format!("{path} was left as it is: {reason}"));
    }
    for damaged in &done.requests_damaged {
        report = report.note(damaged.as_str());
    }
    Ok(report)
}

pub(crate) fn handed_out(published: Option<Published>) -> Report {
    let Some(Published { pass, tasks }) = published else {
        return Report::new(
            "Nothing waits".to_owned(),
            json!({"pass": null, "tasks": 0}),
        );
    };
    let headline = format!(
        "{} to be run elsewhere",
        counted(tasks.into(), "task is", "tasks are")
    );
    Report::new(headline, json!({"pass": pass, "tasks": tasks}))
        .fact("pass", pass.to_string())
        .note_if(tasks > 0, || {
            format!("next: efface task DATASET {pass} N, for each N from 1 to {tasks}")
        })
        .note(format!("then: efface commit DATASET {pass}"))
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn ended_before(pass: TrackingId, receipts: &[Receipt]) -> Result<Report> {
    let json = json!({ "tracking_id": pass, "receipts": to_json(&receipts)? });
    let headline = format!(
        "Pass {pass} had ended before, with {}",
        counted(receipts.len() as u64, "receipt", "receipts")
    );
    let mut report = Report::new(headline, json);
    report.table = receipts_table(receipts);
    Ok(report)
}

/// # Errors
/// None that a report of the library can cause.
pub(crate) fn receipts(head: &Head, listed: &[Receipt]) -> Result<Report> {
    let json = json!({
        "receipts": to_json(&listed)?,
        "count": head.receipts,
        "head": head.hash,
        "intact": true,
    });
    let headline = format!(
        "{}, none changed, removed or moved",
        counted(head.receipts, "receipt", "receipts")
    );
    let mut report = Report::new(headline, json)
        .fact("head", head.hash.as_str())
        .note("keep the head elsewhere: who can write here can forge a whole chain, but not this hash");
    report.table = receipts_table(listed);
    Ok(report)
}

fn receipts_table(listed: &[Receipt]) -> Vec<Vec<String>> {
    table(
        ["number", "ended", "state", "rows", "tracking id"],
        listed.iter().map(|receipt| {
            let state = match receipt.cause {
                Cause::Delete => RequestState::from(receipt.state).as_str().to_owned(),
                Cause::Suppression => "SUPPRESSED".to_owned(),
            };
            [
                grouped(&receipt.number),
                receipt.ended_at.to_string(),
                state,
                grouped(&(receipt.rows_removed + receipt.rows_cleared)),
                receipt.tracking_id.to_string(),
            ]
        }),
    )
}

pub(crate) fn suppressed(done: &str, ids: u64, on_the_list: usize) -> Report {
    let json = json!({ done: ids, "suppressed": on_the_list });
    let headline = format!("{}: {done}", counted(ids, "id", "ids"));
    Report::new(headline, json)
        .fact("on the list", grouped(&on_the_list))
        .note_if(done == "added", || {
            "next: efface compact DATASET, also after new shards have come in".to_owned()
        })
}

pub(crate) fn suppression(list: &Suppression) -> Report {
    let entries: Vec<Value> = list
        .iter()
        .map(|entry| {
            json!({
                "id": entry.id,
                "before": entry.before,
                "added_at": entry.added_at,
            })
        })
        .collect();
    let headline = format!(
        "{} suppressed",
        counted(list.iter().len() as u64, "id is", "ids are")
    );
    let json = json!({ "suppressed": list.iter().len(), "entries": entries });
    let mut report = Report::new(headline, json);
    report.table = table(
        ["added", "rows before", "keyed hash"],
        list.iter().map(|entry| {
            let before = entry
                .before
                .map_or_else(|| "all".to_owned(), |time| time.to_string());
            [entry.added_at.to_string(), before, entry.id.to_string()]
        }),
    );
    report
}

/// The day of a deadline, in UTC.
fn day(time: Timestamp) -> String {
    let text = time.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
