//! Peers that play providers: they keep each raw request, check its signature by recomputing it as the provider's
//! description says, with their own arithmetic, and answer what the test tells them to.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// A raw request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("header {name} in {self:?}")).to_str().unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A parameter of the query or of a form body, decoded.
    pub fn parameter(&self, name: &str) -> String {
        let form = String::from_utf8_lossy(&self.body).into_owned();
        let all = [self.uri.query().unwrap_or(""), &form].join("&");
        let pair = all.split('&').find_map(|p| p.strip_prefix(&format!("{name}=")).map(str::to_string));
        let text = pair.unwrap_or_else(|| panic!("parameter {name} in {all}")).replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().unwrap().into_owned()
    }
}

/// What to answer: status, headers, body.
pub type Reply = (u16, Vec<(&'static str, String)>, String);

/// A reply with a body alone.
pub fn reply(status: u16, body: impl Into<String>) -> Reply {
    (status, Vec::new(), body.into())
}

type Check = fn(&Request) -> Result<(), String>;

struct Inner {
    check: Check,
    got: Mutex<Vec<Request>>,
    replies: Mutex<VecDeque<Reply>>,
    otherwise: Reply,
}

/// A provider on a free port.
pub struct Provider {
    pub url: String,
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Provider {
    /// Checks every request with `check`, answers 418 when that fails, else the replies in order, then `otherwise`.
    pub async fn start(check: Check, otherwise: Reply) -> Provider {
        let inner = Arc::new(Inner { check, got: Mutex::default(), replies: Mutex::default(), otherwise });
        let app = axum::Router::new().fallback(take).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Provider { url, inner, server }
    }

    pub fn then(&self, reply: Reply) -> &Provider {
        self.inner.replies.lock().push_back(reply);
        self
    }

    pub fn got(&self) -> Vec<Request> {
        self.inner.got.lock().clone()
    }
}

async fn take(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let request = Request { method, uri, headers, body };
    inner.got.lock().push(request.clone());
    let (status, headers, body) = match (inner.check)(&request) {
        Ok(()) => inner.replies.lock().pop_front().unwrap_or_else(|| inner.otherwise.clone()),
        Err(why) => reply(418, why),
    };
    let pairs = headers.into_iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()));
    (StatusCode::from_u16(status).unwrap(), pairs.collect(), body)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn same(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} is not {expected:?}")) }
}

/// As Alibaba Cloud's gateway does for ACS3-HMAC-SHA256: every header named in SignedHeaders, from the request as it came.
pub fn check_aliyun(request: &Request) -> Result<(), String> {
    let authorization = request.header("authorization");
    let rest = authorization.strip_prefix("ACS3-HMAC-SHA256 ").ok_or("the algorithm")?;
    let part = |name: &str| rest.split(',').find_map(|p| p.strip_prefix(&format!("{name}="))).unwrap_or("");
    let signed: Vec<&str> = part("SignedHeaders").split(';').collect();
    let mut must: Vec<String> = request.headers.keys().map(|n| n.as_str().to_lowercase()).collect();
    must.retain(|n| n.starts_with("x-acs-") || n == "host" || n == "content-type");
    must.sort();
    same("signed headers", &signed.join(";"), &must.join(";"))?;
    let headers: String = signed.iter().map(|n| format!("{n}:{}\n", request.header(n).trim())).collect();
    let mut query: Vec<&str> = request.uri.query().unwrap_or("").split('&').collect();
    query.sort_unstable();
    let hash = sha256(&request.body);
    same("x-acs-content-sha256", request.header("x-acs-content-sha256"), &hash)?;
    let canonical = [request.method.as_str(), request.uri.path(), &query.join("&"), &headers, &signed.join(";"), &hash];
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256(canonical.join("\n").as_bytes()));
    same("Credential", part("Credential"), "LTAI-test")?;
    same("Signature", part("Signature"), &hex::encode(hmac(b"aliyun secret", &to_sign)))
}

/// As Tencent Cloud's gateway does for TC3-HMAC-SHA256.
pub fn check_tencent(request: &Request) -> Result<(), String> {
    let rest = request.header("authorization").strip_prefix("TC3-HMAC-SHA256 ").ok_or("the algorithm")?;
    let part = |name: &str| rest.split(", ").find_map(|p| p.strip_prefix(&format!("{name}="))).unwrap_or("");
    let signed: Vec<&str> = part("SignedHeaders").split(';').collect();
    for needed in ["content-type", "host"] {
        same(needed, signed.iter().find(|s| **s == needed).unwrap_or(&""), needed)?;
    }
    let seconds: i64 = request.header("x-tc-timestamp").parse().map_err(|_| "X-TC-Timestamp")?;
    let date = chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%d").to_string();
    let headers: String = signed.iter().map(|n| format!("{n}:{}\n", request.header(n).trim().to_lowercase())).collect();
    let (query, names, hash) = (request.uri.query().unwrap_or(""), signed.join(";"), sha256(&request.body));
    let canonical = [request.method.as_str(), request.uri.path(), query, &headers, &names, &hash].join("\n");
    let scope = format!("{date}/sms/tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{seconds}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let key = hmac(&hmac(&hmac(b"TC3tencent secret", &date), "sms"), "tc3_request");
    same("Credential", part("Credential"), &format!("AKID-test/{scope}"))?;
    same("Signature", part("Signature"), &hex::encode(hmac(&key, &to_sign)))
}

/// As Twilio does: basic authentication with account and token, on the account's own path.
pub fn check_twilio(request: &Request) -> Result<(), String> {
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "AC1:twilio secret");
    same("Authorization", request.header("authorization"), &format!("Basic {expected}"))?;
    same("path", request.uri.path(), "/2010-04-01/Accounts/AC1/Messages.json")
}

/// As DingTalk does: timestamp and sign in the query.
pub fn check_dingtalk(request: &Request) -> Result<(), String> {
    let timestamp = request.parameter("timestamp");
    let sign = hmac(b"SECding", &format!("{timestamp}\nSECding"));
    let query = request.uri.query().unwrap_or("").to_string();
    let found = query.split('&').find_map(|p| p.strip_prefix("sign=")).unwrap_or("").to_string();
    let found = percent_encoding::percent_decode_str(&found).decode_utf8_lossy().into_owned();
    same("sign", &found, &base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sign))?;
    same("access_token", &request.parameter("access_token"), "token")
}

/// As Feishu does: timestamp and sign in the body, the key made of both.
pub fn check_feishu(request: &Request) -> Result<(), String> {
    let body = request.json();
    let timestamp = body["timestamp"].as_str().ok_or("timestamp")?;
    let sign = hmac(format!("{timestamp}\nfeishu secret").as_bytes(), "");
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, sign);
    same("sign", body["sign"].as_str().unwrap_or(""), &expected)
}

/// Nothing is signed: the address is the secret.
pub fn check_nothing(_: &Request) -> Result<(), String> {
    Ok(())
}
