//! `/proc/stat`: processor time by mode, interrupts, context switches, forks, boot time, running and blocked processes.

use std::io;

use super::{Kind, Page, Roots};

/// The kernel reports times in this many ticks a second on every architecture (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];

/// Reads `stat`.
pub fn read(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse(&roots.proc_text("stat")?, page);
    Ok(())
}

fn parse(text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(key) = words.next() else { continue };
        let numbers: Vec<f64> = words.take(10).map_while(|w| w.parse().ok()).collect();
        let first = numbers.first().copied();
        if let Some(cpu) = key.strip_prefix("cpu").filter(|c| !c.is_empty()) {
            for (mode, ticks) in MODES.iter().zip(&numbers) {
                page.add(
                    Kind::Counter,
                    "node_cpu_seconds_total",
                    &[("cpu", cpu), ("mode", mode)],
                    ticks / TICKS_PER_SECOND,
                );
            }
            for (mode, ticks) in GUEST_MODES.iter().zip(numbers.iter().skip(MODES.len())) {
                let labels = [("cpu", cpu), ("mode", mode)];
                page.add(Kind::Counter, "node_cpu_guest_seconds_total", &labels, ticks / TICKS_PER_SECOND);
            }
        }
        let Some(value) = first else { continue };
        match key {
            "intr" => page.add(Kind::Counter, "node_intr_total", &[], value),
            "ctxt" => page.add(Kind::Counter, "node_context_switches_total", &[], value),
            "processes" => page.add(Kind::Counter, "node_forks_total", &[], value),
            "btime" => page.add(Kind::Gauge, "node_boot_time_seconds", &[], value),
            "procs_running" => page.add(Kind::Gauge, "node_procs_running", &[], value),
            "procs_blocked" => page.add(Kind::Gauge, "node_procs_blocked", &[], value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn ticks_become_seconds() {
        let text =
            "cpu  9 9 9 9\ncpu0 100 0 250 9000 5 0 1 0 30 0\nintr 77 1 2\nctxt 5\nbtime 1700000000\nprocs_running 2\n";
        let got = shown(|page| parse(text, page));
        assert!(got.contains(r#"node_cpu_seconds_total{cpu="0",mode="system"} 2.5"#), "{got}");
        assert!(got.contains(r#"node_cpu_guest_seconds_total{cpu="0",mode="user"} 0.3"#), "{got}");
        assert!(got.contains("node_intr_total 77") && got.contains("node_boot_time_seconds 1700000000"), "{got}");
        assert!(!got.contains(r#"cpu="""#), "the sum of all processors is left to the query: {got}");
    }
}
