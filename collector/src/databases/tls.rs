//! TLS of the way to a database or to a page: verified, or encrypted only, as the configuration says.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::trouble::{Class, Trouble};
use crate::config::TlsMode;

/// The client's side of a handshake, without a certificate of its own.
pub fn client_config(mode: &TlsMode) -> Result<ClientConfig, Trouble> {
    Ok(builder(mode)?.with_no_client_auth())
}

/// What the client's side thinks of the server's certificate. `Verify(None)` reads the system's file of authorities.
pub fn builder(mode: &TlsMode) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Trouble> {
    let wrong = |text: String| Trouble::new(Class::TargetUnreachable, text);
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(format!("tls: {e}")))?;
    let TlsMode::Verify(authority) = mode else {
        let verifier = Arc::new(EncryptOnly(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier));
    };
    let path = match authority {
        Some(path) => path.clone(),
        None => "/etc/ssl/certs/ca-certificates.crt".into(),
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    roots.add_parsable_certificates(certificates.flatten());
    if roots.is_empty() {
        return Err(wrong(format!("{}: no certificate in it", path.display())));
    }
    Ok(builder.with_root_certificates(roots))
}

/// `sslmode=require` of libpq: the connection is encrypted and the server may be anyone.
#[derive(Debug)]
struct EncryptOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for EncryptOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
