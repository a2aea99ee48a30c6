//! The bodies that are sent.

use efface::queue::RequestState;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::store::requests::Listed;

/// A time as the API spells it: UTC with microseconds, and no zone.
fn spelled(time: Timestamp) -> String {
    TimeZone::UTC
        .to_datetime(time)
        .strftime("%Y-%m-%dT%H:%M:%S.%6f")
        .to_string()
}

/// The answer to a new request. Some clients read `task_id`, others the keys beside it.
pub(super) fn created(request: &Listed) -> Value {
    json!({"status": "ok", "results": {
        "task_id": request.tracking_id,
        "tracking_id": request.tracking_id,
        // How it stood when it was filed, also when the answer is given again.
        "status": RequestState::Pending.as_str(),
        "disclosure_type": request.disclosure.to_uppercase(),
        "compliance_type": request.regulation,
        "date_requested": spelled(request.requested_at),
        "project_id": request.project,
        "requesting_user": request.requested_by,
        "distinct_id_count": request.subjects,
        "destination_url": null,
    }})
}

/// How a request stands; of one that is not there, only that.
pub(super) fn status(id: &str, state: &str, request: Option<&Listed>, ids: &[String]) -> Value {
    let mut results = json!({
        "tracking_id": id,
        "status": state,
        "requesting_user": request.map_or("", |request| &request.requested_by),
        "compliance_type": request.map_or("", |request| &request.regulation),
        "project_id": request.map_or(0, |request| request.project),
        "date_requested": request.map_or_else(String::new, |request| spelled(request.requested_at)),
        "distinct_ids": ids,
    });
    let of_client = request.and_then(|request| request.subject_request_id.as_ref());
    if let (Some(results), Some(of_client)) = (results.as_object_mut(), of_client) {
        results.insert("subject_request_id".to_owned(), json!(of_client));
    }
    json!({"status": "ok", "results": results})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_no_zone() {
        let time = "2020-03-09T22:28:55.078315Z".parse().unwrap();
        assert_eq!(spelled(time), "2020-03-09T22:28:55.078315");
        assert_eq!(spelled(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000000");
    }
}
