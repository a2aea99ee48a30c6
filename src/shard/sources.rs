//! Which names mean that a column, or a key, says how the data was collected.

use std::collections::BTreeSet;

use super::Shard;
use super::schema::{Ambiguous, all_paths, lower};
use crate::error::Error;

/// Names that mean a source when none is configured, with or without a leading `$` or `mp_`; `*` stands
/// for anything that follows.
pub const SOURCE_NAMES: [&str; 33] = [
    "lib",
    "lib_version",
    "source",
    "import",
    "browser",
    "browser_version",
    "os",
    "os_version",
    "device",
    "model",
    "manufacturer",
    "brand",
    "carrier",
    "radio",
    "wifi",
    "app_version",
    "app_version_string",
    "app_build_number",
    "screen_*",
    "utm_*",
    "initial_utm_*",
    "referrer",
    "referring_domain",
    "initial_referrer",
    "initial_referring_domain",
    "search_engine",
    "keyword",
    "current_url",
    "city",
    "region",
    "country_code",
    "ip",
    "user_agent",
];

/// What may stand in front of a usual name.
const PREFIXES: [&str; 3] = ["", "$", "mp_"];

/// The names that mean a source.
///
/// A usual name counts as that of a column, of a field of a struct at any depth, also in lists, and of a key of a map or
/// of a JSON object at any depth. A configured name is the dotted path of a column, or of a key (`properties.os`), or only a key
/// (`os`), in whatever map or JSON column.
///
/// The name of a column counts as it is spelled, else for the only column that differs by case alone. Keys are compared
/// exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Empty: the usual ones.
    configured: Vec<Name>,
}

/// A configured name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    /// As it is configured.
    given: String,
    /// The columns that it means although they differ by case.
    columns: Vec<String>,
}

impl Sources {
    /// The configured names; none means the usual ones.
    ///
    /// A name that is empty, or has an empty part, is that of nothing.
    pub fn new(configured: &[String]) -> Self {
        let name = |given: &String| Name {
            given: given.clone(),
            columns: Vec::new(),
        };
        Self {
            configured: configured.iter().map(name).collect(),
        }
    }

    /// The configured names as they are spelled in a schema with these columns, by their paths.
    ///
    /// # Errors
    /// The first name that is that of no column exactly, and of several if case is ignored.
    pub fn spelled(mut self, columns: &BTreeSet<String>) -> Result<Self, (String, Ambiguous)> {
        for name in &mut self.configured {
            if columns.iter().any(|column| matches(&name.given, column)) {
                continue;
            }
            let given = lower(&name.given);
            let but_for_case = columns
                .iter()
                .filter(|column| matches(&given, &lower(column)));
            name.columns = but_for_case.cloned().collect();
            if name.columns.len() > 1 && !given.ends_with('*') {
                return Err((
                    name.given.clone(),
                    Ambiguous(std::mem::take(&mut name.columns)),
                ));
            }
        }
        Ok(self)
    }

    /// The configured names as they are spelled in `shard`.
    ///
    /// # Errors
    /// [`Error::AmbiguousColumn`].
    pub fn of(configured: &[String], shard: &Shard) -> Result<Self, Error> {
        let sources = Self::new(configured);
        if configured.is_empty() {
            return Ok(sources);
        }
        let columns = all_paths(shard.footer.schema());
        let spelled = sources.spelled(&columns);
        spelled.map_err(|(name, names)| names.of(&shard.path, "source", &name))
    }

    /// The name by which a column is a source, if it is one: its path, and its own name (empty for a node that only a
    /// list or a map is made of).
    pub fn column(&self, path: &str, name: &str) -> Option<&str> {
        if self.configured.is_empty() {
            return looks_like_source(name).then_some("usual");
        }
        let means = |known: &&Name| {
            matches(&known.given, path) || known.columns.iter().any(|column| column == path)
        };
        let found = self.configured.iter().find(means);
        found.map(|known| known.given.as_str())
    }

    /// Whether a key of a map or JSON column is a source: its path inside of the column, and the key alone.
    pub fn name_key(&self, column: &str, path: &str, key: &str) -> bool {
        if self.configured.is_empty() {
            return is_usual(key);
        }
        let mut given = self.configured.iter().map(|known| known.given.as_str());
        given.any(|known| {
            let inner = known
                .strip_prefix(column)
                .and_then(|rest| rest.strip_prefix('.'));
            matches(known, key) || inner.is_some_and(|known| matches(known, path))
        })
    }

    /// Whether a column is configured by its own path, not by a pattern.
    pub fn names(&self, path: &str) -> bool {
        let mut configured = self.configured.iter();
        configured
            .any(|known| known.given == path || known.columns.iter().any(|column| column == path))
    }
}

/// Whether a column's name is one of the usual ones.
pub(super) fn looks_like_source(name: &str) -> bool {
    is_usual(&lower(name))
}

fn is_usual(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        let bare = name.strip_prefix(prefix);
        bare.is_some_and(|bare| SOURCE_NAMES.iter().any(|known| matches(known, bare)))
    })
}

fn matches(known: &str, name: &str) -> bool {
    match known.strip_suffix('*') {
        Some(front) => name.starts_with(front),
        None => name == known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_count_with_their_prefixes_at_any_depth() {
        let usual = Sources::default();
        for name in ["lib", "$lib", "mp_lib", "$screen_width", "utm_source", "ip"] {
            assert!(usual.column(name, name).is_some(), "{name}");
            assert!(usual.name_key("properties", name, name), "{name}");
        }
        // Columns count in another case too, keys don't.
        assert!(usual.column("Lib", "Lib").is_some());
        assert!(!usual.name_key("properties", "Lib", "Lib"));
        for name in ["", "library", "$", "xlib", "screen", "mp_", "my_utm_x"] {
            assert!(usual.column(name, name).is_none(), "{name}");
            assert!(!usual.name_key("properties", name, name), "{name}");
        }
        assert!(usual.column("properties.os", "os").is_some());
        assert!(usual.column("properties.item.brand", "brand").is_some());
    }

    #[test]
    fn configured_names_are_paths_of_columns_or_keys() {
        let names = ["os", "context.page", "props.plan", "x_*"].map(str::to_owned);
        let sources = Sources::new(&names);
        assert!(sources.column("os", "os").is_some());
        assert!(sources.column("lib", "lib").is_none());
        assert!(sources.column("context.page", "page").is_some());
        assert!(sources.column("page", "page").is_none());
        assert!(sources.column("props.os", "os").is_none());
        assert!(sources.name_key("props", "os", "os"));
        assert!(sources.name_key("props", "plan", "plan"));
        assert!(!sources.name_key("other", "plan", "plan"));
        assert!(sources.name_key("props", "x_1", "x_1"));
        assert!(sources.column("x_1", "x_1").is_some());
    }
}
