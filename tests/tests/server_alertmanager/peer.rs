//! The servers: a private `tidewatch serve` and a private Alertmanager, with a receiver that keeps what each tells.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tests::{
    process::{Guard, free_port},
    program::{Api, Program},
    receiver::Receiver,
    wait,
};

/// Until Alertmanager answers.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A folder, ports, and a data directory that outlives the program.
pub struct Site {
    pub folder: tempfile::TempDir,
    http: u16,
    pub grpc: u16,
}

/// In memory where that can be: these tests are about what is said and when, and a busy disk's syncs take seconds.
fn folder() -> std::io::Result<tempfile::TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

impl Site {
    pub fn new() -> Site {
        Site { folder: folder().unwrap(), http: free_port().unwrap(), grpc: free_port().unwrap() }
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn api(&self) -> Api {
        Api::new(format!("http://127.0.0.1:{}", self.http))
    }

    /// `tidewatch serve` on the config `tidewatch.yaml` of the folder.
    pub async fn start(&self) -> Program {
        let [http, grpc] = [self.http, self.grpc].map(|port| format!("127.0.0.1:{port}"));
        let (config, data) = (self.path("tidewatch.yaml"), self.path("data"));
        let words = ["serve", "--config", &config, "--data-dir", &data, "--http-listen", &http, "--grpc-listen", &grpc];
        let mut program = Program::start("tidewatch", words, &[], Path::new(&self.path("server.log"))).unwrap();
        program.ready(self.api().base()).await.unwrap();
        program
    }
}

/// Either program.
enum Running {
    Ours(Program),
    Theirs(Guard),
}

/// A server that speaks Alertmanager's API and tells `receiver`.
pub struct Peer {
    pub name: &'static str,
    pub base: String,
    pub receiver: Receiver,
    /// Made once: making one takes a while.
    pub client: reqwest::Client,
    site: Site,
    running: Running,
}

/// Whether there is an Alertmanager here.
pub fn has_alertmanager() -> bool {
    let out =
        Command::new("prometheus-alertmanager").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    out.is_ok_and(|status| status.success())
}

impl Peer {
    /// Ours; `config` is made for the receiver's address.
    pub async fn tidewatch(name: &'static str, config: impl Fn(&str) -> String) -> Peer {
        let (site, receiver) = (Site::new(), Receiver::start().await.unwrap());
        site.write("tidewatch.yaml", &config(receiver.url()));
        let program = site.start().await;
        Peer {
            name,
            base: site.api().base().into(),
            receiver,
            client: reqwest::Client::new(),
            site,
            running: Running::Ours(program),
        }
    }

    /// Theirs.
    pub async fn alertmanager(external_url: &str, config: impl Fn(&str) -> String) -> Peer {
        let (site, receiver) = (Site::new(), Receiver::start().await.unwrap());
        site.write("alertmanager.yml", &config(receiver.url()));
        let log = std::fs::File::create(site.path("server.log")).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command.args([
            format!("--config.file={}", site.path("alertmanager.yml")),
            format!("--storage.path={}", site.path("data")),
            format!("--web.listen-address=127.0.0.1:{}", site.http),
            format!("--web.external-url={external_url}"),
            "--cluster.listen-address=".into(),
        ]);
        let guard = Guard::start(command.stdout(Stdio::null()).stderr(log), Signal::TERM).unwrap();
        let base = site.api().base().to_string();
        let peer = Peer {
            name: "alertmanager",
            base,
            receiver,
            client: reqwest::Client::new(),
            site,
            running: Running::Theirs(guard),
        };
        let ready = format!("{}/-/ready", peer.base);
        let up = async || peer.client.get(&ready).send().await.ok()?.status().is_success().then_some(());
        assert!(wait::until(READY_TIMEOUT, up).await.is_some(), "alertmanager did not start\n{}", peer.output());
        peer
    }

    /// What it printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.site.path("server.log")).unwrap_or_default()
    }

    pub fn stop(self) {
        match self.running {
            Running::Ours(program) => program.stop(),
            Running::Theirs(mut guard) => guard.stop(),
        }
    }
}
