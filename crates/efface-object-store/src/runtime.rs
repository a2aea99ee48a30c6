//! The runtime on which requests run, and the calls that wait for them.

use std::future::Future;
use std::io;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle};

/// Threads that run requests: they wait for the network, and encrypt.
const THREADS: usize = 2;

/// A runtime that belongs to one [`Store`](crate::Store).
pub(crate) struct Runtime(Option<tokio::runtime::Runtime>);

impl Runtime {
    pub(crate) fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(THREADS)
            .thread_name("efface-requests")
            .enable_all();
        Ok(Self(Some(runtime.build()?)))
    }

    fn handle(&self) -> io::Result<&Handle> {
        let gone = || io::Error::other("the runtime of the requests has ended");
        self.0
            .as_ref()
            .map(tokio::runtime::Runtime::handle)
            .ok_or_else(gone)
    }

    /// Runs `work` and waits for it. Unlike `block_on`, this may be called inside of another runtime.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (done, wait) = mpsc::sync_channel(1);
        self.start(async move {
            // Nobody waits any more only if the caller has panicked.
            let _ignored = done.send(work.await);
        })?;
        let lost = |_| Err(io::Error::other("a request ended without an answer"));
        wait.recv().unwrap_or_else(lost)
    }

    /// Runs `work` beside the caller.
    pub(crate) fn start(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<tokio::task::AbortHandle> {
        Ok(self.handle()?.spawn(work).abort_handle())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting is not allowed inside of another runtime.
            runtime.shutdown_background();
        }
    }
}
