//! The groups together, on this machine's own kernel and on broken ones.
#![allow(clippy::unwrap_used)]

use super::*;

/// What a reading added, one sample a line in order of text, without the labels every sample has.
pub fn shown(read: impl FnOnce(&mut Page<'_>)) -> String {
    let mut page = Page::new("h", 1000, false);
    read(&mut page);
    let samples = page.into_samples().build();
    let mut lines: Vec<String> = samples
        .series
        .iter()
        .zip(&samples.values)
        .map(|(&series, value)| {
            let labels = &samples.labels[series as usize];
            assert_eq!((labels.get("instance"), labels.get("job")), (Some("h"), Some("node")));
            let own: Vec<String> = labels
                .iter()
                .filter(|(name, _)| !matches!(*name, "__name__" | "instance" | "job"))
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            let braces = if own.is_empty() { String::new() } else { format!("{{{}}}", own.join(",")) };
            format!("{}{braces} {value}\n", labels.metric_name())
        })
        .collect();
    lines.sort();
    lines.concat()
}

fn real() -> Roots {
    let config = HostConfig::default();
    Roots { proc_dir: config.proc_dir, sys_dir: config.sys_dir, root_dir: config.root_dir }
}

#[test]
fn this_machine_gives_every_group() {
    let mut groups = GROUPS.to_vec();
    groups.push(FILESYSTEM);
    if !std::path::Path::new("/proc/pressure/cpu").exists() {
        println!("skipped: group pressure, this kernel has no /proc/pressure");
        groups.retain(|g| g.name != "pressure");
    }
    let (samples, results) = read_groups(&groups, &real(), "h", 1000, true);
    for result in &results {
        assert_eq!(result.error, None, "{}", result.name);
    }
    let names: Vec<&str> = samples.labels.iter().map(|l| l.metric_name()).collect();
    for want in [
        "node_cpu_seconds_total",
        "node_load1",
        "node_memory_MemAvailable_bytes",
        "node_vmstat_pgmajfault",
        "node_network_receive_bytes_total",
        "node_filefd_allocated",
        "node_boot_time_seconds",
        "node_time_seconds",
        "node_uname_info",
        "node_netstat_Tcp_CurrEstab",
        "node_processes_pids",
    ] {
        assert!(names.contains(&want), "{want} is missing of {} series", names.len());
    }
    assert!(samples.families.iter().any(|f| f.name == "node_load1" && f.kind == "gauge"));
    assert_eq!(samples.families.iter().filter(|f| f.name == "node_cpu_seconds_total").count(), 1);
}

#[test]
fn a_group_that_fails_leaves_the_others_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("loadavg"), "1 2 3 1/2 3\n").unwrap();
    let roots = Roots { proc_dir: directory.path().into(), ..real() };
    let (samples, results) = read_groups(GROUPS, &roots, "h", 1000, false);
    let failed = results.iter().find(|r| r.name == "meminfo").unwrap();
    assert!(failed.error.as_deref().unwrap().contains("meminfo"), "{failed:?}");
    assert!(results.iter().any(|r| r.name == "loadavg" && r.error.is_none()));
    assert!(samples.labels.iter().any(|l| l.metric_name() == "node_load15"));
}

#[tokio::test]
async fn a_reading_arrives_in_the_outlet_and_shutdown_ends_it() {
    let (outlet, captured) = crate::outlet::Outlet::capture();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let context = Context {
        outlet,
        clock: crate::clock::Clock::new(|| 5000),
        shutdown: shutdown.clone(),
        host: "h".into(),
        desk: Default::default(),
        log_files: tokio::sync::mpsc::channel(1).0,
    };
    let watching = tokio::spawn(watch(HostConfig::default(), context));
    let deadline = Instant::now() + Duration::from_secs(30);
    let payloads = loop {
        let payloads = captured.take();
        if !payloads.is_empty() {
            break payloads;
        }
        assert!(Instant::now() < deadline, "no reading");
        tokio::task::yield_now().await;
    };
    shutdown.cancel();
    watching.await.unwrap();
    let proto::Payload::Samples(samples) = &payloads[0] else { panic!("samples are sent") };
    assert!(samples.timestamps_ms.iter().all(|&ts| ts == 5000));
    let up = samples.labels.iter().find(|l| l.metric_name() == "node_scrape_collector_success").unwrap();
    assert_eq!((up.get("instance"), up.get("job")), (Some("h"), Some("node")));
}
