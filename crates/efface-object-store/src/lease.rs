//! The right to change a dataset, as an object that its holder renews.
//!
//! ```text
//!   {"epoch":7,"holder":"pid 4711","nonce":"..","seconds":60,"free":false}
//!
//!   take:   absent ── If-None-Match ──> held           free or run out ── If-Match ──> held, epoch + 1
//!   renew:  every quarter of its time ── If-Match ──> the same, newer        give up: If-Match ──> free
//! ```
//!
//! # Invariants
//! * It has run out when the store's own clock says that it was not renewed for longer than it lasts. The clock of no
//!   machine counts.
//! * A holder believes that it has the lease only for a shorter time after a renewal than others wait, by its
//!   monotonic clock.
//! * The object is never removed, so that epochs only grow.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use efface::error::{Error, Result, is_replaced};
use efface::state::Lease;
use object_store::path::Path;
use object_store::{Attributes, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::store::{Expected, Store};

/// How long a lease lasts that isn't renewed.
pub(crate) const LASTS: Duration = Duration::from_mins(1);
/// Times of stores are often whole seconds, and others wait so much longer.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a lease; more are none.
const BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    epoch: u64,
    holder: String,
    nonce: String,
    milliseconds: u64,
    free: bool,
}

/// A lease that this process holds.
pub(crate) struct Hold {
    store: Store,
    key: Path,
    path: String,
    record: Record,
    lasts: Duration,
    held: Mutex<Held>,
}

struct Held {
    tag: String,
    /// A moment before the last renewal.
    renewed: Instant,
    is_lost: bool,
    /// Nobody works under it any more. The task that renews it may outlive it by a moment.
    is_given_up: bool,
}

