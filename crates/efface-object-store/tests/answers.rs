//! What callers learn of the answers of a store that speaks S3, by the client that really asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use efface::error::Error;
use efface::state::State;
use efface_object_store::{Cache, ObjectState, open};

/// Answers each request, for as long as the process lives. Gives the endpoint.
fn server(status: &str, body: &str) -> String {
    let len = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let mut bytes = 0;
            loop {
                let mut line = String::new();
                request.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if let Some(length) = line.strip_prefix("content-length:") {
                    bytes = length.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            request.read_exact(&mut vec![0; bytes]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    endpoint
}

#[test]
fn an_answer_is_told_by_its_code_and_status_and_by_nothing_else_of_it() {
    // None of them is one that the client tries again for minutes.
    for (status, body, parts) in [
        (
            "400 Bad Request",
            "<Error><Code>InvalidArgument</Code><Message>hush status 501</Message></Error>",
            ["refused the request", "InvalidArgument, status 400"],
        ),
        (
            "403 Forbidden",
            "<Error><Code>InvalidAccessKeyId</Code><Message>hush</Message></Error>",
            ["not allowed to read", "InvalidAccessKeyId, status 403"],
        ),
        (
            "405 Method Not Allowed",
            "hush",
            ["refused the request", "status 405"],
        ),
    ] {
        let options = [
            ("endpoint", server(status, body)),
            ("region", "eu-west-1".to_owned()),
            ("allow_http", "true".to_owned()),
            ("access_key_id", "AKIAHUSH".to_owned()),
            ("secret_access_key", "hush".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        let store = open("s3://bucket/credentials", &options).unwrap();
        let state = ObjectState::new(store, Cache::temporary().unwrap());
        let error = state.get("_efface/x", 100).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
        for secret in ["hush", "HUSH", "127.0.0.1"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
