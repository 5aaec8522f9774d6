//! `make forecast-disk`: a file system that really fills is announced before it is full.
//!
//! An ext4 image is mounted through a loop device; a real server and collector watch it every second; it is filled steadily
//! until the kernel says that no space is left. Printed: when the forecast's message arrived, what it said, and what came.
//! Needs root and loop devices; without them it says `skipped: why`.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    process::free_port,
    program::{Api, Program},
    receiver::Receiver,
    wait,
};

/// The file system's size, bytes.
const IMAGE_BYTES: u64 = 96 << 20;
/// Written at a time, bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces a second: it fills in about two minutes.
const PIECES_PER_SECOND: u64 = 10;
/// The limit, per cent.
const LIMIT: f64 = 95.0;
/// The rule warns this long before, seconds.
const WITHIN_S: f64 = 60.0;
/// It must have warned at least this long before the limit was reached, seconds …
const AHEAD_MIN_S: f64 = 30.0;
/// … and the time it said may be off by this part of the time that was left.
const OFF_MAX: f64 = 0.25;
const READ_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mount = match Mount::new(folder.path()) {
        Ok(mount) => mount,
        Err(why) => {
            println!("skipped: {why}");
            return Ok(());
        }
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(folder.path(), &mount))
}

async fn run(folder: &Path, mount: &Mount) -> Result<()> {
    let receiver = Receiver::start().await?;
    let (http, grpc) = (free_port()?, free_port()?);
    let (mut server, collector) = start(folder, mount, receiver.url(), http, grpc)?;
    let api = Api::new(format!("http://127.0.0.1:{http}"));
    server.ready(api.base()).await?;
    let used = format!("{}{{mountpoint=\"{}\"}}", "node_filesystem_avail_bytes", mount.point.display());
    let seen = wait::until(READ_TIMEOUT, async || api.number(&used).await.ok().flatten()).await;
    ensure!(seen.is_some(), "the collector never saw {}: {}", mount.point.display(), collector.output());

    let began = now_s();
    let filling = tokio::task::spawn_blocking({
        let file = mount.point.join("filler");
        let point = mount.point.clone();
        move || fill(&file, &point)
    });
    let arrival = async {
        let found = wait::until(Duration::from_secs(600), async || {
            let body = receiver.find("DiskFills", "firing").await?;
            Some((now_s(), body))
        });
        found.await.context("no message came")
    };
    let (arrived, filled) = tokio::join!(arrival, filling);
    let filled = filled??;
    let (arrived_s, body) = arrived?;
    let report = evidence(&api).await?;
    server.stop();
    collector.stop();
    print_and_check(began, arrived_s, &body, &report, &filled)
}

/// Server and collector, both looking every second.
fn start(folder: &Path, mount: &Mount, webhook: &str, http: u16, grpc: u16) -> Result<(Program, Program)> {
    let point = mount.point.display();
    let selector = format!("{{mountpoint=\"{point}\"}}");
    let rules = format!(
        "groups:\n- name: disk\n  interval: 1s\n  rules:\n  - alert: DiskFills\n    forecast:\n      \
         expr: 100 * (1 - node_filesystem_avail_bytes{selector} / node_filesystem_size_bytes{selector})\n      \
         horizon: 2m\n      crosses: {{above: {LIMIT}}}\n      step: 1s\n    levels: {{warning: {{within: {WITHIN_S}s}}}}\n    \
         annotations:\n      summary: 'reaches {LIMIT} % of {{{{ $labels.mountpoint }}}} in {{{{ $forecast.reaches }}}} \
         ({{{{ $forecast.confidence }}}}: {{{{ $forecast.range }}}}), back-tested error {{{{ $forecast.error }}}}, \
         seasonal-naive {{{{ $forecast.baseline_error }}}}, model {{{{ $forecast.model }}}}'\n"
    );
    std::fs::write(folder.join("rules.yml"), rules)?;
    let config = format!(
        "alerting:\n  builtin_rules: false\n  rules: [rules.yml]\n  receivers:\n  - name: test\n    webhooks: [{{url: '{webhook}'}}]\n  \
         route: {{receiver: test}}\n"
    );
    let path = folder.join("tidewatch.yaml");
    std::fs::write(&path, config)?;
    let text = |path: PathBuf| path.display().to_string();
    let words = [
        "serve".into(),
        "--config".into(),
        text(path),
        "--data-dir".into(),
        text(folder.join("data")),
        "--http-listen".into(),
        format!("127.0.0.1:{http}"),
        "--grpc-listen".into(),
        format!("127.0.0.1:{grpc}"),
    ];
    let server = Program::start("tidewatch", words, &[], &folder.join("server.log"))?;
    let config = format!(
        "server: {{address: 'http://127.0.0.1:{grpc}'}}\ndata_dir: {}\nhost: {{interval: 1s}}\n",
        folder.join("collector").display()
    );
    let path = folder.join("collector.yaml");
    std::fs::write(&path, config)?;
    let words = ["--config".to_string(), text(path)];
    Ok((server, Program::start("tidewatch-collector", words, &[], &folder.join("collector.log"))?))
}

