//! Nothing acknowledged is lost and nothing is counted twice, while the server is killed (SIGKILL) at random moments and while
//! it is away, or while its disk is full: the real `tidewatch serve`, fed through the collector's own spool and sender, compared
//! with what was sent. Of a server that stays away longer than the spool lasts, what is stored and what is told as a gap is
//! what was sent, to the row.
//!
//! Short by default; `SOAK=1` kills for ten minutes, stays away for two and, in a test of its own, for an hour (`make soak`).
#![allow(clippy::unwrap_used)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use collector::{Clock, Outlet, outlet::Way};
use proto::{Class, EventsBuilder, Table};
use tests::{
    disk::Disk,
    load::{Load, produce, stored, stored_between},
    process::{free_port, is_root},
    program::{Api, Program},
    road::{Road, SPOOL_BYTES},
    wait,
};
use tokio::time::Instant;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the long absence is, seconds, unless TIDEWATCH_AWAY_S says otherwise.
const HOUR_S: u64 = 3_600;
/// The short form of it, and a spool that it overflows.
const MOMENT_S: u64 = 12;
const SMALL_SPOOL_BYTES: u64 = 300 << 10;
/// What rows of `gaps` may add to a full spool, bytes.
const GAPS_BYTES_MAX: u64 = 64 << 10;
/// What is stored is asked for in pieces of this length, milliseconds: a debug build counts ten million distinct values slowly.
const PIECE_MS: i64 = 300_000;
/// Size of the disk that is filled.
const DISK_BYTES: u64 = 400 << 20;
/// How long a full disk may go unnoticed, while [`write_much`] fills the segment the log has room for.
const FULL_WITHIN: Duration = Duration::from_secs(300);
/// Kills while the disk is full.
const FULL_KILLS: usize = 2;
/// Lines of [`write_much`] at once, their lengths, bytes, and batches of logs that may wait for the server.
const MUCH_LINES: usize = 20;
const MUCH_BYTES: usize = 16 << 10;
const MUCH_WAITING_MAX: u64 = 50;
const MUCH_EVERY: Duration = Duration::from_millis(50);

