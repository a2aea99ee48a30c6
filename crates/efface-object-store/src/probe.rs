//! Whether a store may be written to: it honours the conditions of writes, as one that ignores them would hide lost
//! updates, and keeps no old versions, in which rows would stay.
//!
//! ```text
//!   PUT If-None-Match: *  ──> done, without a version      again ──> must be refused
//!   PUT If-Match: another ──> must be refused        DELETE
//! ```

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use efface::error::is_replaced;
use object_store::PutResult;
use tokio::sync::OnceCell;

use crate::version::{Expected, Versioning};

/// An object that nobody else knows of.
pub(crate) trait Scratch: Sync {
    fn put(&self, expected: Expected) -> impl Future<Output = io::Result<PutResult>> + Send;

    fn delete(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// What is known of a store, and what its owner accepts.
#[derive(Default)]
pub(crate) struct Probe {
    passed: OnceCell<()>,
    has_single_writer: AtomicBool,
    keeps_history: AtomicBool,
}

impl Probe {
    pub(crate) fn accept_single_writer(&self) {
        self.has_single_writer.store(true, Ordering::Relaxed);
    }

    pub(crate) fn accept_history(&self) {
        self.keeps_history.store(true, Ordering::Relaxed);
    }

    /// Tries the store once with a scratch object, unless it has passed before.
    pub(crate) async fn pass(
        &self,
        versioning: Versioning,
        scratch: impl Scratch,
    ) -> io::Result<()> {
        let tried = self.passed.get_or_try_init(|| async {
            let honoured = self.conditions(versioning, &scratch).await;
            let removed = scratch.delete().await;
            honoured.and(removed)
        });
        tried.await.copied()
    }

    async fn conditions(&self, versioning: Versioning, scratch: &impl Scratch) -> io::Result<()> {
        let first = match scratch.put(Expected::Nothing).await {
            // Nobody else can have put it: the first attempt of a request that was repeated did.
            Err(error) if is_replaced(&error) => scratch.put(Expected::Anything).await?,
            first => first?,
        };
        if versioning.is_kept(&first) && !self.keeps_history.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the bucket keeps old versions of its objects, in which erased rows would stay, and efface does not purge them yet: switch versioning off, or accept that history is kept",
            ));
        }
        if self.has_single_writer.load(Ordering::Relaxed) {
            return Ok(());
        }
        for (condition, expected) in [
            ("If-None-Match", Expected::Nothing),
            ("If-Match", Expected::Tag(versioning.no_tag())),
        ] {
            match scratch.put(expected).await {
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
}
