//! What went wrong with a request, without the secrets that clients and stores put into their messages.

use std::error::Error as _;
use std::{fmt, io};

use efface::error::replaced;
use object_store::Error;

/// What a request was for, in the words of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Write,
    List,
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read objects (on S3: s3:GetObject)",
            Self::Write => "write objects (on S3: s3:PutObject)",
            Self::List => "list objects (on S3: s3:ListBucket)",
            Self::Delete => "delete objects (on S3: s3:DeleteObject)",
        })
    }
}

/// What a store said: of a message only this is repeated.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    code: Option<String>,
    status: Option<u16>,
    system: Option<String>,
}

impl Said {
    fn of(error: &Error) -> Self {
        let mut said = Self::default();
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            said.code = said.code.take().or_else(|| code_in(&text));
            said.status = said.status.take().or_else(|| status_in(&text));
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.get_ref().is_none()
            {
                said.system = Some(error.to_string());
            }
            next = error.source();
        }
        said
    }
}

/// The code in the XML or JSON that S3, Azure and Google send with an error.
fn code_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_word = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}

/// The status, as the client words it: `status code: 503 ..`, or `status 503 ..`.
fn status_in(text: &str) -> Option<u16> {
    let parts = text.split("status ").skip(1);
    let mut statuses = parts.filter_map(|part| {
        let part = part.strip_prefix("code: ").unwrap_or(part);
        let status: u16 = part.get(..3)?.parse().ok()?;
        (400..600).contains(&status).then_some(status)
    });
    statuses.next()
}

/// The error of a request for `action` on `place`, which is a prefix, and no key.
pub(crate) fn of(error: &Error, action: Action, place: &str) -> io::Error {
    let said = Said::of(error);
    let code = said.code.as_deref().unwrap_or_default();
    let (kind, reason) = match error {
        Error::Precondition { .. } | Error::NotModified { .. } => return replaced(),
        Error::NotFound { .. } if code == "NoSuchBucket" || code == "ContainerNotFound" => (
            io::ErrorKind::NotFound,
            format!("there is no bucket for {place}: check its name and region"),
        ),
        Error::NotFound { .. } => return io::ErrorKind::NotFound.into(),
        Error::AlreadyExists { .. } => return io::ErrorKind::AlreadyExists.into(),
        _ => of_said(&said, code, error, action, place),
    };
    let mut evidence = Vec::new();
    evidence.extend(said.code.clone());
    evidence.extend(said.status.map(|status| format!("status {status}")));
    evidence.extend(said.system);
    if evidence.is_empty() {
        return io::Error::new(kind, reason);
    }
    io::Error::new(kind, format!("{reason} ({})", evidence.join(", ")))
}

fn of_said(
    said: &Said,
    code: &str,
    error: &Error,
    action: Action,
    place: &str,
) -> (io::ErrorKind, String) {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            return (
                io::ErrorKind::PermissionDenied,
                format!("the credentials for {place} have expired: get new ones and run again"),
            );
        }
        "RequestTimeTooSkewed" => {
            return (
                io::ErrorKind::PermissionDenied,
                "the clock of this machine is wrong: set it and run again".to_owned(),
            );
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            return (
                io::ErrorKind::InvalidInput,
                format!("{place} lies in another region: set the region of the store"),
            );
        }
        "InvalidObjectState" => {
            return (
                io::ErrorKind::Unsupported,
                "the object is in an archive class: restore it first".to_owned(),
            );
        }
        _ => {}
    }
    let is_denied = matches!(
        error,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    );
    match said.status {
        _ if is_denied => {}
        Some(401 | 403) => {}
        Some(status @ (429 | 500..)) => {
            return (
                io::ErrorKind::TimedOut,
                format!("the store answers {status} again and again"),
            );
        }
        Some(_) => {
            return (
                io::ErrorKind::Other,
                "the store refused the request".to_owned(),
            );
        }
        None if matches!(
            error,
            Error::NotSupported { .. } | Error::NotImplemented { .. }
        ) =>
        {
            return (
                io::ErrorKind::Unsupported,
                "the store can't do this".to_owned(),
            );
        }
        None if matches!(error, Error::InvalidPath { .. }) => {
            return (
                io::ErrorKind::InvalidData,
                format!(
                    "an object in {place} has a key with an empty part, '.' or '..', or control characters, which no path can name: rename or remove it"
                ),
            );
        }
        None if said.system.is_some() || is_about_credentials(error) => {
            return (
                if said.system.is_some() {
                    io::ErrorKind::NotConnected
                } else {
                    io::ErrorKind::PermissionDenied
                },
                if said.system.is_some() {
                    "the store can't be reached".to_owned()
                } else {
                    format!(
                        "there are no credentials for {place} that work: give some, by the environment or as options of the store"
                    )
                },
            );
        }
        None => {
            return (
                io::ErrorKind::TimedOut,
                "the store did not answer as it should".to_owned(),
            );
        }
    }
    (
        io::ErrorKind::PermissionDenied,
        format!("the credentials are not allowed to {action} in {place}"),
    )
}