/// What filling came to. Times are seconds since 1970.
struct Filled {
    /// The limit was reached.
    limit_s: f64,
    /// The kernel said that no space is left.
    full_s: f64,
}

/// Writes at a steady rate until no space is left.
fn fill(file: &Path, point: &Path) -> Result<Filled> {
    let mut file = File::create(file)?;
    let piece = vec![0x5a_u8; PIECE_BYTES];
    let (began, mut limit_s) = (now_s(), None);
    for number in 1_u64.. {
        if let Err(error) = file.write_all(&piece) {
            ensure!(error.kind() == ErrorKind::StorageFull, "filling: {error}");
            let full_s = now_s();
            return Ok(Filled { limit_s: limit_s.unwrap_or(full_s), full_s });
        }
        let stat = rustix::fs::statvfs(point)?;
        let used = 100.0 * (1.0 - stat.f_bavail as f64 / stat.f_blocks as f64);
        if used >= LIMIT {
            limit_s.get_or_insert_with(now_s);
        }
        // the rate is what is wanted, not a state that is waited for
        let next_s = began + number as f64 / PIECES_PER_SECOND as f64;
        std::thread::sleep(Duration::from_secs_f64((next_s - now_s()).max(0.0)));
    }
    unreachable!("an endless range ended")
}

/// The forecast frozen with the alert.
async fn evidence(api: &Api) -> Result<Value> {
    let found = wait::until(READ_TIMEOUT, async || {
        let alerts = api.get("/api/v1/alert", &[("state", "all")]).await.ok()?;
        let id = alerts.as_array()?.iter().find(|a| a["rule"] == "DiskFills")?["id"].as_str()?.to_owned();
        let alert = api.get(&format!("/api/v1/alert/{id}"), &[]).await.ok()?;
        alert["evidence"]["forecast"]["series"].as_array()?.first().cloned()
    });
    found.await.context("the alert has no forecast in its evidence")
}

fn print_and_check(began_s: f64, arrived_s: f64, body: &Value, report: &Value, filled: &Filled) -> Result<()> {
    let since = |s: f64| s - began_s;
    let at = |name: &str| report[name].as_f64().map(|ms| ms / 1000.0);
    let said_s = at("reaches_at_ms").context("the forecast has no time")?;
    let (ahead_s, off_s) = (filled.limit_s - arrived_s, said_s - filled.limit_s);
    let edge = |name: &str| at(name).map_or("later".into(), |s| format!("{:.0} s", since(s)));
    println!(
        "message after            {:6.1} s of filling: {}",
        since(arrived_s),
        body["alerts"][0]["annotations"]["summary"]
    );
    println!(
        "said: {LIMIT} % after       {:6.1} s (80 %: {} to {})",
        since(said_s),
        edge("reaches_from_ms"),
        edge("reaches_to_ms")
    );
    println!(
        "came: {LIMIT} % after       {:6.1} s, {ahead_s:.1} s after the message; off by {off_s:+.1} s",
        since(filled.limit_s)
    );
    println!(
        "no space left after      {:6.1} s, {:.1} s after the message",
        since(filled.full_s),
        filled.full_s - arrived_s
    );
    println!("model {}, MASE {}, seasonal-naive {}", report["model"], report["mase"], report["mase_baseline"]);
    ensure!(arrived_s < filled.full_s, "the message came when the disk was full");
    ensure!(
        ahead_s >= AHEAD_MIN_S,
        "the message came {ahead_s:.1} s before the limit; at least {AHEAD_MIN_S} s were promised"
    );
    ensure!(off_s.abs() <= OFF_MAX * ahead_s, "the time said was off by {off_s:.1} s of {ahead_s:.1} s");
    println!("forecast-disk: announced before it was full");
    Ok(())
}

/// An ext4 file system in a file, mounted as long as this lives.
struct Mount {
    point: PathBuf,
}

impl Mount {
    fn new(folder: &Path) -> Result<Mount, String> {
        let (image, point) = (folder.join("image"), folder.join("disk"));
        let file = File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(IMAGE_BYTES).map_err(|e| e.to_string())?;
        std::fs::create_dir(&point).map_err(|e| e.to_string())?;
        call("mkfs.ext4", &["-q", "-m", "0", &image.display().to_string()])?;
        call("mount", &["-o", "loop", &image.display().to_string(), &point.display().to_string()])?;
        Ok(Mount { point })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(why) = call("umount", &[&self.point.display().to_string()]) {
            eprintln!("{}: {why}", self.point.display());
        }
    }
}

fn call(program: &str, arguments: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr).trim())),
    }
}

#[allow(clippy::disallowed_methods, reason = "real time is what is told and what comes")]
fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
