//! Nothing acknowledged is lost and nothing is counted twice, while the server is killed (SIGKILL) at random moments and while
//! it is away: the real `tidewatch serve`, fed through the collector's own spool and sender, compared with what was sent.
//!
//! Short by default; `SOAK=1` kills 20 times and stays away for two minutes (`make soak`).
#![allow(clippy::unwrap_used)]

use std::{
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
    wait,
};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);

/// A server on fixed ports over one data directory, restarted as often as wanted.
struct Site {
    folder: tempfile::TempDir,
    http: u16,
    grpc: u16,
}

impl Site {
    fn new() -> Site {
        Site { folder: tempfile::tempdir().unwrap(), http: free_port().unwrap(), grpc: free_port().unwrap() }
    }

    async fn start(&self) -> Program {
        let config = self.folder.path().join("tidewatch.yaml");
        std::fs::write(&config, "{}\n").unwrap();
        let words = [
            "serve".into(),
            "--config".into(),
            config.display().to_string(),
            "--data-dir".into(),
            self.folder.path().join("data").display().to_string(),
            "--http-listen".into(),
            format!("127.0.0.1:{}", self.http),
            "--grpc-listen".into(),
            format!("127.0.0.1:{}", self.grpc),
        ];
        let mut program = Program::start("tidewatch", words, &[], &self.folder.path().join("server.log")).unwrap();
        program.ready(self.api().base()).await.unwrap();
        program
    }

    fn api(&self) -> Api {
        Api::new(format!("http://127.0.0.1:{}", self.http))
    }
}

async fn drained(road: &Road) {
    let waited = wait::until(DRAIN_TIMEOUT, async || road.way.spool.lock().is_drained().then_some(())).await;
    assert!(waited.is_some(), "the spool did not drain: {:?}", road.way.spool.lock().counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_kill_and_absence() {
    let soak = std::env::var_os("SOAK").is_some();
    let (kills, away) = if soak { (20, Duration::from_secs(120)) } else { (5, Duration::from_secs(6)) };
    let seed = fastrand::u64(..);
    println!("seed {seed}, {kills} kills, {} s away", away.as_secs());
    let mut random = fastrand::Rng::with_seed(seed);

    let site = Site::new();
    let mut server = site.start().await;
    let road = Road::start(site.folder.path(), site.grpc).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(produce(road.outlet.clone(), stop.clone()));

    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.u64(100..1_500))).await; // the random moment, not a poll interval
        server.kill();
        println!("kill {}", kill + 1);
        server = site.start().await;
    }
    server.kill();
    println!("away");
    tokio::time::sleep(away).await; // the absence itself, not a poll interval
    server = site.start().await;
    stop.store(true, Ordering::Relaxed);
    let sent = producer.await.unwrap();
    drained(&road).await;
    assert_eq!(stored(&site.api()).await.unwrap(), sent, "after the spool drained");

    server.kill();
    server = site.start().await;
    assert_eq!(stored(&site.api()).await.unwrap(), sent, "after one more kill");
    let gaps = site.api().sql("SELECT count(*) FROM gaps").await.unwrap();
    assert_eq!(gaps[0][0].as_f64(), Some(0.0), "nothing was dropped, so there is no gap");
    println!("sent and stored: {sent:?}");
    road.stop();
    server.stop();
}
