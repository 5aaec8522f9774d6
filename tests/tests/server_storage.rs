//! Operating the store of the real program: a snapshot while it runs, the snapshot checked, restored and served, series
//! deleted by API, damage told by file, parts looked into.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tests::{
    process::free_port,
    program::{self, Api, Program},
    wait,
};

/// Until the server has stored its own numbers.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the program says on both outputs, and whether it is content.
fn tidewatch(words: &[&str]) -> (bool, String) {
    let out = Command::new(program::path("tidewatch").unwrap()).args(words).output().unwrap();
    let said = [&out.stdout[..], &out.stderr[..]].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

async fn start(folder: &Path, data: &Path, admin: bool) -> (Program, Api) {
    let config = folder.join("tidewatch.yaml");
    std::fs::write(&config, format!("http: {{admin_api: {admin}}}\nalerting: {{builtin_rules: false}}\n")).unwrap();
    let http = format!("127.0.0.1:{}", free_port().unwrap());
    let (config, data) = (config.display().to_string(), data.display().to_string());
    let words =
        ["serve", "--config", &config, "--data-dir", &data, "--http-listen", &http, "--grpc-listen", "127.0.0.1:0"];
    let api = Api::new(format!("http://{http}"));
    let mut program = Program::start("tidewatch", words, &[], &folder.join("server.log")).unwrap();
    program.ready(api.base()).await.unwrap();
    (program, api)
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_snapshot_checked_restored_and_thinned_by_its_operator() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (program, api) = start(folder.path(), &data, false).await;
    let (good, said) = tidewatch(&["snapshot", "--server", api.base()]);
    assert!(!good && said.contains("admin_api: true"), "{said}");
    program.stop();

    let (program, api) = start(folder.path(), &data, true).await;
    let up = "count(up{job=\"tidewatch\"})";
    let stored = wait::until(PATIENCE, async || api.number(up).await.ok().flatten()).await;
    assert_eq!(stored, Some(1.0), "{}", program.output());
    let then =
        api.get("/api/v1/query", &[("query", "process_threads")]).await.unwrap()["result"][0]["value"][0].to_string();
    let threads_then = async |api: &Api| {
        let asked = [("query", "process_threads"), ("time", then.as_str())];
        api.get("/api/v1/query", &asked).await.unwrap()["result"].as_array().unwrap().len()
    };
    assert_eq!(threads_then(&api).await, 1);
    let (good, said) = tidewatch(&["snapshot", "--server", api.base()]);
    assert!(good, "{said}");
    let snapshot = said.trim().to_owned();
    let (good, said) = tidewatch(&["storage", "verify", "--data-dir", &snapshot]);
    assert!(good && said.ends_with("sound\n"), "{said}");
    let at = data.display().to_string();
    let (good, said) = tidewatch(&["storage", "verify", "--data-dir", &at]);
    assert!(!good && said.contains("in use") && said.contains("take a snapshot"), "{said}");

    let client = reqwest::Client::new();
    let delete = |query: &'static [(&'static str, &'static str)]| {
        let url = format!("{}/api/v1/admin/tsdb/delete_series", api.base());
        client.post(url).query(query).send()
    };
    let answer = delete(&[]).await.unwrap();
    assert_eq!(answer.status(), 400, "{:?}", answer.text().await);
    assert_eq!(delete(&[("match[]", "process_threads")]).await.unwrap().status(), 204);
    assert_eq!(threads_then(&api).await, 0);
    assert!(api.number("process_open_fds").await.unwrap().is_some(), "only what was asked for is gone");
    let page = client.get(format!("{}/metrics", api.base())).send().await.unwrap().text().await.unwrap();
    for line in ["tidewatch_storage_snapshots_total 1.0", "tidewatch_storage_deletions_total 1.0"] {
        assert!(page.contains(&format!("\n{line}\n")), "{line} is not in\n{page}");
    }
    program.stop();
    let (good, said) = tidewatch(&["storage", "verify", "--data-dir", &at]);
    assert!(good && said.ends_with("sound\n"), "{said}");

    // what was deleted here is in the snapshot still, and is served where it is restored
    let restored = folder.path().join("restored");
    let to = restored.display().to_string();
    let (good, said) = tidewatch(&["restore", &snapshot, "--data-dir", &to]);
    assert!(good && said.contains("restored"), "{said}");
    let (good, said) = tidewatch(&["restore", &snapshot, "--data-dir", &to]);
    assert!(!good && said.contains("holds a store already"), "{said}");
    let (program, api) = start(folder.path(), &restored, false).await;
    assert_eq!(threads_then(&api).await, 1);
    program.stop();

    let mut parts = Vec::new();
    files(&Path::new(&snapshot).join("parts"), &mut parts);
    let part = parts.iter().find(|p| p.display().to_string().contains("/metrics/")).unwrap();
    let (good, said) = tidewatch(&["storage", "inspect", &part.display().to_string()]);
    assert!(good && said.contains("metrics/3 of table metrics") && said.ends_with("sound\n"), "{said}");
    let mut bytes = std::fs::read(part).unwrap();
    bytes[64] ^= 1;
    std::fs::write(part, bytes).unwrap();
    let (good, said) = tidewatch(&["storage", "verify", "--data-dir", &snapshot]);
    let name = part.file_name().unwrap().to_string_lossy().into_owned();
    assert!(!good && said.contains(&name) && said.contains("checksum of bytes 0.."), "{said}");
    let (good, said) =
        tidewatch(&["restore", &snapshot, "--data-dir", &folder.path().join("no").display().to_string()]);
    assert!(!good && said.contains("the snapshot is damaged") && said.contains(&name), "{said}");
}
