//! The mail channel: SMTP by lettre, text and HTML side by side.

use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as SmtpTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::content::{Voice, subject};
use crate::deliver::{Receipt, Telling};
use crate::mail_body;
use crate::secret::Secret;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all: for a relay on this machine.
    None,
    /// By STARTTLS; without it nothing is sent.
    StartTls,
    /// From the first byte.
    Wrapped,
}

/// Where mail goes.
#[derive(Clone)]
pub struct Mail {
    /// Recipients.
    pub to: Vec<Mailbox>,
    /// Sender.
    pub from: Mailbox,
    /// SMTP server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Protection.
    pub tls: Tls,
    /// Certificates to trust beside the public ones, PEM.
    pub ca_pem: Option<String>,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// Whether ends are told.
    pub send_resolved: bool,
    /// Language and time zone of subject and body.
    pub voice: Voice,
    /// How long one attempt may take.
    pub timeout_ms: u64,
}

impl std::fmt::Debug for Mail {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// One attempt. Transient SMTP answers (4yz) and broken connections: again later; permanent ones (5yz): refused.
pub async fn send(mail: &Mail, telling: &Telling<'_>) -> Receipt {
    let letter = match letter(mail, telling) {
        Ok(letter) => letter,
        Err(e) => return Receipt::refused(format!("can't write the mail: {e}")),
    };
    let transport = match transport(mail) {
        Ok(transport) => transport,
        Err(e) => return Receipt::refused(format!("tls: {e}")),
    };
    let limit = Duration::from_millis(mail.timeout_ms);
    match tokio::time::timeout(limit, transport.send(letter)).await {
        Err(_) => Receipt::again("timeout", None),
        Ok(Ok(answer)) => Receipt::taken(answer.message().collect::<Vec<_>>().join(" ")),
        Ok(Err(e)) if e.is_permanent() => Receipt::refused(e.to_string()),
        Ok(Err(e)) => Receipt::again(e.to_string(), None),
    }
}

fn letter(mail: &Mail, telling: &Telling<'_>) -> Result<lettre::Message, lettre::error::Error> {
    let Telling { message, key, .. } = *telling;
    let domain = mail.from.email.domain();
    let mut builder = lettre::Message::builder()
        .from(mail.from.clone())
        .subject(subject(message, mail.voice.language))
        .message_id(Some(format!("<{key}@{domain}>")));
    if let Some(time) = chrono::DateTime::from_timestamp_millis(message.made_at_ms) {
        builder = builder.date(time.into());
    }
    for to in &mail.to {
        builder = builder.to(to.clone());
    }
    builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Tidewatch-Key"), key.into()));
    let body =
        MultiPart::alternative_plain_html(mail_body::text(telling, mail.voice), mail_body::html(telling, mail.voice));
    builder.multipart(body)
}

fn transport(mail: &Mail) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
        .port(mail.port)
        .timeout(Some(Duration::from_millis(mail.timeout_ms)));
    if mail.tls != Tls::None {
        let mut tls = TlsParameters::builder(mail.host.clone()).certificate_store(CertificateStore::WebpkiRoots);
        if let Some(pem) = &mail.ca_pem {
            tls = tls.add_root_certificate(Certificate::from_pem(pem.as_bytes())?);
        }
        let tls = tls.build_rustls()?;
        builder = builder.tls(if mail.tls == Tls::Wrapped { SmtpTls::Wrapper(tls) } else { SmtpTls::Required(tls) });
    }
    if let Some((user, password)) = &mail.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().into()));
    }
    Ok(builder.build())
}
