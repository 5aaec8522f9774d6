//! SMS by Tencent Cloud: `SendSms` of the API version 2021-01-11, signed with TC3-HMAC-SHA256.
//!
//! Sources: the vendor's pages on signature v3, on SendSms, and on its error codes. Up to 200 numbers travel together,
//! of the mainland and of elsewhere apart; the answer says of each number what became of it.

use chrono::DateTime;
use serde_json::{Value, json};

use super::fit::Variable;
use super::{Answer, Call, answer, broken};
use crate::answer_codes::{Codes, HOUR_MS, MINUTE_MS, Means};
use crate::exchange::{Reply, exchange};
use crate::secret::Secret;
use crate::signing::{hmac_sha256, sha256_hex};

const SERVICE: &str = "sms";
const ACTION: &str = "SendSms";
const VERSION: &str = "2021-01-11";
const CONTENT_TYPE: &str = "application/json; charset=utf-8";
/// The public endpoint.
pub const ENDPOINT: &str = "https://sms.tencentcloudapi.com";
/// The region named unless the config names one.
pub const REGION: &str = "ap-guangzhou";
/// Most characters of a variable that every account may use; firms may use more.
pub const VARIABLE_CHARS_MAX: usize = 12;
/// Most numbers in one request.
const NUMBERS_AT_ONCE_MAX: usize = 200;
const MAINLAND: &str = "+86";

/// What the codes in answers mean, of the whole request and of single numbers.
pub const CODES: Codes = &[
    ("Ok", Means::Taken),
    ("LimitExceeded*", Means::Again(Some(MINUTE_MS))),
    ("LimitExceeded.PhoneNumberThirtySecondLimit", Means::Again(Some(30_000))),
    ("LimitExceeded.PhoneNumberOneHourLimit", Means::Again(Some(10 * MINUTE_MS))),
    ("LimitExceeded.PhoneNumberDailyLimit", Means::Again(Some(HOUR_MS))),
    ("LimitExceeded.PhoneNumberSameContentDailyLimit", Means::Again(Some(HOUR_MS))),
    ("LimitExceeded.AppDailyLimit", Means::Again(Some(HOUR_MS))),
    ("LimitExceeded.PhoneNumberCountLimit", Means::Refused),
    ("RequestLimitExceeded*", Means::Again(Some(1_000))),
    ("InternalError*", Means::Again(None)),
    ("InternalError.SigFieldMissing", Means::Refused),
    ("InternalError.SigVerificationFail", Means::Refused),
    ("ServiceUnavailable*", Means::Again(None)),
    ("ResourceUnavailable*", Means::Again(None)),
    ("FailedOperation.*", Means::Refused),
    ("FailedOperation.FailResolvePacket", Means::Refused),
    ("InvalidParameter*", Means::Refused),
    ("MissingParameter*", Means::Refused),
    ("UnknownParameter*", Means::Refused),
    ("UnauthorizedOperation*", Means::Refused),
    ("UnsupportedOperation*", Means::Refused),
    ("UnsupportedRegion*", Means::Refused),
    ("AuthFailure*", Means::Refused),
    ("InvalidAction*", Means::Refused),
    ("InvalidRequest*", Means::Refused),
    ("NoSuchVersion*", Means::Refused),
    ("NoSuchProduct*", Means::Refused),
    ("ActionOffline*", Means::Refused),
    ("IpInBlacklist*", Means::Refused),
    ("IpNotInWhitelist*", Means::Refused),
];

/// An account with an application, a signature and a template.
#[derive(Clone, Debug)]
pub struct Tencent {
    /// Where to.
    pub endpoint: reqwest::Url,
    /// SecretId.
    pub secret_id: String,
    /// SecretKey.
    pub secret_key: Secret,
    /// The application's id.
    pub sdk_app_id: String,
    /// The approved signature; numbers outside the mainland need none.
    pub sign_name: Option<String>,
    /// The approved template.
    pub template_id: String,
    /// The template's variables in their order.
    pub variables: Vec<Variable>,
    /// Region of the API.
    pub region: String,
}

