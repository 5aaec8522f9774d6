//! `POST /api/v1/write`: Prometheus remote write 1.0 over HTTP. 204 only after the rows are on disk.
//!
//! Prometheus sends again after 5xx and drops after 4xx, so: 400 for what can never be taken, 429 for too many series, 503 for
//! no room right now.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use proto::{DEFAULT_TENANT, refusal::Refusal};
use storage::Rows;
use tokio::sync::Semaphore;

use crate::{Admission, Admitted, Door, Refused, remote_write::WriteRequest};

/// Largest compressed request, bytes.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Largest request once decompressed, bytes.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
/// Requests decoded at once; with the sizes above this bounds their memory. More wait.
const DECODES_MAX: usize = 8;

#[derive(Clone)]
struct Writer {
    admission: Admission,
    decodes: Arc<Semaphore>,
}

/// The route, to be merged into the server's.
pub fn routes(admission: Admission) -> Router {
    let writer = Writer { admission, decodes: Arc::new(Semaphore::new(DECODES_MAX)) };
    Router::new().route("/api/v1/write", post(write)).layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX)).with_state(writer)
}

async fn write(State(writer): State<Writer>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(answer) = unsupported(&headers) {
        return answer;
    }
    writer.admission.counters().received_bytes(Door::RemoteWrite, body.len());
    match admit(writer, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => answer(&refused),
    }
}

/// Remote write 2.0 and other encodings: 415, after which Prometheus falls back to 1.0.
fn unsupported(headers: &HeaderMap) -> Option<Response> {
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (kind, encoding) = (header(header::CONTENT_TYPE), header(header::CONTENT_ENCODING));
    let is_v1 = kind.is_empty()
        || kind.starts_with("application/x-protobuf") && !kind.contains("io.prometheus.write.v2.Request");
    if is_v1 && matches!(encoding, "" | "snappy") {
        return None;
    }
    let message = format!("{kind:?} with encoding {encoding:?} is not taken; send application/x-protobuf, snappy\n");
    Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response())
}

async fn admit(writer: Writer, body: Bytes) -> Result<(), Refused> {
    let permit = writer.decodes.clone().acquire_owned().await;
    let admission = writer.admission.clone();
    let handed_over = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let request = read(&body).map_err(|refused| admission.refuse(Door::RemoteWrite, 0, refused))?;
        let labels = request.labels();
        let landing = admission.admit(Door::RemoteWrite, DEFAULT_TENANT, None, Rows::Samples(request.rows(&labels)))?;
        // as in Prometheus nothing that becomes of exemplars is an error; the store counts it
        let (series, exemplars) = request.exemplars(&labels);
        admission.admit_exemplars(DEFAULT_TENANT, &series, &exemplars);
        Ok::<_, Refused>((landing, request.bad_histograms()))
    });
    let panicked = |e| Refused::new(Refusal::Full, format!("decoding: {e}"));
    let (landing, bad_histograms) = handed_over.await.map_err(panicked)??;
    let Admitted::Stored { refused, .. } = landing.await? else { return Ok(()) };
    let mut list: Vec<_> = refused.iter().map(|(reason, rows)| format!("{rows} samples {reason}")).collect();
    let mut reason = refused.first().map(|(reason, _)| *reason);
    if let Some((count, first)) = bad_histograms {
        writer.admission.counters().refused_rows(Door::RemoteWrite, Refusal::BadHistogram, count);
        reason.get_or_insert(Refusal::BadHistogram);
        list.push(format!("{count} histograms that are none, the first of {first}"));
    }
    match reason {
        Some(reason) => Err(Refused::new(reason, format!("{}; the others were stored", list.join(", ")))),
        None => Ok(()),
    }
}

fn read(body: &[u8]) -> Result<WriteRequest, Refused> {
    let malformed = |e: snap::Error| Refused::new(Refusal::Malformed, format!("snappy: {e}"));
    let length = snap::raw::decompress_len(body).map_err(malformed)?;
    if length > DECOMPRESSED_BYTES_MAX {
        let detail = format!("{length} bytes once decompressed; at most {DECOMPRESSED_BYTES_MAX} are taken");
        return Err(Refused::new(Refusal::TooLarge, detail));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(body).map_err(malformed)?;
    let mut request = WriteRequest::default();
    request.read(&bytes).map_err(|e| Refused::new(Refusal::Malformed, e.to_string()))?;
    Ok(request)
}

fn answer(refused: &Refused) -> Response {
    let status = match refused.reason {
        Refusal::Full | Refusal::Poisoned => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::SeriesLimit => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut answer = (status, format!("{refused}\n")).into_response();
    if !refused.reason.is_final() {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    answer
}
