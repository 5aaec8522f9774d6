//! `/proc/diskstats`: what each block device read and wrote, and how long that took.

use std::io;

use super::{Kind, Page, Roots};

/// The unit of `/proc/diskstats`, whatever the device's own (kernel, Documentation/admin-guide/iostats.rst).
const SECTOR_BYTES: f64 = 512.0;
const MS: f64 = 0.001;

/// Fields after the device's name, in order: metric, factor, kind.
const FIELDS: [(&str, f64, Kind); 17] = [
    ("node_disk_reads_completed_total", 1.0, Kind::Counter),
    ("node_disk_reads_merged_total", 1.0, Kind::Counter),
    ("node_disk_read_bytes_total", SECTOR_BYTES, Kind::Counter),
    ("node_disk_read_time_seconds_total", MS, Kind::Counter),
    ("node_disk_writes_completed_total", 1.0, Kind::Counter),
    ("node_disk_writes_merged_total", 1.0, Kind::Counter),
    ("node_disk_written_bytes_total", SECTOR_BYTES, Kind::Counter),
    ("node_disk_write_time_seconds_total", MS, Kind::Counter),
    ("node_disk_io_now", 1.0, Kind::Gauge),
    ("node_disk_io_time_seconds_total", MS, Kind::Counter),
    ("node_disk_io_time_weighted_seconds_total", MS, Kind::Counter),
    ("node_disk_discards_completed_total", 1.0, Kind::Counter),
    ("node_disk_discards_merged_total", 1.0, Kind::Counter),
    ("node_disk_discarded_sectors_total", 1.0, Kind::Counter),
    ("node_disk_discard_time_seconds_total", MS, Kind::Counter),
    ("node_disk_flush_requests_total", 1.0, Kind::Counter),
    ("node_disk_flush_requests_time_seconds_total", MS, Kind::Counter),
];

/// Reads `diskstats`.
pub fn read(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse(&roots.proc_text("diskstats")?, page);
    Ok(())
}

/// Partitions, loops, RAM disks and floppies are left out, as node_exporter does.
fn is_skipped(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    let disk_letter = |s: &str| {
        ["hd", "sd", "vd", "xvd"]
            .iter()
            .any(|p| s.strip_prefix(p).is_some_and(|l| l.len() == 1 && l.bytes().all(|b| b.is_ascii_lowercase())))
    };
    let nvme_partition = stem
        .strip_suffix('p')
        .and_then(|s| s.strip_prefix("nvme"))
        .and_then(|s| s.split_once('n'))
        .is_some_and(|(a, b)| [a, b].iter().all(|x| !x.is_empty() && x.bytes().all(|c| c.is_ascii_digit())));
    matches!(stem, "ram" | "zram" | "loop" | "fd") || disk_letter(stem) || nvme_partition
}

fn parse(text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().skip(2);
        let Some(device) = words.next().filter(|d| !is_skipped(d)) else { continue };
        for ((name, factor, kind), word) in FIELDS.iter().zip(words) {
            if let Ok(value) = word.parse::<f64>() {
                page.add(*kind, name, &[("device", device)], value * factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn whole_devices_only() {
        for (device, skipped) in [
            ("sda", false),
            ("sda1", true),
            ("xvdb2", true),
            ("nvme0n1", false),
            ("nvme0n1p3", true),
            ("dm-0", false),
            ("md127", false),
            ("loop7", true),
            ("zram0", true),
            ("sr0", false),
            ("mmcblk0", false),
        ] {
            assert_eq!(is_skipped(device), skipped, "{device}");
        }
    }

    #[test]
    fn units_are_bytes_and_seconds() {
        let got = shown(|page| parse(" 8 0 sda 10 1 4 2500 20 2 8 500 3 1500 99\n 8 1 sda1 1 1 1 1\n", page));
        assert!(got.contains(r#"node_disk_read_bytes_total{device="sda"} 2048"#), "{got}");
        assert!(got.contains(r#"node_disk_read_time_seconds_total{device="sda"} 2.5"#), "{got}");
        assert!(got.contains(r#"node_disk_io_now{device="sda"} 3"#) && !got.contains("sda1"), "{got}");
        assert!(!got.contains("discards"), "older kernels have fewer fields: {got}");
    }
}
