//! What the kernel says about this process: `/proc/self` (proc(5)).

/// Numbers of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStats {
    /// CPU time, user and system, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files.
    pub open_files: u64,
}

/// Ticks per second of the times in `stat`: USER_HZ, 100 on every Linux architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The numbers now; `None` where there is no `/proc`.
pub fn read() -> Option<ProcessStats> {
    let mut stats =
        parse(&std::fs::read_to_string("/proc/self/stat").ok()?, &std::fs::read_to_string("/proc/self/status").ok()?)?;
    stats.open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(stats)
}

fn parse(stat: &str, status: &str) -> Option<ProcessStats> {
    // The second field is the name in parentheses and may hold anything; behind it, utime and stime are the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(ProcessStats {
        cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        resident_bytes: field("VmRSS:")? * 1024,
        virtual_bytes: field("VmSize:")? * 1024,
        threads: field("Threads:")?,
        open_files: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100 1000 200";
        let status = "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n";
        let expected = ProcessStats {
            cpu_seconds: 2.0,
            resident_bytes: 1 << 20,
            virtual_bytes: 2 << 20,
            threads: 9,
            open_files: 0,
        };
        assert_eq!(parse(stat, status), Some(expected));
        assert_eq!(parse("", status), None);
    }

    #[test]
    fn this_process_has_numbers() {
        let stats = read().expect("Linux has /proc");
        assert!(stats.resident_bytes > 1 << 20 && stats.threads >= 1 && stats.open_files >= 3, "{stats:?}");
    }
}
