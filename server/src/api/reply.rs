//! Answers in Prometheus' form: `{"status":"success","data":…}` and `{"status":"error","errorType":…,"error":…}`.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use query::{ErrorKind, QueryError, promql::json::write_string};

/// A successful answer. `data` is JSON already, or becomes it while it is sent.
pub struct Reply {
    data: Data,
    warnings: Vec<String>,
    infos: Vec<String>,
}

enum Data {
    Text(String),
    Pieces(Box<dyn Iterator<Item = String> + Send>),
}

/// What every handler returns.
pub type ApiResult = Result<Reply, ApiError>;

impl Reply {
    /// `data` as written.
    pub fn raw(data: String) -> Reply {
        Reply { data: Data::Text(data), warnings: Vec::new(), infos: Vec::new() }
    }

    /// `data` in pieces, made while it is sent; a short one is sent whole.
    pub fn pieces(mut data: impl Iterator<Item = String> + Send + 'static) -> Reply {
        /// A body up to here is short, bytes.
        const SHORT_BYTES_MAX: usize = 16 << 10;
        let mut begin = String::new();
        while begin.len() <= SHORT_BYTES_MAX {
            match data.next() {
                Some(piece) if begin.is_empty() => begin = piece,
                Some(piece) => begin.push_str(&piece),
                None => return Reply::raw(begin),
            }
        }
        let data = std::iter::once(begin).chain(data);
        Reply { data: Data::Pieces(Box::new(data)), warnings: Vec::new(), infos: Vec::new() }
    }

    /// `data` from a value.
    pub fn json(data: &impl serde::Serialize) -> ApiResult {
        let data = serde_json::to_string(data).map_err(|e| ApiError::internal(e.to_string()))?;
        Ok(Reply::raw(data))
    }

    /// With warnings and infos.
    pub fn with(mut self, warnings: Vec<String>, infos: Vec<String>) -> Reply {
        (self.warnings, self.infos) = (warnings, infos);
        self
    }

    /// What stands after `data`.
    fn tail(&self) -> String {
        let mut out = String::new();
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !texts.is_empty() {
                out.push_str(&format!(",\"{name}\":["));
                for (i, text) in texts.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(&mut out, text);
                }
                out.push(']');
            }
        }
        out.push('}');
        out
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        const HEAD: &str = "{\"status\":\"success\",\"data\":";
        let tail = self.tail();
        let body = match self.data {
            Data::Text(data) => Body::from([HEAD, &data, &tail].concat()),
            Data::Pieces(pieces) => {
                let all = std::iter::once(HEAD.to_owned()).chain(pieces).chain(std::iter::once(tail));
                Body::from_stream(futures::stream::iter(all.map(Ok::<String, std::convert::Infallible>)))
            }
        };
        json(StatusCode::OK, body)
    }
}

fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Prometheus' error types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// 400.
    BadData,
    /// 422.
    Execution,
    /// 503.
    Timeout,
    /// 503.
    Canceled,
    /// 500.
    Internal,
    /// 404.
    NotFound,
    /// 503.
    Unavailable,
}

impl ErrorType {
    fn form(self) -> (&'static str, StatusCode) {
        match self {
            ErrorType::BadData => ("bad_data", StatusCode::BAD_REQUEST),
            ErrorType::Execution => ("execution", StatusCode::UNPROCESSABLE_ENTITY),
            ErrorType::Timeout => ("timeout", StatusCode::SERVICE_UNAVAILABLE),
            ErrorType::Canceled => ("canceled", StatusCode::SERVICE_UNAVAILABLE),
            ErrorType::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
            ErrorType::NotFound => ("not_found", StatusCode::NOT_FOUND),
            ErrorType::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// An unsuccessful answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its type.
    pub kind: ErrorType,
    /// In words, Prometheus' where it has some.
    pub message: String,
}

impl ApiError {
    /// The request is wrong.
    pub fn bad_data(message: impl Into<String>) -> ApiError {
        ApiError { kind: ErrorType::BadData, message: message.into() }
    }

    /// A parameter is wrong.
    pub fn parameter(name: &str, message: impl std::fmt::Display) -> ApiError {
        ApiError::bad_data(format!("invalid parameter \"{name}\": {message}"))
    }

    /// Nothing of that name.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError { kind: ErrorType::NotFound, message: message.into() }
    }

    /// Our fault.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError { kind: ErrorType::Internal, message: message.into() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (kind, status) = self.kind.form();
        let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":");
        write_string(&mut body, &self.message);
        body.push('}');
        json(status, Body::from(body))
    }
}

/// An error of the query room; one that the text of the query caused names the parameter, as Prometheus does.
pub fn query_error(error: QueryError) -> ApiError {
    let kind = match error.kind() {
        ErrorKind::BadData => ErrorType::BadData,
        ErrorKind::Execution => ErrorType::Execution,
        ErrorKind::Timeout => ErrorType::Timeout,
        ErrorKind::Canceled => ErrorType::Canceled,
        ErrorKind::Internal => ErrorType::Internal,
    };
    ApiError { kind, message: error.to_string() }
}

/// An error of reading the store.
pub fn read_error(error: storage::ReadError) -> ApiError {
    let kind = match error {
        storage::ReadError::TooMuch { .. } => ErrorType::Execution,
        _ => ErrorType::Internal,
    };
    ApiError { kind, message: error.to_string() }
}
