//! `tidewatch storage …`, `snapshot` and `restore`: the store from the command line.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::Value;
use storage::StoreConfig;

use crate::{api::admin::BESIDE, cli::StoreAt, config::Config, rule_commands::Verdict};

/// The settings of the store that is meant.
pub fn store_at(at: &StoreAt) -> anyhow::Result<StoreConfig> {
    let mut store = match &at.config {
        Some(file) => Config::load(file)?.store,
        None => StoreConfig::default(),
    };
    if let Some(dir) = &at.data_dir {
        store.data_dir.clone_from(dir);
    } else if at.config.is_none() {
        bail!("which store? give --data-dir DIR or --config FILE");
    }
    Ok(store)
}

/// Reads all of a store; what is wrong is told line by line.
pub async fn verify(at: &StoreAt) -> anyhow::Result<Verdict> {
    let store = store_at(at)?;
    let report =
        storage::verify(&store).await.context("to check a running server's data, take a snapshot and check that");
    let report = report?;
    let mut text = format!(
        "{}: {} parts of {} bytes with {} rows and {} samples; {} records in {} log segments\n",
        store.data_dir.display(),
        report.parts,
        report.part_bytes,
        report.rows,
        report.samples,
        report.log_records,
        report.log_segments
    );
    report.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    for damage in &report.damages {
        writeln!(text, "damaged: {}: {}", damage.file, damage.what)?;
    }
    if report.damages_untold > 0 {
        writeln!(text, "damaged: {} more places", report.damages_untold)?;
    }
    if report.is_sound() {
        text += "sound\n";
    }
    Ok((text, report.is_sound()))
}

/// Looks into files of parts.
pub async fn inspect(files: &[PathBuf]) -> anyhow::Result<Verdict> {
    let (mut text, mut good) = (String::new(), true);
    for file in files {
        let found = storage::inspect(file).await?;
        good &= found.damages.is_empty();
        write!(text, "{found}")?;
    }
    Ok((text, good))
}

/// Has a running server take a snapshot; gives its directory.
pub async fn snapshot(server: &str) -> anyhow::Result<String> {
    let url = format!("{}/api/v1/admin/tsdb/snapshot", server.trim_end_matches('/'));
    let sent = reqwest::Client::new().post(&url).send().await;
    let response = sent.with_context(|| format!("no answer from {url}; does tidewatch run there?"))?;
    let text = response.text().await.with_context(|| format!("the answer of {url} ended early"))?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON"))?;
    match answer["data"]["directory"].as_str() {
        Some(directory) => Ok(format!("{directory}\n")),
        None => bail!("{}", answer["error"].as_str().unwrap_or(&text)),
    }
}

/// Makes a store of a snapshot.
pub async fn restore(from: &Path, at: &StoreAt) -> anyhow::Result<String> {
    let store = store_at(at)?;
    let report = storage::restore(from, &store, BESIDE).await?;
    Ok(format!(
        "restored {} parts of {} bytes and {} other files to {}\n",
        report.parts,
        report.bytes,
        report.files,
        store.data_dir.display()
    ))
}
