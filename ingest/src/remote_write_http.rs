//! `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0 over HTTP. 204 only after the rows are on disk.
//!
//! Prometheus sends again after 5xx and drops after 4xx, so: 400 for what can never be taken, 429 for too many series, 503 for
//! no room right now.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use proto::{DEFAULT_TENANT, refusal::Refusal};
use storage::{ExemplarOutcome, NotKept, Rows, SampleRows};
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

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// `prometheus.WriteRequest`.
    One,
    /// `io.prometheus.write.v2.Request`.
    Two,
}

/// What was written of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    samples: u64,
    histograms: u64,
    exemplars: u64,
}

/// What became of a request of which something may have been written.
#[derive(Default)]
struct Taken {
    written: Written,
    /// Why not all of it: the first reason of samples, and what was left out, in words.
    reason: Option<Refusal>,
    left_out: Vec<String>,
}

impl Taken {
    fn leave_out(&mut self, reason: Refusal, words: String) {
        self.reason.get_or_insert(reason);
        self.left_out.push(words);
    }
}

async fn write(State(writer): State<Writer>, headers: HeaderMap, body: Bytes) -> Response {
    let message = match negotiate(&headers) {
        Ok(message) => message,
        Err(why) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response(),
    };
    writer.admission.counters().received_bytes(Door::RemoteWrite, body.len());
    let taken = take(writer, message, body).await;
    let written = taken.as_ref().map_or_else(|_| Written::default(), |taken| taken.written);
    let mut answer = answer(taken);
    if message == Message::Two {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    answer
}

/// Which message a body holds, by its headers alone. Others, and other compressions, are answered 415, after which a sender may
/// try another. Without headers it is what 1.0 senders that forget them mean.
fn negotiate(headers: &HeaderMap) -> Result<Message, String> {
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let (kind, encoding) = (header(header::CONTENT_TYPE), header(header::CONTENT_ENCODING));
    let mut parts = kind.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|t| t.is_empty() || t.eq_ignore_ascii_case("application/x-protobuf"));
    let parameters = parts.filter_map(|part| part.split_once('='));
    let mut proto =
        parameters.filter(|(name, _)| name.eq_ignore_ascii_case("proto")).map(|(_, value)| value.trim_matches('"'));
    let message = match proto.next() {
        None | Some("prometheus.WriteRequest") => Some(Message::One),
        Some("io.prometheus.write.v2.Request") => Some(Message::Two),
        Some(_) => None,
    };
    let is_snappy = encoding.is_empty() || encoding.eq_ignore_ascii_case("snappy");
    message.filter(|_| is_protobuf && is_snappy).ok_or_else(|| {
        format!(
            "{kind:?} with encoding {encoding:?} is not taken; send application/x-protobuf, alone or with \
             proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request, and snappy\n"
        )
    })
}

/// An error: nothing was written that counts, either because it can't be or because all of it is to be sent again.
async fn take(writer: Writer, message: Message, body: Bytes) -> Result<Taken, Refused> {
    let permit = writer.decodes.clone().acquire_owned().await;
    let admission = writer.admission.clone();
    let handed_over = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let request = read(&body, message).map_err(|refused| admission.refuse(Door::RemoteWrite, 0, refused))?;
        let labels = request.labels();
        let (mut landings, mut refused) = (Vec::new(), Vec::new());
        for (kind, rows) in by_kind(request.rows(&labels)) {
            match admission.admit(Door::RemoteWrite, DEFAULT_TENANT, None, Rows::Samples(rows)) {
                Ok(landing) => landings.push((kind, landing)),
                Err(whole) if whole.reason.is_final() => refused.push(whole),
                Err(for_now) => return Err(for_now),
            }
        }
        let mut exemplars = (ExemplarOutcome::default(), None);
        if !landings.is_empty() {
            let (series, rows) = request.exemplars(&labels);
            let kept = admission.admit_exemplars(DEFAULT_TENANT, &series, &rows);
            exemplars = kept.map_err(|error| admission.refuse(Door::RemoteWrite, 0, error.into()))?;
        }
        Ok((landings, refused, request.bad_histograms(), exemplars))
    });
    let panicked = |e| Refused::new(Refusal::Full, format!("decoding: {e}"));
    let (landings, refused, bad_histograms, (exemplars, landing_of_exemplars)) =
        handed_over.await.map_err(panicked)??;
    let mut taken = Taken::default();
    for whole in refused {
        taken.leave_out(whole.reason, whole.detail);
    }
    for (kind, landing) in landings {
        let Admitted::Stored { rows, refused } = landing.await? else { continue };
        let (written, what) = match kind {
            Kind::Float => (&mut taken.written.samples, "samples"),
            Kind::Histogram => (&mut taken.written.histograms, "histograms"),
        };
        *written += rows;
        for (reason, rows) in refused {
            taken.leave_out(reason, format!("{rows} {what} {reason}"));
        }
    }
    if let Some(landing) = landing_of_exemplars {
        landing.await.map_err(|error| writer.admission.refuse(Door::RemoteWrite, 0, error.into()))?;
    }
    if let Some((count, first)) = bad_histograms {
        writer.admission.counters().refused_rows(Door::RemoteWrite, Refusal::BadHistogram, count);
        taken.leave_out(Refusal::BadHistogram, format!("{count} histograms that are none, the first of {first}"));
    }
    put_exemplars(&mut taken, message, &exemplars);
    Ok(taken)
}

