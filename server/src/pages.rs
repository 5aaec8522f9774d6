//! The web pages, carried inside the program. Any path that is no page and no API gives the one page, which reads the path itself.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// `web/dist` as it was when the program was built; empty if the pages had not been built.
#[derive(RustEmbed)]
#[folder = "../web/dist/"]
#[allow_missing = true]
struct Pages;

/// Only our own scripts, styles and answers; nobody may frame the pages.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const NOT_BUILT: &str = "This tidewatch was built without its pages.\n\
     Build them with `make web` and then the program again; the API answers at /api/v1 all the same.\n";

/// Answers with a file or the page.
pub async fn page(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let file = (!path.is_empty()).then(|| Pages::get(path)).flatten();
    let (name, file) = match file {
        Some(file) => (path, Some(file)),
        None => ("index.html", Pages::get("index.html")),
    };
    let Some(file) = file else {
        return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], NOT_BUILT)
            .into_response();
    };
    answer(name, &file, request.headers())
}

fn answer(name: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = etag(file);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Response::new(Body::from(file.data.to_vec())),
    };
    let mut set = |name: header::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    let kind = match file.metadata.mimetype() {
        kind if kind.starts_with("text/") && !kind.contains("charset") => format!("{kind}; charset=utf-8"),
        kind => kind.to_owned(),
    };
    set(header::CONTENT_TYPE, &kind);
    set(header::ETAG, &tag);
    set(header::CACHE_CONTROL, if is_hashed(name) { "public, max-age=31536000, immutable" } else { "no-cache" });
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    response
}

fn etag(file: &EmbeddedFile) -> String {
    let digits: String = file.metadata.sha256_hash()[..12].iter().map(|b| format!("{b:02x}")).collect();
    format!("\"{digits}\"")
}

/// Whether the name holds the hash of the content (`app-7NSPKXU7.js`), so that it never changes under that name.
fn is_hashed(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or("");
    stem.rsplit_once('-')
        .is_some_and(|(_, hash)| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashed_names_are_kept_for_a_year() {
        for (name, hashed) in
            [("app-7NSPKXU7.js", true), ("index.html", false), ("favicon.svg", false), ("about-us.html", false)]
        {
            assert_eq!(is_hashed(name), hashed, "{name}");
        }
    }

    #[tokio::test]
    async fn any_path_gives_the_page_or_says_how_to_build_it() {
        for path in ["/", "/instances/db1", "/index.html"] {
            let response = page(Request::get(path).body(Body::empty()).expect("a request")).await;
            let expected = match Pages::get("index.html") {
                Some(_) => (StatusCode::OK, "text/html; charset=utf-8"),
                None => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8"),
            };
            let kind = response.headers()[header::CONTENT_TYPE].to_str().expect("ascii").to_owned();
            assert_eq!((response.status(), kind.as_str()), expected, "{path}");
        }
    }
}
