//! How often each word and product is drawn.

use crate::rng::Zipf;
use crate::vocabulary::{EVENTS, FEATURES, PATHS, QUERIES, REFERRERS, UTM_SOURCES};

const PRODUCTS: usize = 2_000;

/// The tables that words are drawn from.
pub(crate) struct Words {
    pub(crate) events: Zipf,
    pub(crate) referrers: Zipf,
    pub(crate) utm_sources: Zipf,
    pub(crate) paths: Zipf,
    pub(crate) features: Zipf,
    pub(crate) queries: Zipf,
    pub(crate) products: Zipf,
    /// The queries as JSON strings.
    pub(crate) quoted_queries: Vec<String>,
}

impl Words {
    pub(crate) fn new() -> Self {
        Self {
            events: Zipf::new(EVENTS.len()),
            referrers: Zipf::new(REFERRERS.len()),
            utm_sources: Zipf::new(UTM_SOURCES.len()),
            paths: Zipf::new(PATHS.len()),
            features: Zipf::new(FEATURES.len()),
            queries: Zipf::new(QUERIES.len()),
            products: Zipf::new(PRODUCTS),
            quoted_queries: QUERIES
                .iter()
                .map(|q| serde_json::Value::from(*q).to_string())
                .collect(),
        }
    }
}