/// One request for the numbers of the mainland, one for the others.
pub async fn send(tencent: &Tencent, call: &Call<'_>, numbers: &[String]) -> Vec<(String, Answer)> {
    let (mainland, elsewhere): (Vec<String>, Vec<String>) =
        numbers.iter().cloned().partition(|n| n.starts_with(MAINLAND));
    let mut answers = Vec::new();
    for batch in mainland.chunks(NUMBERS_AT_ONCE_MAX).chain(elsewhere.chunks(NUMBERS_AT_ONCE_MAX)) {
        answers.extend(send_batch(tencent, call, batch).await);
    }
    answers
}

async fn send_batch(tencent: &Tencent, call: &Call<'_>, numbers: &[String]) -> Vec<(String, Answer)> {
    let telling = call.telling;
    let variables: Vec<String> = tencent.variables.iter().map(|v| v.fill(telling, call.voice)).collect();
    let mut body = json!({
        "PhoneNumberSet": numbers,
        "SmsSdkAppId": tencent.sdk_app_id,
        "TemplateId": tencent.template_id,
        "TemplateParamSet": variables,
        "SessionContext": telling.key,
    });
    if let Some(sign_name) = &tencent.sign_name {
        body["SignName"] = sign_name.as_str().into();
    }
    let body = body.to_string();
    let host = tencent.endpoint.host_str().unwrap_or_default();
    let host = tencent.endpoint.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    let seconds = telling.now_ms.div_euclid(1000);
    let signing = Signing { host: &host, service: SERVICE, action: ACTION, seconds };
    let authorization = authorization(&tencent.secret_id, &tencent.secret_key, body.as_bytes(), &signing);
    let mut url = tencent.endpoint.clone();
    url.set_path("/");
    let request = call
        .client
        .post(url)
        .header("authorization", authorization)
        .header("content-type", CONTENT_TYPE)
        .header("x-tc-action", ACTION)
        .header("x-tc-version", VERSION)
        .header("x-tc-timestamp", seconds)
        .header("x-tc-region", &tencent.region)
        .body(body);
    match exchange(request, call.timeout_ms, telling.now_ms).await {
        Ok(reply) => read(&reply, numbers),
        Err(e) => numbers.iter().map(|n| (n.clone(), broken(&e))).collect(),
    }
}

/// The answer of every number: its own, or that of the whole request.
fn read(reply: &Reply, numbers: &[String]) -> Vec<(String, Answer)> {
    let body = reply.json();
    let response = &body["Response"];
    if let Some(code) = response["Error"]["Code"].as_str() {
        let words = response["Error"]["Message"].as_str().unwrap_or("");
        let answer = answer(reply, Some(code), words, CODES);
        return numbers.iter().map(|n| (n.clone(), answer.clone())).collect();
    }
    let statuses = response["SendStatusSet"].as_array();
    let of = |number: &String| {
        let status = statuses?.iter().find(|s| s["PhoneNumber"].as_str().is_some_and(|n| same_number(n, number)))?;
        let code = status["Code"].as_str();
        let words = status["Message"].as_str().unwrap_or("");
        Some(match code {
            Some("Ok") if reply.is_success() => {
                let id = status["SerialNo"].as_str().unwrap_or("");
                Answer { means: Some(Means::Taken), words: format!("SerialNo {id}") }
            }
            code => answer(reply, code, words, CODES),
        })
    };
    let silent = |_: &Value| answer(reply, None, "nothing about this number", CODES);
    numbers.iter().map(|n| (n.clone(), of(n).unwrap_or_else(|| silent(&body)))).collect()
}

fn same_number(theirs: &str, ours: &str) -> bool {
    theirs == ours || ours.strip_prefix(MAINLAND) == Some(theirs.trim_start_matches('+'))
}

/// What is signed beside the body.
struct Signing<'a> {
    host: &'a str,
    service: &'a str,
    action: &'a str,
    seconds: i64,
}

