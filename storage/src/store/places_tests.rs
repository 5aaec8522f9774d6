//! Where a test's parts are: local files, and a real S3 server (moto), if there is a Python that can run one.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::*;
use crate::{ObjectStoreConfig, S3Config};

const BUCKET: &str = "tidewatch";

/// A place of its own for one store.
pub(super) struct Place(ObjectStoreConfig);

impl Place {
    pub(super) fn config(&self, dir: &Path) -> StoreConfig {
        StoreConfig { object_store: self.0.clone(), ..config(dir) }
    }
}

/// Local files, and S3 unless it was said why not.
pub(super) fn places() -> Vec<Place> {
    [Some(Place(ObjectStoreConfig::Local)), s3()].into_iter().flatten().collect()
}

/// An empty prefix of the S3 server.
pub(super) fn s3() -> Option<Place> {
    static PEER: OnceLock<Option<Peer>> = OnceLock::new();
    static PREFIXES: AtomicU32 = AtomicU32::new(0);
    let endpoint = PEER.get_or_init(Peer::start).as_ref()?.endpoint.clone();
    let place = S3Config {
        bucket: BUCKET.into(),
        prefix: format!("test/{}", PREFIXES.fetch_add(1, Ordering::Relaxed)),
        region: "us-east-1".into(),
        endpoint,
        access_key_id: "key".into(),
        secret_access_key: "secret".into(),
        cache_bytes_max: 64 << 20,
        ..S3Config::default()
    };
    Some(Place(ObjectStoreConfig::S3(place)))
}

/// Runs as long as this process: it ends when its input does.
struct Peer {
    endpoint: String,
    _child: Child,
}

impl Peer {
    /// `None`: there is no moto here; the output says so.
    fn start() -> Option<Peer> {
        let Some(python) = python() else {
            println!("skipped: python3 has no moto and it can't be installed; parts in S3 are not tested");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/s3_peer.py");
        let mut command = Command::new(python);
        command.arg(script).arg(BUCKET).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("moto prints its port").unwrap();
        Some(Peer { endpoint: format!("http://127.0.0.1:{port}"), _child: child })
    }
}

/// The system's Python if it has moto, else one made in the target folder.
fn python() -> Option<PathBuf> {
    let runs = |command: &mut Command| command.output().is_ok_and(|o| o.status.success());
    let has = |python: &Path| runs(Command::new(python).args(["-c", "import moto.server, flask"]));
    let binary = std::env::current_exe().unwrap();
    let folder = binary.ancestors().nth(3).unwrap().join("tmp/moto");
    let (system, own) = (PathBuf::from("python3"), folder.join("bin/python3"));
    if let Some(found) = [&system, &own].into_iter().find(|python| has(python)) {
        return Some(found.clone());
    }
    let made = runs(Command::new(&system).args(["-m", "venv"]).arg(&folder))
        && runs(Command::new(&own).args(["-m", "pip", "install", "-q", "moto[server]"]));
    made.then_some(own)
}
