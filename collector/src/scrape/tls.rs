//! TLS of a job's pages by the files of its `tls_config`: read again before each page, as Prometheus does, so that new certificates are
//! used as soon as they are there. What is wrong with a file fails the page and names the field.

use std::path::PathBuf;

use parking_lot::Mutex;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    config::{ScrapeTls, TlsMode},
    databases::tls,
};

/// Largest file of certificates, bytes: all well-known authorities take a fifth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a job's files hold, shared by its targets.
#[derive(Debug)]
pub struct Tls {
    of: ScrapeTls,
    /// Made of files with this print.
    made: Mutex<Option<(u64, ClientConfig)>>,
}

impl Tls {
    /// Of a job.
    pub fn new(of: ScrapeTls) -> Tls {
        Tls { of, made: Mutex::default() }
    }

    /// The name a server must bear in place of its address.
    pub fn server_name(&self) -> Option<&str> {
        self.of.server_name.as_deref()
    }

    /// A number that is another one when a file has changed.
    pub fn print(&self, is_https: bool) -> Result<u64, String> {
        let mut print = Xxh3::new();
        print.update(&[u8::from(is_https)]);
        for (field, path) in self.files() {
            let wrong = |what: String| format!("tls_config.{field}: {}: {what}", path.display());
            let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
            if size > FILE_BYTES_MAX {
                return Err(wrong(format!("{size} bytes; at most {FILE_BYTES_MAX} are read")));
            }
            let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
            print.update(&(bytes.len() as u64).to_le_bytes());
            print.update(&bytes);
        }
        Ok(print.digest())
    }

    /// The client's side of a handshake by the files as they are now. `print`: what [`Tls::print`] said of them; if they have changed
    /// since, the next print differs.
    pub fn client_config(&self, print: u64, is_https: bool) -> Result<ClientConfig, String> {
        let mut made = self.made.lock();
        if let Some((_, config)) = made.as_ref().filter(|(of, _)| *of == print) {
            return Ok(config.clone());
        }
        let config = self.make(is_https)?;
        *made = Some((print, config.clone()));
        Ok(config)
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let authority = match &self.of.mode {
            TlsMode::Verify(Some(file)) => Some(("ca_file", file)),
            _ => None,
        };
        let own = self.of.identity.as_ref().map(|(cert, key)| [("cert_file", cert), ("key_file", key)]);
        authority.into_iter().chain(own.into_iter().flatten())
    }

    fn make(&self, is_https: bool) -> Result<ClientConfig, String> {
        // of a job of http pages, rules may have made it https
        let verified = TlsMode::Verify(None);
        let mode = if is_https && self.of.mode == TlsMode::Prefer { &verified } else { &self.of.mode };
        let builder = tls::builder(mode).map_err(|trouble| format!("tls_config.ca_file: {}", trouble.text))?;
        let Some((cert_file, key_file)) = &self.of.identity else { return Ok(builder.with_no_client_auth()) };
        let wrong = |what: String| format!("tls_config.cert_file: {}: {what}", cert_file.display());
        let chain = CertificateDer::pem_file_iter(cert_file).map_err(|e| wrong(e.to_string()))?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(e.to_string()))?;
        if chain.is_empty() {
            return Err(wrong("no certificate in it".into()));
        }
        let wrong = |what: String| format!("tls_config.key_file: {}: {what}", key_file.display());
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|e| wrong(format!("no private key in it that is not encrypted: {e}")))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| wrong(format!("it can't be used with {}: {e}", cert_file.display())))
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
