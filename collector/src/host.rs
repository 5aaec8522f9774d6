//! Host metrics under node_exporter's names: one list of groups, one file each; a group that fails does not stop the rest.

pub mod cgroup;
pub mod cpu;
pub mod disk;
pub mod filesystem;
pub mod load;
pub mod memory;
pub mod network;
pub mod page;
pub mod pressure;
pub mod systemd;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

pub use self::page::{Kind, Page};
use crate::{config::HostConfig, source::Context};

/// Every group: its name in `node_scrape_collector_success`, and what reads it.
pub const GROUPS: &[Group] = &[
    Group { name: "stat", read: cpu::read },
    Group { name: "loadavg", read: load::read_load },
    Group { name: "processes", read: load::read_processes },
    Group { name: "meminfo", read: memory::read },
    Group { name: "vmstat", read: memory::read_vmstat },
    Group { name: "diskstats", read: disk::read },
    Group { name: "netdev", read: network::read_devices },
    Group { name: "netclass", read: network::read_class },
    Group { name: "netstat", read: network::read_protocols },
    Group { name: "sockstat", read: network::read_sockets },
    Group { name: "pressure", read: pressure::read },
    Group { name: "filefd", read: load::read_filefd },
    Group { name: "uname", read: load::read_uname },
    Group { name: "time", read: load::read_time },
];

/// Read apart from the others: a dead network mount can hold it for minutes.
pub const FILESYSTEM: Group = Group { name: "filesystem", read: filesystem::read };

/// How long a reading waits for the file systems before it goes without them.
const FILESYSTEM_TIMEOUT: Duration = Duration::from_secs(5);
/// What metrics are is told at the first reading and then every so many.
const FAMILIES_EVERY: u64 = 360;

/// Processes are looked through for database servers at the first reading and then every so many.
const SERVERS_EVERY: u64 = 6;

/// A group of metrics.
#[derive(Clone, Copy)]
pub struct Group {
    /// Its name, as node_exporter calls its collector.
    pub name: &'static str,
    /// Reads it.
    pub read: fn(&Roots, &mut Page<'_>) -> io::Result<()>,
}

/// Where the kernel's files are.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`.
    pub proc_dir: PathBuf,
    /// `/sys`.
    pub sys_dir: PathBuf,
    /// `/`.
    pub root_dir: PathBuf,
}

impl Roots {
    /// A file below `/proc`, as text.
    pub fn proc_text(&self, file: &str) -> io::Result<String> {
        let path = self.proc_dir.join(file);
        let bytes = std::fs::read(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The kernel's name of this host.
pub fn host_name() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

/// Reads every interval until shutdown.
pub async fn watch(config: HostConfig, context: Context) {
    let roots = Roots { proc_dir: config.proc_dir, sys_dir: config.sys_dir, root_dir: config.root_dir };
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut filesystems = Filesystems { running: None };
    let mut failing: Vec<&'static str> = Vec::new();
    let (mut servers, mut services) = (cgroup::Found::new(), systemd::Services::default());
    for reading in 0u64.. {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let with_families = reading % FAMILIES_EVERY == 0;
        let (ts_ms, host) = (context.clock.now_ms(), context.host.clone());
        let fast = {
            let roots = roots.clone();
            tokio::task::spawn_blocking(move || read_groups(GROUPS, &roots, &host, ts_ms, with_families))
        };
        let mut page = Page::new(&context.host, ts_ms, with_families);
        page.add(Kind::Gauge, "up", &[], 1.0);
        let mut results = Vec::new();
        if let Ok((samples, of_groups)) = fast.await {
            page.take(samples);
            results.extend(of_groups);
        }
        let begin = Instant::now();
        if reading % SERVERS_EVERY == 0 {
            let roots = roots.clone();
            servers = tokio::task::spawn_blocking(move || cgroup::find(&roots)).await.unwrap_or_default();
        }
        cgroup::read(&roots, &servers, &mut page);
        results.push(GroupResult { name: "cgroup", seconds: begin.elapsed().as_secs_f64(), error: None });
        results.extend(services.read(&roots, reading, &mut page).await);
        results.push(filesystems.read(&roots, &context.host, ts_ms, with_families, &mut page).await);
        for result in &results {
            let labels = [("collector", result.name)];
            let success = f64::from(u8::from(result.error.is_none()));
            page.add(Kind::Gauge, "node_scrape_collector_success", &labels, success);
            page.add(Kind::Gauge, "node_scrape_collector_duration_seconds", &labels, result.seconds);
        }
        tell_changes(&results, &mut failing);
        context.outlet.send_samples(page.into_samples());
    }
}

/// How a group's reading went.
#[derive(Debug)]
pub struct GroupResult {
    /// Which.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed; `None`: it did not.
    pub error: Option<String>,
}

/// Reads groups one after another; what a failed group had found before it failed is kept.
pub fn read_groups(
    groups: &[Group],
    roots: &Roots,
    host: &str,
    ts_ms: i64,
    with_families: bool,
) -> (proto::Samples, Vec<GroupResult>) {
    let mut page = Page::new(host, ts_ms, with_families);
    let mut results = Vec::with_capacity(groups.len());
    for group in groups {
        let begin = Instant::now();
        let error = (group.read)(roots, &mut page).err().map(|e| e.to_string());
        results.push(GroupResult { name: group.name, seconds: begin.elapsed().as_secs_f64(), error });
    }
    (page.into_samples().build(), results)
}

type FilesystemReading = (proto::Samples, Vec<GroupResult>);

struct Filesystems {
    running: Option<JoinHandle<FilesystemReading>>,
}

impl Filesystems {
    /// Reads them, or says that an earlier reading still hangs.
    async fn read(
        &mut self,
        roots: &Roots,
        host: &Arc<str>,
        ts_ms: i64,
        with_families: bool,
        page: &mut Page<'_>,
    ) -> GroupResult {
        let failed = |text: &str| GroupResult { name: FILESYSTEM.name, seconds: 0.0, error: Some(text.to_owned()) };
        if let Some(running) = self.running.take_if(|r| r.is_finished()) {
            drop(running); // a late reading bears an old time
        }
        if self.running.is_some() {
            return failed("an earlier reading still hangs, probably on a network mount");
        }
        let (roots, host) = (roots.clone(), host.clone());
        let mut running =
            tokio::task::spawn_blocking(move || read_groups(&[FILESYSTEM], &roots, &host, ts_ms, with_families));
        match tokio::time::timeout(FILESYSTEM_TIMEOUT, &mut running).await {
            Ok(Ok((samples, mut results))) => {
                page.take(samples);
                results.pop().unwrap_or_else(|| failed("no result"))
            }
            Ok(Err(e)) => failed(&e.to_string()),
            Err(_) => {
                self.running = Some(running);
                failed("no answer within 5 s, probably a network mount")
            }
        }
    }
}

/// Logs a group when it begins or ceases to fail.
fn tell_changes(results: &[GroupResult], failing: &mut Vec<&'static str>) {
    for result in results {
        match &result.error {
            Some(error) if !failing.contains(&result.name) => {
                tracing::warn!(group = result.name, error, "host metrics: group fails");
                failing.push(result.name);
            }
            None if failing.contains(&result.name) => {
                tracing::info!(group = result.name, "host metrics: group works again");
                failing.retain(|name| *name != result.name);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "host/tests.rs"]
mod tests;
