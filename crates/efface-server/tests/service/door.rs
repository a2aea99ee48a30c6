//! A service, and those who call it.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use efface_server::{Config, Service};
use http_body_util::BodyExt;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use tower::ServiceExt;

/// Stands in every subject id.
pub(crate) const MARK: &str = "zq7-";
pub(crate) const PROJECT: &str = "0123456789abcdef";
pub(crate) const OTHER: &str = "fedcba9876543210";
pub(crate) const URL: &str = "https://privacy.example.com";
const PASSWORD: &str = "four words for tests";

/// A service on two projects, with a clock that can be moved.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) service: Service,
    router: Router,
    clock: Arc<AtomicI64>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn id(name: &str) -> String {
    format!("{MARK}{name}")
}

/// A token, or a session: what somebody sends along.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With lines for the first project.
    pub(crate) fn with(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["events", "others"] {
            write_events(&dir.path().join(name));
        }
        let clock = Arc::new(AtomicI64::new(1_800_000_000));
        let (service, router) = open(&dir.path().join("serve.toml"), lines, &clock);
        Self {
            dir,
            service,
            router,
            clock,
        }
    }

    /// Closes the service and opens it again, as after a crash.
    pub(crate) fn reopen(self) -> Self {
        let Self {
            dir,
            clock,
            service,
            router,
        } = self;
        drop((service, router));
        let (service, router) = open(&dir.path().join("serve.toml"), "", &clock);
        Self {
            dir,
            service,
            router,
            clock,
        }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock.load(Ordering::Relaxed)).unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) async fn private(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self
            .service
            .private_router()
            .oneshot(request)
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// A call of the API.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        // A second between two calls, so that the rate is no matter.
        self.pass(1);
        let joint = if path.contains('?') { "&" } else { "?" };
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/app{path}{joint}token={PROJECT}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str, person: &Person) -> Answer {
        let request = Request::get(path).header(COOKIE, &person.cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Sends a form, with the session's mark.
    pub(crate) async fn post(
        &self,
        path: &str,
        person: &Person,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &person.csrf).extend_pairs(fields);
        let request = Request::post(path)
            .header(COOKIE, &person.cookie)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("origin", URL)
            .body(Body::from(form.finish()))
            .unwrap();
        self.send(request).await
    }

    /// A person who set a password by a link and is logged in.
    pub(crate) async fn enter(&self, link: &str) -> Person {
        let path = link.strip_prefix(URL).unwrap();
        let form = format!("name=Ada&password={PASSWORD}&again={PASSWORD}").replace(' ', "+");
        let request = Request::post(path).body(Body::from(form)).unwrap();
        let answer = self.send(request).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
        self.person(&answer).await
    }

    /// Who is logged in by an answer.
    pub(crate) async fn person(&self, answer: &Answer) -> Person {
        let cookie = answer.header(SET_COOKIE.as_str());
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let mut person = Person {
            cookie,
            csrf: String::new(),
        };
        let page = self.get("/settings", &person).await;
        let (_, rest) = page.text().split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap().clone_into(&mut person.csrf);
        person
    }

    pub(crate) async fn owner(&self) -> Person {
        let link = self.service.invite_owner("ada@example.com").unwrap();
        self.enter(&link).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([("email", email), ("password", password)]);
        let request = Request::post("/login").body(Body::from(form.finish()));
        self.send(request.unwrap()).await
    }

    pub(crate) async fn log_in_right(&self, email: &str) -> Answer {
        self.log_in(email, PASSWORD).await
    }

    /// A person with a role in the first project.
    pub(crate) async fn member(&self, owner: &Person, email: &str, role: &str) -> Person {
        let fields = [("project", "7"), ("email", email), ("role", role)];
        let answer = self.post("/people", owner, &fields).await;
        assert_eq!(answer.status, StatusCode::OK);
        let (_, rest) = answer.text().split_once("id=\"link\">").unwrap();
        let link = rest.split('<').next().unwrap().to_owned();
        self.enter(&link).await
    }

    /// A new token.
    pub(crate) async fn token(&self, person: &Person) -> String {
        let answer = self
            .post("/settings/tokens", person, &[("name", "test")])
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        let (_, rest) = answer.text().split_once("id=\"token\">").unwrap();
        rest.split('<').next().unwrap().to_owned()
    }

    /// A program's token.
    pub(crate) async fn program(&self) -> String {
        let owner = self.owner().await;
        self.token(&owner).await
    }

    /// Carries out what waits.
    pub(crate) fn work(&self) {
        self.service.work().unwrap();
    }

    /// Checks that no file below the data directory holds an id.
    pub(crate) fn assert_no_id_is_stored(&self) {
        let mut folders = vec![self.dir.path().join("data")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                let bytes = fs::read(&path).unwrap();
                let found = bytes
                    .windows(MARK.len())
                    .any(|part| part == MARK.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
        assert!(files >= 2, "{files}");
    }
}

fn open(path: &Path, lines: &str, clock: &Arc<AtomicI64>) -> (Service, Router) {
    let text = format!(
        "data = \"data\"\npublic_url = \"{URL}\"\n[limits]\nbody_bytes = 1000000\nread_seconds = 1\n\
         [[project]]\nid = 7\nname = \"Shop\"\ntoken = \"{PROJECT}\"\ndataset = \"events\"\n{lines}\n\
         [[project]]\nid = 8\nname = \"Other\"\ntoken = \"{OTHER}\"\ndataset = \"others\"\n"
    );
    fs::write(path, text).unwrap();
    let config = Config::load(path).unwrap();
    let clock = Arc::clone(clock);
    let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap();
    let service = Service::open(config, Arc::new(now)).unwrap();
    let router = service.router();
    (service, router)
}

/// A hundred rows of twenty people.
fn write_events(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let people: Vec<String> = (0..100).map(|row| id(&format!("p{}", row % 20))).collect();
    let times: Vec<i64> = (0..100).map(|row| 1_700_000_000 + row).collect();
    let fields = vec![
        Field::new("distinct_id", DataType::Utf8, false),
        Field::new("time", DataType::Int64, false),
    ];
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![
            Arc::new(StringArray::from(people)),
            Arc::new(Int64Array::from(times)),
        ],
    )
    .unwrap();
    let file = File::create(folder.join("part-0.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Where an answer leads.
pub(crate) fn leads_to(answer: &Answer) -> &str {
    answer.header(LOCATION.as_str())
}
