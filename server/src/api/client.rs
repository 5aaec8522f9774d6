//! Who sent a request, for the query log.

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use query::Asker;

use super::reply::ApiError;

/// The sender of a request, as the query log names them.
pub struct Client(pub Asker);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Client, ApiError> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Client(Asker::Http {
            client: address.map(|ConnectInfo(address)| address.ip().to_string()).unwrap_or_default(),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
        }))
    }
}
