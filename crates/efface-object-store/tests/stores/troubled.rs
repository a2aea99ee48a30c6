//! A store in trouble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

/// A store whose writes can be held up, of which reads of some objects never end, whose uploads can't be completed, and
/// of which some objects are old.
#[derive(Debug, Default)]
pub(crate) struct Troubled {
    pub(crate) inner: Arc<InMemory>,
    pub(crate) hangs: Arc<AtomicBool>,
    /// Reads that wait for nothing.
    pub(crate) waiting: Arc<AtomicU64>,
    /// Uploads that are neither completed nor aborted.
    pub(crate) uploads: Arc<AtomicU64>,
}

impl std::fmt::Display for Troubled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("troubled")
    }
}

#[derive(Debug)]
struct Incomplete {
    inner: Box<dyn MultipartUpload>,
    uploads: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl MultipartUpload for Incomplete {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.inner.put_part(part)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        Err(object_store::Error::Generic {
            store: "troubled",
            source: "status 500".into(),
        })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.uploads.fetch_sub(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

#[async_trait::async_trait]
impl ObjectStore for Troubled {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        while self.hangs.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.uploads.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Incomplete {
            inner: self.inner.put_multipart_opts(location, options).await?,
            uploads: Arc::clone(&self.uploads),
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        if location.as_ref().ends_with("-endless") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listed = self.inner.list(prefix).map_ok(|mut meta| {
            if meta.location.as_ref().ends_with("-old") {
                meta.last_modified -= Duration::from_hours(2);
            }
            meta
        });
        listed.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
