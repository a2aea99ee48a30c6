//! Whether a store may be written to: it honours the conditions of writes, as one that ignores them would hide lost
//! updates, and keeps no old versions, in which rows would stay.
//!
//! ```text
//!   PUT If-None-Match: *  ──> done, without a version      again ──> must be refused
//!   PUT If-Match: another ──> must be refused        DELETE
//! ```

use std::io;

use efface::error::is_replaced;
use object_store::path::Path;
use object_store::{Attributes, PutPayload};
use uuid::Uuid;

use crate::store::{Expected, Store};

/// Looks at a scratch object beside efface's own files.
pub(crate) async fn probe(store: &Store) -> io::Result<()> {
    let key = store.key(&format!("_efface/probe-{}", Uuid::new_v4()))?;
    let honoured = conditions(store, &key).await;
    let removed = store.clone().delete(key).await;
    honoured.and(removed)
}

async fn conditions(store: &Store, key: &Path) -> io::Result<()> {
    let put = async |expected| {
        let payload = PutPayload::from_static(b"probe");
        store
            .put_unprobed(key.clone(), payload, Attributes::new(), expected)
            .await
    };
    let first = put(Expected::Nothing).await?;
    if store.kept_version(&first).is_some() && !store.keeps_history() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the bucket keeps old versions of its objects, in which erased rows would stay, and efface does not purge them yet: switch versioning off, or accept that history is kept",
        ));
    }
    if store.has_single_writer() {
        return Ok(());
    }
    for (condition, expected) in [
        ("If-None-Match", Expected::Nothing),
        ("If-Match", Expected::Tag(store.no_tag())),
    ] {
        match put(expected).await {
            Err(error) if is_replaced(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "the store ignores {condition}, so changes by others would be lost without a word: use a store that honours it, or see to it that nobody else writes there and say so"
                    ),
                ));
            }
        }
    }
    Ok(())
}
