//! PostgreSQL of every major version the templates are run against: programs that npm unpacks once into a cache folder, by
//! a lock file that pins each version and its checksum (`tests/postgresql`).

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{postgres::StartError, process::is_root};

/// Every version there is.
pub const MAJORS: [u32; 6] = [13, 14, 15, 16, 17, 18];

const MANIFEST: &str = include_str!("../postgresql/package.json");
const LOCK: &str = include_str!("../postgresql/package-lock.json");
/// Where root keeps them: the servers run as another account, which must be able to reach them.
const ROOTS_CACHE: &str = "/var/cache/tidewatch-tests/postgresql";

/// The folder with `postgres` and `initdb` of a version; fetched the first time.
pub fn programs(major: u32) -> Result<PathBuf, StartError> {
    let cache = if is_root() {
        PathBuf::from(ROOTS_CACHE)
    } else {
        let own = std::env::current_exe()?;
        own.ancestors().nth(3).unwrap_or(Path::new(".")).join("postgresql-versions")
    };
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?; // another test may be fetching
    let done = cache.join("fetched-lock.json");
    if !fs::read_to_string(&done).is_ok_and(|text| text == LOCK) {
        fs::write(cache.join("package.json"), MANIFEST)?;
        fs::write(cache.join("package-lock.json"), LOCK)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&cache).stdin(Stdio::null());
        let out = npm.output().map_err(|_| StartError::NotInstalled("npm".into()))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr).lines().take(5).collect::<Vec<_>>().join(" ");
            return Err(StartError::NotInstalled(format!("PostgreSQL {major}, which npm could not fetch ({said}),")));
        }
        for major in MAJORS {
            make_links(&package(&cache, major))?;
        }
        fs::write(&done, LOCK)?;
    }
    let bin = package(&cache, major).join("native/bin");
    if !bin.join("postgres").exists() {
        return Err(StartError::Failed(format!("{}: no postgres there", bin.display())));
    }
    Ok(bin)
}

fn package(cache: &Path, major: u32) -> PathBuf {
    cache.join("node_modules").join(format!("postgresql-{major}"))
}

/// A link that could not be packed; both names are in one folder.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// The packages can't hold symbolic links and list them instead.
fn make_links(package: &Path) -> Result<(), StartError> {
    let list = package.join("native/pg-symlinks.json");
    let links: Vec<Link> = serde_json::from_str(&fs::read_to_string(&list)?)
        .map_err(|e| StartError::Failed(format!("{}: {e}", list.display())))?;
    for link in links {
        let (Some(to), at) = (link.source.file_name(), package.join(&link.target)) else { continue };
        if !at.exists() {
            std::os::unix::fs::symlink(to, at)?;
        }
    }
    Ok(())
}
