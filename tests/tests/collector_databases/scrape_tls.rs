//! Certificates of the collector's own, asked for by a real server: Debian's Prometheus with `client_auth_type:
//! RequireAndVerifyClientCert`. What a handshake asks for is seen by a server of the test's own.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

use collector::scrape;
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::Acceptor,
};
use tests::{
    process::{Guard, free_port},
    tls::{Authority, Identity},
};

use super::{
    scrape::Newest,
    scrape_peers::{job, prometheus},
    *,
};

/// Name that the server's certificate bears in place of its address.
const NAME: &str = "metrics.shop.example";

/// Prometheus that shows one certificate and asks for one that `authority` has signed; `None`: there is none here.
fn strict(dir: &Path, port: u16, shown: &Identity, authority: &Authority<'_>) -> Option<Guard> {
    let web = dir.join("web.yml");
    let text = format!(
        "tls_server_config: {{cert_file: {}, key_file: {}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: {}}}\n",
        shown.cert_file.display(),
        shown.key_file.display(),
        authority.ca_file().display()
    );
    std::fs::write(&web, text).unwrap();
    prometheus(dir, port, "global: {}\n", &[format!("--web.config.file={}", web.display())])
}

fn own(identity: &Identity) -> String {
    format!("cert_file: {}, key_file: {}", identity.cert_file.display(), identity.key_file.display())
}

