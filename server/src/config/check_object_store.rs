//! Where parts live: local files, or an S3-compatible store.

use serde_saphyr::Location;
use storage::{ObjectStoreConfig, S3Config};

use super::{
    check::{Checked, Place},
    raw::{RawObjectStore, Text},
};

const FIELD: &str = "storage.object_store";

pub(super) fn check_object_store(place: &Place<'_>, raw: Option<&RawObjectStore>) -> Checked<ObjectStoreConfig> {
    let Some(raw) = raw else { return Ok(ObjectStoreConfig::Local) };
    match raw.kind.value.as_str() {
        "local" => check_local(place, raw),
        "s3" => check_s3(place, raw).map(ObjectStoreConfig::S3),
        _ => place.refuse(&raw.kind, &format!("{FIELD}.kind"), "local, s3"),
    }
}

/// Nothing but the kind: a bucket that is not used is a mistake.
fn check_local(place: &Place<'_>, raw: &RawObjectStore) -> Checked<ObjectStoreConfig> {
    for (name, text) in texts(raw) {
        if let Some(text) = text {
            let message = format!("{FIELD}.{name}: only allowed for kind s3");
            return Err(place.error(text.referenced, message));
        }
    }
    Ok(ObjectStoreConfig::Local)
}

fn check_s3(place: &Place<'_>, raw: &RawObjectStore) -> Checked<S3Config> {
    let Some(bucket) = &raw.bucket else {
        return Err(place.error(raw.kind.referenced, format!("{FIELD}.bucket: must be set for kind s3")));
    };
    let d = S3Config::default();
    let text = |text: &Option<Text>| text.as_ref().map(|t| t.value.clone()).unwrap_or_default();
    let duration_ms = |text, name: &str, default: u64| {
        place.duration_ms(text, &format!("{FIELD}.{name}"), default as i64).map(|ms| ms as u64)
    };
    let cache_bytes_max = match &raw.cache_bytes_max {
        Some(none) if none.value == "0" => 0,
        bytes => place.bytes(bytes, &format!("{FIELD}.cache_bytes_max"), d.cache_bytes_max)?,
    };
    let s3 = S3Config {
        bucket: bucket.value.clone(),
        prefix: text(&raw.prefix),
        region: text(&raw.region),
        endpoint: text(&raw.endpoint),
        access_key_id: text(&raw.access_key_id),
        secret_access_key: match &raw.secret_access_key_file {
            None => String::new(),
            Some(text) => {
                let field = format!("{FIELD}.secret_access_key_file");
                let bytes = place.read(text, &field)?;
                let secret = String::from_utf8_lossy(&bytes).trim().to_owned();
                if secret.is_empty() {
                    return place.refuse(text, &field, "a file with the secret in its first line");
                }
                secret
            }
        },
        cache_bytes_max,
        timeout_ms: duration_ms(&raw.timeout, "timeout", d.timeout_ms)?,
        retry_ms: duration_ms(&raw.retry_for, "retry_for", d.retry_ms)?,
    };
    s3.check().map_err(|(field, message)| {
        let name = field.trim_start_matches("object_store.");
        let given = texts(raw).into_iter().find(|(n, text)| *n == name && text.is_some());
        // a key without its other half is missing where the other half stands
        let given = given.and_then(|(_, text)| text).or(raw.secret_access_key_file.as_ref()).unwrap_or(&raw.kind);
        let at: Location = given.referenced;
        place.error(at, format!("storage.{field}: {message}"))
    })?;
    Ok(s3)
}

fn texts(raw: &RawObjectStore) -> [(&'static str, Option<&Text>); 9] {
    [
        ("bucket", raw.bucket.as_ref()),
        ("prefix", raw.prefix.as_ref()),
        ("region", raw.region.as_ref()),
        ("endpoint", raw.endpoint.as_ref()),
        ("access_key_id", raw.access_key_id.as_ref()),
        ("secret_access_key_file", raw.secret_access_key_file.as_ref()),
        ("cache_bytes_max", raw.cache_bytes_max.as_ref()),
        ("timeout", raw.timeout.as_ref()),
        ("retry_for", raw.retry_for.as_ref()),
    ]
}
