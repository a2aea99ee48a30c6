//! What every part of the service shares: configuration, database, keys, projects, clock, and the pool for work that waits.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::limit::Limiter;
use crate::measure::Measures;
use crate::preview::Previews;
use crate::project::Project;
use crate::secrets::Keys;
use crate::store::Store;
use crate::store::audit::{self, Note};

/// Calls that wait for a disk at the same time.
const WAITING_CALLS: usize = 32;
/// Calls that wait for their turn beyond these; more are turned away.
const QUEUED_CALLS: usize = 512;
/// Passwords that are checked at the same time: each takes 19 MiB and a core.
const PASSWORDS: usize = 2;
/// Previews that are counted, or wait for that: a thread each, with the ids.
const PREVIEWS: usize = 32;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What every part shares.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) projects: Vec<Arc<Project>>,
    pub(crate) limiter: Limiter,
    pub(crate) previews: Previews,
    pub(crate) measures: Measures,
    /// Held by the process that serves; `None` in others, such as one that invites an owner meanwhile.
    alone: Option<File>,
    clock: Clock,
    calls: Semaphore,
    queued: Semaphore,
    pub(crate) passwords: Semaphore,
    pub(crate) previews_counted: Arc<Semaphore>,
    /// Set when the service ends.
    pub(crate) is_ending: Arc<AtomicBool>,
}

/// There are too many calls, or one ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    Busy,
    Panicked,
}

impl App {
    /// Opens the data directory and the projects.
    pub(crate) fn open(config: Config, clock: Clock) -> Result<Self> {
        let data = &config.data;
        let mut maker = fs::DirBuilder::new();
        maker.recursive(true).mode(0o700);
        maker.create(data).map_err(Error::io("create", data))?;
        let mode = fs::metadata(data).map_err(Error::io("look at", data))?;
        if mode.permissions().mode() & 0o007 != 0 {
            return Err(Error::Usage(format!(
                "everybody can look into {}: change its mode to 700",
                data.display()
            )));
        }
        let alone = lock(data)?;
        let projects = config.projects.iter().cloned();
        Ok(Self {
            keys: Keys::load_or_make(data)?,
            store: Store::open(data)?,
            projects: projects
                .map(|project| Arc::new(Project::new(project)))
                .collect(),
            limiter: Limiter::new(&config.limits),
            previews: Previews::default(),
            measures: Measures::default(),
            alone,
            clock,
            calls: Semaphore::new(WAITING_CALLS),
            queued: Semaphore::new(QUEUED_CALLS),
            passwords: Semaphore::new(PASSWORDS),
            previews_counted: Arc::new(Semaphore::new(PREVIEWS)),
            is_ending: Arc::new(AtomicBool::new(false)),
            config,
        })
    }

    /// Whether no other process serves from the data directory.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A project by its number.
    pub(crate) fn project(&self, id: u64) -> Option<&Arc<Project>> {
        self.projects.iter().find(|project| project.id() == id)
    }

    /// A project by what a URL names it.
    pub(crate) fn project_of(&self, token: &str) -> Option<&Arc<Project>> {
        let is_it = |project: &&Arc<Project>| crate::secrets::is_same(&project.config.token, token);
        self.projects.iter().find(is_it)
    }

    /// Whether the service ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// Notes in the audit log who did what, when it is part of no other change.
    pub(crate) fn note(
        &self,
        who: &str,
        what: &str,
        project: Option<u64>,
        about: &str,
        detail: &str,
    ) -> Result<()> {
        let note = Note {
            at: self.now(),
            who,
            what,
            project,
            about,
            detail,
        };
        self.store
            .change(|db| audit::note(db, &self.keys.audit, &note))
    }

    /// Runs what waits for a disk on the pool for that. It is carried out to its end, also when the client goes away.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let queued = self.queued.try_acquire().map_err(|_| NoAnswer::Busy)?;
        let turn = self.calls.acquire().await.map_err(|_| NoAnswer::Busy)?;
        drop(queued);
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        drop(turn);
        done.map_err(|_| {
            tracing::error!("a call panicked");
            NoAnswer::Panicked
        })
    }
}

/// Locks a data directory for this process; `None` if another one has it. The lock ends with the process.
fn lock(data: &Path) -> Result<Option<File>> {
    let path = data.join("lock");
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}