/// Whether a request failed before it was sent, because no credentials were found.
fn is_about_credentials(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        // The address of a request may hold any word.
        let is_of_request = text.starts_with("Error performing");
        if text.contains("169.254.169.254")
            || text.contains("metadata.google")
            || (text.contains("redential") && !is_of_request)
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn a_message_has_the_code_and_the_action_and_nothing_else_of_what_the_store_said() {
        let body = "Client error with status 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>\
            <AWSAccessKeyId>AKIASECRET</AWSAccessKeyId><StringToSign>secret</StringToSign></Error>";
        let denied = Error::PermissionDenied {
            path: "ada/x.parquet".into(),
            source: body.into(),
        };
        for error in [denied, generic(body)] {
            let error = of(&error, Action::Write, "s3://lake/events");
            let text = error.to_string();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            for part in [
                "SignatureDoesNotMatch",
                "403",
                "s3:PutObject",
                "s3://lake/events",
            ] {
                assert!(text.contains(part), "{text}");
            }
            for secret in ["AKIA", "secret", "ada"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }

    #[test]
    fn each_kind_of_trouble_says_what_to_do() {
        let said = |text: &str| of(&generic(text), Action::Read, "s3://lake");
        let expired = said("status 400 Bad Request: <Error><Code>ExpiredToken</Code></Error>");
        assert!(expired.to_string().contains("have expired"), "{expired}");
        let clock = said("status 403 Forbidden: <Code>RequestTimeTooSkewed</Code>");
        assert!(clock.to_string().contains("clock"), "{clock}");
        let region = said("status 301 Moved: <Code>PermanentRedirect</Code>");
        assert!(region.to_string().contains("region"), "{region}");
        let busy = said(
            "Error performing GET https://lake/status in 2s, after 10 retries, max_retries: 10, retry_timeout: 180s  - \
             Server returned non-2xx status code: 503 Slow Down: <Error><Code>SlowDown</Code></Error>",
        );
        assert_eq!(busy.kind(), io::ErrorKind::TimedOut);
        assert!(busy.to_string().contains("answers 503"), "{busy}");
        let cut = said("Error performing GET https://lake/credentials/x in 30s - HTTP error");
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut, "{cut}");
        let bucket = Error::NotFound {
            path: "x".into(),
            source: "status 404 Not Found: <Code>NoSuchBucket</Code>".into(),
        };
        let bucket = of(&bucket, Action::List, "s3://lake");
        assert!(bucket.to_string().contains("no bucket"), "{bucket}");
        let system = Error::Generic {
            store: "S3",
            source: Box::new(io::Error::from_raw_os_error(111)),
        };
        let system = of(&system, Action::Read, "s3://lake");
        assert_eq!(system.kind(), io::ErrorKind::NotConnected);
        assert!(system.to_string().contains("refused"), "{system}");
    }

    #[test]
    fn a_condition_that_fails_is_a_replaced_file() {
        let error = Error::Precondition {
            path: "x".into(),
            source: "412".into(),
        };
        let error = of(&error, Action::Read, "s3://lake");
        assert!(efface::error::is_replaced(&error));
    }
}
