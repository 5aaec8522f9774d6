//! SMS of the config: numbers, providers, templates: as written, then checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::receivers::{english, secret, send_timeout, timeout_ms, utc, voice, yes};
use super::{ConfigError, is_http, wrong};
use crate::sms::fit::{FIELD_NAMES, Field, FreeText, Variable};
use crate::sms::{Api, NUMBERS_MAX, PROVIDERS_MAX, Provider, Sms, TIMEOUT_MS_MAX, aliyun, tencent, twilio};

/// Most characters a variable may be given.
const VARIABLE_CHARS_MAX: usize = 100;

/// SMS as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSms {
    /// Numbers: +, country code, number.
    pub to: Vec<String>,
    /// In the order they are tried.
    pub providers: Vec<RawProvider>,
    /// en or zh.
    #[serde(default = "english")]
    pub language: String,
    /// Time zone of the times in messages: UTC, +08:00.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Whether ends are told.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// How long one request may take.
    #[serde(default = "send_timeout")]
    pub timeout: String,
}

/// A provider as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawProvider {
    /// Alibaba Cloud.
    Aliyun(RawAliyun),
    /// Tencent Cloud.
    Tencent(RawTencent),
    /// Twilio.
    Twilio(RawTwilio),
}

/// What fills a variable of a template.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum RawVariable {
    /// A field's name.
    Name(String),
    /// A field, and how long it may be.
    Cut {
        /// Its name.
        field: String,
        /// Most characters.
        chars_max: usize,
    },
}

/// Alibaba Cloud as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAliyun {
    /// AccessKey id.
    pub access_key_id: String,
    /// File that holds its secret.
    pub access_key_secret_file: PathBuf,
    /// The approved signature.
    pub sign_name: String,
    /// The approved template.
    pub template_code: String,
    /// What fills the template's variables.
    #[serde(default)]
    pub variables: BTreeMap<String, RawVariable>,
    /// Another address of the API.
    pub endpoint: Option<String>,
}

/// Tencent Cloud as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTencent {
    /// SecretId.
    pub secret_id: String,
    /// File that holds the SecretKey.
    pub secret_key_file: PathBuf,
    /// The application's id.
    pub sdk_app_id: String,
    /// The approved signature.
    pub sign_name: Option<String>,
    /// The approved template.
    pub template_id: String,
    /// What fills the template's variables {1}, {2} …
    #[serde(default)]
    pub variables: Vec<RawVariable>,
    /// Region of the API.
    pub region: Option<String>,
    /// Another address of the API.
    pub endpoint: Option<String>,
}

/// Twilio as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTwilio {
    /// The account's SID.
    pub account_sid: String,
    /// SID of an API key, if one is used.
    pub api_key_sid: Option<String>,
    /// File that holds the account's token, or the API key's secret.
    pub auth_token_file: PathBuf,
    /// The sender's number or name.
    pub from: Option<String>,
    /// A messaging service instead.
    pub messaging_service_sid: Option<String>,
    /// What is said, with fields in braces.
    pub text: Option<String>,
    /// Most characters of it.
    pub chars_max: Option<usize>,
    /// Another address of the API.
    pub endpoint: Option<String>,
}

