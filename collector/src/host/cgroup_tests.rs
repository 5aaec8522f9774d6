//! On files written as the kernel's documentation shows them, and, where this machine lets us make one, on a real cgroup.
#![allow(clippy::unwrap_used)]

use std::{fs, process::Command};

use super::*;
use crate::host::tests::shown;

const PATH: &str = "/system.slice/system-postgresql.slice/postgresql@16-main.service";

fn machine(folder: &Path, files: &[(&str, &str)]) -> Roots {
    for (file, text) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Roots { proc_dir: folder.join("proc"), sys_dir: folder.join("sys"), root_dir: folder.into() }
}

#[test]
fn a_units_cgroup_has_cadvisors_names() {
    let folder = tempfile::tempdir().unwrap();
    let unit = format!("sys/fs/cgroup{PATH}");
    let file = |name: &str| format!("{unit}/{name}");
    let (cpu, max, current, stat, events) =
        (file("cpu.stat"), file("cpu.max"), file("memory.current"), file("memory.stat"), file("memory.events"));
    let (limit, io, pressure, pids, procs) =
        (file("memory.max"), file("io.stat"), file("io.pressure"), file("pids.max"), file("cgroup.procs"));
    let line = format!("0::{PATH}\n");
    let roots = machine(
        folder.path(),
        &[
            ("proc/7/comm", "postgres\n"),
            ("proc/7/cgroup", &line),
            ("proc/8/comm", "postgres\n"),
            ("proc/8/cgroup", &line),
            ("proc/9/comm", "bash\n"),
            ("proc/9/cgroup", "0::/user.slice\n"),
            ("proc/10/comm", "mysqld\n"),
            ("proc/10/cgroup", "0::/../elsewhere\n"),
            ("proc/11/comm", "mariadbd\n"),
            ("proc/11/cgroup", "0::/\n"),
            ("proc/self/comm", "postgres\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
            ("sys/fs/cgroup/cpu.stat", "usage_usec 9\n"),
            (
                &cpu,
                "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\nnr_periods 40\nnr_throttled 4\nthrottled_usec 250000\n",
            ),
            (&max, "200000 100000\n"),
            (&current, "1000\n"),
            (&stat, "anon 400\nfile 500\nactive_file 200\ninactive_file 300\n"),
            (&events, "low 0\nhigh 0\nmax 6\noom 2\noom_kill 1\noom_group_kill 0\n"),
            (&limit, "max\n"),
            (&io, "253:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n"),
            (
                &pressure,
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
            ),
            (&pids, "max\n"),
            (&procs, "7\n8\n"),
        ],
    );
    fs::create_dir_all(folder.path().join("sys/dev/block")).unwrap();
    std::os::unix::fs::symlink("../../devices/virtio/block/vda", folder.path().join("sys/dev/block/253:0")).unwrap();
    let found = find(&roots);
    assert_eq!(found, Found::from([("/".to_owned(), "mariadbd"), (PATH.to_owned(), "postgres")]));
    let labels = format!("{{id={PATH:?},name=\"postgresql@16-main.service\",program=\"postgres\"}}");
    let on_disk = labels.replacen('{', "{device=\"/dev/vda\",", 1);
    let mut want: Vec<String> = [
        ("container_cpu_usage_seconds_total", 5.0),
        ("container_cpu_user_seconds_total", 3.0),
        ("container_cpu_system_seconds_total", 2.0),
        ("container_cpu_cfs_throttled_seconds_total", 0.25),
        ("container_cpu_cfs_periods_total", 40.0),
        ("container_cpu_cfs_throttled_periods_total", 4.0),
        ("container_spec_cpu_quota", 200_000.0),
        ("container_spec_cpu_period", 100_000.0),
        ("container_memory_usage_bytes", 1000.0),
        ("container_memory_working_set_bytes", 700.0),
        ("container_spec_memory_limit_bytes", 0.0),
        ("container_memory_rss", 400.0),
        ("container_memory_cache", 500.0),
        ("container_memory_failcnt", 6.0),
        ("container_oom_events_total", 1.0),
        ("container_pressure_io_waiting_seconds_total", 1.5),
        ("container_pressure_io_stalled_seconds_total", 0.5),
        ("container_processes", 2.0),
    ]
    .map(|(name, value)| format!("{name}{labels} {value}\n"))
    .into();
    want.extend(
        [
            ("container_fs_reads_bytes_total", 10),
            ("container_fs_writes_bytes_total", 20),
            ("container_fs_reads_total", 1),
            ("container_fs_writes_total", 2),
        ]
        .map(|(name, value)| format!("{name}{on_disk} {value}\n")),
    );
    want.sort();
    assert_eq!(shown(|page| read(&roots, &found, page)), want.concat());
}

#[test]
fn version_one_alone_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("proc/7/comm", "postgres\n"),
        ("proc/7/cgroup", "9:memory:/a\n0::/a\n"),
        ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1\n"),
    ];
    let roots = machine(folder.path(), &files);
    assert_eq!(shown(|page| read(&roots, &find(&roots), page)), "");
}

#[test]
fn a_real_cgroup_is_read() {
    let base = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let Some(base) = base.into_iter().find(|b| Path::new(b).join("cgroup.controllers").exists()) else {
        return println!("skipped: no cgroup v2 is mounted here");
    };
    let name = format!("tidewatch-test-{}", std::process::id());
    let group = Path::new(base).join(&name);
    if let Err(e) = fs::create_dir(&group) {
        return println!("skipped: a cgroup can't be made here: {e}");
    }
    // A process that the kernel calls as it calls a server.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("mariadbd");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg("600").spawn().unwrap();
    let moved = fs::write(group.join("cgroup.procs"), child.id().to_string());
    let roots = Roots { proc_dir: "/proc".into(), sys_dir: "/sys".into(), root_dir: "/".into() };
    let found = find(&roots);
    let text = shown(|page| read(&roots, &found, page));
    child.kill().unwrap();
    child.wait().unwrap();
    let removed = fs::remove_dir(&group);
    moved.unwrap();
    let path = found.iter().find(|(path, _)| path.ends_with(&name));
    assert_eq!(path.map(|(_, program)| *program), Some("mariadbd"), "{found:?}");
    for metric in ["container_cpu_usage_seconds_total", "container_processes"] {
        let line = text.lines().find(|l| l.starts_with(metric) && l.contains(&name));
        assert!(line.is_some(), "{metric} of {name}:\n{text}");
    }
    removed.unwrap();
}
