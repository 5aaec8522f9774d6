//! An S3-compatible store: how it is reached, and what of its parts is kept on the local disk.
//!
//! [`RemoteStore`] stands between everything that reads or writes objects and the network: parts (everything below `v1/`)
//! are read by whole blocks through [`blocks`], and what is written is kept there too, so that what was just flushed or
//! merged is not fetched again. All other objects (`manifest`, `owner`) pass. Whose a remote store is: [`owner`].

pub(crate) mod blocks;
pub(crate) mod owner;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    path::Path as LocalPath,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    RetryConfig, UploadPart, aws::AmazonS3Builder, path::Path, prefix::PrefixStore,
};

use crate::{OpenError, S3Config};
use blocks::{BLOCK_BYTES, Blocks, CacheStats};

/// Where parts are, in the object store.
pub(crate) const PARTS_PREFIX: &str = "v1";
/// Blocks fetched with one request.
const FETCH_BLOCKS_MAX: u64 = 8;
/// Requests for blocks that one read has under way at the same time.
const FETCHES_AT_ONCE: usize = 4;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a request is tried again; doubled each time.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often a request is tried again at most, within the time there is for it.
const RETRIES_MAX: usize = 10;

/// What goes to and comes from a remote store; counters begin at open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteStats {
    /// Requests made; one that was tried again counts once.
    pub requests: u64,
    /// Of those, the ones that failed for good; that something is not there, or is there already, is no failure.
    pub errors: u64,
    /// Bytes of parts fetched.
    pub read_bytes: u64,
    /// Bytes of parts sent.
    pub written_bytes: u64,
    /// Of the local cache.
    pub cache: CacheStats,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

impl Counters {
    fn note<T>(&self, result: &Result<T>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let failed =
            |e: &Error| !matches!(e, Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. });
        self.errors.fetch_add(u64::from(result.as_ref().err().is_some_and(failed)), Ordering::Relaxed);
    }
}

/// Where a store is, for messages: without credentials.
pub(crate) fn place(s3: &S3Config) -> String {
    let at = if s3.endpoint.is_empty() { String::new() } else { format!(" at {}", s3.endpoint) };
    let prefix = s3.prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("s3://{}{slash}{prefix}{at}", s3.bucket)
}

/// An object store with a cache of its parts.
pub(crate) struct RemoteStore {
    inner: Arc<dyn ObjectStore>,
    blocks: Arc<Blocks>,
    counters: Arc<Counters>,
}

