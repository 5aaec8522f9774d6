//! Certificates of a private authority, made by the `openssl` program.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// An authority whose files, and those of what it signs, stand in one folder.
pub struct Authority<'a> {
    folder: &'a Path,
}

/// PEM files of a certificate and its key (PKCS #8, not encrypted).
pub struct Identity {
    /// The certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl<'a> Authority<'a> {
    /// Makes one that is trusted for two days.
    pub fn new(folder: &'a Path, name: &str) -> io::Result<Authority<'a>> {
        make(folder, "ca", name, &[])?;
        Ok(Authority { folder })
    }

    /// Its own certificate, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for 127.0.0.1, named `name`.
    pub fn issue(&self, name: &str) -> io::Result<Identity> {
        self.issue_for(name, "IP:127.0.0.1")
    }

    /// A certificate for what stands for itself as `DNS:name` or `IP:address`.
    pub fn issue_for(&self, name: &str, subject: &str) -> io::Result<Identity> {
        // the section of OpenSSL's own configuration for those who may not sign others
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-extensions", "usr_cert"];
        make(self.folder, name, name, &[&by[..], &["-addext", &format!("subjectAltName={subject}")]].concat())
    }
}

fn make(folder: &Path, file: &str, name: &str, more: &[&str]) -> io::Result<Identity> {
    let [cert, key] = ["pem", "key"].map(|kind| format!("{file}.{kind}"));
    let subject = format!("/CN={name}");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &subject, "-out", &cert, "-keyout", &key]).args(more).current_dir(folder);
    let out = openssl.output()?;
    if !out.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&out.stderr).into_owned()));
    }
    Ok(Identity { cert_file: folder.join(cert), key_file: folder.join(key) })
}
