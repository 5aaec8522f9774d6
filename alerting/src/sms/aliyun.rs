//! SMS by Alibaba Cloud: `SendSms` of the API version 2017-05-25, signed with ACS3-HMAC-SHA256 (signature version 3).
//!
//! Sources: the vendor's pages on the V3 request structure and signature, on SendSms, and on its error codes. Parameters
//! travel in the query, as the API's metadata says. One request a number: numbers sent together share one verdict,
//! so one wrong number would take the others with it. An HTTP 200 says nothing; `Code` in the body must be `OK`.

use chrono::DateTime;
use futures::future::join_all;
use serde_json::Value;

use super::fit::Variable;
use super::{AT_ONCE_MAX, Answer, Call, answer, broken};
use crate::answer_codes::{Codes, HOUR_MS, MINUTE_MS, Means};
use crate::exchange::{Reply, exchange};
use crate::secret::Secret;
use crate::signing::{encode, hmac_sha256, sha256_hex};

const ACTION: &str = "SendSms";
const VERSION: &str = "2017-05-25";
/// The public endpoint.
pub const ENDPOINT: &str = "https://dysmsapi.aliyuncs.com";
/// Most characters of a variable in a notification template.
pub const VARIABLE_CHARS_MAX: usize = 35;

/// What the codes in answers mean.
pub const CODES: Codes = &[
    ("OK", Means::Taken),
    ("isv.BUSINESS_LIMIT_CONTROL", Means::Again(Some(MINUTE_MS))),
    ("isv.DAY_LIMIT_CONTROL", Means::Again(Some(HOUR_MS))),
    ("isv.MONTH_LIMIT_CONTROL", Means::Again(Some(HOUR_MS))),
    ("isv.SMS_OVER_LIMIT", Means::Again(Some(HOUR_MS))),
    ("isp.SYSTEM_ERROR", Means::Again(None)),
    ("isp.GATEWAY_ERROR", Means::Again(None)),
    ("Throttling*", Means::Again(Some(1_000))),
    ("ServiceUnavailable*", Means::Again(None)),
    ("InternalError*", Means::Again(None)),
    ("SignatureNonceUsed", Means::Again(None)),
    ("InvalidTimeStamp*", Means::Refused),
    ("SignatureDoesNotMatch", Means::Refused),
    ("IncompleteSignature", Means::Refused),
    ("InvalidAccessKeyId*", Means::Refused),
    ("Forbidden*", Means::Refused),
    ("NoPermission*", Means::Refused),
    ("Missing*", Means::Refused),
    ("InvalidParameter*", Means::Refused),
    ("isp.RAM_PERMISSION_DENY", Means::Refused),
    ("isv.OUT_OF_SERVICE", Means::Refused),
    ("isv.AMOUNT_NOT_ENOUGH", Means::Refused),
    ("isv.PRODUCT_UN_SUBSCRIPT", Means::Refused),
    ("isv.PRODUCT_UNSUBSCRIBE", Means::Refused),
    ("isv.ACCOUNT_NOT_EXISTS", Means::Refused),
    ("isv.ACCOUNT_ABNORMAL", Means::Refused),
    ("isv.SMS_TEMPLATE_ILLEGAL", Means::Refused),
    ("isv.SMS_SIGNATURE_ILLEGAL", Means::Refused),
    ("isv.SMS_SIGN_ILLEGAL", Means::Refused),
    ("isv.SIGN_NAME_ILLEGAL", Means::Refused),
    ("isv.SMS_SIGNATURE_SCENE_ILLEGAL", Means::Refused),
    ("isv.SMS_CONTENT_ILLEGAL", Means::Refused),
    ("isv.MOBILE_NUMBER_ILLEGAL", Means::Refused),
    ("isv.MOBILE_COUNT_OVER_LIMIT", Means::Refused),
    ("isv.DOMESTIC_NUMBER_NOT_SUPPORTED", Means::Refused),
    ("isv.TEMPLATE_MISSING_PARAMETERS", Means::Refused),
    ("isv.TEMPLATE_PARAMS_ILLEGAL", Means::Refused),
    ("isv.INVALID_PARAMETERS", Means::Refused),
    ("isv.INVALID_JSON_PARAM", Means::Refused),
    ("isv.BLACK_KEY_CONTROL_LIMIT", Means::Refused),
    ("isv.PARAM_LENGTH_LIMIT", Means::Refused),
    ("isv.PARAM_NOT_SUPPORT_URL", Means::Refused),
    ("isv.DENY_IP_RANGE", Means::Refused),
    ("isv.EXTEND_CODE_ERROR", Means::Refused),
    ("isv.UNSUPPORTED_CONTENT", Means::Refused),
];