/// A server on fixed ports over one data directory, restarted as often as wanted.
struct Site {
    folder: tempfile::TempDir,
    data: PathBuf,
    http: u16,
    grpc: u16,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Site { folder, data, http: free_port().unwrap(), grpc: free_port().unwrap() }
    }

    /// With its data on a disk of their own.
    fn on(disk: &Disk) -> Site {
        Site { data: disk.point().join("data"), ..Site::new() }
    }

    async fn start(&self) -> Program {
        let config = self.folder.path().join("tidewatch.yaml");
        std::fs::write(&config, "{}\n").unwrap();
        let words = [
            "serve".into(),
            "--config".into(),
            config.display().to_string(),
            "--data-dir".into(),
            self.data.display().to_string(),
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

async fn drained(road: &Road, within: Duration) {
    let waited = wait::until(within, async || road.way.spool.lock().is_drained().then_some(())).await;
    assert!(waited.is_some(), "the spool did not drain: {:?}", road.way.spool.lock().counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_kill_and_absence() {
    let soak = std::env::var_os("SOAK").is_some();
    let (kills, killing, away) = if soak { (20, 600, 120) } else { (5, 0, 6) };
    let (killing, away) = (Duration::from_secs(killing), Duration::from_secs(away));
    let seed = fastrand::u64(..);
    println!("seed {seed}, {kills} kills and {} s of them at least, {} s away", killing.as_secs(), away.as_secs());
    let mut random = fastrand::Rng::with_seed(seed);

    let site = Site::new();
    let mut server = site.start().await;
    let road = Road::start(site.folder.path(), site.grpc).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(produce(road.outlet.clone(), stop.clone()));

    let (began, mut killed) = (Instant::now(), 0);
    while killed < kills || began.elapsed() < killing {
        tokio::time::sleep(Duration::from_millis(random.u64(100..1_500))).await; // the random moment, not a poll interval
        server.kill();
        killed += 1;
        server = site.start().await;
    }
    server.kill();
    println!("killed {killed} times in {:.0} s; away", began.elapsed().as_secs_f64());
    tokio::time::sleep(away).await; // the absence itself, not a poll interval
    server = site.start().await;
    stop.store(true, Ordering::Relaxed);
    let sent = producer.await.unwrap();
    drained(&road, DRAIN_TIMEOUT).await;
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

/// Everything stored from one moment to another, asked for in pieces.
async fn stored_in_pieces(api: &Api, from_ms: i64, to_ms: i64) -> Load {
    let mut all = Load::default();
    let mut piece_ms = from_ms;
    while piece_ms < to_ms {
        let end_ms = to_ms.min(piece_ms + PIECE_MS);
        let piece = stored_between(api, piece_ms, end_ms).await.unwrap();
        all.samples += piece.samples;
        all.samples_sum += piece.samples_sum;
        all.calls += piece.calls;
        all.log_lines += piece.log_lines;
        piece_ms = end_ms;
    }
    all
}

/// What `gaps` tells of the load: rows lost per class; within the times told nothing of that class is stored.
async fn told_lost(api: &Api) -> [u64; 3] {
    let mut lost = [0; 3];
    for (i, class) in ["samples", "statement_stats", "logs"].into_iter().enumerate() {
        let of_class = format!("FROM gaps WHERE class = '{class}' AND instance = 'pipeline' AND reason = 'spool_full'");
        let ms = |column: &str| format!("CAST(date_part('epoch', {column}) * 1000 AS BIGINT)");
        let (from, to) = (ms("min(from_ts)"), ms("max(to_ts)"));
        let row = api.sql(&format!("SELECT coalesce(sum(rows), 0), {from}, {to} {of_class}")).await.unwrap().remove(0);
        lost[i] = row[0].as_u64().unwrap();
        if let (Some(from_ms), Some(to_ms)) = (row[1].as_i64(), row[2].as_i64()) {
            let within = stored_between(api, from_ms, to_ms + 1).await.unwrap();
            assert_eq!(
                [within.samples, within.calls, within.log_lines][i],
                0,
                "{class} lost from {from_ms} to {to_ms}"
            );
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_an_hour_away() {
    let soak = std::env::var_os("SOAK").is_some();
    let told = std::env::var("TIDEWATCH_AWAY_S").ok().map(|s| s.parse().unwrap());
    let away = Duration::from_secs(told.unwrap_or(if soak { HOUR_S } else { MOMENT_S }));
    let bytes_max = if soak { SPOOL_BYTES } else { SMALL_SPOOL_BYTES };
    let site = Site::new();
    let mut server = site.start().await;
    let road = Road::bounded(site.folder.path(), site.grpc, bytes_max).unwrap();
    let clock = Clock::system();

    // a batch dropped while it is on its way is told lost and may have arrived; nothing is on its way here, so the sums are exact
    let (mut met, from_ms) = (EventsBuilder::new(Table::Logs), clock.now_ms());
    met.row("met", from_ms, [("body", "before the server goes away".into())]);
    road.outlet.send_events(met.build());
    drained(&road, DRAIN_TIMEOUT).await;
    server.stop();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(produce(road.outlet.clone(), stop.clone()));
    tokio::time::sleep(away).await; // the absence itself, not a poll interval
    stop.store(true, Ordering::Relaxed);
    let sent = producer.await.unwrap();
    let (waits, to_ms) = (road.way.spool.lock().bytes(), clock.now_ms() + 1_000);
    println!("away for {} s: {sent:?}, {waits} of {bytes_max} bytes of spool", away.as_secs());
    assert!(waits <= bytes_max + GAPS_BYTES_MAX, "{waits} of {bytes_max} bytes");

    let back = Instant::now();
    server = site.start().await;
    drained(&road, DRAIN_TIMEOUT.max(away)).await;
    println!("what waited arrived within {:.0} s", back.elapsed().as_secs_f64());
    let counted = road.way.spool.lock().counters().by_class;
    let dropped =
        [Class::Samples, Class::StatementStats, Class::Logs].map(|c| counted.get(&c).map_or(0, |n| n.dropped_rows));
    for round in ["after the spool drained", "after a kill"] {
        let stored = stored_in_pieces(&site.api(), from_ms, to_ms).await;
        let lost = told_lost(&site.api()).await;
        println!("{round}: {stored:?}, lost and told {lost:?}");
        assert_eq!(lost, dropped, "{round}: told by the server and counted by the spool");
        assert_eq!(stored.samples + lost[0], sent.samples, "{round}");
        assert_eq!(stored.calls + lost[1], sent.calls, "{round}");
        assert_eq!(stored.log_lines + lost[2], sent.log_lines, "{round}");
        if lost[0] == 0 {
            assert_eq!(stored.samples_sum, sent.samples_sum, "{round}");
        }
        if !soak {
            assert!(lost.iter().sum::<u64>() > 0, "the small spool was meant to overflow");
        }
        server.kill();
        server = site.start().await;
    }
    road.stop();
    server.stop();
}

/// Sends log lines that hardly compress until told to stop, no more than the road takes; how many there are.
async fn write_much(outlet: Outlet, way: Way, stop: Arc<AtomicBool>) -> u64 {
    let (clock, mut random) = (Clock::system(), fastrand::Rng::new());
    let mut ticks = tokio::time::interval(MUCH_EVERY);
    let (mut sent, mut bytes) = (0, vec![0; MUCH_BYTES]);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let waiting = way.spool.lock().counters().by_class.get(&Class::Logs).map_or(0, |c| c.waiting_batches);
        if waiting > MUCH_WAITING_MAX {
            continue;
        }
        let mut logs = EventsBuilder::new(Table::Logs);
        for _ in 0..MUCH_LINES {
            random.fill(&mut bytes);
            let body: String = bytes.iter().map(|b| char::from(b'!' + b % 64)).collect();
            logs.row("much", clock.now_ms(), [("body", format!("{sent} {body}").into())]);
            sent += 1;
        }
        outlet.send_events(logs.build());
    }
    sent
}

/// Whether the server says that its disk is full; `None`: it says nothing.
async fn says_full(site: &Site) -> Option<bool> {
    let page = reqwest::get(format!("{}/metrics", site.api().base())).await.ok()?.text().await.ok()?;
    let value = page.lines().find_map(|line| line.strip_prefix("tidewatch_storage_full "))?;
    Some(value.parse::<f64>().unwrap() > 0.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_a_disk_is_full_and_freed() {
    if !is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    let disk = Disk::mount(DISK_BYTES).unwrap();
    let site = Site::on(&disk);
    let mut server = site.start().await;
    let road = Road::start(site.folder.path(), site.grpc).unwrap();
    let (stop, stop_much) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let producer = tokio::spawn(produce(road.outlet.clone(), stop.clone()));
    wait::until(DRAIN_TIMEOUT, async || stored(&site.api()).await.ok().filter(|s| s.samples > 0)).await.unwrap();

    disk.fill().unwrap();
    let much = tokio::spawn(write_much(road.outlet.clone(), road.way.clone(), stop_much.clone()));
    let full = wait::until(FULL_WITHIN, async || says_full(&site).await.filter(|full| *full)).await;
    assert!(full.is_some(), "the full disk went unnoticed\n{}", server.output());
    stop_much.store(true, Ordering::Relaxed);
    let much = much.await.unwrap();
    let answered = stored(&site.api()).await.unwrap();
    for _ in 0..FULL_KILLS {
        server.kill();
        server = site.start().await;
        let again = stored(&site.api()).await.unwrap();
        assert!(again.samples >= answered.samples && again.log_lines >= answered.log_lines, "{again:?} {answered:?}");
    }
    println!("full: {answered:?} of what comes, {much} long lines; killed {FULL_KILLS} times");

    disk.free().unwrap();
    stop.store(true, Ordering::Relaxed);
    let sent = producer.await.unwrap();
    drained(&road, DRAIN_TIMEOUT).await;
    assert_eq!(stored(&site.api()).await.unwrap(), sent, "after there was room again");
    let lines = "SELECT count(*), count(DISTINCT body) FROM logs WHERE instance = 'much'";
    let found = async || site.api().sql(lines).await.unwrap()[0].iter().filter_map(|v| v.as_u64()).collect::<Vec<_>>();
    assert_eq!(found().await, [much; 2]);
    server.kill();
    server = site.start().await;
    assert_eq!((stored(&site.api()).await.unwrap(), found().await), (sent, vec![much; 2]), "after one more kill");
    let gaps = site.api().sql("SELECT count(*) FROM gaps").await.unwrap();
    assert_eq!(gaps[0][0].as_f64(), Some(0.0), "nothing was dropped, so there is no gap");
    assert_eq!(says_full(&site).await, Some(false));
    road.stop();
    server.stop();
}
