//! The configuration file: where the service listens, where its data lies, and which projects it serves.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use efface::limits;
use efface::request::{Identity, Unknown};
use jiff::civil::Time;
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

/// What the file says. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where pages and the API are served.
    #[serde(default = "public_address")]
    pub listen: SocketAddr,
    /// Where health and metrics are served; never open it to the world.
    #[serde(default = "private_address")]
    pub private_listen: SocketAddr,
    /// The directory of the service's own data.
    pub data: PathBuf,
    /// What people type to get here, such as `https://privacy.example.com`.
    pub public_url: String,
    /// A proxy that says who is there.
    pub proxy: Option<Proxy>,
    /// What one caller may take.
    #[serde(default)]
    pub limits: Limits,
    /// The projects.
    #[serde(default, rename = "project")]
    pub projects: Vec<ProjectConfig>,
}

/// A proxy that has already asked who is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The header with the person's e-mail address. The proxy must remove it from what others send.
    pub user_header: String,
    /// The addresses that the proxy connects from; the header of anybody else is ignored.
    pub from: Vec<IpAddr>,
}

/// What one caller may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Requests a second for each token and project.
    pub rate: f64,
    /// Requests at once before the rate counts.
    pub burst: u32,
    /// Open connections.
    pub connections: usize,
    /// Requests of a project that wait.
    pub waiting: usize,
    /// Seconds in which a request must have come in.
    pub read_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            rate: 1.0,
            burst: 10,
            connections: 1024,
            waiting: 10_000,
            read_seconds: 30,
        }
    }
}

/// One project.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectConfig {
    /// Its number, as clients of the API know it.
    pub id: u64,
    /// Its name, as people know it.
    pub name: String,
    /// What says in a URL which project is meant. It is no secret.
    pub token: String,
    /// The directory of its dataset.
    pub dataset: PathBuf,
    /// When deletes are carried out, in UTC.
    #[serde(default)]
    pub window: Window,
    /// What becomes of a request with an id that is nowhere.
    #[serde(default)]
    pub unknown: Unknown,
    /// How ids are expanded.
    #[serde(default)]
    pub identity: Identity,
    /// The part of all rows, between 0 and 1, that one delete may match.
    #[serde(default = "max_match")]
    pub max_match: f64,
}

/// The hours of a day in which deletes are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// At any time.
    #[default]
    Always,
    /// From the first time of day to the second, over midnight if that is earlier.
    Between(Time, Time),
}

impl Window {
    /// Whether `time` is in it.
    pub fn holds(self, time: Time) -> bool {
        match self {
            Self::Always => true,
            Self::Between(from, to) if from <= to => (from..to).contains(&time),
            Self::Between(from, to) => time >= from || time < to,
        }
    }

    /// As it is written in the file.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Always => "at any time".to_owned(),
            Self::Between(from, to) => format!(
                "{:02}:{:02} to {:02}:{:02} UTC",
                from.hour(),
                from.minute(),
                to.hour(),
                to.minute()
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "always" {
            return Ok(Self::Always);
        }
        let hour = |part: &str| -> Option<Time> {
            let (hour, minute) = part.trim().split_once(':')?;
            Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
        };
        let window = text
            .split_once('-')
            .and_then(|(from, to)| Some(Self::Between(hour(from)?, hour(to)?)))
            .filter(|window| !matches!(window, Self::Between(from, to) if from == to));
        window.ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is no window: write it as \"01:00-05:00\" (UTC), or \"always\""
            ))
        })
    }
}

fn public_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn private_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9080))
}

fn max_match() -> f64 {
    limits::MAX_MATCH
}

