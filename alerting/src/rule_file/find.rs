//! Which files hold rules, and reading them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{RuleFileError, parse};
use crate::rule::RuleGroup;

/// Largest rule file read, bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most files behind all patterns together.
pub const FILES_MAX: usize = 10_000;

/// The files behind patterns of `*` and `?`, sorted. Patterns are relative to `base`; a pattern without `*` and `?` is a
/// file whether it is there or not.
pub fn find(patterns: &[String], base: &Path) -> Result<Vec<PathBuf>, RuleFileError> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let path = base.join(pattern);
        if !pattern.contains(['*', '?']) {
            found.insert(path);
            continue;
        }
        found.extend(expand(&path).into_iter().filter(|p| p.is_file()));
        if found.len() > FILES_MAX {
            let message = format!("{} files and more behind the patterns; at most {FILES_MAX} are read", found.len());
            return Err(RuleFileError { file: patterns.join(" "), line: None, message });
        }
    }
    Ok(found.into_iter().collect())
}

/// The paths behind a pattern, folder by folder.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_str().unwrap_or("");
        if !name.contains(['*', '?']) {
            paths.iter_mut().for_each(|p| p.push(part));
            continue;
        }
        let entries = |folder: &PathBuf| {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let fits = |n: &std::ffi::OsString| n.to_str().is_some_and(|n| matches_pattern(name, n));
            entries.map(|e| e.file_name()).filter(fits).collect::<Vec<_>>()
        };
        paths = paths.iter().flat_map(|p| entries(p).into_iter().map(|n| p.join(n))).take(FILES_MAX + 1).collect();
    }
    paths
}

/// Whether a name fits a pattern of `*` and `?`.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches_pattern(&pattern[1..], name)
                || name.chars().next().is_some_and(|c| matches_pattern(pattern, &name[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) => matches_pattern(&pattern[1..], &name[c.len_utf8()..]),
        (Some(p), Some(c)) if p == c => matches_pattern(&pattern[p.len_utf8()..], &name[c.len_utf8()..]),
        _ => false,
    }
}

/// A rule file's text.
pub fn text(path: &Path) -> Result<String, RuleFileError> {
    let error = |message: String| RuleFileError { file: path.display().to_string(), line: None, message };
    let size = std::fs::metadata(path).map_err(|e| error(format!("can't be read: {e}")))?.len();
    if size > FILE_BYTES_MAX {
        return Err(error(format!("has {size} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    std::fs::read_to_string(path).map_err(|e| error(format!("can't be read: {e}")))
}

/// Reads and checks one file.
pub fn read(path: &Path, interval_ms: i64) -> Result<Vec<RuleGroup>, RuleFileError> {
    parse(&path.display().to_string(), &text(path)?, interval_ms)
}

/// Reads and checks every file behind the patterns; one bad file and nothing is loaded.
pub fn load(patterns: &[String], base: &Path, interval_ms: i64) -> Result<Vec<RuleGroup>, RuleFileError> {
    let mut groups = Vec::new();
    for path in find(patterns, base)? {
        groups.extend(read(&path, interval_ms)?);
    }
    groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    Ok(groups)
}
