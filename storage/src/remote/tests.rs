//! What is read through the cache is what was written, whatever is cached, and how much of it is fetched.
#![allow(clippy::unwrap_used)]

use object_store::{ObjectStoreExt, WriteMultipart, memory::InMemory};

use super::*;

const MIB: u64 = 1 << 20;

fn some_bytes(len: u64) -> Bytes {
    (0..len).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect::<Vec<u8>>().into()
}

fn store(dir: &LocalPath, cache_bytes_max: u64) -> (Arc<dyn ObjectStore>, RemoteStore) {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    (inner.clone(), RemoteStore::over(inner, dir, cache_bytes_max).unwrap())
}

/// Until what goes on beside the callers is done.
async fn settled(store: &RemoteStore, cache_bytes: u64) {
    let deadline = async {
        while store.stats().cache.bytes != cache_bytes {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), deadline).await.unwrap_or_else(|_| panic!("{:?}", store.stats()));
}

#[tokio::test]
async fn ranges_are_the_bytes_they_name_cold_and_warm() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, remote) = store(dir.path(), 64 * MIB);
    let (path, size) = (Path::from("v1/0/logs/p.parquet"), 11 * MIB + 777);
    let bytes = some_bytes(size);
    inner.put(&path, bytes.clone().into()).await.unwrap();
    let ranges = [0..10, MIB - 5..MIB + 5, size - 10..size, 3 * MIB..3 * MIB + 1, 0..size, 5 * MIB..5 * MIB];
    for round in 0..2 {
        let found = remote.get_ranges(&path, &ranges).await.unwrap();
        settled(&remote, size + 12 * 4).await;
        for (range, found) in ranges.iter().zip(found) {
            assert_eq!(found, bytes.slice(range.start as usize..range.end as usize), "{range:?}, round {round}");
            let one = remote.get_range(&path, range.clone()).await;
            assert!(range.is_empty() || one.unwrap() == found, "{range:?}, round {round}");
        }
    }
    let stats = remote.stats();
    assert_eq!((stats.requests, stats.read_bytes), (2, size), "twelve blocks, eight a request, once");
    assert_eq!((stats.cache.misses, stats.cache.damaged), (12, 0));
    assert!(remote.get_range(&path, size - 1..size + 1).await.is_err(), "past the end");
    assert!(remote.get_range(&Path::from("v1/nothing"), 0..1).await.is_err());

    remote.delete(&path).await.unwrap();
    settled(&remote, 0).await;
    assert!(remote.get_range(&path, 0..1).await.is_err());
}

#[tokio::test]
async fn what_is_written_is_not_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, remote) = store(dir.path(), 64 * MIB);
    let (small, large) = (Path::from("v1/0/metrics/small"), Path::from("v1/0/metrics/large"));
    let (small_size, large_size) = (1000, 19 * MIB + 5);
    remote.put(&small, some_bytes(small_size).into()).await.unwrap();
    let mut upload = WriteMultipart::new_with_chunk_size(remote.put_multipart(&large).await.unwrap(), 8 << 20);
    upload.put(some_bytes(large_size));
    upload.finish().await.unwrap();
    settled(&remote, small_size + 4 + large_size + 20 * 4).await;
    for (path, size) in [(&small, small_size), (&large, large_size)] {
        assert_eq!(remote.get_range(path, 0..size).await.unwrap(), some_bytes(size));
        assert_eq!(inner.get(path).await.unwrap().bytes().await.unwrap(), some_bytes(size));
    }
    let stats = remote.stats();
    assert_eq!((stats.read_bytes, stats.written_bytes, stats.cache.misses), (0, small_size + large_size, 0));
    assert!(!dir.path().join("manifest").exists());
    remote.put(&Path::from("manifest"), some_bytes(10).into()).await.unwrap();
    assert_eq!(remote.get_range(&Path::from("manifest"), 0..10).await.unwrap(), some_bytes(10));
    assert_eq!(remote.stats().cache.bytes, stats.cache.bytes, "only parts are kept");
}

#[tokio::test]
async fn a_cache_of_nothing_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (_, remote) = store(dir.path(), 0);
    let path = Path::from("v1/0/metrics/p");
    remote.put(&path, some_bytes(3 * MIB).into()).await.unwrap();
    assert_eq!(remote.get_range(&path, 0..3 * MIB).await.unwrap(), some_bytes(3 * MIB));
    assert_eq!(remote.stats().cache.bytes, 0);
}
