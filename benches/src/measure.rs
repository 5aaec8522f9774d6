//! What the kernel says of a process and of a folder: CPU seconds, resident memory, bytes of files.
//!
//! CPU seconds (proc(5), utime and stime, threads that ended included) hold on a machine that does other things as well; wall times don't.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tokio::time::Instant;

/// Ticks per second of the times in `/proc/PID/stat`: USER_HZ, 100 on every Linux architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU a process has used; `self` is this one.
pub fn cpu_s(pid: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).context(path)?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| -> Result<f64> { Ok(fields.get(i).context("a line of /proc/PID/stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// A value of `/proc/PID/status`, bytes: `VmRSS:` is resident memory, `VmHWM:` the most of it.
pub fn memory_bytes(pid: &str, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(path)?;
    let line = status.lines().find_map(|l| l.strip_prefix(key)).with_context(|| format!("no {key} in status"))?;
    Ok(line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>()? * 1024)
}

/// Lets `VmHWM:` begin anew at what is resident now.
pub fn forget_peak(pid: &str) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("clear_refs")
}

/// Bytes of all files below a folder; 0 if it is not there.
pub fn directory_bytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    let Ok(entries) = fs::read_dir(dir) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        // a server may remove a file while we look
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { directory_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// A stretch of a process's life: wall clock and CPU.
pub struct Span {
    pid: String,
    wall: Instant,
    cpu_s: f64,
}

impl Span {
    /// Begins now.
    pub fn begin(pid: &str) -> Result<Span> {
        Ok(Span { pid: pid.to_owned(), wall: Instant::now(), cpu_s: cpu_s(pid)? })
    }

    /// Seconds of wall clock and of CPU since.
    pub fn end(&self) -> Result<(f64, f64)> {
        Ok((self.wall.elapsed().as_secs_f64(), cpu_s(&self.pid)? - self.cpu_s))
    }
}

/// The median; 0 of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// This machine in one line: processors, memory, kernel, load.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let total = memory.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap_or("");
    let kib: u64 = total.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    format!("{cpus} cores ({model}), {} GiB, load average {load} at the start", kib >> 20)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_process_is_measured() {
        let span = Span::begin("self").unwrap();
        assert!(memory_bytes("self", "VmHWM:").unwrap() >= memory_bytes("self", "VmRSS:").unwrap() / 2);
        let (wall, cpu) = span.end().unwrap();
        assert!(wall >= 0.0 && cpu >= 0.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }
}