async fn attempt(port: u16, tls: &str) -> Result<String, String> {
    let config =
        job(&format!("scheme: https, tls_config: {{{tls}}}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]"));
    scrape::attempt(&config).await.remove(0).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_asks_for_a_certificate() {
    let (dir, strange_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new(dir.path(), "scraped").unwrap();
    let strange = Authority::new(strange_dir.path(), "strange").unwrap();
    let (addressed, named) =
        (authority.issue("prometheus").unwrap(), authority.issue_for("named", &format!("DNS:{NAME}")).unwrap());
    let (collector, stranger) = (authority.issue("collector").unwrap(), strange.issue("collector").unwrap());
    let ports = [free_port().unwrap(), free_port().unwrap()];
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let servers = (
        strict(first_dir.path(), ports[0], &addressed, &authority),
        strict(second_dir.path(), ports[1], &named, &authority),
    );
    let (Some(_by_address), Some(_by_name)) = servers else {
        return println!("skipped: prometheus is not installed");
    };
    let ca = format!("ca_file: {}", authority.ca_file().display());
    let right = format!("{ca}, {}", own(&collector));
    let named = format!("{right}, server_name: {NAME}");
    for (port, tls) in [(ports[0], &right), (ports[1], &named)] {
        let up = until(LIMIT, async || attempt(port, tls).await.ok()).await;
        assert!(up.is_some_and(|samples| samples.ends_with(" samples")), "{tls}: {:?}", attempt(port, tls).await);
    }
    attempt(ports[0], &format!("insecure_skip_verify: true, {}", own(&collector))).await.unwrap();
    let mixed = Identity { cert_file: collector.cert_file.clone(), key_file: stranger.key_file.clone() };
    let [cert, key] = [&mixed.cert_file, &mixed.key_file].map(|file| file.display().to_string());
    for (port, tls, want) in [
        (ports[0], ca.clone(), "received fatal alert: "),
        (ports[0], "insecure_skip_verify: true".to_owned(), "received fatal alert: "),
        (ports[0], format!("{ca}, {}", own(&stranger)), "alert: "),
        (ports[0], format!("{}, ca_file: {}", own(&collector), strange.ca_file().display()), "UnknownIssuer"),
        (ports[0], format!("{right}, server_name: {NAME}"), "not valid for name"),
        (ports[1], right.clone(), "not valid for name"),
        (ports[1], format!("{right}, server_name: other.shop.example"), "not valid for name"),
        (ports[0], format!("{ca}, {}", own(&mixed)), "tls_config.key_file: KEY: it can't be used with CERT: "),
        (ports[0], format!("{ca}, cert_file: {cert}, key_file: {cert}"), "tls_config.key_file: CERT: no private key"),
    ] {
        let want = want.replace("KEY", &key).replace("CERT", &cert);
        let mut others = Vec::new();
        for _ in 0..20 {
            let error = attempt(port, &tls).await.unwrap_err();
            if !error.contains(&want) {
                others.push(error);
            }
        }
        // one: a refusal comes after the handshake, and hyper may miss it (`fetch::send`)
        assert!(others.len() <= 1, "{tls}: {others:?} instead of {want}");
    }
}

/// Certificates are changed under a collector that runs, without a reload.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_change_are_read_again() {
    let (dir, strange_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new(dir.path(), "scraped").unwrap();
    let strange = Authority::new(strange_dir.path(), "strange").unwrap();
    let shown = authority.issue("prometheus").unwrap();
    let (known, unknown) = (authority.issue("collector").unwrap(), strange.issue("collector").unwrap());
    let port = free_port().unwrap();
    let Some(_server) = strict(dir.path(), port, &shown, &authority) else {
        return println!("skipped: prometheus is not installed");
    };
    let used_dir = tempfile::tempdir().unwrap();
    let used = Identity { cert_file: used_dir.path().join("cert.pem"), key_file: used_dir.path().join("key.pem") };
    let ca_file = used_dir.path().join("ca.pem");
    let put = |identity: &Identity, authority: &Authority<'_>| {
        std::fs::copy(&identity.cert_file, &used.cert_file).unwrap();
        std::fs::copy(&identity.key_file, &used.key_file).unwrap();
        std::fs::copy(authority.ca_file(), &ca_file).unwrap();
    };
    put(&unknown, &authority);
    let config = job(&format!(
        "scrape_interval: 1s, scheme: https, tls_config: {{ca_file: {}, {}}}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]",
        ca_file.display(),
        own(&used)
    ));
    // so that the server is there when it is asked first
    let ca = format!("ca_file: {}", authority.ca_file().display());
    let up = until(LIMIT, async || attempt(port, &format!("{ca}, {}", own(&known))).await.ok()).await;
    up.expect("the server answers who has a certificate");
    let (context, captured, _) = surroundings::captured();
    let shutdown = context.shutdown.clone();
    let running = tokio::spawn(scrape::watch(config, context));
    let mut newest = Newest::default();
    let series = format!("{{__name__=\"up\", instance=\"127.0.0.1:{port}\", job=\"j\"}}");
    let mut until_up = async |want: f64, why: &str| {
        let seen = until(LIMIT, async || {
            newest.take(&captured);
            newest.values.get(&series).filter(|value| **value == want).map(|_| ())
        });
        seen.await.unwrap_or_else(|| panic!("up is not {want}: {why}"));
    };
    until_up(0.0, "the certificate is a stranger's").await;
    put(&known, &authority);
    until_up(1.0, "the certificate is known now").await;
    put(&unknown, &authority);
    until_up(0.0, "it is a stranger's again, and no connection outlives it").await;
    put(&known, &authority);
    until_up(1.0, "and known again").await;
    put(&known, &strange);
    until_up(0.0, "the server is not trusted any more").await;
    shutdown.cancel();
    running.await.unwrap();
}

/// One connection: the name that its handshake asks for, and its request. What comes is answered with a page.
fn answer_one(listener: &TcpListener, shown: &Identity) -> (Option<String>, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        acceptor.read_tls(&mut stream).unwrap();
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error).unwrap() {
            break accepted;
        }
    };
    let asked = accepted.client_hello().server_name().map(str::to_owned);
    let chain = CertificateDer::pem_file_iter(&shown.cert_file).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&shown.key_file).unwrap())
        .unwrap();
    let mut connection: ServerConnection = accepted.into_connection(config.into()).map_err(|(error, _)| error).unwrap();
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        let length = tls.read(&mut piece).unwrap();
        assert!(length > 0, "the request ends too early");
        request.extend_from_slice(&piece[..length]);
    }
    tls.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\na 1\n",
    )
    .unwrap();
    tls.flush().unwrap();
    (asked, String::from_utf8(request).unwrap().to_ascii_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_asks_for_the_server_name() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "scraped").unwrap();
    let shown = authority.issue_for("named", &format!("DNS:{NAME},DNS:localhost")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ca = format!("ca_file: {}", authority.ca_file().display());
    let peer = std::thread::spawn(move || [answer_one(&listener, &shown), answer_one(&listener, &shown)]);
    for (tls, host) in [(format!("{ca}, server_name: {NAME}"), "127.0.0.1"), (ca, "localhost")] {
        let config =
            job(&format!("scheme: https, tls_config: {{{tls}}}, static_configs: [{{targets: ['{host}:{port}']}}]"));
        assert_eq!(scrape::attempt(&config).await.remove(0).1, Ok("1 samples".to_owned()), "{tls}");
    }
    let [named, addressed] = peer.join().unwrap();
    assert_eq!((named.0.as_deref(), addressed.0.as_deref()), (Some(NAME), Some("localhost")));
    // the request itself is to the target, as Prometheus has it
    assert!(named.1.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{}", named.1);
    assert!(addressed.1.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{}", addressed.1);
}