impl RemoteStore {
    /// Prepares the way to an S3-compatible store; nothing is sent yet. The cache is in `cache_dir`.
    pub(crate) fn s3(s3: &S3Config, cache_dir: &LocalPath) -> std::result::Result<RemoteStore, OpenError> {
        // who names a key has all of it in the config: a token of the environment belongs to another key
        let mut builder = match s3.access_key_id.is_empty() {
            true => AmazonS3Builder::from_env(),
            false => AmazonS3Builder::new()
                .with_access_key_id(&s3.access_key_id)
                .with_secret_access_key(&s3.secret_access_key),
        };
        builder = builder.with_bucket_name(&s3.bucket);
        if !s3.region.is_empty() {
            builder = builder.with_region(&s3.region);
        }
        let mut client = ClientOptions::new()
            .with_timeout(Duration::from_millis(s3.timeout_ms))
            .with_connect_timeout(CONNECT_TIMEOUT.min(Duration::from_millis(s3.timeout_ms)));
        if !s3.endpoint.is_empty() {
            builder = builder.with_endpoint(s3.endpoint.trim_end_matches('/'));
            client = client.with_allow_http(s3.endpoint.starts_with("http://"));
        }
        let backoff = BackoffConfig { init_backoff: BACKOFF, max_backoff: BACKOFF_MAX, base: 2.0 };
        let retry_timeout = Duration::from_millis(s3.retry_ms);
        let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout };
        let bucket = builder
            .with_client_options(client)
            .with_retry(retry)
            .build()
            .map_err(|source| OpenError::ObjectStore { what: format!("preparing the way to {}", place(s3)), source })?;
        RemoteStore::over(Arc::new(PrefixStore::new(bucket, s3.prefix.as_str())), cache_dir, s3.cache_bytes_max)
    }

    /// A cache over any object store.
    pub(crate) fn over(
        inner: Arc<dyn ObjectStore>,
        cache_dir: &LocalPath,
        cache_bytes_max: u64,
    ) -> std::result::Result<RemoteStore, OpenError> {
        let blocks = Blocks::open(cache_dir, cache_bytes_max)
            .map_err(|source| OpenError::Io { what: format!("opening the cache {}", cache_dir.display()), source })?;
        Ok(RemoteStore { inner, blocks: Arc::new(blocks), counters: Arc::default() })
    }

    /// Numbers of this moment.
    pub(crate) fn stats(&self) -> RemoteStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RemoteStats {
            requests: of(&self.counters.requests),
            errors: of(&self.counters.errors),
            read_bytes: of(&self.counters.read_bytes),
            written_bytes: of(&self.counters.written_bytes),
            cache: self.blocks.stats(),
        }
    }

    /// Lets go of what is cached of all other parts.
    pub(crate) fn keep_only(&self, parts: &BTreeSet<&str>) {
        self.blocks.keep_only(parts);
    }

    /// Ranges of a part, by whole blocks: from the cache, and the rest from the store.
    async fn read(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let wanted: BTreeSet<u64> =
            ranges.iter().flat_map(|r| r.start / BLOCK_BYTES..r.end.div_ceil(BLOCK_BYTES)).collect();
        let (blocks, part, of_thread) = (self.blocks.clone(), path.to_string(), wanted.clone());
        let mut here: BTreeMap<u64, Bytes> = off_runtime(move || {
            of_thread.into_iter().filter_map(|block| Some((block, blocks.get(&part, block)?))).collect()
        })
        .await?;
        let missing: Vec<u64> = wanted.into_iter().filter(|block| !here.contains_key(block)).collect();
        let fetches = runs(&missing).into_iter().map(|run| self.fetch(path, run));
        let fetched: Vec<Vec<(u64, Bytes)>> =
            futures::stream::iter(fetches).buffer_unordered(FETCHES_AT_ONCE).try_collect().await?;
        let fetched: Vec<(u64, Bytes)> = fetched.into_iter().flatten().collect();
        here.extend(fetched.iter().cloned());
        self.keep(path, fetched);
        let cut = |range: &Range<u64>| cut(&here, range).ok_or_else(|| past_end(path, range));
        ranges.iter().map(cut).collect()
    }

    /// Neighbouring blocks with one request.
    async fn fetch(&self, path: &Path, run: Range<u64>) -> Result<Vec<(u64, Bytes)>> {
        let range = run.start * BLOCK_BYTES..run.end * BLOCK_BYTES;
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let answer = async {
            let answer = self.inner.get_opts(path, options).await?;
            let (size, covers) = (answer.meta.size, answer.range.clone());
            let bytes = answer.bytes().await?;
            // less than was asked for only where the part ends
            let whole = covers.start == range.start
                && covers.end == range.end.min(size)
                && covers.end - covers.start == bytes.len() as u64;
            if whole { Ok(bytes) } else { Err(past_end(path, &range)) }
        };
        let answer = answer.await;
        self.counters.note(&answer);
        let bytes = answer?;
        self.counters.read_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(run.zip(split(bytes)).collect())
    }

    /// Puts blocks into the cache, beside whatever goes on.
    fn keep(&self, path: &Path, blocks: Vec<(u64, Bytes)>) {
        if blocks.is_empty() {
            return;
        }
        let (cache, part) = (self.blocks.clone(), path.to_string());
        tokio::task::spawn_blocking(move || blocks.iter().for_each(|(block, bytes)| cache.put(&part, *block, bytes)));
    }
}

async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })
}

/// Ascending numbers as ranges of neighbours, each as long as one request may be.
fn runs(blocks: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &block in blocks {
        match runs.last_mut() {
            Some(run) if run.end == block && run.end - run.start < FETCH_BLOCKS_MAX => run.end += 1,
            _ => runs.push(block..block + 1),
        }
    }
    runs
}

/// A part's bytes from a block's beginning, as blocks.
fn split(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let block = BLOCK_BYTES as usize;
    (0..bytes.len().div_ceil(block)).map(move |n| bytes.slice(n * block..bytes.len().min((n + 1) * block)))
}

/// A range out of blocks; `None`: they end before it does.
fn cut(blocks: &BTreeMap<u64, Bytes>, range: &Range<u64>) -> Option<Bytes> {
    if range.start >= range.end {
        return Some(Bytes::new());
    }
    let piece = |block: u64| {
        let base = block * BLOCK_BYTES;
        let (start, end) = (range.start.max(base) - base, range.end.min(base + BLOCK_BYTES) - base);
        let bytes = blocks.get(&block)?;
        (end <= bytes.len() as u64).then(|| bytes.slice(start as usize..end as usize))
    };
    let touched = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
    if touched.end - touched.start == 1 {
        return piece(touched.start);
    }
    let mut out = Vec::with_capacity((range.end - range.start) as usize);
    for block in touched {
        out.extend_from_slice(&piece(block)?);
    }
    Some(out.into())
}

