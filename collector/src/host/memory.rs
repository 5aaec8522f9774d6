//! `/proc/meminfo` and the paging counters of `/proc/vmstat`.

use std::io;

use super::{Kind, Page, Roots};

/// Reads `meminfo`.
pub fn read(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse(&roots.proc_text("meminfo")?, page);
    Ok(())
}

/// Reads `vmstat`.
pub fn read_vmstat(roots: &Roots, page: &mut Page<'_>) -> io::Result<()> {
    parse_vmstat(&roots.proc_text("vmstat")?, page);
    Ok(())
}

fn parse(text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        let Some(Ok(value)) = words.next().map(str::parse::<f64>) else { continue };
        let key = key.replace('(', "_").replace(')', "");
        match words.next() {
            Some("kB") => page.add(Kind::Gauge, &format!("node_memory_{key}_bytes"), &[], value * 1024.0),
            _ => page.add(Kind::Gauge, &format!("node_memory_{key}"), &[], value),
        }
    }
}

/// The counters node_exporter takes by default: paging, swapping, faults, the out-of-memory killer.
fn is_wanted(key: &str) -> bool {
    ["oom_kill", "pgpg", "pswp"].iter().any(|p| key.starts_with(p)) || (key.starts_with("pg") && key.contains("fault"))
}

fn parse_vmstat(text: &str, page: &mut Page<'_>) {
    for line in text.lines() {
        if let Some((key, value)) = line.split_once(' ')
            && is_wanted(key)
            && let Ok(value) = value.trim().parse()
        {
            page.add(Kind::Unknown, &format!("node_vmstat_{key}"), &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::shown;

    #[test]
    fn kilobytes_become_bytes_and_counts_stay() {
        let got = shown(|page| parse("MemTotal:   16 kB\nActive(anon): 2 kB\nHugePages_Total:  3\nbad\n", page));
        assert_eq!(
            got,
            "node_memory_Active_anon_bytes 2048\nnode_memory_HugePages_Total 3\nnode_memory_MemTotal_bytes 16384\n"
        );
    }

    #[test]
    fn only_paging_counters_of_vmstat() {
        let got =
            shown(|page| parse_vmstat("nr_free_pages 1\npgpgin 2\npgmajfault 3\noom_kill 4\npgalloc_dma 5\n", page));
        assert_eq!(got, "node_vmstat_oom_kill 4\nnode_vmstat_pgmajfault 3\nnode_vmstat_pgpgin 2\n");
    }
}