/// Checks the channel; `at` is its place in the config.
pub(super) fn check(raw: RawSms, base: &Path, at: &str) -> Result<Sms, ConfigError> {
    let is_number = |n: &String| {
        n.strip_prefix('+').is_some_and(|d| (8..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
    };
    if raw.to.is_empty() || raw.to.len() > NUMBERS_MAX {
        return wrong(format!("{at}.to"), format!("1 to {NUMBERS_MAX} numbers are allowed"));
    }
    if let Some(number) = raw.to.iter().find(|n| !is_number(n)) {
        return wrong(
            format!("{at}.to"),
            format!("{number:?} must be +, country code and number, like +8613800000000"),
        );
    }
    if raw.providers.is_empty() || raw.providers.len() > PROVIDERS_MAX {
        return wrong(format!("{at}.providers"), format!("1 to {PROVIDERS_MAX} providers are allowed"));
    }
    let mut providers: Vec<Provider> = Vec::new();
    for (i, raw) in raw.providers.into_iter().enumerate() {
        let at = format!("{at}.providers[{i}]");
        let (kind, api) = match raw {
            RawProvider::Aliyun(raw) => ("aliyun", Api::Aliyun(aliyun(raw, base, &format!("{at}.aliyun"))?)),
            RawProvider::Tencent(raw) => ("tencent", Api::Tencent(tencent(raw, base, &format!("{at}.tencent"))?)),
            RawProvider::Twilio(raw) => ("twilio", Api::Twilio(twilio(raw, base, &format!("{at}.twilio"))?)),
        };
        let same = providers.iter().filter(|p| p.name.starts_with(kind)).count();
        let name = if same == 0 { kind.to_string() } else { format!("{kind}-{}", same + 1) };
        providers.push(Provider { name, api });
    }
    let timeout_ms = timeout_ms(&raw.timeout, at)?;
    if timeout_ms > TIMEOUT_MS_MAX {
        return wrong(format!("{at}.timeout"), format!("{:?} is too long; at most 1m is allowed", raw.timeout));
    }
    let mut to = raw.to;
    to.sort();
    to.dedup();
    Ok(Sms {
        to,
        providers,
        voice: voice(&raw.language, &raw.time_zone, at)?,
        send_resolved: raw.send_resolved,
        timeout_ms,
    })
}

fn aliyun(raw: RawAliyun, base: &Path, at: &str) -> Result<aliyun::Aliyun, ConfigError> {
    filled(
        at,
        &[("access_key_id", &raw.access_key_id), ("sign_name", &raw.sign_name), ("template_code", &raw.template_code)],
    )?;
    let mut variables = Vec::new();
    for (name, raw) in raw.variables {
        let checked = variable(raw, aliyun::VARIABLE_CHARS_MAX, &format!("{at}.variables.{name}"))?;
        variables.push((name, checked));
    }
    Ok(aliyun::Aliyun {
        endpoint: endpoint(raw.endpoint, aliyun::ENDPOINT, at)?,
        access_key_id: raw.access_key_id,
        access_key_secret: secret(&raw.access_key_secret_file, base, &format!("{at}.access_key_secret_file"))?,
        sign_name: raw.sign_name,
        template_code: raw.template_code,
        variables,
    })
}

fn tencent(raw: RawTencent, base: &Path, at: &str) -> Result<tencent::Tencent, ConfigError> {
    filled(at, &[("secret_id", &raw.secret_id), ("sdk_app_id", &raw.sdk_app_id), ("template_id", &raw.template_id)])?;
    let mut variables = Vec::new();
    for (i, raw) in raw.variables.into_iter().enumerate() {
        variables.push(variable(raw, tencent::VARIABLE_CHARS_MAX, &format!("{at}.variables[{i}]"))?);
    }
    Ok(tencent::Tencent {
        endpoint: endpoint(raw.endpoint, tencent::ENDPOINT, at)?,
        secret_id: raw.secret_id,
        secret_key: secret(&raw.secret_key_file, base, &format!("{at}.secret_key_file"))?,
        sdk_app_id: raw.sdk_app_id,
        sign_name: raw.sign_name,
        template_id: raw.template_id,
        variables,
        region: raw.region.unwrap_or_else(|| tencent::REGION.into()),
    })
}

fn twilio(raw: RawTwilio, base: &Path, at: &str) -> Result<twilio::Twilio, ConfigError> {
    if raw.account_sid.is_empty() || !raw.account_sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return wrong(format!("{at}.account_sid"), "must be letters and digits");
    }
    let sender = match (raw.from, raw.messaging_service_sid) {
        (Some(from), None) if !from.is_empty() => twilio::Sender::From(from),
        (None, Some(sid)) if !sid.is_empty() => twilio::Sender::Service(sid),
        _ => return wrong(at, "one of from and messaging_service_sid must be set"),
    };
    let text = match FreeText::parse(raw.text.as_deref().unwrap_or(twilio::TEXT)) {
        Ok(text) => text,
        Err(name) => return wrong(format!("{at}.text"), format!("{name:?} is no field; allowed are {FIELD_NAMES}")),
    };
    let text_chars_max = raw.chars_max.unwrap_or(twilio::TEXT_CHARS);
    if !(1..=twilio::TEXT_CHARS_MAX).contains(&text_chars_max) {
        return wrong(format!("{at}.chars_max"), format!("allowed are 1 to {}", twilio::TEXT_CHARS_MAX));
    }
    Ok(twilio::Twilio {
        endpoint: endpoint(raw.endpoint, twilio::ENDPOINT, at)?,
        user: raw.api_key_sid.unwrap_or_else(|| raw.account_sid.clone()),
        account_sid: raw.account_sid,
        auth_token: secret(&raw.auth_token_file, base, &format!("{at}.auth_token_file"))?,
        sender,
        text,
        text_chars_max,
    })
}

fn filled(at: &str, fields: &[(&str, &str)]) -> Result<(), ConfigError> {
    match fields.iter().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => wrong(format!("{at}.{name}"), "must not be empty"),
        None => Ok(()),
    }
}

fn endpoint(configured: Option<String>, default: &str, at: &str) -> Result<reqwest::Url, ConfigError> {
    let text = configured.unwrap_or_else(|| default.into());
    match text.parse::<reqwest::Url>() {
        Ok(url) if is_http(&text) && url.path() == "/" && url.query().is_none() => Ok(url),
        _ => wrong(format!("{at}.endpoint"), format!("{text:?} must look like https://host or https://host:port")),
    }
}

fn variable(raw: RawVariable, chars_max: usize, at: &str) -> Result<Variable, ConfigError> {
    let (name, chars_max) = match raw {
        RawVariable::Name(name) => (name, chars_max),
        RawVariable::Cut { field, chars_max } => (field, chars_max),
    };
    if !(1..=VARIABLE_CHARS_MAX).contains(&chars_max) {
        return wrong(at, format!("chars_max: allowed are 1 to {VARIABLE_CHARS_MAX}"));
    }
    match Field::parse(&name) {
        Some(Field::Link) => {
            wrong(at, "variables may not hold links; write the address into the template and fill its end with id")
        }
        Some(field) => Ok(Variable { field, chars_max }),
        None => wrong(at, format!("{name:?} is no field; allowed are {FIELD_NAMES}")),
    }
}
