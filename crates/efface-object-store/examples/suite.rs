//! Checks a store by the public rules for tables and states: `suite URL [KEY=VALUE].. `. Below the URL there must be at
//! least four shards, which are changed, and no state.

use std::error::Error;

use efface_object_store::{Cache, ObjectState, ObjectTable, open};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the URL is missing")?;
    let options: Vec<(String, String)> = arguments
        .filter_map(|option| {
            option
                .split_once('=')
                .map(|(key, value)| (key.into(), value.into()))
        })
        .collect();
    let store = open(&url, &options)?;
    let cache = Cache::temporary()?;
    efface::testing::state::check(&ObjectState::new(store.clone(), cache.clone()))?;
    efface::testing::table::check(&ObjectTable::new(store.clone(), cache))?;
    println!("{:?}", store.counts());
    Ok(())
}