impl Hold {
    /// Takes the lease of `path`.
    pub(crate) fn take(
        store: &Store,
        path: &str,
        holder: &str,
        lasts: Duration,
    ) -> Result<ObjectLease> {
        let failed = || Error::io("take the lease", path);
        let key = store.key(path).map_err(failed())?;
        let mut record = Record {
            epoch: 1,
            holder: holder.to_owned(),
            nonce: Uuid::new_v4().to_string(),
            milliseconds: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
            free: false,
        };
        let runtime = store.runtime();
        let read = store.clone().get(key.clone(), BYTES_MAX);
        let expected = match runtime.wait(read).map_err(failed())? {
            None => Expected::Nothing,
            Some((found, _, bytes)) => {
                let bytes = bytes.unwrap_or_default();
                let now: Record = serde_json::from_slice(&bytes).map_err(|_| Error::State {
                    path: path.to_owned(),
                    reason: "is no lease".to_owned(),
                })?;
                if !now.free {
                    let clock = store_clock(store, path).map_err(failed())?;
                    let age = clock.saturating_sub(found.written_ms);
                    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
                    let lasts = Duration::from_millis(now.milliseconds);
                    if age <= lasts + GRACE {
                        let left = (lasts + GRACE).saturating_sub(age).as_secs();
                        return Err(Error::Locked {
                            path: path.to_owned(),
                            holder: format!(
                                "{}; if it has died, its lease runs out in {left} s",
                                now.holder
                            ),
                        });
                    }
                }
                record.epoch = now.epoch.saturating_add(1);
                Expected::Tag(found.tag)
            }
        };
        let began = Instant::now();
        let put = put(store.clone(), key.clone(), record.clone(), expected);
        let tag = match runtime.wait(put) {
            Ok(tag) => tag,
            Err(error) if is_replaced(&error) => {
                return Err(Error::Locked {
                    path: path.to_owned(),
                    holder: "it took the lease at the same time".to_owned(),
                });
            }
            // It may have been carried out, though no answer came.
            Err(error) => {
                let read = runtime.wait(read_own(store.clone(), key.clone(), record.nonce.clone()));
                read.unwrap_or(None).ok_or_else(|| failed()(error))?
            }
        };
        let hold = Arc::new(Self {
            store: store.clone(),
            key,
            path: path.to_owned(),
            record,
            lasts,
            held: Mutex::new(Held {
                tag,
                renewed: began,
                is_lost: false,
                is_given_up: false,
            }),
        });
        let renewing = Arc::clone(&hold);
        let renewal = runtime.start(async move { renewing.renew().await });
        Ok(ObjectLease {
            renewal: renewal.map_err(failed())?,
            hold,
        })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the lease is still held.
    pub(crate) fn confirm(&self) -> Result<()> {
        let held = self.held();
        // Others wait for all of its time, and some more.
        if held.is_given_up || (!held.is_lost && held.renewed.elapsed() < self.lasts) {
            return Ok(());
        }
        Err(Error::Locked {
            path: self.path.clone(),
            holder: "this process could not renew its lease in time".to_owned(),
        })
    }

    async fn renew(&self) {
        loop {
            tokio::time::sleep(self.lasts / 4).await;
            let began = Instant::now();
            match self.write(self.record.clone()).await {
                Ok(tag) => {
                    let mut held = self.held();
                    held.tag = tag;
                    held.renewed = began;
                }
                Err(error) if is_replaced(&error) => {
                    self.held().is_lost = true;
                    return;
                }
                // It is tried again; `confirm` knows how long it may take.
                Err(error) => tracing::warn!(%error, "the lease was not renewed"),
            }
        }
    }

    /// Puts a record in the place of this one, wherever an earlier write that got no answer has led to.
    async fn write(&self, record: Record) -> io::Result<String> {
        let tag = self.held().tag.clone();
        let (store, key) = (&self.store, &self.key);
        let put = put(
            store.clone(),
            key.clone(),
            record.clone(),
            Expected::Tag(tag),
        )
        .await;
        let Err(error) = put else {
            return put;
        };
        if !is_replaced(&error) {
            return Err(error);
        }
        let own = read_own(store.clone(), key.clone(), record.nonce.clone());
        let tag = own.await?.ok_or(error)?;
        self::put(store.clone(), key.clone(), record, Expected::Tag(tag)).await
    }
}

/// The tag of the lease if it has this nonce.
async fn read_own(store: Store, key: Path, nonce: String) -> io::Result<Option<String>> {
    let Some((found, _, Some(bytes))) = store.get(key, BYTES_MAX).await? else {
        return Ok(None);
    };
    let now: Option<Record> = serde_json::from_slice(&bytes).ok();
    Ok(now.filter(|now| now.nonce == nonce).map(|_| found.tag))
}

async fn put(store: Store, key: Path, record: Record, expected: Expected) -> io::Result<String> {
    let bytes = serde_json::to_vec(&record)?;
    store
        .put(key, PutPayload::from(bytes), Attributes::new(), expected)
        .await
}

/// The time by the store's clock: that of an object that was just written.
fn store_clock(store: &Store, path: &str) -> io::Result<i64> {
    let key = store.key(&format!("{path}.clock-{}", Uuid::new_v4()))?;
    let runtime = store.runtime();
    let (of, attributes) = (store.clone(), Attributes::new());
    let clock = async move {
        let payload = PutPayload::from_static(b"clock");
        of.clone()
            .put(key.clone(), payload, attributes, Expected::Anything)
            .await?;
        let found = of.clone().head(key.clone()).await;
        of.delete(key).await?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        Ok(found?.ok_or_else(gone)?.0.written_ms)
    };
    runtime.wait(clock)
}

/// A lease, given up when this is dropped.
pub(crate) struct ObjectLease {
    pub(crate) hold: Arc<Hold>,
    renewal: AbortHandle,
}

impl Lease for ObjectLease {
    fn confirm(&self) -> Result<()> {
        self.hold.confirm()
    }
}

impl Drop for ObjectLease {
    fn drop(&mut self) {
        self.renewal.abort();
        self.hold.held().is_given_up = true;
        let hold = Arc::clone(&self.hold);
        let free = Record {
            free: true,
            ..hold.record.clone()
        };
        let give_up = {
            let hold = Arc::clone(&hold);
            async move {
                match hold.write(free.clone()).await {
                    Err(error) if !is_replaced(&error) => hold.write(free).await,
                    written => written,
                }
            }
        };
        // Whoever can't give it up leaves it to run out.
        let _ignored = self.hold.store.runtime().wait(give_up);
    }
}
