//! The manifest: which parts there are, and from where the log is needed. Replaced whole and atomically.
//!
//! One line — `tidewatch-manifest`, format version, CRC32C of the rest in hex, length of the rest — then JSON.
//! Byte by byte: docs/formats/manifest.md.

mod home;

use std::collections::BTreeMap;

pub(crate) use home::ManifestHome;
use serde::{Deserialize, Serialize};

use crate::part::PartEntry;

/// Version of the manifest's format.
pub(crate) const VERSION: u32 = 2;
/// The oldest version that is read: 1 had no `offsets`.
const VERSION_MIN: u32 = 1;
const MAGIC: &str = "tidewatch-manifest";
/// Name of the manifest, in the data directory or the object store.
pub(crate) const NAME: &str = "manifest";

/// Everything that must survive beside parts and log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Counts replacements.
    pub(crate) revision: u64,
    /// The first log segment whose records are not in parts.
    pub(crate) log_segment: u64,
    /// The next part's id and sequence.
    pub(crate) next_part: u64,
    /// Per source, the highest sequences that are in parts.
    pub(crate) sources: Vec<SourceEntry>,
    /// Per partition read, the offset behind what is in parts.
    #[serde(default)]
    pub(crate) offsets: Vec<OffsetEntry>,
    /// Per tenant, what metrics are.
    pub(crate) families: BTreeMap<String, BTreeMap<String, FamilyEntry>>,
    pub(crate) parts: Vec<PartEntry>,
}

/// The sequences of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceEntry {
    pub(crate) collector: String,
    pub(crate) epoch: u64,
    /// When it was last heard of, for forgetting the least recent.
    pub(crate) seen_ms: i64,
    /// Class number on the wire → highest sequence.
    pub(crate) sequences: BTreeMap<i32, u64>,
}

/// How far a partition was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OffsetEntry {
    pub(crate) stream: String,
    pub(crate) partition: u32,
    /// The offset to go on at.
    pub(crate) next: u64,
    /// When it was last read, for forgetting the least recent.
    pub(crate) seen_ms: i64,
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FamilyEntry {
    pub(crate) kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) help: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) unit: String,
}

/// Why bytes are not a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ManifestError {
    Version(u32),
    Damaged(String),
}

impl Manifest {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_else(|e| unreachable!("plain data into memory: {e}"));
        let mut out = format!("{MAGIC} {VERSION} {:08x} {}\n", crc32c::crc32c(&json), json.len()).into_bytes();
        out.extend_from_slice(&json);
        out.push(b'\n');
        out
    }

    /// Reads its bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let damaged = |what: &str| ManifestError::Damaged(what.into());
        let end = bytes.iter().take(128).position(|b| *b == b'\n').ok_or_else(|| damaged("no first line"))?;
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("first line is not text"))?;
        let words: Vec<&str> = line.split(' ').collect();
        let [MAGIC, version, crc, len] = words[..] else { return Err(damaged("first line is not a manifest's")) };
        let version: u32 = version.parse().map_err(|_| damaged("version is no number"))?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(ManifestError::Version(version));
        }
        let len: usize = len.parse().map_err(|_| damaged("length is no number"))?;
        let json = bytes[end + 1..].get(..len).ok_or_else(|| damaged("shorter than it says"))?;
        if format!("{:08x}", crc32c::crc32c(json)) != crc {
            return Err(damaged("checksum differs"));
        }
        serde_json::from_slice(json).map_err(|e| ManifestError::Damaged(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn example() -> Manifest {
        let part = PartEntry {
            id: 7,
            sequence: 6,
            tenant: "0".into(),
            table: "logs".into(),
            day: 20_779,
            min_ts_ms: 1_795_305_600_000,
            max_ts_ms: 1_795_305_660_000,
            rows: 12,
            bytes: 3456,
            level: 1,
            path: "v1/0/logs/2026-11-22/0000000000000007.parquet".into(),
        };
        let source =
            SourceEntry { collector: "db1".into(), epoch: 3, seen_ms: 1, sequences: BTreeMap::from([(1, 9), (7, 4)]) };
        let family = FamilyEntry { kind: "gauge".into(), help: "Whether it answers.".into(), unit: String::new() };
        let families = BTreeMap::from([("0".into(), BTreeMap::from([("up".into(), family)]))]);
        let offset = OffsetEntry { stream: "cluster/tidewatch".into(), partition: 3, next: 41, seen_ms: 1 };
        let (sources, offsets, parts) = (vec![source], vec![offset], vec![part]);
        Manifest { revision: 2, log_segment: 5, next_part: 8, sources, offsets, families, parts }
    }

    #[test]
    fn golden_bytes_of_version_1_are_read() {
        let golden = include_bytes!("../testdata/manifest-v1");
        assert_eq!(Manifest::decode(golden).unwrap(), Manifest { offsets: Vec::new(), ..example() });
        assert_eq!(Manifest::decode(b"tidewatch-manifest 3 00000000 0\n\n"), Err(ManifestError::Version(3)));
    }

    #[test]
    fn golden_bytes_of_version_2() {
        let golden = include_bytes!("../testdata/manifest-v2");
        assert_eq!(Manifest::decode(golden).unwrap(), example());
        assert_eq!(String::from_utf8(example().encode()).unwrap(), String::from_utf8(golden.to_vec()).unwrap());
        assert_eq!(crate::part::part_path("0", "logs", 20_779, 7, None), example().parts[0].path);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = example().encode();
        for bit in 0..(bytes.len() - 1) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() - 1 {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "length {len}");
        }
    }
}
