//! Tries that must come to nothing.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use serde_json::json;

use crate::door::{Answer, MARK, PROJECT, Person, Place, URL, id, leads_to};

const DELETIONS: &str = "/data-deletions/v3.0";

async fn try_token(place: &Place, token: &str) -> u16 {
    place
        .call("GET", &format!("{DELETIONS}/x"), token, "")
        .await
        .status
        .as_u16()
}

#[tokio::test]
async fn a_token_ends_when_it_is_revoked_after_a_year_and_with_its_person() {
    let place = Place::new();
    let owner = place.owner().await;
    let admin = place.member(&owner, "bob@example.com", "admin").await;
    let (first, second) = (place.token(&owner).await, place.token(&admin).await);
    assert!(first.starts_with("efx_") && first.len() > 40, "{first}");
    assert_eq!(try_token(&place, &first).await, 200);
    assert_eq!(try_token(&place, &second).await, 200);
    // Nobody revokes a token of somebody else.
    let others = place.post("/settings/tokens/2/revoke", &owner, &[]).await;
    assert_eq!(others.status, StatusCode::NOT_FOUND);
    assert_eq!(try_token(&place, &second).await, 200);
    let revoked = place.post("/settings/tokens/1/revoke", &owner, &[]).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(try_token(&place, &first).await, 401);
    let shut_out = [("project", "7"), ("person", "2"), ("do", "disable")];
    place.post("/people/role", &owner, &shut_out).await;
    assert_eq!(try_token(&place, &second).await, 401);
    assert_eq!(leads_to(&place.get("/requests", &admin).await), "/login");
    let third = place.token(&owner).await;
    place.pass(364 * 24 * 3600);
    assert_eq!(try_token(&place, &third).await, 200);
    place.pass(24 * 3600);
    assert_eq!(try_token(&place, &third).await, 401);
}

#[tokio::test]
async fn a_role_that_was_taken_takes_the_token_along() {
    let place = Place::new();
    let owner = place.owner().await;
    let admin = place.member(&owner, "bob@example.com", "admin").await;
    let token = place.token(&admin).await;
    assert_eq!(try_token(&place, &token).await, 200);
    let fields = [
        ("project", "7"),
        ("person", "2"),
        ("do", "role"),
        ("role", "auditor"),
    ];
    place.post("/people/role", &owner, &fields).await;
    assert_eq!(try_token(&place, &token).await, 403);
}

#[tokio::test]
async fn no_form_of_another_site_is_taken() {
    let place = Place::new();
    let owner = place.owner().await;
    let send = async |csrf: &str, header: Option<(&str, &str)>| {
        let mut request = Request::post("/settings/tokens").header(COOKIE, &owner.cookie);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let body = format!("csrf={csrf}&name=x");
        place
            .send(request.body(Body::from(body)).unwrap())
            .await
            .status
            .as_u16()
    };
    for (csrf, header, status) in [
        ("", None, 403),
        ("wrong", None, 403),
        (
            owner.csrf.as_str(),
            Some(("origin", "https://evil.example")),
            403,
        ),
        (&owner.csrf, Some(("origin", "null")), 403),
        (&owner.csrf, Some(("sec-fetch-site", "cross-site")), 403),
        (&owner.csrf, Some(("origin", URL)), 200),
        (&owner.csrf, Some(("sec-fetch-site", "same-origin")), 200),
    ] {
        assert_eq!(send(csrf, header).await, status, "{header:?}");
    }
    // The mark of another session is none.
    let admin = place.member(&owner, "bob@example.com", "admin").await;
    assert_eq!(send(&admin.csrf, None).await, 403);
}

