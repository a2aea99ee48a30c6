//! Logging in, filing, roles.

use axum::http::StatusCode;

use crate::door::{Place, id, leads_to};

/// Files a delete of one person by the form; gives the path of its page.
async fn file(place: &Place, person: &crate::door::Person, name: &str) -> String {
    let fields = [
        ("kind", "delete"),
        ("regulation", "gdpr"),
        ("disclosure", "data"),
        ("project", "7"),
        ("distinct_id", &id(name)),
    ];
    let counted = place.post("/requests/new", person, &fields).await;
    assert_eq!(counted.status, StatusCode::SEE_OTHER, "{}", counted.text());
    let preview = leads_to(&counted).to_owned();
    assert!(preview.starts_with("/requests/preview/"), "{preview}");
    let shown = place.get(&preview, person).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(
        shown.text().contains("<dt>Rows</dt><dd>5</dd>"),
        "{}",
        shown.text()
    );
    assert!(!shown.text().contains(crate::door::MARK));
    let sent = place.post(&preview, person, &[("confirm", "1")]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    leads_to(&sent).split('?').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_delete_is_previewed_sent_carried_out_and_proved() {
    let place = Place::new();
    let owner = place.owner().await;
    let page = file(&place, &owner, "p3").await;
    let waits = place.get(&page, &owner).await;
    assert!(waits.text().contains("Pending"));
    assert!(waits.text().contains("28 days left"), "{}", waits.text());
    let receipt = format!("{page}/receipt.json");
    assert_eq!(
        place.get(&receipt, &owner).await.status,
        StatusCode::NOT_FOUND
    );
    place.work();
    let done = place.get(&page, &owner).await;
    assert!(done.text().contains("Done"));
    assert!(
        done.text().contains("<dt>Rows removed</dt><dd>5</dd>"),
        "{}",
        done.text()
    );
    let receipt = place.get(&receipt, &owner).await.json();
    assert_eq!(receipt["rows_removed"], 5);
    assert_eq!(receipt["requested_by"], "ada@example.com");
    let log = place.get("/requests", &owner).await;
    assert!(log.text().contains(page.rsplit('/').next().unwrap()));
    let csv = place.get("/requests.csv", &owner).await;
    assert_eq!(csv.text().lines().count(), 2);
    place.assert_no_id_is_stored();
}

#[tokio::test]
async fn a_delete_is_not_sent_without_its_number_nor_twice() {
    let place = Place::new();
    let owner = place.owner().await;
    let fields = [
        ("kind", "delete"),
        ("regulation", "ccpa"),
        ("disclosure", "data"),
        ("project", "7"),
        ("distinct_id", &id("p4")),
    ];
    let preview = leads_to(&place.post("/requests/new", &owner, &fields).await).to_owned();
    place.get(&preview, &owner).await;
    for wrong in ["", "2", "one"] {
        let refused = place.post(&preview, &owner, &[("confirm", wrong)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let first = place.post(&preview, &owner, &[("confirm", "1")]).await;
    let again = place.post(&preview, &owner, &[("confirm", "1")]).await;
    assert_eq!(first.status, StatusCode::SEE_OTHER);
    assert_eq!(leads_to(&first), leads_to(&again));
}

#[tokio::test]
async fn the_requests_of_a_person_are_found_and_the_id_is_in_no_address() {
    let place = Place::new();
    let owner = place.owner().await;
    let page = file(&place, &owner, "p5").await;
    let tracking_id = page.rsplit('/').next().unwrap();
    let found = place
        .post("/requests/search", &owner, &[("distinct_id", &id("p5"))])
        .await;
    assert!(found.text().contains(tracking_id));
    let none = place
        .post("/requests/search", &owner, &[("distinct_id", &id("p6"))])
        .await;
    assert!(!none.text().contains(tracking_id));
    assert!(!found.text().contains(crate::door::MARK));
    place.assert_no_id_is_stored();
}

#[tokio::test]
async fn each_role_may_do_what_it_says() {
    let place = Place::new();
    let owner = place.owner().await;
    let page = file(&place, &owner, "p7").await;
    let cancel = format!("{page}/cancel");
    // role, log, request page, new request, people, audit, cancel
    for (role, expected) in [
        ("member", [403, 404, 403, 403, 403, 404]),
        ("auditor", [200, 200, 403, 200, 200, 403]),
        ("admin", [200, 200, 200, 200, 200, 303]),
    ] {
        let person = place
            .member(&owner, &format!("{role}@example.com"), role)
            .await;
        let mut found = Vec::new();
        for path in ["/requests", &page, "/requests/new", "/people", "/audit"] {
            found.push(place.get(path, &person).await.status.as_u16());
        }
        found.push(place.post(&cancel, &person, &[]).await.status.as_u16());
        assert_eq!(found, expected, "{role}");
        let token = place
            .post("/settings/tokens", &person, &[("name", "x")])
            .await;
        let may_make = if role == "admin" { 200 } else { 403 };
        assert_eq!(token.status.as_u16(), may_make, "{role}");
        // Nobody but an owner gives roles, and nobody in a project of others.
        for project in ["7", "8"] {
            let fields = [
                ("project", project),
                ("email", "eve@example.com"),
                ("role", "owner"),
            ];
            let status = place.post("/people", &person, &fields).await.status;
            assert!(
                status == StatusCode::FORBIDDEN || status == StatusCode::NOT_FOUND,
                "{role}"
            );
        }
    }
}

#[tokio::test]
async fn the_last_owner_stays() {
    let place = Place::new();
    let owner = place.owner().await;
    for fields in [
        [
            ("project", "7"),
            ("person", "1"),
            ("do", "role"),
            ("role", "member"),
        ],
        [
            ("project", "7"),
            ("person", "1"),
            ("do", "disable"),
            ("role", ""),
        ],
    ] {
        let refused = place.post("/people/role", &owner, &fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(place.get("/people", &owner).await.status, StatusCode::OK);
}

#[tokio::test]
async fn rows_of_people_who_opted_out_do_not_come_back() {
    let place = Place::new();
    let owner = place.owner().await;
    let fields = [("project", "7"), ("distinct_id", &*id("p8")), ("do", "add")];
    let added = place.post("/suppression", &owner, &fields).await;
    assert!(
        added.text().contains("1 put on the list"),
        "{}",
        added.text()
    );
    let fields = [
        ("project", "7"),
        ("distinct_id", &*id("p8")),
        ("do", "remove"),
    ];
    let removed = place.post("/suppression", &owner, &fields).await;
    assert!(removed.text().contains("1 taken off"), "{}", removed.text());
    place.assert_no_id_is_stored();
}

#[tokio::test]
async fn a_csv_is_taken_and_its_mistakes_are_told_without_ids() {
    let place = Place::new();
    let owner = place.owner().await;
    let send = async |csv: &str| {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let mut body = String::new();
        for (name, value) in [
            ("csrf", owner.csrf.as_str()),
            ("kind", "delete"),
            ("regulation", "gdpr"),
            ("disclosure", "data"),
            ("project", "7"),
            ("distinct_id", ""),
            ("file", csv),
        ] {
            body += &part(name, value);
        }
        body += "--b--\r\n";
        let request = axum::http::Request::post("/requests/new")
            .header("cookie", &owner.cookie)
            .header("content-type", "multipart/form-data; boundary=b")
            .body(axum::body::Body::from(body));
        place.send(request.unwrap()).await
    };
    let ids = format!(
        "distinct_id\n{}\n{}\n{}\n",
        id("p1"),
        id("p2"),
        id("nobody")
    );
    let counted = send(&ids).await;
    assert_eq!(counted.status, StatusCode::SEE_OTHER, "{}", counted.text());
    let shown = place.get(leads_to(&counted), &owner).await;
    assert!(
        shown.text().contains("<dt>Known</dt><dd>2</dd>"),
        "{}",
        shown.text()
    );
    assert!(
        shown.text().contains("It would end as failed"),
        "{}",
        shown.text()
    );
    let wrong = send(&format!("a,b\n{},2\n", id("p1"))).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(
        !wrong.text().contains(crate::door::MARK),
        "{}",
        wrong.text()
    );
}

#[tokio::test]
async fn health_and_metrics_tell_of_requests_but_of_no_person() {
    let place = Place::new();
    let owner = place.owner().await;
    file(&place, &owner, "p9").await;
    assert_eq!(place.private("/healthz").await.status, StatusCode::OK);
    let ready = place.private("/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
    place.pass(29 * 24 * 3600);
    let metrics = place.private("/metrics").await;
    for line in [
        "efface_requests{project=\"7\",kind=\"delete\",state=\"PENDING\"} 1",
        "efface_overdue{project=\"7\"} 1",
        "efface_overdue{project=\"8\"} 0",
        "http_requests_total{route=\"/requests/new\",code=\"303\"} 1",
    ] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
    std::fs::rename(
        place.dir.path().join("others"),
        place.dir.path().join("away"),
    )
    .unwrap();
    let ready = place.private("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("project 8"), "{}", ready.text());
}
