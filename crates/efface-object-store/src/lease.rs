//! The right to change a dataset, as an object that its holder renews.
//!
//! ```text
//!   {"epoch":7,"holder":"pid 4711","nonce":"..","milliseconds":60000,"free":false,"writes":12}
//!
//!   take:   absent ── If-None-Match ──> held       free or run out ── If-Match ──> held, epoch + 1
//!   renew:  every quarter of its time ── If-Match ──> the same, one write more     give up: If-Match ──> free
//! ```
//!
//! # Invariants
//! * It has run out when the store's own clock says that it was not renewed for longer than it lasts. The clock of no
//!   machine counts.
//! * A holder believes that it has the lease only for a shorter time after a renewal than others wait, by its
//!   monotonic clock.
//! * The object is never removed, so that epochs only grow.
//! * No two writes are of the same bytes: where tags are hashes of the content, whoever takes a lease that has run out
//!   would not notice that its holder has come back and renewed it.
//! * What is written under a lease is given up when the lease is lost, also while the request is under way.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use efface::error::{Error, Result, is_replaced};
use efface::state::Lease;
use object_store::path::Path;
use object_store::{Attributes, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::store::Store;
use crate::version::Expected;

/// How long a lease lasts that isn't renewed.
pub(crate) const LASTS: Duration = Duration::from_mins(1);
/// Times of stores are often whole seconds, and others wait so much longer.
const GRACE: Duration = Duration::from_secs(2);
/// So often in the time of a lease it is looked at whether it is lost, while something is written: in less than the
/// grace.
const LOOKS: u32 = 60;
/// Bytes of a lease; more are none.
const BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    epoch: u64,
    holder: String,
    nonce: String,
    milliseconds: u64,
    free: bool,
    /// How often its holder has written it.
    #[serde(default)]
    writes: u64,
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
    writes: u64,
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
        let store = &store.ahead();
        let key = store.key(path).map_err(failed())?;
        let mut record = Record {
            epoch: 1,
            holder: holder.to_owned(),
            nonce: Uuid::new_v4().to_string(),
            milliseconds: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
            free: false,
            writes: 0,
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
                    let clock = runtime.wait(store.clone().clock()).map_err(failed())?;
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
            // It may have been carried out, though no answer came, or by the first attempt of a request that was
            // repeated.
            Err(error) => {
                let read = runtime.wait(read_own(store.clone(), key.clone(), record.nonce.clone()));
                match read.unwrap_or(None) {
                    Some(tag) => tag,
                    None if is_replaced(&error) => {
                        return Err(Error::Locked {
                            path: path.to_owned(),
                            holder: "it took the lease at the same time".to_owned(),
                        });
                    }
                    None => return Err(failed()(error)),
                }
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
                writes: 0,
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
        let quarter = self.lasts / 4;
        let mut pause = quarter;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            // One that hangs must not keep others from being tried.
            let written = timeout(quarter, self.write(false)).await;
            match written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(()) => {
                    self.held().renewed = began;
                    pause = quarter;
                }
                Err(error) if is_replaced(&error) => {
                    self.held().is_lost = true;
                    return;
                }
                // `confirm` knows how long it may be tried.
                Err(error) => {
                    tracing::warn!(%error, "the lease was not renewed");
                    pause = quarter / 8;
                }
            }
        }
    }

    /// Writes the record again, wherever an earlier write that got no answer has led to. Once it is given up, it is
    /// only written as free.
    async fn write(&self, free: bool) -> io::Result<()> {
        let tag = self.held().tag.clone();
        let error = match self.write_over(tag, free).await {
            Err(error) if is_replaced(&error) => error,
            written => return written,
        };
        let own = read_own(
            self.store.clone(),
            self.key.clone(),
            self.record.nonce.clone(),
        );
        let tag = own.await?.ok_or(error)?;
        self.write_over(tag, free).await
    }

    async fn write_over(&self, tag: String, free: bool) -> io::Result<()> {
        let record = {
            let mut held = self.held();
            if held.is_given_up && !free {
                return Err(efface::error::replaced());
            }
            held.writes += 1;
            Record {
                free,
                writes: held.writes,
                ..self.record.clone()
            }
        };
        let (store, key) = (self.store.clone(), self.key.clone());
        let tag = put(store, key, record, Expected::Tag(tag)).await?;
        self.held().tag = tag;
        Ok(())
    }
}

/// The leases that a process holds.
#[derive(Clone)]
pub(crate) struct Holds(Vec<Arc<Hold>>);

impl Holds {
    pub(crate) fn new(holds: Vec<Arc<Hold>>) -> Self {
        Self(holds)
    }

    /// Checks that none is lost: who lost one must not write.
    pub(crate) fn confirm(&self) -> Result<()> {
        self.0.iter().try_for_each(|hold| hold.confirm())
    }

    /// Does `work` as long as none is lost: a request that hangs must not arrive when somebody else has the lease. It is
    /// looked at before each step, also in a process that was paused.
    pub(crate) async fn under<T>(
        &self,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let Some(lasts) = self.0.iter().map(|hold| hold.lasts).min() else {
            return work.await;
        };
        let mut looks = interval((lasts / LOOKS).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = pin!(work);
        poll_fn(|context| {
            // Whoever waits for this confirms the leases, and says so.
            if self.confirm().is_err() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            while looks.poll_tick(context).is_ready() {}
            work.as_mut().poll(context)
        })
        .await
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
        let is_lost = {
            let mut held = self.hold.held();
            held.is_given_up = true;
            held.is_lost
        };
        if is_lost {
            return;
        }
        let hold = Arc::clone(&self.hold);
        let give_up = async move {
            let write = async {
                match hold.write(true).await {
                    Err(error) if !is_replaced(&error) => hold.write(true).await,
                    written => written,
                }
            };
            // Whoever can't give it up leaves it to run out, which takes no longer than this.
            let written = timeout(hold.lasts, write).await;
            written.unwrap_or(Ok(()))
        };
        let _ignored = self.hold.store.runtime().wait(give_up);
    }
}