#[tokio::test]
async fn a_session_begins_with_the_login_and_ends_with_the_logout() {
    let place = Place::new();
    let owner = place.owner().await;
    // A text that somebody else put into the browser is never taken over.
    let fixed = Request::get("/requests").header(COOKIE, "__Host-efface=chosen-by-me");
    let answer = place.send(fixed.body(Body::empty()).unwrap()).await;
    assert_eq!(leads_to(&answer), "/login");
    let answer = place.log_in_right("ada@example.com").await;
    let cookie = answer.header("set-cookie").to_owned();
    for part in [
        "__Host-efface=",
        "HttpOnly",
        "SameSite=Lax",
        "Secure",
        "Path=/",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let person = place.person(&answer).await;
    assert_ne!(person.cookie, owner.cookie);
    let out = place.post("/logout", &person, &[]).await;
    assert_eq!(leads_to(&out), "/login");
    assert_eq!(leads_to(&place.get("/requests", &person).await), "/login");
    // The other one goes on, for twelve hours.
    assert_eq!(place.get("/requests", &owner).await.status, StatusCode::OK);
    place.pass(12 * 3600);
    assert_eq!(leads_to(&place.get("/requests", &owner).await), "/login");
}

#[tokio::test]
async fn passwords_are_not_guessed() {
    let place = Place::new();
    place.owner().await;
    for email in ["ada@example.com", "nobody@example.com", "' OR 1=1 --", ""] {
        let wrong = place.log_in(email, "wrong password").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(wrong.header("set-cookie"), "");
    }
    for _ in 0..4 {
        place.log_in("ada@example.com", "wrong password").await;
    }
    let locked = place.log_in_right("ada@example.com").await;
    assert_eq!(
        locked.status,
        StatusCode::UNAUTHORIZED,
        "after five in a row"
    );
    place.pass(15 * 60);
    assert_eq!(
        place.log_in_right("ada@example.com").await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn a_one_time_link_works_once() {
    let place = Place::new();
    let link = place.service.invite_owner("ada@example.com").unwrap();
    place.enter(&link).await;
    let path = link.strip_prefix(URL).unwrap();
    let again = Request::get(path).body(Body::empty());
    assert_eq!(
        place.send(again.unwrap()).await.status,
        StatusCode::NOT_FOUND
    );
    let guessed = Request::get("/welcome/guessed").body(Body::empty());
    assert_eq!(
        place.send(guessed.unwrap()).await.status,
        StatusCode::NOT_FOUND
    );
    let late = place.service.invite_owner("bob@example.com").unwrap();
    place.pass(7 * 24 * 3600);
    let late = Request::get(late.strip_prefix(URL).unwrap()).body(Body::empty());
    assert_eq!(
        place.send(late.unwrap()).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn two_who_use_a_one_time_link_at_once_are_not_both_let_in() {
    let place = Place::new();
    let link = place.service.invite_owner("ada@example.com").unwrap();
    let path = link.strip_prefix(URL).unwrap();
    let send = async |name: &str| {
        let form = format!("name={name}&password=four+words+{name}&again=four+words+{name}");
        let request = Request::post(path).body(Body::from(form)).unwrap();
        place.send(request).await.status.as_u16()
    };
    let (first, second) = tokio::join!(send("ada"), send("eve"));
    assert_eq!([first.min(second), first.max(second)], [303, 404]);
}

#[tokio::test]
async fn an_owner_gets_no_link_of_somebody_invited_elsewhere() {
    let place = Place::new();
    let owner = place.owner().await;
    let add = async |by: &Person, project: &str, email: &str, role: &str| {
        let fields = [("project", project), ("email", email), ("role", role)];
        let answer = place.post("/people", by, &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let link = answer.text().split_once("id=\"link\">");
        link.map(|(_, rest)| rest.split('<').next().unwrap().to_owned())
    };
    let link = add(&owner, "8", "bob@example.com", "owner").await.unwrap();
    let other = place.enter(&link).await;
    // She has not set a password yet. With a link, he would be the owner of her project.
    let hers = add(&owner, "7", "eve@example.com", "owner").await.unwrap();
    assert_eq!(add(&other, "8", "eve@example.com", "auditor").await, None);
    let fields = [("project", "8"), ("person", "3"), ("do", "link")];
    let refused = place.post("/people/role", &other, &fields).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    // Hers still works.
    let person = place.enter(&hers).await;
    let page = place.get("/people", &person).await;
    assert!(page.text().contains("Shop") && page.text().contains("Other"));
}

#[tokio::test]
async fn the_header_of_a_proxy_counts_from_nobody_else() {
    let place = Place::new();
    place.owner().await;
    let request = Request::get("/requests").header("x-remote-user", "ada@example.com");
    let answer = place.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(leads_to(&answer), "/login");
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let place = Place::new();
    let token = place.program().await;
    let owner = place.owner().await;
    let large = "x".repeat(1_000_001);
    let answer = place.call("POST", DELETIONS, &token, &large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    // One whose length nobody announced.
    let chunks = (0..200).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 10_000])));
    let request = Request::post(format!("/api/app{DELETIONS}?token={PROJECT}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from_stream(Chunks(chunks.collect())));
    let answer = place.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request = Request::post("/requests/new")
        .header(COOKIE, &owner.cookie)
        .body(Body::from(large));
    let answer = place.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Somebody unknown sends a name and passwords, and no file.
    let request = Request::post("/login").body(Body::from("x".repeat(70_000)));
    let answer = place.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    // One that never ends.
    let request = Request::post(format!("/api/app{DELETIONS}?token={PROJECT}"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from_stream(Never));
    let answer = place.send(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
}

struct Chunks(Vec<Result<Bytes, std::io::Error>>);

impl futures_core::Stream for Chunks {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.pop())
    }
}

struct Never;

impl futures_core::Stream for Never {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn odd_ids_and_words_are_only_text() {
    let place = Place::with("unknown = \"report\"");
    let owner = place.owner().await;
    let token = place.token(&owner).await;
    for odd in [
        "<script>alert(1)</script>",
        "'; DROP TABLE request; --",
        "=HYPERLINK(\"http://evil\")",
        "../../etc/passwd",
        "a\r\nSet-Cookie: x=y",
        "{{7*7}}${7*7}",
        "\u{202e}\u{0}",
    ] {
        let body = json!({"distinct_ids": [format!("{MARK}{odd}")]}).to_string();
        let made = place.call("POST", DELETIONS, &token, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{odd}: {}", made.text());
        for (name, value) in &made.headers {
            assert!(!value.as_bytes().contains(&b'\n'), "{name}");
        }
        let query = form_urlencoded::byte_serialize(odd.as_bytes()).collect::<String>();
        for path in [
            format!("/requests?id={query}"),
            format!("/requests?state={query}&kind={query}&project={query}&page={query}"),
            format!("/requests/{query}"),
            format!("/requests/preview/{query}"),
            format!("/audit?before={query}"),
            format!("/nowhere/{query}"),
        ] {
            let answer: Answer = place.get(&path, &owner).await;
            assert!(answer.status.as_u16() < 500, "{path}");
            assert!(!answer.text().contains("<script>"), "{path}");
        }
        let name = [("name", odd)];
        let made = place.post("/settings/tokens", &owner, &name).await;
        assert!(!made.text().contains("<script>"), "{odd}");
    }
    place.work();
    place.assert_no_id_is_stored();
}

#[tokio::test]
async fn every_answer_says_what_browsers_may_do_with_it() {
    let place = Place::new();
    let owner = place.owner().await;
    for path in [
        "/login",
        "/requests",
        "/nowhere",
        "/api/nowhere",
        "/api/openapi.json",
    ] {
        let answer = place.get(path, &owner).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(
            answer.header("strict-transport-security"),
            "max-age=31536000",
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_preview_of_a_person_is_nobody_elses() {
    let place = Place::new();
    let owner = place.owner().await;
    let admin = place.member(&owner, "bob@example.com", "admin").await;
    let fields = [
        ("kind", "delete"),
        ("regulation", "gdpr"),
        ("disclosure", "data"),
        ("project", "7"),
        ("distinct_id", &*id("p1")),
    ];
    let preview = leads_to(&place.post("/requests/new", &owner, &fields).await).to_owned();
    assert_eq!(
        place.get(&preview, &admin).await.status,
        StatusCode::NOT_FOUND
    );
    let sent = place.post(&preview, &admin, &[("confirm", "1")]).await;
    assert_eq!(sent.status, StatusCode::NOT_FOUND);
    // Its own person's, for half an hour.
    assert_eq!(place.get(&preview, &owner).await.status, StatusCode::OK);
    place.pass(30 * 60);
    let late = place.get(&preview, &owner).await.status;
    assert_eq!(late, StatusCode::NOT_FOUND);
    // And in a project where one is nobody, nothing is filed.
    let mut elsewhere = fields;
    elsewhere[3] = ("project", "8");
    let answer = place.post("/requests/new", &admin, &elsewhere).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
