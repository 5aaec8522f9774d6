//! Pages of real peers that ask for something: Debian's Prometheus and node_exporter in protobuf, behind TLS and a login;
//! shares by `hashmod` as Prometheus deals them; targets by a real question to a name server.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use collector::{
    Config,
    config::{ScrapeConfig, ScrapeSource},
    scrape::{self, exposition::Page, fetch::Client, target::target, tls::Tls},
};
use futures::StreamExt;
use serde_json::Value;
use tests::{
    dns::NameServer,
    process::{Guard, free_port, is_root},
    program,
    tls::Authority,
};

use super::*;

/// Login of the real peers; the server keeps bcrypt's hash of the password.
const USER: &str = "scraper";
const PASSWORD: &str = "open sesame";
const HASH: &str = "$2b$05$Z3L3oRkUh22qC06//tFiY.WnS6wPF5LHBBB2Rt2npCcpCSMmV.fXq";
/// Addresses that are dealt out, and among how many.
const DEALT: usize = 40;
const SHARES: u64 = 7;

pub(super) fn job(body: &str) -> ScrapeConfig {
    let text = format!(
        "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: /tmp\nscrape_configs:\n  - {{job_name: j, {body}}}\n"
    );
    Config::parse("c.yaml", &text).unwrap().scrapes.remove(0)
}

/// Prometheus with a configuration and more arguments; `None`: there is none here.
pub(super) fn prometheus(dir: &Path, port: u16, config: &str, more: &[String]) -> Option<Guard> {
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Guard::start(&mut command, rustix::process::Signal::TERM).ok()
}

/// Samples by what makes each a series of its own; bounds as numbers, since text has them as `1` and protobuf as `1.0`.
fn series(page: &Page) -> BTreeMap<String, u64> {
    let one = |s: &scrape::exposition::Sample| {
        let labels = s.labels.iter().map(|(name, value)| match name.as_str() {
            "le" | "quantile" => format!("{name}={:?}", value.parse::<f64>()),
            _ => format!("{name}={value:?}"),
        });
        (format!("{}{{{}}}", s.name, labels.collect::<Vec<_>>().join(",")), s.value.to_bits())
    };
    page.samples.iter().map(one).collect()
}

