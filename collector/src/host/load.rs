//! Load averages, counts of processes and threads, open files, the clock and the kernel's name.

use std::io;

use super::{Kind, Page, Roots};

/// Reads `loadavg`.
pub fn read_load(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse_load(&roots.proc_text("loadavg")?, page);
    Ok(())
}

fn parse_load(text: &str, page: &mut Page<'_>) {
    let names = ["node_load1", "node_load5", "node_load15"];
    for (name, word) in names.iter().zip(text.split_ascii_whitespace()) {
        if let Ok(value) = word.parse() {
            page.add(Kind::Gauge, name, &[], value);
        }
    }
}

/// Counts processes and threads.
pub fn read_processes(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    let load = roots.proc_text("loadavg")?;
    let threads = load.split_ascii_whitespace().nth(3).and_then(|w| w.split_once('/')?.1.parse().ok());
    if let Some(threads) = threads {
        page.add(Kind::Gauge, "node_processes_threads", &[], threads);
    }
    let is_process = |name: &std::ffi::OsStr| name.to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let processes = std::fs::read_dir(&roots.proc_dir)?.flatten().filter(|e| is_process(&e.file_name())).count();
    page.add(Kind::Gauge, "node_processes_pids", &[], processes as f64);
    for (file, name) in [
        ("sys/kernel/threads-max", "node_processes_max_threads"),
        ("sys/kernel/pid_max", "node_processes_max_processes"),
    ] {
        if let Ok(value) = roots.proc_text(file)?.trim().parse() {
            page.add(Kind::Gauge, name, &[], value);
        }
    }
    Ok(())
}

/// Reads `sys/fs/file-nr`: open files of all processes.
pub fn read_filefd(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    let text = roots.proc_text("sys/fs/file-nr")?;
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|w| w.parse().ok()).collect();
    if let [allocated, _, maximum] = numbers[..] {
        page.add(Kind::Gauge, "node_filefd_allocated", &[], allocated);
        page.add(Kind::Gauge, "node_filefd_maximum", &[], maximum);
    }
    Ok(())
}

/// The time of the reading.
pub fn read_time(_roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    let seconds = page.ts_ms() as f64 / 1000.0;
    page.add(Kind::Gauge, "node_time_seconds", &[], seconds);
    Ok(())
}

/// The kernel and its name.
pub fn read_uname(_roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let words = [
        ("sysname", text(uname.sysname())),
        ("release", text(uname.release())),
        ("version", text(uname.version())),
        ("machine", text(uname.machine())),
        ("nodename", text(uname.nodename())),
        ("domainname", text(uname.domainname())),
    ];
    let labels: Vec<(&str, &str)> = words.iter().map(|(name, value)| (*name, value.as_str())).collect();
    page.add(Kind::Gauge, "node_uname_info", &labels, 1.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn three_averages() {
        assert_eq!(
            shown(|page| parse_load("0.50 1.25 3.00 2/345 6789\n", page)),
            "node_load1 0.5\nnode_load15 3\nnode_load5 1.25\n"
        );
    }
}
