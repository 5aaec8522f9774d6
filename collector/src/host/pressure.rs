//! `/proc/pressure`: time that tasks waited for processor, memory, disk and interrupts.

use std::io;

use super::{Kind, Page, Roots};

const MICROSECOND: f64 = 1e-6;

/// Reads `pressure/*`.
pub fn read(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    for resource in ["cpu", "io", "memory", "irq"] {
        match roots.proc_text(&format!("pressure/{resource}")) {
            Ok(text) => parse(resource, &text, page),
            Err(_) if resource == "irq" => {} // Linux 6.1 and later
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn parse(resource: &str, text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        let what = match line.split(' ').next() {
            Some("some") => "waiting",
            Some("full") if resource != "cpu" => "stalled", // of the processor the kernel reports zeros for the whole system
            _ => continue,
        };
        if let Some(Ok(total)) = line.rsplit_once("total=").map(|(_, t)| t.trim().parse::<f64>()) {
            let name = format!("node_pressure_{resource}_{what}_seconds_total");
            page.add(Kind::Counter, &name, &[], total * MICROSECOND);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn microseconds_become_seconds() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=500000\n";
        assert_eq!(
            shown(|page| parse("io", text, page)),
            "node_pressure_io_stalled_seconds_total 0.5\nnode_pressure_io_waiting_seconds_total 1.5\n"
        );
        assert_eq!(shown(|page| parse("cpu", text, page)), "node_pressure_cpu_waiting_seconds_total 1.5\n");
    }
}