/// A page as text, in protobuf, and as text again.
async fn pages(port: u16) -> [Page; 3] {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let get = async |protocol: &str, content_type: &str| {
        let config =
            job(&format!("scrape_protocols: [{protocol}], static_configs: [{{targets: ['127.0.0.1:{port}']}}]"));
        let client = Client::new(&config, Arc::new(Tls::new(config.tls.clone())));
        let body = until(LIMIT, async || client.get(&url).await.ok()).await.expect("the peer answers");
        assert!(body.content_type().starts_with(content_type), "{}", body.content_type());
        body.page().unwrap()
    };
    let text = async || get("PrometheusText0.0.4", "text/plain").await;
    let protobuf = async || get("PrometheusProto", "application/vnd.google.protobuf").await;
    // what a page counts of itself is there from its second reading on
    text().await;
    protobuf().await;
    [text().await, protobuf().await, text().await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_protobuf_says_what_its_text_says() {
    let dir = tempfile::tempdir().unwrap();
    let (port, node) = (free_port().unwrap(), free_port().unwrap());
    let own = format!(
        "scrape_configs: [{{job_name: own, scrape_interval: 1s, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    );
    let mut exporter = Command::new("prometheus-node-exporter");
    exporter.arg(format!("--web.listen-address=127.0.0.1:{node}")).stdout(Stdio::null()).stderr(Stdio::null());
    let exporter = Guard::start(&mut exporter, rustix::process::Signal::TERM).ok();
    let (Some(_server), Some(_exporter)) = (prometheus(dir.path(), port, &own, &[]), exporter) else {
        return println!("skipped: prometheus or prometheus-node-exporter is not installed");
    };
    for (peer, port) in [("prometheus", port), ("node_exporter", node)] {
        let [text, protobuf, after] = pages(port).await;
        let [in_text, in_protobuf, in_after] = [&text, &protobuf, &after].map(series);
        let names = |values: &BTreeMap<String, u64>| values.keys().cloned().collect::<BTreeSet<String>>();
        let differ: Vec<String> = names(&in_text).symmetric_difference(&names(&in_protobuf)).cloned().collect();
        // between two pages a disk or a request may come or go
        assert!(in_text.len() > 200 && differ.len() * 50 <= in_text.len(), "{peer}: {differ:#?}");
        // what stood still meanwhile has the same value to the bit
        let still: Vec<&String> = in_text.keys().filter(|name| in_text.get(*name) == in_after.get(*name)).collect();
        let changed: Vec<&&String> =
            still.iter().filter(|name| in_text.get(**name) != in_protobuf.get(**name)).collect();
        println!(
            "{peer}: {} samples, {} in protobuf, {} differ, {} stood still, of which {} have another value",
            in_text.len(),
            in_protobuf.len(),
            differ.len(),
            still.len(),
            changed.len()
        );
        assert!(still.len() * 3 > in_text.len() && changed.len() * 50 <= still.len(), "{peer}: {changed:#?}");
        let kinds = |page: &Page| -> BTreeMap<String, (String, String)> {
            page.families.iter().map(|f| (f.name.clone(), (f.kind.clone(), f.help.clone()))).collect()
        };
        let (of_text, of_protobuf) = (kinds(&text), kinds(&protobuf));
        let unlike: Vec<&String> = of_text.keys().filter(|n| of_text.get(*n) != of_protobuf.get(*n)).collect();
        assert!(unlike.len() * 50 <= of_text.len(), "{peer}: {unlike:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashmod_deals_as_prometheus_does() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let addresses: Vec<String> = (1..=DEALT).map(|i| format!("'db-{i}.example:{}'", 9000 + i)).collect();
    let body = format!(
        "scrape_interval: 1h, static_configs: [{{targets: [{}], labels: {{cluster: größe}}}}], relabel_configs: \
         [{{action: hashmod, source_labels: [__address__, cluster], modulus: {SHARES}, target_label: share}}, \
         {{action: hashmod, source_labels: [nothing], modulus: 18446744073709551615, target_label: whole}}]",
        addresses.join(", ")
    );
    let Some(_server) = prometheus(dir.path(), port, &format!("scrape_configs: [{{job_name: j, {body}}}]\n"), &[])
    else {
        return println!("skipped: prometheus is not installed");
    };
    let asked = until(LIMIT, async || {
        let url = format!("http://127.0.0.1:{port}/api/v1/targets?state=active");
        let answer: Value = serde_json::from_str(&reqwest::get(url).await.ok()?.text().await.ok()?).ok()?;
        let targets = answer["data"]["activeTargets"].as_array()?.clone();
        (targets.len() == DEALT).then_some(targets)
    });
    let label = |t: &Value, name: &str| t["labels"][name].as_str().unwrap_or_default().to_owned();
    let theirs: BTreeSet<[String; 3]> =
        asked.await.unwrap().iter().map(|t| ["instance", "share", "whole"].map(|n| label(t, n))).collect();
    let config = job(&body);
    let ScrapeSource::Static(found) = &config.sources[0] else { panic!("static") };
    let ours: BTreeSet<[String; 3]> = found
        .iter()
        .map(|f| target(&config, f).unwrap().labels)
        .map(|l| ["instance", "share", "whole"].map(|n| l[n].clone()))
        .collect();
    assert_eq!(ours, theirs);
    let shares: BTreeSet<&String> = ours.iter().map(|[_, share, _]| share).collect();
    assert_eq!(shares.len() as u64, SHARES, "{ours:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_login_are_asked_for_by_a_real_server() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "scraped").unwrap();
    let identity = own.issue("prometheus").unwrap();
    let strange_dir = tempfile::tempdir().unwrap();
    let strange = Authority::new(strange_dir.path(), "strange").unwrap();
    let web = dir.path().join("web.yml");
    std::fs::write(
        &web,
        format!(
            "tls_server_config: {{cert_file: {}, key_file: {}}}\nbasic_auth_users: {{{USER}: {HASH}}}\n",
            identity.cert_file.display(),
            identity.key_file.display()
        ),
    )
    .unwrap();
    let port = free_port().unwrap();
    let web = [format!("--web.config.file={}", web.display())];
    let Some(_server) = prometheus(dir.path(), port, "global: {}\n", &web) else {
        return println!("skipped: prometheus is not installed");
    };
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();
    let basic = |password: &str| format!("basic_auth: {{username: {USER}, {password}}}");
    let right = basic(&format!("password: {PASSWORD}"));
    let by = |authority: &Authority<'_>| {
        format!("scheme: https, tls_config: {{ca_file: {}}}", authority.ca_file().display())
    };
    let attempt = async |rest: String| {
        let config = job(&format!("{rest}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]"));
        scrape::attempt(&config).await.remove(0).1
    };
    let up = until(LIMIT, async || attempt(format!("{}, {right}", by(&own))).await.ok()).await;
    assert!(up.is_some_and(|said| said.ends_with("samples")), "the right authority and the right login");
    let from_file = basic(&format!("password_file: {}", password_file.display()));
    let anyone = format!("scheme: https, tls_config: {{insecure_skip_verify: true}}, {from_file}");
    assert!(attempt(anyone).await.is_ok());
    for (rest, want) in [
        (by(&own), "HTTP status 401"),
        (format!("{}, {}", by(&own), basic("password: wrong")), "HTTP status 401"),
        (format!("{}, {right}", by(&strange)), "certificate"),
        (format!("scheme: https, {right}"), "certificate"),
        (format!("scheme: http, {right}"), "HTTP status 400"),
        (format!("{}, {}", by(&own), basic("password_file: /nowhere")), "/nowhere"),
    ] {
        let error = attempt(rest.clone()).await.unwrap_err();
        assert!(error.contains(want), "{rest}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_sent_as_it_is_wanted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let page = |headers: HeaderMap| async move {
        match headers.get("authorization").and_then(|v| v.to_str().ok()) {
            Some("Bearer s3cret" | "Token s3cret") => Ok("a 1\n"),
            _ => Err(StatusCode::FORBIDDEN),
        }
    };
    let peer = tokio::spawn(axum::serve(listener, Router::new().route("/metrics", get(page))).into_future());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    for (access, taken) in [
        ("credentials: s3cret".to_owned(), true),
        (format!("credentials_file: {}", file.display()), true),
        ("type: Token, credentials: s3cret".to_owned(), true),
        ("type: Basic, credentials: s3cret".to_owned(), false),
        ("credentials: other".to_owned(), false),
    ] {
        let config = job(&format!("authorization: {{{access}}}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]"));
        let result = scrape::attempt(&config).await.remove(0).1;
        assert_eq!(result.is_ok(), taken, "{access}: {result:?}");
        assert!(taken || result.is_err_and(|e| e.contains("403")), "{access}");
    }
    peer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_end_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let begun = || async {
        let first = futures::stream::iter([Ok::<_, std::io::Error>("a 1\n")]);
        Body::from_stream(first.chain(futures::stream::pending()))
    };
    let router = Router::new().route("/begun", get(begun)).route("/silent", get(std::future::pending::<()>));
    let peer = tokio::spawn(axum::serve(listener, router).into_future());
    for path in ["/begun", "/silent"] {
        let config = job(&format!(
            "scrape_interval: 1s, scrape_timeout: 1s, metrics_path: {path}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]"
        ));
        let tried = tokio::time::timeout(LIMIT, scrape::attempt(&config)).await;
        assert_eq!(tried.expect("it is given up").remove(0).1, Err("no answer within scrape_timeout".into()), "{path}");
    }
    peer.abort();
}

/// The collector's own program, which asks the C library for names, beside a name server.
#[tokio::test(flavor = "multi_thread")]
async fn targets_are_what_the_name_server_says() {
    if !is_root() {
        return println!("skipped: port 53 and a mount namespace need root");
    }
    let dir = tempfile::tempdir().unwrap();
    let names = NameServer::start("exporters.test.example").await.unwrap();
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer =
        tokio::spawn(axum::serve(listener, Router::new().route("/metrics", get(|| async { "a 1\n" }))).into_future());
    let check = async |rest: &str| {
        let config = format!(
            "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: {}\nhost: {{enabled: false}}\nscrape_configs:\n  - job_name: found\n    \
             dns_sd_configs: [{{{rest}}}]\n    relabel_configs: \
             [{{source_labels: [__meta_dns_name], target_label: __param_by}}]\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("c.yaml"), config).unwrap();
        let mut command = names.asked_by(dir.path()).unwrap();
        command.arg(program::path("tidewatch-collector").unwrap()).arg("--config").arg(dir.path().join("c.yaml"));
        let out = tokio::task::spawn_blocking(move || command.arg("check").output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (text.lines().filter(|l| l.contains("job found")).map(str::to_owned).collect::<Vec<_>>(), text)
    };
    let at =
        |host: &str| format!("ok      job found http://{host}:{port}/metrics?by=exporters.test.example: 1 samples");
    let name = format!("port: {port}, names: [exporters.test.example]");
    names.set(&[[127, 0, 0, 2].into(), [127, 0, 0, 1].into(), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    let (found, all) = check(&format!("{name}, type: A")).await;
    assert_eq!(found, [at("127.0.0.1"), at("127.0.0.2")], "{all}");
    // what it says now is what counts
    names.set(&[[127, 0, 0, 3].into()]);
    assert_eq!(check(&format!("{name}, type: A")).await.0, [at("127.0.0.3")]);
    names.set(&[[127, 0, 0, 3].into(), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    let (found, all) = check(&format!("{name}, type: AAAA")).await;
    assert!(found.len() == 1 && found[0].contains(&format!("http://[::1]:{port}/metrics")), "{all}");
    let (found, all) = check(&format!("port: {port}, names: [elsewhere.test.example], type: A")).await;
    assert!(
        found[0].starts_with("MISSING job found") && all.contains("elsewhere.test.example: failed to lookup"),
        "{all}"
    );
    // services, as Prometheus asks for unless told otherwise
    names.set_services(&[("127.0.0.2", port), ("127.0.0.1", port), (".", port), ("127.0.0.2", port)]);
    let (found, all) = check("names: [exporters.test.example]").await;
    assert_eq!(found, [at("127.0.0.1"), at("127.0.0.2")], "{all}");
    let (found, all) = check("names: [elsewhere.test.example]").await;
    assert!(found[0].starts_with("MISSING job found") && all.contains("no such name"), "{all}");
    // a service that is nowhere, a name without such a record: no target, and no trouble with the server
    for services in [&[(".", port)][..], &[]] {
        names.set_services(services);
        let (found, all) = check("names: [exporters.test.example]").await;
        assert!(found[0].contains("no target was found") && !all.contains("the last ones stay"), "{all}");
    }
    // a server that can't tell is trouble, and says nothing about targets
    names.set_failing(true);
    let (_, all) = check("names: [exporters.test.example]").await;
    assert!(all.contains("exporters.test.example: the name server answers: "), "{all}");
    peer.abort();
}
