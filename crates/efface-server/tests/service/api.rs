//! The five operations, and what they refuse.

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::door::{OTHER, PROJECT, Place, id};

const DELETIONS: &str = "/data-deletions/v3.0";

fn wish(ids: &[&str]) -> String {
    let ids: Vec<String> = ids.iter().map(|name| id(name)).collect();
    json!({"distinct_ids": ids, "compliance_type": "GDPR", "who_knows": 1}).to_string()
}

fn task(answer: &crate::door::Answer) -> String {
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()["results"]["task_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_deletion_is_filed_asked_for_carried_out_and_wiped() {
    let place = Place::new();
    let token = place.program().await;
    // Both spellings of the paths, and a body whose type says that it is a form.
    for (slash, name) in [("", "p1"), ("/", "p2")] {
        let made = place
            .call(
                "POST",
                &format!("{DELETIONS}{slash}"),
                &token,
                &wish(&[name]),
            )
            .await;
        let results = made.json()["results"].clone();
        let task = task(&made);
        assert_eq!(made.json()["status"], "ok");
        assert_eq!(results["status"], "PENDING");
        assert_eq!(results["distinct_id_count"], 1);
        assert_eq!(results["compliance_type"], "gdpr");
        assert_eq!(results["project_id"], 7);

        let path = format!("{DELETIONS}/{task}{slash}");
        let asked = place.call("GET", &path, &token, "").await;
        assert_eq!(asked.status, StatusCode::OK);
        let results = asked.json()["results"].clone();
        let keys: Vec<&String> = results.as_object().unwrap().keys().collect();
        let expected = [
            "compliance_type",
            "date_requested",
            "distinct_ids",
            "project_id",
            "requesting_user",
            "status",
            "tracking_id",
        ];
        assert_eq!(keys, expected);
        assert_eq!(results["status"], "PENDING");
        assert_eq!(results["distinct_ids"], json!([id(name)]));
        assert_eq!(results["requesting_user"], "ada@example.com");

        place.work();
        let asked = place.call("GET", &path, &token, "").await.json();
        assert_eq!(asked["results"]["status"], "SUCCESS");
        assert_eq!(asked["results"]["distinct_ids"], json!([]));
    }
    place.assert_no_id_is_stored();
}

#[tokio::test]
async fn an_id_that_is_being_deleted_is_a_conflict_which_names_it() {
    let place = Place::new();
    let token = place.program().await;
    let first = task(
        &place
            .call("POST", DELETIONS, &token, &wish(&["p1", "p2"]))
            .await,
    );
    let again = place
        .call("POST", DELETIONS, &token, &wish(&["p2", "p3"]))
        .await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let error = &again.json()["error"];
    assert_eq!(error["conflicting_distinct_ids"], json!([id("p2")]));
    assert_eq!(error["conflicting_task_ids"], json!([first]));
    assert!(error["error"].is_string());
    // Nothing of it was filed: the other id is free.
    task(&place.call("POST", DELETIONS, &token, &wish(&["p3"])).await);
    // And after the end, so are all.
    place.work();
    task(&place.call("POST", DELETIONS, &token, &wish(&["p2"])).await);
}

#[tokio::test]
async fn a_deletion_is_cancelled_until_it_has_ended() {
    let place = Place::new();
    let token = place.program().await;
    let first = task(&place.call("POST", DELETIONS, &token, &wish(&["p1"])).await);
    let path = format!("{DELETIONS}/{first}/");
    let cancelled = place.call("DELETE", &path, &token, "").await;
    assert_eq!(cancelled.status, StatusCode::NO_CONTENT);
    assert!(cancelled.body.is_empty());
    let asked = place.call("GET", &path, &token, "").await.json();
    assert_eq!(asked["results"]["status"], "REVOKED");
    let late = place.call("DELETE", &path, &token, "").await;
    assert_eq!(late.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(late.header("allow"), "GET, HEAD");
    assert_eq!(late.json()["status"], "error");
    let nothing = place
        .call("DELETE", &format!("{DELETIONS}/nothing"), &token, "")
        .await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_task_that_is_not_there_is_a_state() {
    let place = Place::new();
    let token = place.program().await;
    for none in [
        "1583792934719392965",
        "0190f0a0-0000-7000-8000-000000000000",
    ] {
        let asked = place
            .call("GET", &format!("{DELETIONS}/{none}"), &token, "")
            .await;
        assert_eq!(asked.status, StatusCode::OK);
        let results = &asked.json()["results"];
        assert_eq!(results["status"], "NOT_FOUND");
        assert_eq!(results["tracking_id"], none);
    }
}

#[tokio::test]
async fn an_unknown_id_ends_as_a_failure_with_a_reason() {
    let place = Place::new();
    let token = place.program().await;
    let first = task(
        &place
            .call("POST", DELETIONS, &token, &wish(&["nobody"]))
            .await,
    );
    place.work();
    let asked = place
        .call("GET", &format!("{DELETIONS}/{first}"), &token, "")
        .await
        .json();
    assert_eq!(asked["results"]["status"], "FAILURE");
}

#[tokio::test]
async fn bodies_that_make_no_sense_file_nothing() {
    let place = Place::new();
    let token = place.program().await;
    let many: Vec<String> = (0..2001).map(|number| id(&format!("x{number}"))).collect();
    let long = "x".repeat(70_000);
    let bodies = [
        String::new(),
        "[]".to_owned(),
        "{".to_owned(),
        "{}".to_owned(),
        json!({"distinct_ids": []}).to_string(),
        json!({"distinct_ids": "u1"}).to_string(),
        json!({"distinct_ids": [1]}).to_string(),
        json!({"distinct_ids": [""]}).to_string(),
        json!({"distinct_ids": [long]}).to_string(),
        json!({ "distinct_ids": many }).to_string(),
        json!({"distinct_ids": [id("p1")], "compliance_type": "HIPAA"}).to_string(),
        json!({"distinct_ids": [id("p1")], "disclosure_type": 1}).to_string(),
        json!({"distinct_ids": [id("p1")], "subject_request_id": "1"}).to_string(),
        json!({"distinct_ids": [id("p1")], "status_callback_urls": ["https://a.example"]})
            .to_string(),
    ];
    for body in bodies {
        let answer = place.call("POST", DELETIONS, &token, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
        assert_eq!(answer.json()["status"], "error");
        assert!(
            !answer.text().contains(crate::door::MARK),
            "{}",
            answer.text()
        );
    }
    task(&place.call("POST", DELETIONS, &token, &wish(&["p1"])).await);
}

#[tokio::test]
async fn two_thousand_ids_are_taken_and_words_count_in_any_case() {
    let place = Place::with("unknown = \"report\"");
    let token = place.program().await;
    let many: Vec<String> = (0..2000).map(|number| id(&format!("x{number}"))).collect();
    let body =
        json!({"distinct_ids": many, "compliance_type": "ccpa", "disclosure_type": "SOURCES"});
    let answer = place
        .call("POST", DELETIONS, &token, &body.to_string())
        .await;
    task(&answer);
    let results = &answer.json()["results"];
    assert_eq!(results["disclosure_type"], "SOURCES");
    assert_eq!(results["compliance_type"], "ccpa");
    assert_eq!(results["distinct_id_count"], 2000);
}

#[tokio::test]
async fn the_same_key_gives_the_first_answer() {
    let place = Place::new();
    let token = place.program().await;
    let send = async |key: &str, body: String| {
        place.pass(1);
        let request = Request::post(format!("/api/app{DELETIONS}?token={PROJECT}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header("Idempotency-Key", key)
            .body(Body::from(body));
        place.send(request.unwrap()).await
    };
    let first = send("k1", wish(&["p1"])).await;
    let again = send("k1", wish(&["p1"])).await;
    task(&first);
    assert_eq!(first.status, again.status);
    assert_eq!(first.body, again.body);
    let other = send("k1", wish(&["p2"])).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send("k2", wish(&["p1"])).await.status, StatusCode::CONFLICT);
    assert_eq!(
        send("", wish(&["p3"])).await.status,
        StatusCode::BAD_REQUEST
    );
    // Also after a restart, and after the request has ended.
    place.work();
    let place = place.reopen();
    let request = Request::post(format!("/api/app{DELETIONS}?token={PROJECT}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header("Idempotency-Key", "k1")
        .body(Body::from(wish(&["p1"])));
    let again = place.send(request.unwrap()).await;
    assert_eq!(first.body, again.body);
    // After a day the key is free.
    place.pass(24 * 3600);
    let request = Request::post(format!("/api/app{DELETIONS}?token={PROJECT}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header("Idempotency-Key", "k1")
        .body(Body::from(wish(&["p4"])));
    let other = place.send(request.unwrap()).await;
    assert_ne!(task(&other), task(&first));
}

#[tokio::test]
async fn a_client_names_its_request_and_reads_the_name_again() {
    let place = Place::new();
    let token = place.program().await;
    let name = "3f2b8c1e-0000-4000-8000-1234567890ab";
    let body =
        |who: &str| json!({"distinct_ids": [id(who)], "subject_request_id": name}).to_string();
    let first = task(&place.call("POST", DELETIONS, &token, &body("p1")).await);
    let asked = place
        .call("GET", &format!("{DELETIONS}/{first}"), &token, "")
        .await
        .json();
    assert_eq!(asked["results"]["subject_request_id"], name);
    let again = place.call("POST", DELETIONS, &token, &body("p2")).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn ten_calls_pass_at_once_and_then_one_a_second() {
    let place = Place::new();
    let token = place.program().await;
    let call = async || {
        let request = Request::get(format!("/api/app{DELETIONS}/x?token={PROJECT}"))
            .header(AUTHORIZATION, format!("Bearer {token}"));
        place.send(request.body(Body::empty()).unwrap()).await
    };
    for _ in 0..10 {
        assert_eq!(call().await.status, StatusCode::OK);
    }
    let late = call().await;
    assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(late.header("retry-after"), "1");
    assert_eq!(
        late.json()["error"],
        "Too Many Requests, this API is limited to 1 req/s"
    );
    place.pass(1);
    assert_eq!(call().await.status, StatusCode::OK);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_in_the_same_form() {
    let place = Place::new();
    let token = place.program().await;
    for (method, path, allow) in [
        ("GET", DELETIONS.to_owned(), "POST"),
        ("DELETE", format!("{DELETIONS}/"), "POST"),
        ("PUT", format!("{DELETIONS}/x"), "DELETE,GET,HEAD"),
        ("TRACE", DELETIONS.to_owned(), "POST"),
    ] {
        let answer = place.call(method, &path, &token, "").await;
        assert_eq!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}"
        );
        let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow);
        assert_eq!(answer.json()["status"], "error");
    }
    let nowhere = place.call("GET", "/data-deletions/v2.0", &token, "").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert_eq!(nowhere.json()["status"], "error");
}

#[tokio::test]
async fn the_description_names_every_operation_that_there_is() {
    let place = Place::new();
    let request = Request::get("/api/openapi.json").body(Body::empty());
    let answer = place.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let document = answer.json();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete", "put"] {
            if let Value::Object(operation) = &item[method] {
                assert!(operation["responses"]["401"].is_object(), "{method} {path}");
                operations.push(format!("{method} {path}"));
            }
        }
    }
    operations.sort();
    let item = "/data-deletions/v3.0/{tracking_id}";
    let mut expected = vec![
        format!("delete {item}"),
        format!("get {item}"),
        format!("post {DELETIONS}"),
    ];
    expected.sort();
    assert_eq!(operations, expected);
}

#[tokio::test]
async fn who_calls_is_asked_before_anything_else() {
    let place = Place::new();
    let token = place.program().await;
    let send = async |credentials: Option<&str>, project: Option<&str>| {
        let query = project
            .map(|project| format!("?token={project}"))
            .unwrap_or_default();
        let mut request = Request::post(format!("/api/app{DELETIONS}{query}"));
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        place.pass(1);
        place
            .send(request.body(Body::from("no JSON")).unwrap())
            .await
    };
    let right = format!("Bearer {token}");
    let basic = format!("Basic {token}");
    for (credentials, project, status) in [
        (None, Some(PROJECT), 401),
        (Some(""), Some(PROJECT), 401),
        (Some("Bearer"), Some(PROJECT), 401),
        (Some("Bearer efx_wrong"), Some(PROJECT), 401),
        (Some(basic.as_str()), Some(PROJECT), 401),
        (Some(&right), None, 400),
        (Some(&right), Some("no-such-project"), 403),
        (Some(&right), Some(PROJECT), 400),
        (
            Some(&right.to_uppercase().replace("BEARER", "bearer")),
            Some(PROJECT),
            401,
        ),
    ] {
        let answer = send(credentials, project).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{project:?}: {}",
            answer.text()
        );
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, if status == 401 { "Bearer" } else { "" });
        assert!(answer.json()["error"].is_string());
    }
    // Of another project the caller is an owner too, and sees nothing of this one there.
    let first = task(&place.call("POST", DELETIONS, &token, &wish(&["p1"])).await);
    let request = Request::get(format!("/api/app{DELETIONS}/{first}?token={OTHER}"))
        .header(AUTHORIZATION, right)
        .body(Body::empty());
    let asked = place.send(request.unwrap()).await.json();
    assert_eq!(asked["results"]["status"], "NOT_FOUND");
}

#[tokio::test]
async fn what_was_listed_but_not_handed_over_is_taken_out_at_the_start() {
    let place = Place::new();
    let token = place.program().await;
    let first = task(&place.call("POST", DELETIONS, &token, &wish(&["p1"])).await);
    // The entry is lost, as after a crash between the two steps.
    let entry = place
        .dir
        .path()
        .join(format!("events/_efface/queue/{first}.json"));
    std::fs::remove_file(entry).unwrap();
    let place = place.reopen();
    let asked = place
        .call("GET", &format!("{DELETIONS}/{first}"), &token, "")
        .await
        .json();
    assert_eq!(asked["results"]["status"], "NOT_FOUND");
    task(&place.call("POST", DELETIONS, &token, &wish(&["p1"])).await);
}
