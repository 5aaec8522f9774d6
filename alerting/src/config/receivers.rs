//! The receivers of the config: every channel as written, then checked. Secrets are read from their files here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, is_http, positive, wrong};
use crate::mail::{Mail, Tls};
use crate::message::Language;
use crate::webhook::Webhook;

/// How long one attempt to send may take.
const SEND_TIMEOUT: &str = "10s";

/// A receiver as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawReceiver {
    /// Unique.
    pub name: String,
    /// HTTP endpoints that take Alertmanager's webhook body.
    #[serde(default)]
    pub webhooks: Vec<RawWebhook>,
    /// Mail.
    #[serde(default)]
    pub mails: Vec<RawMail>,
}

/// A webhook as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// `http://` or `https://`.
    pub url: String,
    /// Whether ends are told.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// Most alerts in one body; 0: all.
    #[serde(default)]
    pub max_alerts: usize,
    /// How long one attempt may take.
    #[serde(default = "send_timeout")]
    pub timeout: String,
    /// Sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// File that holds a bearer token.
    pub bearer_token_file: Option<PathBuf>,
}

/// Mail as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMail {
    /// Recipients.
    pub to: Vec<String>,
    /// Sender.
    pub from: String,
    /// `host:port` of the SMTP server.
    pub smarthost: String,
    /// none, starttls or tls.
    #[serde(default = "starttls")]
    pub tls: String,
    /// PEM file of certificates to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// User for AUTH.
    pub username: Option<String>,
    /// File that holds its password.
    pub password_file: Option<PathBuf>,
    /// Whether ends are told.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// en or zh.
    #[serde(default = "english")]
    pub language: String,
    /// How long one attempt may take.
    #[serde(default = "send_timeout")]
    pub timeout: String,
}

fn yes() -> bool {
    true
}
fn send_timeout() -> String {
    SEND_TIMEOUT.into()
}
fn starttls() -> String {
    "starttls".into()
}
fn english() -> String {
    "en".into()
}

/// Who can be told, and how.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// In order; each gets its own message.
    pub channels: Vec<Channel>,
}

/// A way to tell. New channels get an entry here and a file.
#[derive(Clone, Debug)]
pub enum Channel {
    /// HTTP with Alertmanager's body.
    Webhook(Webhook),
    /// SMTP.
    Mail(Mail),
}

impl Channel {
    /// Whether ends are told.
    pub fn send_resolved(&self) -> bool {
        match self {
            Channel::Webhook(webhook) => webhook.send_resolved,
            Channel::Mail(mail) => mail.send_resolved,
        }
    }

    /// Its name in the ledger.
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::Webhook(_) => "webhook",
            Channel::Mail(_) => "mail",
        }
    }
}

fn secret(path: &Option<PathBuf>, base: &Path, field: &str) -> Result<Option<String>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    match std::fs::read_to_string(base.join(path)) {
        Ok(text) => Ok(Some(text.trim_end().into())),
        Err(e) => wrong(field, format!("{}: {e}", path.display())),
    }
}

/// Checks one receiver; `at` is its place in the config.
pub(super) fn check(raw: RawReceiver, base: &Path, at: &str) -> Result<Receiver, ConfigError> {
    let mut channels = Vec::new();
    for (i, raw) in raw.webhooks.into_iter().enumerate() {
        let at = format!("{at}.webhooks[{i}]");
        if !is_http(&raw.url) {
            return wrong(format!("{at}.url"), format!("{:?} must begin with http:// or https://", raw.url));
        }
        for name in raw.headers.keys() {
            if name.parse::<reqwest::header::HeaderName>().is_err() {
                return wrong(format!("{at}.headers"), format!("{name:?} is not a header's name"));
            }
        }
        channels.push(Channel::Webhook(Webhook {
            url: raw.url,
            send_resolved: raw.send_resolved,
            alerts_max: raw.max_alerts,
            timeout_ms: positive(&raw.timeout, &format!("{at}.timeout"))? as u64,
            headers: raw.headers,
            bearer_token: secret(&raw.bearer_token_file, base, &format!("{at}.bearer_token_file"))?,
        }));
    }
    for (i, raw) in raw.mails.into_iter().enumerate() {
        channels.push(Channel::Mail(mail(raw, base, &format!("{at}.mails[{i}]"))?));
    }
    Ok(Receiver { channels })
}

fn mail(raw: RawMail, base: &Path, at: &str) -> Result<Mail, ConfigError> {
    let Some((host, port)) = raw.smarthost.rsplit_once(':') else {
        return wrong(format!("{at}.smarthost"), format!("{:?} must look like host:port", raw.smarthost));
    };
    let Ok(port) = port.parse() else {
        return wrong(format!("{at}.smarthost"), format!("{port:?} is not a port"));
    };
    let mailbox = |text: &str, field: &str| {
        text.parse().or_else(|e| wrong(format!("{at}.{field}"), format!("{text:?} is not a mail address: {e}")))
    };
    if raw.to.is_empty() {
        return wrong(format!("{at}.to"), "must name at least one address");
    }
    let to = raw.to.iter().map(|t| mailbox(t, "to")).collect::<Result<_, _>>()?;
    let tls = match raw.tls.as_str() {
        "none" => Tls::None,
        "starttls" => Tls::StartTls,
        "tls" => Tls::Wrapped,
        other => return wrong(format!("{at}.tls"), format!("{other:?}; allowed are none, starttls, tls")),
    };
    let language = match Language::from_name(&raw.language) {
        Some(language) => language,
        None => return wrong(format!("{at}.language"), format!("{:?}; allowed are en, zh", raw.language)),
    };
    let password = secret(&raw.password_file, base, &format!("{at}.password_file"))?;
    let login = match (raw.username, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        _ => return wrong(at, "username and password_file go together"),
    };
    let ca_pem = secret(&raw.ca_file, base, &format!("{at}.ca_file"))?;
    Ok(Mail {
        to,
        from: mailbox(&raw.from, "from")?,
        host: host.trim_matches(['[', ']']).into(),
        port,
        tls,
        ca_pem,
        login,
        send_resolved: raw.send_resolved,
        language,
        timeout_ms: positive(&raw.timeout, &format!("{at}.timeout"))? as u64,
    })
}