impl Config {
    /// Reads a file. Paths in it that are relative count from its directory.
    ///
    /// # Errors
    /// [`Error::Config`] that names the file, the line and the key.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let refuse = |reason: String| Error::Config {
            path: path.to_owned(),
            reason,
        };
        let mut config: Self =
            toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().into()))?;
        let base = path.parent().unwrap_or(Path::new("."));
        config.data = base.join(&config.data);
        for project in &mut config.projects {
            project.dataset = base.join(&project.dataset);
        }
        config.check().map_err(refuse)?;
        while config.public_url.ends_with('/') {
            config.public_url.pop();
        }
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let url = &self.public_url;
        let host = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let is_host = |host: &str| {
            let host = host.trim_end_matches('/');
            let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
            !host.is_empty() && host.bytes().all(of_host)
        };
        if !host.is_some_and(is_host) {
            return Err(format!(
                "public_url: `{url}` is not like \"https://privacy.example.com\", without a path"
            ));
        }
        if self.projects.is_empty() {
            return Err("there is no [[project]]: name at least one".to_owned());
        }
        let limits = &self.limits;
        if !(limits.rate > 0.0 && limits.rate.is_finite()) || limits.burst == 0 {
            return Err("limits: rate and burst must be more than 0".to_owned());
        }
        if limits.connections == 0 || limits.read_seconds == 0 {
            return Err("limits: connections and read_seconds must be more than 0".to_owned());
        }
        if let Some(proxy) = &self.proxy
            && (proxy.from.is_empty() || !is_header(&proxy.user_header))
        {
            return Err(
                "proxy: give the name of a header as user_header, and the proxy's addresses as from"
                    .to_owned(),
            );
        }
        let mut seen = BTreeSet::new();
        for project in &self.projects {
            let id = project.id;
            if i64::try_from(id).is_err() {
                return Err(format!("project {id}: its id is too large"));
            }
            if project.name.trim().is_empty() || project.name.chars().any(char::is_control) {
                return Err(format!(
                    "project {id}: its name is empty or has no place on a line"
                ));
            }
            if project.token.len() < 8 {
                return Err(format!(
                    "project {id}: its token has less than 8 characters"
                ));
            }
            if !(0.0..=1.0).contains(&project.max_match) {
                return Err(format!("project {id}: max_match must be between 0 and 1"));
            }
            if !seen.insert(id.to_string()) {
                return Err(format!("two projects have the id {id}"));
            }
            if !seen.insert(format!("token {}", project.token)) {
                return Err(format!("project {id}: another project has its token"));
            }
            if !seen.insert(format!("dataset {}", project.dataset.display())) {
                return Err(format!("project {id}: another project has its dataset"));
            }
        }
        Ok(())
    }

    /// Whether people reach the service by HTTPS.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

fn is_header(name: &str) -> bool {
    axum::http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        data = "data"
        public_url = "https://privacy.example.com/"
        [[project]]
        id = 7
        name = "Shop"
        token = "0123456789abcdef"
        dataset = "events"
        window = "22:30-05:00"
        unknown = "report"
    "#;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own files needn't be durable"
    )]
    fn load(text: &str) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn a_file_is_read_and_its_paths_count_from_its_directory() {
        let config = load(WHOLE).unwrap();
        assert!(config.data.is_absolute());
        assert_eq!(config.public_url, "https://privacy.example.com");
        assert_eq!(config.projects[0].unknown, Unknown::Report);
        let at = |hour, minute| Time::new(hour, minute, 0, 0).unwrap();
        let window = config.projects[0].window;
        for (time, inside) in [
            ((22, 30), true),
            ((4, 59), true),
            ((5, 0), false),
            ((22, 29), false),
        ] {
            assert_eq!(window.holds(at(time.0, time.1)), inside, "{time:?}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (from, to, told) in [
            ("unknown = \"report\"", "unkown = \"report\"", "unkown"),
            ("22:30-05:00", "22:30", "no window"),
            ("22:30-05:00", "25:00-05:00", "no window"),
            ("22:30-05:00", "05:00-05:00", "no window"),
            ("https://privacy", "privacy", "public_url"),
            ("0123456789abcdef", "short", "token"),
            ("\"report\"", "\"sometimes\"", "sometimes"),
            ("dataset = \"events\"", "", "dataset"),
            ("[[project]]", "[limits]\nrate = 0.0\n[[project]]", "rate"),
            (
                "[[project]]",
                "[proxy]\nuser_header = \"a b\"\nfrom = [\"::1\"]\n[[project]]",
                "proxy",
            ),
        ] {
            let text = WHOLE.replace(from, to);
            assert_ne!(text, WHOLE);
            let error = load(&text).unwrap_err().to_string();
            assert!(error.contains(told), "{told}: {error}");
            assert!(error.contains("serve.toml"), "{error}");
        }
    }
}
