//! Chat robots of the config: as written, then checked.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::receivers::{english, secret, send_timeout, timeout_ms, utc, voice, yes};
use super::{ConfigError, is_http, wrong};
use crate::robot::Robot;

/// Most people mentioned.
const AT_MAX: usize = 100;

/// A robot as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRobot {
    /// File that holds the robot's address: whoever knows it can write to the group.
    pub url_file: PathBuf,
    /// File that holds what requests are signed with (DingTalk, Feishu).
    pub secret_file: Option<PathBuf>,
    /// Who is mentioned: mobile numbers (DingTalk), user ids (WeCom).
    #[serde(default)]
    pub at: Vec<String>,
    /// en or zh.
    #[serde(default = "english")]
    pub language: String,
    /// Time zone of the times in messages: UTC, +08:00.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Whether ends are told.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// How long one attempt may take.
    #[serde(default = "send_timeout")]
    pub timeout: String,
}

/// Checks a robot of that kind; `at` is its place in the config.
pub(super) fn check(raw: RawRobot, kind: &str, base: &Path, at: &str) -> Result<Robot, ConfigError> {
    let url = secret(&raw.url_file, base, &format!("{at}.url_file"))?;
    if !is_http(url.expose()) {
        return wrong(format!("{at}.url_file"), "must hold one address that begins with http:// or https://");
    }
    if raw.secret_file.is_some() && !matches!(kind, "dingtalk" | "feishu") {
        return wrong(format!("{at}.secret_file"), format!("{kind} has no signatures; dingtalk and feishu have"));
    }
    if !raw.at.is_empty() && !matches!(kind, "dingtalk" | "wecom") {
        return wrong(format!("{at}.at"), format!("{kind} mentions nobody; dingtalk and wecom do"));
    }
    let is_name = |name: &String| {
        !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.".contains(c))
    };
    if raw.at.len() > AT_MAX || !raw.at.iter().all(is_name) {
        let allowed =
            "allowed are at most 100 mobile numbers (dingtalk) or user ids (wecom) of letters, digits and +-_.";
        return wrong(format!("{at}.at"), allowed);
    }
    let sign_secret = raw.secret_file.as_ref().map(|p| secret(p, base, &format!("{at}.secret_file"))).transpose()?;
    Ok(Robot {
        url,
        sign_secret,
        at: raw.at,
        voice: voice(&raw.language, &raw.time_zone, at)?,
        send_resolved: raw.send_resolved,
        timeout_ms: timeout_ms(&raw.timeout, at)?,
    })
}
