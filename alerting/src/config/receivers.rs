//! The receivers of the config: every channel as written, then checked. Secrets are read from their files here; they never
//! stand in the config itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::robots::{self, RawRobot};
use super::sms::{self, RawSms};
use super::{ConfigError, is_http, positive, wrong};
use crate::content::Voice;
use crate::gate::RateLimit;
use crate::mail::{Mail, Tls};
use crate::message::Language;
use crate::robot::Robot;
use crate::secret::Secret;
use crate::sms::Sms;
use crate::webhook::Webhook;

/// How long one attempt to send may take.
const SEND_TIMEOUT: &str = "10s";

/// Messages a receiver gets in [`RATE_PER`] unless it says otherwise: more than a person reads.
const RATE_MESSAGES: u32 = 10;
const RATE_PER: &str = "1m";
/// Most messages and longest time of a rate limit.
const RATE_MESSAGES_MAX: u32 = 100_000;
const RATE_PER_MS_MAX: i64 = 7 * 86_400_000;

/// A receiver as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawReceiver {
    /// Unique.
    pub name: String,
    /// How many messages it gets in how long; what is beyond is told in one.
    #[serde(default)]
    pub rate_limit: RawRateLimit,
    /// HTTP endpoints that take Alertmanager's webhook body.
    #[serde(default)]
    pub webhooks: Vec<RawWebhook>,
    /// Mail.
    #[serde(default)]
    pub mails: Vec<RawMail>,
    /// SMS.
    #[serde(default)]
    pub sms: Vec<RawSms>,
    /// Robots of DingTalk groups.
    #[serde(default)]
    pub dingtalk: Vec<RawRobot>,
    /// Robots of WeCom groups.
    #[serde(default)]
    pub wecom: Vec<RawRobot>,
    /// Robots of Feishu and Lark groups.
    #[serde(default)]
    pub feishu: Vec<RawRobot>,
    /// Slack's incoming webhooks.
    #[serde(default)]
    pub slack: Vec<RawRobot>,
}

/// At most `messages` in `per`, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRateLimit {
    /// Messages.
    pub messages: u32,
    /// In how long.
    pub per: String,
}

impl Default for RawRateLimit {
    fn default() -> RawRateLimit {
        RawRateLimit { messages: RATE_MESSAGES, per: RATE_PER.into() }
    }
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
    /// Time zone of the times in it: UTC, +08:00.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// How long one attempt may take.
    #[serde(default = "send_timeout")]
    pub timeout: String,
}

pub(super) fn yes() -> bool {
    true
}
pub(super) fn send_timeout() -> String {
    SEND_TIMEOUT.into()
}
fn starttls() -> String {
    "starttls".into()
}
pub(super) fn english() -> String {
    "en".into()
}
pub(super) fn utc() -> String {
    "UTC".into()
}

/// Who can be told, and how.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// In order; each gets its own message.
    pub channels: Vec<Channel>,
    /// How many messages it gets in how long.
    pub rate_limit: RateLimit,
}

/// The ways to tell: the list of channels. A new one gets an entry here, a file beside `webhook.rs`, and a line in
/// [`crate::deliver::send`].
#[derive(Clone, Debug)]
pub enum Channel {
    /// HTTP with Alertmanager's body.
    Webhook(Webhook),
    /// SMTP.
    Mail(Mail),
    /// SMS by one provider after the other.
    Sms(Sms),
    /// A robot of a DingTalk group.
    DingTalk(Robot),
    /// A robot of a WeCom group.
    WeCom(Robot),
    /// A robot of a Feishu or Lark group.
    Feishu(Robot),
    /// Slack's incoming webhook.
    Slack(Robot),
}

impl Channel {
    /// Whether ends are told.
    pub fn send_resolved(&self) -> bool {
        match self {
            Channel::Webhook(webhook) => webhook.send_resolved,
            Channel::Mail(mail) => mail.send_resolved,
            Channel::Sms(sms) => sms.send_resolved,
            Channel::DingTalk(robot) | Channel::WeCom(robot) | Channel::Feishu(robot) | Channel::Slack(robot) => {
                robot.send_resolved
            }
        }
    }

    /// Its name in the ledger.
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::Webhook(_) => "webhook",
            Channel::Mail(_) => "mail",
            Channel::Sms(_) => "sms",
            Channel::DingTalk(_) => "dingtalk",
            Channel::WeCom(_) => "wecom",
            Channel::Feishu(_) => "feishu",
            Channel::Slack(_) => "slack",
        }
    }
}

/// The secret in a file, without the line end after it.
pub(super) fn secret(path: &Path, base: &Path, field: &str) -> Result<Secret, ConfigError> {
    let text = match std::fs::read_to_string(base.join(path)) {
        Ok(text) => text,
        Err(e) => return wrong(field, format!("{}: {e}", path.display())),
    };
    match text.trim_end() {
        "" => wrong(field, format!("{}: the file is empty", path.display())),
        secret => Ok(Secret::new(secret)),
    }
}