/// An account with a signature and a template.
#[derive(Clone, Debug)]
pub struct Aliyun {
    /// Where to.
    pub endpoint: reqwest::Url,
    /// AccessKey id.
    pub access_key_id: String,
    /// AccessKey secret.
    pub access_key_secret: Secret,
    /// The approved signature.
    pub sign_name: String,
    /// The approved template.
    pub template_code: String,
    /// The template's variables.
    pub variables: Vec<(String, Variable)>,
}

/// What is signed beside the query.
struct Signing<'a> {
    host: &'a str,
    action: &'a str,
    version: &'a str,
    date: &'a str,
    nonce: &'a str,
}

/// One request a number, some at once.
pub async fn send(aliyun: &Aliyun, call: &Call<'_>, numbers: &[String]) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for some in numbers.chunks(AT_ONCE_MAX) {
        let said = join_all(some.iter().map(|number| send_one(aliyun, call, number))).await;
        answers.extend(some.iter().cloned().zip(said));
    }
    answers
}

async fn send_one(aliyun: &Aliyun, call: &Call<'_>, number: &str) -> Answer {
    let telling = call.telling;
    let variables: serde_json::Map<String, Value> =
        aliyun.variables.iter().map(|(name, v)| (name.clone(), v.fill(telling, call.voice).into())).collect();
    let variables = Value::Object(variables).to_string();
    let mut parameters = vec![
        ("OutId", telling.key),
        ("PhoneNumbers", national(number)),
        ("SignName", &aliyun.sign_name),
        ("TemplateCode", &aliyun.template_code),
    ];
    if !aliyun.variables.is_empty() {
        parameters.push(("TemplateParam", &variables));
    }
    let query = query(&parameters);
    let host = host(&aliyun.endpoint);
    let date = DateTime::from_timestamp_millis(telling.now_ms).unwrap_or_default();
    let date = date.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    // unique per message, attempt and number, as the API wants it
    let nonce = &sha256_hex(format!("{} {} {number}", telling.key, telling.now_ms).as_bytes())[..32];
    let signing = Signing { host: &host, action: ACTION, version: VERSION, date: &date, nonce };
    let mut url = aliyun.endpoint.clone();
    url.set_path("/");
    url.set_query(Some(&query));
    let mut request = call.client.post(url).header("x-acs-content-sha256", sha256_hex(b""));
    for (name, value) in [("x-acs-action", ACTION), ("x-acs-version", VERSION), ("x-acs-date", &date)] {
        request = request.header(name, value);
    }
    let authorization = authorization(&aliyun.access_key_id, &aliyun.access_key_secret, &query, &signing);
    let request = request.header("x-acs-signature-nonce", nonce).header("authorization", authorization);
    match exchange(request, call.timeout_ms, telling.now_ms).await {
        Ok(reply) => read(&reply),
        Err(e) => broken(&e),
    }
}

fn read(reply: &Reply) -> Answer {
    let body = reply.json();
    let code = body["Code"].as_str();
    let words = body["Message"].as_str().unwrap_or("");
    match code {
        Some("OK") if reply.is_success() => {
            let id = body["BizId"].as_str().unwrap_or("");
            Answer { means: Some(Means::Taken), words: format!("BizId {id}") }
        }
        Some("OK") => answer(reply, None, words, CODES),
        Some("isv.BUSINESS_LIMIT_CONTROL") => {
            // the words name the counter that is full: 分钟级, 小时级 or 天级
            let after_ms = match words {
                w if w.contains('天') => HOUR_MS,
                w if w.contains("小时") => 10 * MINUTE_MS,
                _ => MINUTE_MS,
            };
            Answer { means: Some(Means::Again(Some(after_ms))), ..answer(reply, code, words, CODES) }
        }
        code => answer(reply, code, words, CODES),
    }
}

