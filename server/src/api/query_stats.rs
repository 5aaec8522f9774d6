//! What a query cost, in the form of Prometheus' `stats`.

use std::time::Duration;

use query::promql::{Stats, json::write_time};
use serde_json::{Value, json};

/// `{"timings": …, "samples": …}`; `queued` is how long the query waited for its turn, `took` its time in all.
///
/// Series leave the evaluation in the order of the answer, so sorting has no time of its own.
pub fn of(stats: &Stats, queued: Duration, took: Duration, per_step: bool) -> Value {
    let evaluating = stats.evaluating.as_secs_f64();
    let mut samples = json!({
        "totalQueryableSamples": stats.queried,
        "peakSamples": stats.samples_peak,
        "loadedSamples": stats.samples,
        "loadedSeries": stats.series,
        "peakBytes": stats.bytes_peak,
    });
    if per_step {
        let pairs = stats.queried_per_step.iter().map(|(ms, count)| json!([seconds(*ms), count]));
        samples["totalQueryableSamplesPerStep"] = pairs.collect();
    }
    json!({
        "timings": {
            "evalTotalTime": (stats.preparing + stats.evaluating).as_secs_f64(),
            "resultSortTime": 0,
            "queryPreparationTime": stats.preparing.as_secs_f64(),
            "innerEvalTime": evaluating,
            "execQueueTime": queued.as_secs_f64(),
            "execTotalTime": (queued + took).as_secs_f64(),
        },
        "samples": samples,
    })
}

/// A time as the API writes it: whole seconds without a fraction.
pub fn seconds(ms: i64) -> Value {
    let mut text = String::new();
    write_time(&mut text, ms);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
