//! Lists that other programs keep of the files below a prefix, and that lie above it.
//!
//! ```text
//!   lake/_delta_log/..   lake/metadata/v1.metadata.json   lake/_metadata   lake/delta_0000001_0000001/..
//!                                                                                  └── the prefix lies below
//! ```

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use efface::error::{Catalog, Error, Keeper, Result};
use efface::table::directory::{kind_of, list_names};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use crate::store::Store;

/// Places that are looked at at a time.
const LOOKS_AT_A_TIME: usize = 16;

/// Files that describe all shards below their directory.
const SUMMARIES: [&str; 2] = ["_metadata", "_common_metadata"];

/// Whoever has found no list doesn't look again for so long: a pass takes several snapshots, and each look many
/// requests.
const LOOK_HOLDS: Duration = Duration::from_mins(1);

/// What lies above the prefix of a store.
#[derive(Clone)]
pub(crate) struct Above {
    store: Store,
    /// When it was looked for lists the last time, without finding one.
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Above {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            looked: Arc::default(),
        }
    }

    /// The nearest list.
    ///
    /// # Errors
    /// When the store can't be read there.
    pub(crate) fn list(&self) -> Result<Option<Catalog>> {
        let looked = || self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if looked().is_some_and(|last| last.elapsed() < LOOK_HOLDS) {
            return Ok(None);
        }
        let found = list(&self.store)?;
        *looked() = found.is_none().then_some(began);
        Ok(found)
    }
}

fn list(store: &Store) -> Result<Option<Catalog>> {
    let catalog_at = |directory: &str, catalog| Catalog {
        path: format!("/{} of the bucket", directory.trim_start_matches('/')),
        ..catalog
    };
    let prefix = store.prefix();
    let ends = prefix.match_indices('/').map(|(end, _)| end);
    for end in ends.chain([prefix.len()]) {
        // Each directory of the prefix may itself be one whose files a list names.
        let directory = prefix.split_at(end).0;
        let name = directory.rsplit('/').next().unwrap_or_default();
        if let Some(catalog) = kind_of(&format!("{name}/file")).catalog {
            return Ok(Some(catalog_at(directory, catalog)));
        }
    }
    let places = store.above().into_iter().flat_map(|above| {
        let place = move |name: &'static str| {
            let place = format!("{above}/{name}");
            (name, place.trim_start_matches('/').to_owned())
        };
        list_names().chain(SUMMARIES).map(place)
    });
    let of = store.clone();
    let looks = stream::iter(places.collect::<Vec<_>>())
        .map(move |(name, place)| {
            let store = of.clone();
            async move {
                let found = look(store, name, place.clone()).await?;
                Ok(found.map(|catalog| (place, catalog)))
            }
        })
        .buffered(LOOKS_AT_A_TIME);
    let found = store.runtime().wait(looks.try_collect::<Vec<_>>());
    let found = found.map_err(Error::io("list", store.name()))?;
    let nearest = found.into_iter().flatten().next();
    Ok(nearest.map(|(place, catalog)| catalog_at(&place, catalog)))
}

/// Looks at one place above the prefix: a directory that may hold a list, or a summary.
async fn look(store: Store, name: &'static str, place: String) -> io::Result<Option<Catalog>> {
    if SUMMARIES.contains(&name) {
        let key = Path::parse(&place).map_err(io::Error::other)?;
        let summary = || Catalog {
            path: String::new(),
            keeper: Keeper::Summary,
        };
        return Ok(store.head(key).await?.map(|_| summary()));
    }
    let list = store.find_in(place, move |path| {
        // A list of a directory further down is not of the files here.
        let file = path.split('/').next().unwrap_or_default();
        kind_of(&format!("{name}/{file}")).catalog
    });
    list.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_what_a_table_takes_for_them() {
        for name in SUMMARIES {
            assert!(kind_of(name).is_summary, "{name}");
        }
    }
}
