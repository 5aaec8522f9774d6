//! House rules: the rooms' edges, and how every file looks. docs: ARCHITECTURE.md.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Files past 600 lines, each with its reason. This list may only shrink.
const LONG_FILES: &[(&str, &str)] = &[];
const LINES_MAX: usize = 600;
const LINES_END: usize = 1_000;
const BANNED_STEMS: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "types", "manager", "prelude", "v2"];

/// Who may use whom. Complete: what is not here must not be.
const EDGES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("collector", &["proto"]),
    ("storage", &["proto"]),
    ("ingest", &["proto", "storage"]),
    ("query", &["proto", "storage"]),
    ("diagnosis", &["proto", "query"]),
    ("alerting", &["proto", "query", "diagnosis", "storage"]),
    ("server", &["proto", "collector", "storage", "ingest", "query", "diagnosis", "alerting"]),
    ("benches", &["proto", "collector", "storage", "ingest", "query", "diagnosis", "alerting", "server"]),
    ("tests", &["proto", "collector", "storage", "ingest", "query", "diagnosis", "alerting", "server"]),
];

/// Libraries that must stay out of a room: the collector is small, DataFusion lives in query and above.
const KEPT_OUT: &[(&str, &[&str])] = &[
    ("proto", &["arrow", "parquet", "datafusion", "tokio"]),
    ("collector", &["arrow", "parquet", "datafusion"]),
    ("storage", &["datafusion"]),
    ("ingest", &["datafusion"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Tracked files and new ones that are not ignored.
fn files() -> Vec<String> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(out.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().filter(|f| root().join(f).is_file()).map(str::to_owned).collect()
}

fn text(file: &str) -> Option<String> {
    String::from_utf8(fs::read(root().join(file)).unwrap()).ok()
}

fn dependencies(room: &str) -> BTreeSet<String> {
    let manifest = text(&format!("{room}/Cargo.toml")).unwrap();
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some(end) = line.find(['.', ' ', '=']) {
            found.insert(line[..end].to_owned());
        }
    }
    found
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let rooms: BTreeSet<&str> = EDGES.iter().map(|(room, _)| *room).collect();
    for (room, allowed) in EDGES {
        for dependency in dependencies(room).iter().filter(|d| rooms.contains(d.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{room} must not use {dependency}");
        }
    }
    for (room, kept_out) in KEPT_OUT {
        for dependency in dependencies(room) {
            assert!(!kept_out.contains(&dependency.as_str()), "{dependency} must stay out of {room}");
        }
    }
}

#[test]
fn no_room_names_a_version_of_its_own() {
    for (room, _) in EDGES {
        let manifest = text(&format!("{room}/Cargo.toml")).unwrap();
        for line in manifest.lines().filter(|l| l.contains("version =") || l.contains("= \"")) {
            let of_package = line.starts_with("name =") || line.starts_with("path =") || line.starts_with("build =");
            assert!(of_package, "{room}/Cargo.toml: `{line}`: versions stand in the workspace manifest");
        }
    }
}

#[test]
fn every_file_is_tidy() {
    let mut wrong = Vec::new();
    let allowed: BTreeMap<&str, &str> = LONG_FILES.iter().copied().collect();
    for file in files() {
        let path = Path::new(&file);
        let stem = path.file_stem().unwrap().to_string_lossy().to_lowercase();
        if BANNED_STEMS.contains(&stem.as_str()) {
            wrong.push(format!("{file}: the name says nothing; name the thing it holds"));
        }
        let Some(content) = text(&file) else { continue };
        if !file.ends_with(".rs") {
            continue;
        }
        if !content.starts_with("//!") {
            wrong.push(format!("{file}: must open with what it is (//!)"));
        }
        let lines = content.lines().count();
        if lines > LINES_END || (lines > LINES_MAX && !allowed.contains_key(file.as_str())) {
            wrong.push(format!("{file}: {lines} lines; split it ({LINES_MAX} is the limit)"));
        }
        for (number, line) in content.lines().enumerate() {
            let at = format!("{file}:{}", number + 1);
            if line.ends_with(' ') || line.ends_with('\t') {
                wrong.push(format!("{at}: trailing space"));
            }
            if file.ends_with("tests/tests/house.rs") {
                continue;
            }
            for banned in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME", "XXX"] {
                if line.contains(banned) {
                    wrong.push(format!("{at}: {banned}"));
                }
            }
        }
    }
    for (file, _) in LONG_FILES {
        let lines = text(file).map_or(0, |c| c.lines().count());
        if lines <= LINES_MAX {
            wrong.push(format!("{file} has {lines} lines: take it off the list of long files"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn rooms_lie_flat() {
    for file in files().iter().filter(|f| f.ends_with(".rs")) {
        if let Some((_, below)) = file.split_once("/src/") {
            assert!(below.matches('/').count() <= 1, "{file}: at most one folder below src");
        }
    }
}

#[test]
fn no_path_of_one_machine_and_no_sleep_in_tests() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|f| !f.ends_with("tests/tests/house.rs") && !f.ends_with(".lock")) {
        let Some(content) = text(file) else { continue };
        for (number, line) in content.lines().enumerate() {
            if line.contains(concat!("/ro", "ot/")) || line.contains("/home/") && !line.contains("/home/user") {
                wrong.push(format!("{file}:{}: a path of one machine", number + 1));
            }
            let in_test = file.starts_with("tests/tests/") || file.ends_with("/tests.rs") || file.ends_with("_test.rs");
            if in_test && line.contains("sleep(") && !line.contains("poll interval") {
                wrong.push(format!("{file}:{}: a sleep; poll with a deadline", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_map_names_only_files_that_exist() {
    let map = text("ARCHITECTURE.md").unwrap();
    assert!(map.lines().count() < 300, "ARCHITECTURE.md is a map: under 300 lines");
    let mut named = 0;
    for word in map.split('`').skip(1).step_by(2) {
        let is_path = word.contains('/') && !word.contains([' ', '<', '{', '*', '(']) && !word.starts_with(['/', '-']);
        if is_path
            && EDGES.iter().map(|e| e.0).chain(["web", "docs", ".ci"]).any(|room| word.starts_with(&format!("{room}/")))
        {
            assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}, which does not exist");
            named += 1;
        }
    }
    assert!(named >= 30, "the map names only {named} files");
}

#[test]
fn every_library_has_its_reason() {
    let reasons = text("docs/decisions/dependencies.md").unwrap();
    let manifest = text("Cargo.toml").unwrap();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for line in section.lines().filter(|l| l.contains(" = ") && !l.starts_with('#') && !l.contains("path =")) {
        let name = line.split(" = ").next().unwrap();
        let reasoned = reasons
            .lines()
            .filter(|l| l.starts_with("| "))
            .any(|l| l.split('|').nth(1).unwrap().split(',').any(|word| word.trim() == name));
        assert!(reasoned, "docs/decisions/dependencies.md has no line for {name}");
    }
}

#[test]
fn the_example_configuration_is_correct() {
    let config = server::config::Config::load(&root().join("docs/examples/tidewatch.yaml")).unwrap();
    assert!(config.alerting.receivers.contains_key("dba"));
}
