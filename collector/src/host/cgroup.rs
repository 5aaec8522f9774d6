//! cgroup v2 of the database servers on this host, under cAdvisor's names: what they use, what bounds them, what holds them up.
//!
//! A server in a container or a unit is throttled and killed by its own cgroup while the host as a whole has plenty. Labels:
//! `id` (the cgroup's path, as in cAdvisor), `name` (its last part: the unit or container) and `program`. Files and units:
//! the kernel's "Control Group v2" (Documentation/admin-guide/cgroup-v2.rst). A host with version 1 alone gives nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Kind, Page, Roots};

/// Programs that are database servers or stand in their way, by the kernel's name of the process.
const PROGRAMS: &[&str] = &[
    "postgres",
    "postmaster",
    "mysqld",
    "mariadbd",
    "pgbouncer",
    "patroni",
    "gaussdb",
    "kingbase",
    "observer",
    "tidb-server",
    "tikv-server",
    "pd-server",
    "proxysql",
    "haproxy",
];
/// Most cgroups told of.
const CGROUPS_MAX: usize = 64;
const MICROSECOND: f64 = 1e-6;

/// Paths of cgroups that hold a database server, each with the program.
pub type Found = BTreeMap<String, &'static str>;

/// Looks through the processes.
pub fn find(roots: &Roots) -> Found {
    let mut found = Found::new();
    let Ok(entries) = std::fs::read_dir(&roots.proc_dir) else { return found };
    for entry in entries.flatten() {
        let pid = entry.file_name();
        if !pid.to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        let Ok(name) = std::fs::read_to_string(entry.path().join("comm")) else { continue }; // it ended
        let Some(program) = PROGRAMS.iter().find(|p| **p == name.trim_end()) else { continue };
        let lines = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let Some(path) = lines.lines().find_map(|l| l.strip_prefix("0::")) else { continue };
        // What lies outside our own namespace can't be read.
        if !path.contains("/..") && found.len() < CGROUPS_MAX {
            found.entry(path.to_owned()).or_insert(program);
        }
    }
    found
}