#[derive(Clone, Copy)]
enum Kind {
    Float,
    Histogram,
}

/// The rows in appends that each hold one kind, so that it is known how many of each were written.
fn by_kind(rows: SampleRows<'_>) -> impl Iterator<Item = (Kind, SampleRows<'_>)> {
    let floats = SampleRows { histograms: &[], ..rows };
    let histograms = SampleRows { series: &[], timestamps_ms: &[], values: &[], families: &[], ..rows };
    // without any rows there may still be metadata
    let is_float = !rows.values.is_empty() || !rows.families.is_empty() || rows.histograms.is_empty();
    let floats = is_float.then_some((Kind::Float, floats));
    floats.into_iter().chain((!rows.histograms.is_empty()).then_some((Kind::Histogram, histograms)))
}

/// 1.0 is told nothing of exemplars, as by Prometheus. To 2.0 a resend is written, and it is no error that none are to be kept.
fn put_exemplars(taken: &mut Taken, message: Message, outcome: &ExemplarOutcome) {
    let resent = outcome.not_kept.get(&NotKept::Duplicate).copied().unwrap_or(0);
    taken.written.exemplars = outcome.kept + resent;
    let is_told = |why: &NotKept| message == Message::Two && !matches!(why, NotKept::Duplicate | NotKept::Disabled);
    let left_out = outcome.not_kept.iter().filter(|(why, _)| is_told(why));
    taken.left_out.extend(left_out.map(|(why, count)| format!("{count} exemplars {}", why.as_str())));
}

fn read(body: &[u8], message: Message) -> Result<WriteRequest, Refused> {
    let malformed = |e: snap::Error| Refused::new(Refusal::Malformed, format!("snappy: {e}"));
    let length = snap::raw::decompress_len(body).map_err(malformed)?;
    if length > DECOMPRESSED_BYTES_MAX {
        let detail = format!("{length} bytes once decompressed; at most {DECOMPRESSED_BYTES_MAX} are taken");
        return Err(Refused::new(Refusal::TooLarge, detail));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(body).map_err(malformed)?;
    let mut request = WriteRequest::default();
    let read = match message {
        Message::One => request.read(&bytes),
        Message::Two => request.read_interned(&bytes),
    };
    read.map_err(|e| Refused::new(Refusal::Malformed, e.to_string()))?;
    Ok(request)
}

fn answer(taken: Result<Taken, Refused>) -> Response {
    let (reason, text) = match taken {
        Ok(taken) if taken.left_out.is_empty() => return StatusCode::NO_CONTENT.into_response(),
        Ok(taken) => {
            let words = format!("{}; the others were stored\n", taken.left_out.join(", "));
            (taken.reason, taken.reason.map_or_else(String::new, |reason| format!("{reason}: ")) + &words)
        }
        Err(refused) => (Some(refused.reason), format!("{refused}\n")),
    };
    let status = match reason {
        Some(Refusal::Full | Refusal::Poisoned) => StatusCode::SERVICE_UNAVAILABLE,
        Some(Refusal::SeriesLimit) => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut answer = (status, text).into_response();
    if reason.is_some_and(|reason| !reason.is_final()) {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_the_message() {
        let (one, two) = (Some(Message::One), Some(Message::Two));
        for (kind, encoding, expected) in [
            ("", "", one),
            ("application/x-protobuf", "snappy", one),
            ("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", one),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", two),
            ("Application/X-Protobuf; charset=utf-8; Proto=\"io.prometheus.write.v2.Request\"", "Snappy", two),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", None),
            ("application/x-protobuf;proto=", "snappy", None),
            ("application/x-protobufs", "snappy", None),
            ("application/json", "snappy", None),
            ("application/json;proto=io.prometheus.write.v2.Request", "snappy", None),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "zstd", None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CONTENT_TYPE, kind), (header::CONTENT_ENCODING, encoding)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            assert_eq!(negotiate(&headers).ok(), expected, "{kind:?} {encoding:?}");
        }
    }
}
