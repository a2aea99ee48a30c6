//! Stores by their URLs, with options and credentials as the `object_store` crate knows them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreScheme};
use url::Url;

use crate::store::Store;
use crate::version::Versioning;

/// How long a request may take, its bytes included, unless an option says otherwise.
const TIMEOUT: &str = "5 minutes";

/// Why a URL with its options names no store. Holds no value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The URL is none, or of a kind that isn't known.
    Url(String),
    /// An option isn't known, or its value can't be understood; or one is missing.
    Option(String),
    /// The machine can't start what requests need.
    Machine(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(reason) | Self::Option(reason) | Self::Machine(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {}

/// Where a dataset lies that is named by a path or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On a disk.
    Local(PathBuf),
    /// In a store: its URL.
    Url(String),
}

impl Location {
    /// Understands a path or a URL.
    ///
    /// # Errors
    /// When a `file` URL names no local path.
    pub fn of(name: &std::path::Path) -> Result<Self, OpenError> {
        let Some(text) = name.to_str().filter(|text| is_url(text)) else {
            return Ok(Self::Local(name.to_owned()));
        };
        if !text.starts_with("file://") {
            return Ok(Self::Url(text.to_owned()));
        }
        let path = Url::parse(text)
            .ok()
            .and_then(|url| url.to_file_path().ok());
        path.map(Self::Local).ok_or_else(|| {
            OpenError::Url("a file URL has three slashes and an absolute path: file:///lake".into())
        })
    }
}

/// Whether it begins with a scheme and `://`.
fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Opens the store that a URL names: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or
/// `abfss://container@account.dfs.core.windows.net/prefix`. Options come first, then the environment, then what the
/// machine itself is allowed to.
///
/// # Errors
/// When there is no such store, or an option is wrong. Nothing is requested yet.
pub fn open(text: &str, options: &[(String, String)]) -> Result<Store, OpenError> {
    let wrong = |reason: &str| OpenError::Url(reason.to_owned());
    let url = Url::parse(text).map_err(|_| wrong("it is no URL"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "'?' and '#' in a URL are written %3F and %23; options are given beside it",
        ));
    }
    if url.password().is_some() {
        return Err(wrong(
            "a URL must not hold a password: give credentials by the environment or as options",
        ));
    }
    // That of abfss:// is a container.
    if !url.username().is_empty() && !matches!(url.scheme(), "abfs" | "abfss") {
        return Err(wrong(
            "a URL must not hold a user: give credentials by the environment or as options",
        ));
    }
    let known = "the known ones are s3://, gs://, az://, abfss:// and file://";
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| {
        OpenError::Url(format!(
            "no store has such a URL, or no key such a name; {known}"
        ))
    })?;
    let (objects, versioning): (Arc<dyn ObjectStore>, _) = match scheme {
        ObjectStoreScheme::AmazonS3 => (s3(text, options)?, Versioning::Tags),
        ObjectStoreScheme::MicrosoftAzure => (azure(text, options)?, Versioning::Tags),
        ObjectStoreScheme::GoogleCloudStorage => (google(text, options)?, Versioning::Generations),
        _ => {
            return Err(OpenError::Url(format!(
                "this kind of store isn't known; {known}"
            )));
        }
    };
    let prefix = Path::parse(prefix).map_err(|_| wrong("no key can begin so"))?;
    let name = text.trim_end_matches('/').to_owned();
    Store::new(objects, prefix, name, versioning)
        .map_err(|error| OpenError::Machine(format!("can't start a thread for requests: {error}")))
}

macro_rules! build {
    ($builder:expr, $key:ident, $options:expr) => {{
        let mut builder = $builder;
        for (key, value) in $options {
            let key: $key = key
                .to_ascii_lowercase()
                .parse()
                .map_err(|_| OpenError::Option(format!("this store has no option {key:?}")))?;
            builder = builder.with_config(key, value);
        }
        let timeout = $key::Client(ClientConfigKey::Timeout);
        if builder.get_config_value(&timeout).is_none() {
            builder = builder.with_config(timeout, TIMEOUT);
        }
        let store = builder.build().map_err(|_| {
            OpenError::Option(
                "the store can't be set up: an option, or a variable of the environment for it, is missing or can't be understood"
                    .to_owned(),
            )
        })?;
        Ok(Arc::new(store))
    }};
}

fn s3(url: &str, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let mut builder = AmazonS3Builder::from_env().with_url(url);
    // The store checks what it was sent.
    if builder
        .get_config_value(&AmazonS3ConfigKey::Checksum)
        .is_none()
    {
        builder = builder.with_config(AmazonS3ConfigKey::Checksum, "sha256");
    }
    build!(builder, AmazonS3ConfigKey, options)
}

fn azure(url: &str, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, OpenError> {
    build!(
        MicrosoftAzureBuilder::from_env().with_url(url),
        AzureConfigKey,
        options
    )
}

fn google(url: &str, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, OpenError> {
    build!(
        GoogleCloudStorageBuilder::from_env().with_url(url),
        GoogleConfigKey,
        options
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_and_urls_are_told_by_their_scheme() {
        let of = |name: &str| Location::of(std::path::Path::new(name));
        assert_eq!(of("lake/a:b"), Ok(Location::Local("lake/a:b".into())));
        assert_eq!(
            of("file:///a%20lake"),
            Ok(Location::Local("/a lake".into()))
        );
        assert_eq!(of("s3://b/p"), Ok(Location::Url("s3://b/p".into())));
        assert!(of("file://elsewhere/lake").is_err());
    }

    #[test]
    fn wrong_urls_and_options_are_refused_without_repeating_a_value() {
        let option = |key: &str| vec![(key.to_owned(), "s3cret".to_owned())];
        let region = |()| vec![("region".to_owned(), "eu-west-1".to_owned())];
        assert!(open("s3://bucket/a prefix", &region(())).is_ok());
        for (url, options) in [
            ("s3://bucket/p", option("no_such_option")),
            ("s3://bucket/p", option("allow_http")),
            ("s3://bucket/p?x=1", region(())),
            ("s3://user:s3cret@bucket/p", region(())),
            ("s3://s3cret@bucket/p", region(())),
            ("ftp://bucket/p", region(())),
            ("gs://bucket/p", option("google_service_account")),
        ] {
            let error = open(url, &options).map(drop).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{url}: {error}");
        }
    }
}
