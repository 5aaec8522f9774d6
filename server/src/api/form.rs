//! Parameters of a request: of the URL, and of a form in the body; the body's come first, as in Go's `Request.Form`.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{Method, header},
};
use percent_encoding::percent_decode;

use super::{
    reply::ApiError,
    time::{self, MAX_TIME_MS, MIN_TIME_MS},
};

/// Most parameters of one request.
const PARAMETERS_MAX: usize = 10_000;

/// Parameters in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `a=1&b=2`.
    pub fn parse(text: &[u8]) -> Result<Form, ApiError> {
        let mut pairs = Vec::new();
        for part in text.split(|b| *b == b'&').filter(|part| !part.is_empty()) {
            if pairs.len() >= PARAMETERS_MAX {
                return Err(ApiError::bad_data(format!("more than {PARAMETERS_MAX} parameters")));
            }
            let mut halves = part.splitn(2, |b| *b == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            pairs.push((half()?, half()?));
        }
        Ok(Form(pairs))
    }

    /// The first value of a parameter; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time in milliseconds; `default` if the parameter is empty or not there.
    pub fn time_ms(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.get(name) {
            "" => Ok(default),
            text => time::parse_time_ms(text).map_err(|e| format!("invalid time value for '{name}': {e}")),
        }
    }

    /// A time that must be there.
    pub fn required_time_ms(&self, name: &str) -> Result<i64, ApiError> {
        time::parse_time_ms(self.get(name)).map_err(|e| ApiError::parameter(name, e))
    }

    /// A duration in milliseconds, if it is there.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => time::parse_duration_ms(text).map(Some).map_err(|e| ApiError::parameter(name, e)),
        }
    }

    /// `start` and `end` of the metadata questions: everything unless said.
    pub fn range_ms(&self) -> Result<(i64, i64), ApiError> {
        let time = |name: &str, default| self.time_ms(name, default).map_err(ApiError::bad_data);
        let (start, end) = (time("start", MIN_TIME_MS)?, time("end", MAX_TIME_MS)?);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        Ok((start, end))
    }

    /// `limit`; none if it is 0 or not there.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        self.count("limit").map(|limit| limit.filter(|n| *n > 0))
    }

    /// A number that is not negative, if it is there.
    pub fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<i64>() {
            Ok(n) => match usize::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(ApiError::parameter(name, format!("{name} must be non-negative"))),
            },
            Err(_) => Err(ApiError::parameter(name, format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        }
    }
}

fn decode(half: &[u8]) -> Result<String, ApiError> {
    let spaced: Vec<u8> = half.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    let text = percent_decode(&spaced).decode_utf8();
    text.map(Into::into).map_err(|_| ApiError::bad_data("a parameter is not UTF-8"))
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Form, ApiError> {
        let url = Form::parse(request.uri().query().unwrap_or("").as_bytes())?;
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        if request.method() != Method::POST || !kind.starts_with("application/x-www-form-urlencoded") {
            return Ok(url);
        }
        let body = Bytes::from_request(request, state).await.map_err(|e| ApiError::bad_data(e.body_text()))?;
        let mut form = Form::parse(&body)?;
        form.0.extend(url.0);
        Ok(form)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = Form::parse(b"query=up%7Ba%3D%22b+c%22%7D&match[]=x&match%5B%5D=y&flag&=z&").unwrap();
        assert_eq!(form.get("query"), "up{a=\"b c\"}");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(form.get("flag"), "");
        assert!(Form::parse(b"a=%ff").is_err());
    }

    #[test]
    fn limits_are_counted_as_prometheus_does() {
        let limit =
            |text: &str| Form::parse(format!("limit={text}").as_bytes()).unwrap().limit().map_err(|e| e.message);
        assert_eq!(limit(""), Ok(None));
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("7"), Ok(Some(7)));
        assert_eq!(limit("-1"), Err("invalid parameter \"limit\": limit must be non-negative".into()));
        let unparsable = "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax";
        assert_eq!(limit("x"), Err(unparsable.into()));
    }
}