fn past_end(path: &Path, range: &Range<u64>) -> Error {
    let what = format!("{path} has no bytes {}..{}", range.start, range.end);
    Error::Generic { store: "remote", source: what.into() }
}

fn is_part(path: &Path) -> bool {
    path.as_ref().strip_prefix(PARTS_PREFIX).is_some_and(|rest| rest.starts_with('/'))
}

/// The range, if nothing but a range is asked for.
fn only_range(options: &GetOptions) -> Option<Range<u64>> {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, head, .. } =
        options;
    let is_plain = if_match.is_none()
        && if_none_match.is_none()
        && if_modified_since.is_none()
        && if_unmodified_since.is_none()
        && version.is_none()
        && !head;
    match range {
        Some(GetRange::Bounded(range)) if is_plain => Some(range.clone()),
        _ => None,
    }
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cached({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for RemoteStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let kept = is_part(path).then(|| payload.clone());
        let put = self.inner.put_opts(path, payload, options).await;
        self.counters.note(&put);
        if let (Ok(_), Some(payload)) = (&put, kept) {
            let bytes = Bytes::from(payload);
            self.counters.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.keep(path, (0..).zip(split(bytes)).collect());
        }
        put
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(path, options).await;
        self.counters.note(&begun);
        let upload = Upload {
            inner: begun?,
            path: path.to_string(),
            blocks: self.blocks.clone(),
            counters: self.counters.clone(),
            block: 0,
            pending: Vec::new(),
        };
        Ok(if is_part(path) { Box::new(upload) } else { upload.inner })
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(range) = only_range(&options).filter(|_| is_part(path)) else {
            let answer = self.inner.get_opts(path, options).await;
            self.counters.note(&answer);
            return answer;
        };
        let bytes = self.read(path, std::slice::from_ref(&range)).await?.pop().unwrap_or_default();
        let meta = ObjectMeta {
            location: path.clone(),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: range.end,
            e_tag: None,
            version: None,
        };
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match is_part(path) {
            true => self.read(path, ranges).await,
            false => self.inner.get_ranges(path, ranges).await,
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (blocks, counters) = (self.blocks.clone(), self.counters.clone());
        let gone = move |result: &Result<Path>| {
            counters.note(result);
            if let Ok(path) = result {
                let (blocks, part) = (blocks.clone(), path.to_string());
                tokio::task::spawn_blocking(move || blocks.forget(&part));
            }
        };
        self.inner.delete_stream(paths).inspect(gone).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A part on its way in pieces; what passes is kept by blocks.
struct Upload {
    inner: Box<dyn MultipartUpload>,
    path: String,
    blocks: Arc<Blocks>,
    counters: Arc<Counters>,
    block: u64,
    pending: Vec<u8>,
}

impl Upload {
    /// Puts what is pending into the cache, as far as it is whole blocks, or all of it.
    fn keep(&mut self, all: bool) {
        let block = BLOCK_BYTES as usize;
        let take = if all { self.pending.len() } else { self.pending.len() / block * block };
        if take == 0 {
            return;
        }
        let ready = Bytes::from(self.pending.drain(..take).collect::<Vec<u8>>());
        let (blocks, path, first) = (self.blocks.clone(), self.path.clone(), self.block);
        self.block += take.div_ceil(block) as u64;
        tokio::task::spawn_blocking(move || {
            (first..).zip(split(ready)).for_each(|(block, bytes)| blocks.put(&path, block, &bytes));
        });
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path).field("block", &self.block).finish_non_exhaustive()
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        data.iter().for_each(|bytes| self.pending.extend_from_slice(bytes));
        self.keep(false);
        let (part, counters, size) = (self.inner.put_part(data.clone()), self.counters.clone(), data.content_length());
        Box::pin(async move {
            let put = part.await;
            counters.note(&put);
            if put.is_ok() {
                counters.written_bytes.fetch_add(size as u64, Ordering::Relaxed);
            }
            put
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.inner.complete().await;
        self.counters.note(&done);
        if done.is_ok() {
            self.keep(true);
        }
        done
    }

    async fn abort(&mut self) -> Result<()> {
        let (blocks, path) = (self.blocks.clone(), self.path.clone());
        tokio::task::spawn_blocking(move || blocks.forget(&path));
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests;