/// Language and time zone of a channel.
pub(super) fn voice(language: &str, time_zone: &str, at: &str) -> Result<Voice, ConfigError> {
    let Some(language) = Language::from_name(language) else {
        return wrong(format!("{at}.language"), format!("{language:?}; allowed are en, zh"));
    };
    let Some(offset_minutes) = offset_minutes(time_zone) else {
        return wrong(format!("{at}.time_zone"), format!("{time_zone:?}; allowed are UTC and texts like +08:00"));
    };
    Ok(Voice { language, offset_minutes })
}

fn offset_minutes(zone: &str) -> Option<i32> {
    if zone == "UTC" {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let number = |text: &str, max: i32| text.parse().ok().filter(|n| text.len() == 2 && (0..=max).contains(n));
    Some(sign * (number(hours, 14)? * 60 + number(minutes, 59)?))
}

/// The time one attempt may take, milliseconds.
pub(super) fn timeout_ms(text: &str, at: &str) -> Result<u64, ConfigError> {
    Ok(positive(text, &format!("{at}.timeout"))? as u64)
}

/// Checks one receiver; `at` is its place in the config.
pub(super) fn check(raw: RawReceiver, base: &Path, at: &str) -> Result<Receiver, ConfigError> {
    let per_ms = positive(&raw.rate_limit.per, &format!("{at}.rate_limit.per"))?;
    if !(1..=RATE_MESSAGES_MAX).contains(&raw.rate_limit.messages) || per_ms > RATE_PER_MS_MAX {
        return wrong(
            format!("{at}.rate_limit"),
            format!("1 to {RATE_MESSAGES_MAX} messages in at most 7d are allowed"),
        );
    }
    let rate_limit = RateLimit { messages: raw.rate_limit.messages, per_ms };
    let mut channels = Vec::new();
    for (i, raw) in raw.webhooks.into_iter().enumerate() {
        let at = format!("{at}.webhooks[{i}]");
        if !is_http(&raw.url) {
            return wrong(format!("{at}.url"), format!("{:?} must begin with http:// or https://", raw.url));
        }
        let optional = |path: &Option<PathBuf>, field: &str| {
            path.as_ref().map(|p| secret(p, base, &format!("{at}.{field}"))).transpose()
        };
        for name in raw.headers.keys() {
            if name.parse::<reqwest::header::HeaderName>().is_err() {
                return wrong(format!("{at}.headers"), format!("{name:?} is not a header's name"));
            }
        }
        channels.push(Channel::Webhook(Webhook {
            url: raw.url,
            send_resolved: raw.send_resolved,
            alerts_max: raw.max_alerts,
            timeout_ms: timeout_ms(&raw.timeout, &at)?,
            headers: raw.headers,
            bearer_token: optional(&raw.bearer_token_file, "bearer_token_file")?,
        }));
    }
    for (i, raw) in raw.mails.into_iter().enumerate() {
        channels.push(Channel::Mail(mail(raw, base, &format!("{at}.mails[{i}]"))?));
    }
    for (i, raw) in raw.sms.into_iter().enumerate() {
        channels.push(Channel::Sms(sms::check(raw, base, &format!("{at}.sms[{i}]"))?));
    }
    for (name, list, channel) in [
        ("dingtalk", raw.dingtalk, Channel::DingTalk as fn(Robot) -> Channel),
        ("wecom", raw.wecom, Channel::WeCom),
        ("feishu", raw.feishu, Channel::Feishu),
        ("slack", raw.slack, Channel::Slack),
    ] {
        for (i, raw) in list.into_iter().enumerate() {
            channels.push(channel(robots::check(raw, name, base, &format!("{at}.{name}[{i}]"))?));
        }
    }
    Ok(Receiver { channels, rate_limit })
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
    let voice = voice(&raw.language, &raw.time_zone, at)?;
    let optional = |path: &Option<PathBuf>, field: &str| {
        path.as_ref().map(|p| secret(p, base, &format!("{at}.{field}"))).transpose()
    };
    let password = optional(&raw.password_file, "password_file")?;
    let login = match (raw.username, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        _ => return wrong(at, "username and password_file go together"),
    };
    let ca_pem = optional(&raw.ca_file, "ca_file")?.map(|pem| pem.expose().to_string());
    Ok(Mail {
        to,
        from: mailbox(&raw.from, "from")?,
        host: host.trim_matches(['[', ']']).into(),
        port,
        tls,
        ca_pem,
        login,
        send_resolved: raw.send_resolved,
        voice,
        timeout_ms: timeout_ms(&raw.timeout, at)?,
    })
}
