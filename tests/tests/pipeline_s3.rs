//! Parts in S3 (moto): the real `tidewatch serve`, fed through the collector's own spool and sender, flushes and merges into a
//! bucket, is killed (SIGKILL), loses its cache, its bucket for a while, and at last its whole data directory; what it
//! answers is what was sent.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tests::{
    load::{produce, stored},
    process::free_port,
    program::{Api, Program},
    road::Road,
    s3::{BUCKET, S3},
    wait,
};

const DEADLINE: Duration = Duration::from_secs(120);
const SECRET: &str = "nobody-may-see-this";

/// A server on fixed ports over a bucket, restarted as often as wanted.
struct Site {
    folder: tempfile::TempDir,
    http: u16,
    grpc: u16,
}

impl Site {
    fn new(s3: &S3) -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let config = format!(
            "
storage:
  flush_age: 1s
  object_store:
    kind: s3
    bucket: {BUCKET}
    prefix: prod
    endpoint: {}
    access_key_id: key
    secret_access_key_file: secret
    cache_bytes_max: 64MiB
    timeout: 1s
    retry_for: 1s
alerting: {{builtin_rules: false}}
",
            s3.endpoint
        );
        std::fs::write(folder.path().join("tidewatch.yaml"), config).unwrap();
        Site { folder, http: free_port().unwrap(), grpc: free_port().unwrap() }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn launch(&self, data_dir: &Path, more: &[&str], output: &str) -> Program {
        let words = [
            "serve".into(),
            "--config".into(),
            self.dir("tidewatch.yaml").display().to_string(),
            "--data-dir".into(),
            data_dir.display().to_string(),
            "--http-listen".into(),
            format!("127.0.0.1:{}", self.http),
            "--grpc-listen".into(),
            format!("127.0.0.1:{}", self.grpc),
        ];
        let words = words.into_iter().chain(more.iter().map(|word| (*word).to_owned()));
        Program::start("tidewatch", words, &[], &self.dir(output)).unwrap()
    }

    async fn start(&self, data_dir: &Path, more: &[&str]) -> Program {
        let mut program = self.launch(data_dir, more, "server.log");
        program.ready(self.api().base()).await.unwrap();
        program
    }

    fn api(&self) -> Api {
        Api::new(format!("http://127.0.0.1:{}", self.http))
    }

    /// One of the server's own numbers.
    async fn number(&self, name: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.api().base())).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }

    /// Until one of its numbers has grown by so much.
    async fn grows(&self, name: &str, by: f64) {
        let before = self.number(name).await;
        let grown = wait::until(DEADLINE, async || (self.number(name).await >= before + by).then_some(())).await;
        assert!(grown.is_some(), "{name} stayed at {before}:\n{}", self.output());
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir("server.log")).unwrap_or_default()
    }
}

async fn drained(road: &Road) {
    let waited = wait::until(DEADLINE, async || road.way.spool.lock().is_drained().then_some(())).await;
    assert!(waited.is_some(), "the spool did not drain: {:?}", road.way.spool.lock().counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_in_s3_outlive_kills_the_cache_the_bucket_s_absence_and_the_data_directory() {
    let Some(s3) = S3::start(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap() else {
        println!("skipped: python3 has no moto and it can't be installed");
        return;
    };
    let site = Site::new(&s3);
    let (first, second) = (site.dir("first"), site.dir("second"));
    let mut server = site.start(&first, &[]).await;
    let road = Road::start(site.folder.path(), site.grpc).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(produce(road.outlet.clone(), stop.clone()));
    site.grows("tidewatch_storage_compactions_total", 1.0).await;
    assert!(first.join("cache/v1").exists() && !first.join("manifest").exists() && !first.join("parts").exists());
    let config = site.api().get("/api/v1/status/config", &[]).await.unwrap().to_string();
    assert!(config.contains("s3://tidewatch/prod") && !config.contains(SECRET), "{config}");

    // killed under load, its cache gone, and then the bucket away
    server.kill();
    std::fs::remove_dir_all(first.join("cache")).unwrap();
    server = site.start(&first, &[]).await;
    s3.halt();
    std::fs::remove_dir_all(first.join("cache")).unwrap(); // also what was read since
    let refused = stored(&site.api()).await.unwrap_err();
    assert!(refused.contains("part v1/0/metrics/") && refused.contains("could not be read"), "{refused}");
    site.grows("tidewatch_storage_rows_total", 1_000.0).await;
    site.grows("tidewatch_storage_maintain_errors_total", 1.0).await;
    // the first error may be that of a merge, which names its part
    let place = format!("reaching s3://{BUCKET}/prod at {}", s3.endpoint);
    let told = wait::until(DEADLINE, async || Some(site.output()).filter(|told| told.contains(&place))).await;
    assert!(told.is_some_and(|told| !told.contains(SECRET)), "{}", site.output());
    s3.resume();
    site.grows("tidewatch_storage_flushes_total", 2.0).await;
    stop.store(true, Ordering::Relaxed);
    let sent = producer.await.unwrap();
    drained(&road).await;
    assert_eq!(stored(&site.api()).await.unwrap(), sent, "after kill, empty cache and absence");
    assert!(site.number("tidewatch_storage_cache_misses_total").await > 0.0);

    // nobody else takes the store by accident; whoever means it gets all of it from the bucket alone
    let flushed = async || (site.number("tidewatch_storage_log_bytes").await == 0.0).then_some(());
    assert!(wait::until(DEADLINE, flushed).await.is_some(), "{}", site.output());
    server.kill();
    let mut other = site.launch(&second, &[], "other.log");
    let ended = wait::until(DEADLINE, async || other.ended().then_some(())).await;
    assert!(ended.is_some() && other.output().contains("--take-over"), "{}", other.output());
    std::fs::remove_dir_all(&first).unwrap();
    server = site.start(&second, &["--take-over"]).await;
    assert_eq!(stored(&site.api()).await.unwrap(), sent, "with nothing but the bucket");
    server.kill();
    server = site.start(&second, &[]).await;
    assert_eq!(stored(&site.api()).await.unwrap(), sent, "it is its own from then on");
    println!("sent and stored: {sent:?}");
    road.stop();
    server.stop();
}
