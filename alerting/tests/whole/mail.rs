//! Mail to a real SMTP server (aiosmtpd): every kind of protection, login, both languages, refusals.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use alerting::Config;
use alerting::config::Channel;
use alerting::deliver::{Outcome, Receipt, Telling};
use alerting::mail::{Mail, send};
use alerting::message::{AlertNote, Message, Why};
use serde_json::Value as Json;

/// A Python that has aiosmtpd: the system's, or one made for the tests; `None` says why on the output.
fn python() -> Option<PathBuf> {
    let has =
        |python: &Path| Command::new(python).args(["-c", "import aiosmtpd"]).output().is_ok_and(|o| o.status.success());
    let system = PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aiosmtpd");
    let own = folder.join("bin/python3");
    if has(&own) {
        return Some(own);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output().is_ok_and(|o| o.status.success())
        && Command::new(&own)
            .args(["-m", "pip", "install", "-q", "aiosmtpd"])
            .output()
            .is_ok_and(|o| o.status.success());
    if !made {
        println!("skipped: python3 has no aiosmtpd and it can't be installed");
        return None;
    }
    Some(own)
}

struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(python: &Path, mode: &str, folder: &Path) -> Peer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whole/smtp_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(mode)
            .args([folder.join("cert.pem"), folder.join("key.pem")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Peer { child, lines, port }
    }

    fn next(&mut self) -> Json {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

fn message() -> Message {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let alert = AlertNote {
        id: "00ab-1".into(),
        fingerprint: "00ab".into(),
        level: alerting::Level::Critical,
        labels: map(&[("alertname", "LockPileup"), ("instance", "db1")]),
        annotations: map(&[("summary", "12 sessions wait"), ("summary_zh", "12 个会话在等待锁")]),
        starts_at_ms: 1_760_000_000_000,
        ends_at_ms: None,
        value: Some(12.0),
        end_reason: None,
        link: "http://watch:7400/alert/00ab-1".into(),
        rule_group: "g;r.yml".into(),
    };
    Message {
        receiver: "dba".into(),
        group_key: "{}".into(),
        group_labels: map(&[]),
        why: Why::First,
        alerts: vec![alert],
        external_url: "http://watch:7400".into(),
        made_at_ms: 1_760_000_000_000,
        digest: None,
    }
}

async fn tell(mail: &Mail, key: &str) -> Receipt {
    let (message, known) = (message(), BTreeMap::new());
    send(mail, &Telling { message: &message, key, known: &known, now_ms: message.made_at_ms }).await
}

fn channel(folder: &Path, port: u16, rest: &str) -> Mail {
    let yaml = format!(
        "receivers: [{{name: dba, mails: [{{to: [dba@example.org, 'On Call <oncall@example.org>'], from: 'Tidewatch <watch@example.org>', smarthost: 'localhost:{port}', {rest}}}]}}]"
    );
    let raw: Config = serde_saphyr::from_str(&yaml).unwrap();
    let settings = raw.check(folder).unwrap();
    match &settings.receivers["dba"].channels[0] {
        Channel::Mail(mail) => mail.clone(),
        other => panic!("{other:?}"),
    }
}

fn certificate(folder: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output();
    made.is_ok_and(|o| o.status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_arrives_by_every_road() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "secret word\n").unwrap();
    if !certificate(folder.path()) {
        println!("skipped: openssl can't make a certificate");
        return;
    }
    let login = "username: watch, password_file: password, ca_file: cert.pem";
    for (mode, rest, subject, words) in [
        ("none", "tls: none".to_string(), "[critical 1] LockPileup: 12 sessions wait", "evidence and history"),
        (
            "starttls",
            format!("tls: starttls, {login}, language: zh"),
            "[严重 1] LockPileup：12 个会话在等待锁",
            "现场证据与历史",
        ),
        ("tls", format!("tls: tls, {login}"), "[critical 1] LockPileup: 12 sessions wait", "evidence and history"),
    ] {
        let mut peer = Peer::start(&python, mode, folder.path());
        let receipt = tell(&channel(folder.path(), peer.port, &rest), "0011223344556677").await;
        assert_eq!(receipt.outcome, Outcome::Taken, "{mode}: {receipt:?}");
        let mail = peer.next();
        assert_eq!(mail["subject"], subject, "{mode}");
        assert_eq!(mail["to"], serde_json::json!(["dba@example.org", "oncall@example.org"]));
        assert_eq!((&mail["id"], &mail["key"]), (&"<0011223344556677@example.org>".into(), &"0011223344556677".into()));
        assert!(mail["text"].as_str().unwrap().contains(words), "{mail}");
        assert!(mail["html"].as_str().unwrap().contains("http://watch:7400/alert/00ab-1"), "{mail}");
        assert_eq!(
            (mail["tls"].as_bool(), mail["login"].as_bool()),
            (Some(mode != "none"), Some(mode != "none")),
            "{mode}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_server_nobody_vouches_for_or_with_a_wrong_password() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "another word\n").unwrap();
    if !certificate(folder.path()) {
        println!("skipped: openssl can't make a certificate");
        return;
    }
    for mode in ["starttls", "tls"] {
        let peer = Peer::start(&python, mode, folder.path());
        let receipt = tell(&channel(folder.path(), peer.port, &format!("tls: {mode}")), "1").await;
        assert_ne!(receipt.outcome, Outcome::Taken, "{mode}: {receipt:?}");
        assert!(receipt.detail.contains("certificate"), "{mode}: {receipt:?}");
        let login = format!("tls: {mode}, username: watch, password_file: password, ca_file: cert.pem");
        let receipt = tell(&channel(folder.path(), peer.port, &login), "1").await;
        assert_eq!(receipt.outcome, Outcome::Refused, "{mode}: {receipt:?}");
        assert!(!receipt.detail.contains("another word"), "{receipt:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start(&python, "none", folder.path());
    let mut mail = channel(folder.path(), peer.port, "tls: none");
    mail.to = vec!["nobody@example.org".parse().unwrap()];
    assert_eq!(tell(&mail, "1").await.outcome, Outcome::Refused);
    mail.to = vec!["later@example.org".parse().unwrap()];
    assert_eq!(tell(&mail, "1").await.outcome, Outcome::Again { retry_after_ms: None });
    let port = peer.port;
    drop(peer);
    let gone = channel(folder.path(), port, "tls: none");
    assert_eq!(tell(&gone, "1").await.outcome, Outcome::Again { retry_after_ms: None });
    let plain = Peer::start(&python, "none", folder.path());
    let wants_tls = channel(folder.path(), plain.port, "tls: starttls");
    assert_ne!(tell(&wants_tls, "1").await.outcome, Outcome::Taken, "nothing leaves unprotected");
}
