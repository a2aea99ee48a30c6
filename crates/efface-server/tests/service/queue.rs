//! The lists, compared with the queue of the dataset, which others use, too.

use std::sync::Arc;

use axum::http::StatusCode;
use efface::engine::Engine;
use efface::queue::Submission;
use efface::request::{Provenance, Request, Subjects};
use efface::tracking::TrackingId;
use efface_server::{Config, Service};

use crate::door::{Place, id};

/// Hands requests over as the command does, of one person each. Gives their tracking ids.
fn submit(place: &Place, count: usize, by: &Provenance) -> Vec<TrackingId> {
    let engine = Engine::open_dir(place.dir.path().join("events")).unwrap();
    let submit = |number| {
        let subjects = Subjects::new([id(&format!("x{number}"))]).unwrap();
        let request = Request::delete(subjects, place.now());
        let submission = Submission {
            by: by.clone(),
            ..Submission::new(TrackingId::draw(place.now()), request, place.now())
        };
        engine.submit_with(&submission).unwrap().tracking_id
    };
    (0..count).map(submit).collect()
}

#[tokio::test]
async fn requests_of_the_command_are_listed_all_of_them() {
    let place = Place::new();
    // More than are compared at a time; and of a client's id that comes again, none hides the other.
    let by = Provenance {
        subject_request_id: Some("3f2b8c1e-0000-4000-8000-1234567890ab".to_owned()),
        ..Provenance::default()
    };
    let mut ids = submit(&place, 2, &by);
    ids.extend(submit(&place, 260, &Provenance::default()));
    let place = place.reopen();
    let owner = place.owner().await;
    let log = place.get("/requests", &owner).await;
    assert!(log.text().contains("262 requests"), "{}", log.text());
    let csv = place.get("/requests.csv", &owner).await;
    for tracking_id in &ids {
        assert!(csv.text().contains(&tracking_id.to_string()));
    }
    let found = place
        .post("/requests/search", &owner, &[("distinct_id", &id("x222"))])
        .await;
    assert!(found.text().contains("1 request,"), "{}", found.text());
    place.assert_no_id_is_stored();
}

#[tokio::test]
async fn the_lists_are_filled_again_when_the_database_was_lost() {
    let place = Place::new();
    let token = place.program().await;
    let body = serde_json::json!({"distinct_ids": [id("p1")]}).to_string();
    let path = "/data-deletions/v3.0";
    let ended = place.call("POST", path, &token, &body).await.json();
    place.work();
    let waits = submit(&place, 1, &Provenance::default()).remove(0);
    for name in ["serve.db", "serve.db-wal", "serve.db-shm"] {
        // What is still open goes on in the file without a name.
        let _gone = std::fs::remove_file(place.dir.path().join("data").join(name));
    }
    let place = place.reopen();
    let owner = place.owner().await;
    let log = place.get("/requests", &owner).await;
    let ended = ended["results"]["task_id"].as_str().unwrap();
    assert!(log.text().contains(ended), "{}", log.text());
    assert!(log.text().contains(&waits.to_string()), "{}", log.text());
}

#[tokio::test]
async fn one_process_serves_and_others_invite_meanwhile() {
    let place = Place::new();
    let config = || Config::load(&place.dir.path().join("serve.toml")).unwrap();
    let clock = || Arc::new(jiff::Timestamp::now);
    let other = Service::open(config(), clock()).unwrap();
    let link = other.invite_owner("ada@example.com").unwrap();
    let error = other.serve().unwrap_err().to_string();
    assert!(error.contains("another process serves"), "{error}");
    let now = jiff::Timestamp::now().as_second();
    place.pass(now - place.now().as_second());
    let owner = place.enter(&link).await;
    let page = place.get("/requests", &owner).await;
    assert_eq!(page.status, StatusCode::OK);
}