/// Reads the cgroups found. One that is gone meanwhile, or has no controllers, is left out.
pub fn read(roots: &Roots, found: &Found, page: &mut Page<'_>) {
    let Some(base) = base(roots) else { return };
    for (path, program) in found {
        let folder = base.join(path.trim_start_matches('/'));
        // The root of all is the host, of which node_* tells; a container's own root has the files of any other.
        if path == "/" && !folder.join("memory.current").exists() {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or("");
        let mut one = Cgroup { roots, folder, labels: [("id", path), ("name", name), ("program", program)], page };
        one.cpu();
        one.memory();
        one.io();
        one.pressure();
        one.processes();
    }
}

/// Where version 2 is mounted; beside version 1 it has a folder of its own.
fn base(roots: &Roots) -> Option<PathBuf> {
    let base = roots.sys_dir.join("fs/cgroup");
    [base.join("unified"), base].into_iter().rev().find(|b| b.join("cgroup.controllers").exists())
}

struct Cgroup<'a, 'b> {
    roots: &'a Roots,
    folder: PathBuf,
    labels: [(&'a str, &'a str); 3],
    page: &'a mut Page<'b>,
}

impl Cgroup<'_, '_> {
    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// A file that holds one number; `max` is none.
    fn number(&self, file: &str) -> Option<f64> {
        self.text(file).trim().parse().ok()
    }

    fn add(&mut self, kind: Kind, name: &str, value: f64) {
        self.page.add(kind, name, &self.labels, value);
    }

    /// Adds the fields of a file of `name value` lines that have a metric, each times `scale`.
    fn fields(&mut self, file: &str, kind: Kind, metrics: &[(&str, &str)], scale: f64) {
        let text = self.text(file);
        for (field, name) in metrics {
            if let Some(value) = field_of(&text, field) {
                self.add(kind, name, value * scale);
            }
        }
    }

    fn cpu(&mut self) {
        let times = [
            ("usage_usec", "container_cpu_usage_seconds_total"),
            ("user_usec", "container_cpu_user_seconds_total"),
            ("system_usec", "container_cpu_system_seconds_total"),
            ("throttled_usec", "container_cpu_cfs_throttled_seconds_total"),
        ];
        self.fields("cpu.stat", Kind::Counter, &times, MICROSECOND);
        let periods = [
            ("nr_periods", "container_cpu_cfs_periods_total"),
            ("nr_throttled", "container_cpu_cfs_throttled_periods_total"),
        ];
        self.fields("cpu.stat", Kind::Counter, &periods, 1.0);
        let text = self.text("cpu.max");
        let mut words = text.split_ascii_whitespace().map(|w| w.parse().ok());
        for name in ["container_spec_cpu_quota", "container_spec_cpu_period"] {
            if let Some(Some(value)) = words.next() {
                self.add(Kind::Gauge, name, value);
            }
        }
    }

    fn memory(&mut self) {
        if let Some(usage) = self.number("memory.current") {
            self.add(Kind::Gauge, "container_memory_usage_bytes", usage);
            let inactive = field_of(&self.text("memory.stat"), "inactive_file").unwrap_or(0.0);
            self.add(Kind::Gauge, "container_memory_working_set_bytes", (usage - inactive).max(0.0));
            // Without a bound cAdvisor says 0.
            let limit = self.number("memory.max").unwrap_or(0.0);
            self.add(Kind::Gauge, "container_spec_memory_limit_bytes", limit);
        }
        if let Some(swap) = self.number("memory.swap.current") {
            self.add(Kind::Gauge, "container_memory_swap", swap);
        }
        let kinds = [("anon", "container_memory_rss"), ("file", "container_memory_cache")];
        self.fields("memory.stat", Kind::Gauge, &kinds, 1.0);
        let events = [("max", "container_memory_failcnt"), ("oom_kill", "container_oom_events_total")];
        self.fields("memory.events", Kind::Counter, &events, 1.0);
    }

    /// Lines like `253:0 rbytes=1 wbytes=2 rios=3 wios=4`.
    fn io(&mut self) {
        for line in self.text("io.stat").lines() {
            let Some((device, fields)) = line.split_once(' ') else { continue };
            let name = device_name(&self.roots.sys_dir, device);
            for (field, metric) in [
                ("rbytes=", "container_fs_reads_bytes_total"),
                ("wbytes=", "container_fs_writes_bytes_total"),
                ("rios=", "container_fs_reads_total"),
                ("wios=", "container_fs_writes_total"),
            ] {
                let value = fields.split(' ').find_map(|f| f.strip_prefix(field)?.parse().ok());
                if let Some(value) = value {
                    let [id, unit, program] = self.labels;
                    self.page.add(Kind::Counter, metric, &[id, unit, program, ("device", &name)], value);
                }
            }
        }
    }

    fn pressure(&mut self) {
        for resource in ["cpu", "memory", "io"] {
            let text = self.text(&format!("{resource}.pressure"));
            for (line, what) in [("some ", "waiting"), ("full ", "stalled")] {
                let total = text.lines().find(|l| l.starts_with(line)).and_then(|l| l.rsplit_once("total="));
                if let Some(Ok(total)) = total.map(|(_, t)| t.trim().parse::<f64>()) {
                    let name = format!("container_pressure_{resource}_{what}_seconds_total");
                    self.add(Kind::Counter, &name, total * MICROSECOND);
                }
            }
        }
    }

    fn processes(&mut self) {
        let processes = self.text("cgroup.procs").lines().count();
        if processes > 0 {
            self.add(Kind::Gauge, "container_processes", processes as f64);
        }
        for (file, name) in [("pids.current", "container_threads"), ("pids.max", "container_threads_max")] {
            if let Some(value) = self.number(file) {
                self.add(Kind::Gauge, name, value);
            }
        }
    }
}

fn field_of(text: &str, field: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `/dev/sda` for `8:0`; the numbers themselves if the kernel does not know them.
fn device_name(sys_dir: &Path, numbers: &str) -> String {
    let link = std::fs::read_link(sys_dir.join("dev/block").join(numbers));
    let name = link.ok().and_then(|l| Some(l.file_name()?.to_str()?.to_owned()));
    name.map_or_else(|| numbers.to_owned(), |n| format!("/dev/{n}"))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
