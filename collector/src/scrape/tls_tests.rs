//! Files that can't be used; how real certificates are used is told by `tests/tests/collector_databases/scrape_tls.rs`.
#![allow(clippy::unwrap_used)]

use super::*;

fn made(of: ScrapeTls) -> Result<(), String> {
    let tls = Tls::new(of);
    tls.client_config(tls.print(true)?, true).map(|_| ())
}

#[test]
fn a_file_that_cant_be_used_is_said_with_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let (empty, large) = (file("empty", ""), file("large", &"x".repeat(FILE_BYTES_MAX as usize + 1)));
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    let nowhere = dir.path().join("nowhere");
    let authority = |path: &PathBuf| (TlsMode::Verify(Some(path.clone())), None);
    let own = |cert: &PathBuf, key: &PathBuf| (TlsMode::Require, Some((cert.clone(), key.clone())));
    for ((mode, identity), want) in [
        (authority(&nowhere), "tls_config.ca_file: NOWHERE: No such file"),
        (authority(&empty), "tls_config.ca_file: EMPTY: no certificate in it"),
        (authority(&large), "tls_config.ca_file: LARGE: 1048577 bytes; at most 1048576 are read"),
        (own(&nowhere, &empty), "tls_config.cert_file: NOWHERE: No such file"),
        (own(&empty, &nowhere), "tls_config.key_file: NOWHERE: No such file"),
        (own(&empty, &empty), "tls_config.cert_file: EMPTY: no certificate in it"),
        (own(&broken, &empty), "tls_config.cert_file: BROKEN: base64"),
    ] {
        let error = made(ScrapeTls { mode, identity, server_name: None }).unwrap_err();
        let named = [("NOWHERE", &nowhere), ("EMPTY", &empty), ("LARGE", &large), ("BROKEN", &broken)];
        let want = named.iter().fold(want.to_owned(), |w, (name, path)| w.replace(name, &path.display().to_string()));
        assert!(error.starts_with(&want), "{error} instead of {want}");
    }
    made(ScrapeTls { mode: TlsMode::Require, identity: None, server_name: None }).unwrap();
}

#[test]
fn another_content_is_another_print() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    let write = |a: &str, b: &str| {
        std::fs::write(&cert, a).unwrap();
        std::fs::write(&key, b).unwrap();
    };
    write("a", "b");
    let identity = Some((cert.clone(), key.clone()));
    let tls = Tls::new(ScrapeTls { mode: TlsMode::Prefer, identity, server_name: None });
    let first = tls.print(true).unwrap();
    assert_eq!(tls.print(true), Ok(first));
    assert_ne!(tls.print(false), Ok(first));
    for (a, b) in [("a", "c"), ("c", "b"), ("", "ab"), ("ab", "")] {
        write(a, b);
        assert_ne!(tls.print(true), Ok(first), "{a:?} {b:?}");
    }
    write("a", "b");
    assert_eq!(tls.print(true), Ok(first));
}