fn authorization(id: &str, key: &Secret, body: &[u8], signing: &Signing<'_>) -> String {
    const SIGNED: &str = "content-type;host;x-tc-action";
    let Signing { host, service, action, seconds } = signing;
    let headers = format!("content-type:{CONTENT_TYPE}\nhost:{host}\nx-tc-action:{}\n", action.to_lowercase());
    let canonical = format!("POST\n/\n\n{headers}\n{SIGNED}\n{}", sha256_hex(body));
    let date = DateTime::from_timestamp(*seconds, 0).unwrap_or_default().format("%Y-%m-%d").to_string();
    let scope = format!("{date}/{service}/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{seconds}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let of_date = hmac_sha256(format!("TC3{}", key.expose()).as_bytes(), date.as_bytes());
    let of_service = hmac_sha256(&of_date, service.as_bytes());
    let of_request = hmac_sha256(&of_service, b"tc3_request");
    let signature = hex::encode(hmac_sha256(&of_request, to_sign.as_bytes()));
    format!("TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example the vendor publishes with its description of the signature; id and key are masked there, and the
    /// published signature is that of the masked key.
    #[test]
    fn the_published_example_has_the_published_signature() {
        let body = r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
        let signing = Signing {
            host: "cvm.tencentcloudapi.com",
            service: "cvm",
            action: "DescribeInstances",
            seconds: 1_551_113_065,
        };
        let masked = "*".repeat(32);
        let found = authorization(&format!("AKID{masked}"), &Secret::new(masked.clone()), body.as_bytes(), &signing);
        assert_eq!(
            found,
            format!(
                "TC3-HMAC-SHA256 Credential=AKID{masked}/2019-02-25/cvm/tc3_request, \
                 SignedHeaders=content-type;host;x-tc-action, \
                 Signature=10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f"
            )
        );
    }

    #[test]
    fn every_number_gets_its_own_answer() {
        let numbers = ["+8613800000000".to_string(), "+8613900000000".to_string(), "+8613700000000".to_string()];
        let body = r#"{"Response":{"SendStatusSet":[
            {"SerialNo":"5000:1","PhoneNumber":"+8613800000000","Code":"Ok","Message":"send success"},
            {"SerialNo":"","PhoneNumber":"+8613900000000","Code":"LimitExceeded.PhoneNumberDailyLimit","Message":"m"}],
            "RequestId":"r"}}"#;
        let reply = Reply { status: 200, retry_after_ms: None, body: body.into() };
        let means: Vec<_> = read(&reply, &numbers).into_iter().map(|(_, a)| a.means).collect();
        assert_eq!(means, [Some(Means::Taken), Some(Means::Again(Some(HOUR_MS))), None]);
    }

    #[test]
    fn an_error_is_that_of_all_numbers() {
        for (code, expected) in [
            ("LimitExceeded.DeliveryFrequencyLimit", Some(Means::Again(Some(MINUTE_MS)))),
            ("RequestLimitExceeded", Some(Means::Again(Some(1_000)))),
            ("InternalError.Timeout", Some(Means::Again(None))),
            ("AuthFailure.SignatureFailure", Some(Means::Refused)),
            ("FailedOperation.InsufficientBalanceInSmsPackage", Some(Means::Refused)),
            ("FailedOperation.TemplateIncorrectOrUnapproved", Some(Means::Refused)),
            ("InvalidParameterValue.IncorrectPhoneNumber", Some(Means::Refused)),
            ("SomethingNew", None),
        ] {
            let body = json!({"Response": {"Error": {"Code": code, "Message": "m"}, "RequestId": "r"}}).to_string();
            let reply = Reply { status: 200, retry_after_ms: None, body };
            let answers = read(&reply, &["+8613800000000".into(), "+8613900000000".into()]);
            assert!(answers.iter().all(|(_, a)| a.means == expected), "{code}: {answers:?}");
        }
    }
}