/// Numbers of the mainland without their code, others without the plus.
fn national(number: &str) -> &str {
    number.strip_prefix("+86").unwrap_or(number.trim_start_matches('+'))
}

/// The host as it travels: with its port where it is not the scheme's.
fn host(endpoint: &reqwest::Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    endpoint.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// Sorted, percent-encoded, joined: the canonical query, which is also what travels.
fn query(parameters: &[(&str, &str)]) -> String {
    let mut sorted = parameters.to_vec();
    sorted.sort_unstable();
    let pairs: Vec<String> = sorted.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
    pairs.join("&")
}

fn authorization(id: &str, secret: &Secret, query: &str, signing: &Signing<'_>) -> String {
    let empty = sha256_hex(b"");
    let headers = [
        ("host", signing.host),
        ("x-acs-action", signing.action),
        ("x-acs-content-sha256", &empty),
        ("x-acs-date", signing.date),
        ("x-acs-signature-nonce", signing.nonce),
        ("x-acs-version", signing.version),
    ];
    let canonical_headers: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
    let signed = headers.map(|(name, _)| name).join(";");
    let canonical = format!("POST\n/\n{query}\n{canonical_headers}\n{signed}\n{empty}");
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256_hex(canonical.as_bytes()));
    let signature = hex::encode(hmac_sha256(secret.expose().as_bytes(), to_sign.as_bytes()));
    format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={signed},Signature={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example the vendor publishes with its description of the signature.
    #[test]
    fn the_published_example_has_the_published_signature() {
        let query =
            query(&[("RegionId", "cn-shanghai"), ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd")]);
        let signing = Signing {
            host: "ecs.cn-shanghai.aliyuncs.com",
            action: "RunInstances",
            version: "2014-05-26",
            date: "2023-10-26T10:22:32Z",
            nonce: "3156853299f313e23d1673dc12e1703d",
        };
        let found = authorization("YourAccessKeyId", &Secret::new("YourAccessKeySecret"), &query, &signing);
        assert_eq!(
            found,
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;\
             x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }

    #[test]
    fn answers_are_read_from_the_body() {
        let taken = Some(Means::Taken);
        let again = |ms| Some(Means::Again(ms));
        for (status, body, expected) in [
            (200, r#"{"Code":"OK","Message":"OK","BizId":"9006^0"}"#, taken),
            (200, r#"{"Code":"isv.MOBILE_NUMBER_ILLEGAL","Message":"m"}"#, Some(Means::Refused)),
            (200, r#"{"Code":"isv.AMOUNT_NOT_ENOUGH","Message":"m"}"#, Some(Means::Refused)),
            (
                200,
                r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL","Message":"触发分钟级流控Permits:1"}"#,
                again(Some(MINUTE_MS)),
            ),
            (200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL","Message":"触发小时级流控Permits:5"}"#, again(Some(600_000))),
            (200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL","Message":"触发天级流控Permits:10"}"#, again(Some(HOUR_MS))),
            (400, r#"{"Code":"Throttling.User","Message":"m"}"#, again(Some(1_000))),
            (400, r#"{"Code":"SignatureDoesNotMatch","Message":"m"}"#, Some(Means::Refused)),
            (503, r#"{"Code":"Something.New","Message":"m"}"#, again(None)),
            (500, "", again(None)),
            (200, r#"{"Code":"isv.SOMETHING_NEW","Message":"m"}"#, None),
            (200, "<html>", None),
        ] {
            let reply = Reply { status, retry_after_ms: None, body: body.into() };
            assert_eq!(read(&reply).means, expected, "{status} {body}");
        }
        assert_eq!((national("+8613800000000"), national("+85251234567")), ("13800000000", "85251234567"));
    }
}
