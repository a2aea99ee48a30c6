//! A long object that is sent in parts, and is nowhere until it is completed.

use std::io;

use bytes::Bytes;
use object_store::MultipartUpload;
use object_store::path::Path;

use crate::failure::Action;
use crate::store::Store;

/// Parts that the store has, and that no reader sees.
pub(crate) struct Upload {
    store: Store,
    parts: Box<dyn MultipartUpload>,
}

impl Upload {
    /// Sends all parts. On an error nothing stays.
    pub(crate) async fn send(
        store: Store,
        key: Path,
        parts: impl Iterator<Item = io::Result<Bytes>> + Send,
    ) -> io::Result<Self> {
        let mut upload = Self {
            parts: store.begin_upload(&key).await?,
            store,
        };
        for part in parts {
            let sent = match part {
                Ok(part) => upload.send_part(part).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                upload.abort().await;
                return Err(error);
            }
        }
        Ok(upload)
    }

    async fn send_part(&mut self, part: Bytes) -> io::Result<()> {
        let counters = self.store.counters();
        counters.request();
        counters.sent(part.len() as u64);
        let sent = self.parts.put_part(part.into()).await;
        sent.map_err(self.store.failed(Action::Write))
    }

    /// Makes the parts one object, whatever has its key.
    pub(crate) async fn complete(&mut self) -> io::Result<()> {
        self.store.counters().request();
        let completed = self.parts.complete().await;
        completed
            .map(drop)
            .map_err(self.store.failed(Action::Write))
    }

    /// Removes the parts, unless they are an object already.
    pub(crate) async fn abort(mut self) {
        self.store.counters().request();
        // The error that led here is the one to report.
        let _ignored = self.parts.abort().await;
    }
}
