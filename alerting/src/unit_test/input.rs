//! What a test feeds in: series in promtool's notation, and rows of event tables for rules that ask SQL.

use std::collections::BTreeMap;

use proto::tables::Kind;
use proto::{EventsBuilder, Labels, Table, Value};
use query::promql::notation::{Written, parse_labels, parse_points};
use query::promql::number::parse_duration_ms;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::file::{Fault, duration, fault};
use crate::rule_file::or_empty;

/// Most rows one entry of `input_rows` may spell.
const ROWS_MAX: i64 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSeries {
    series: Spanned<String>,
    values: Spanned<String>,
}

/// A series with one point per interval.
pub(super) struct InputSeries {
    pub labels: Labels,
    pub points: Vec<Written>,
}

impl InputSeries {
    pub(super) fn check(raw: RawSeries) -> Result<InputSeries, Fault> {
        let (labels, _, rest) =
            parse_labels(&raw.series.value).map_err(|e| fault(&raw.series, format!("input_series: {e}")))?;
        if !rest.trim().is_empty() {
            return Err(fault(&raw.series, format!("input_series: {:?} is not a series", raw.series.value)));
        }
        let points =
            parse_points(&raw.values.value).map_err(|e| fault(&raw.values, format!("input_series: values: {e}")))?;
        Ok(InputSeries { labels, points })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRows {
    table: Spanned<String>,
    #[serde(default)]
    instance: String,
    at: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    every: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    columns: BTreeMap<String, serde_json::Value>,
}

/// The same row of an event table, once or at a distance. Times are milliseconds from the test's start.
pub(super) struct InputRows {
    table: Table,
    instance: String,
    pub times_ms: Vec<i64>,
    cells: Vec<(String, Cell)>,
}

enum Cell {
    Fixed(Value),
    /// A time, from the test's start.
    Time(i64),
}

impl InputRows {
    pub(super) fn check(raw: RawRows) -> Result<InputRows, Fault> {
        let name = &raw.table;
        let Some(table) = Table::from_name(&name.value) else {
            let known: Vec<&str> = Table::ALL.into_iter().map(Table::name).collect();
            return Err(fault(
                name,
                format!("input_rows: no table {:?}; allowed are {}", name.value, known.join(", ")),
            ));
        };
        let mut cells = Vec::new();
        for (column, value) in raw.columns {
            let known = table.columns().iter().skip(2).find(|c| c.name == column);
            let Some(known) = known else {
                return Err(fault(name, format!("input_rows: {} has no column {column:?}", table.name())));
            };
            let cell = cell(known.kind, &value)
                .ok_or_else(|| fault(name, format!("input_rows: {column}: {value} is no {:?}", known.kind)))?;
            cells.push((column, cell));
        }
        let times_ms = match (&raw.at, &raw.from, &raw.to, &raw.every) {
            (Some(at), None, None, None) => vec![duration(at, "at")?],
            (None, Some(from), Some(to), Some(every)) => {
                let (first, last, step) = (duration(from, "from")?, duration(to, "to")?, duration(every, "every")?);
                if step == 0 || (last - first) / step > ROWS_MAX {
                    return Err(fault(every, format!("every: must be longer than 0 and give at most {ROWS_MAX} rows")));
                }
                (0..).map(|i| first + i * step).take_while(|t| *t <= last).collect()
            }
            _ => return Err(fault(name, "input_rows: either at, or from, to and every must be set")),
        };
        Ok(InputRows { table, instance: raw.instance, times_ms, cells })
    }

    /// The rows with times in `(after_ms, until_ms]` from the test's start, if there are any.
    pub(super) fn events(&self, start_ms: i64, after_ms: i64, until_ms: i64) -> Option<proto::Events> {
        let mut builder = EventsBuilder::new(self.table);
        for time in self.times_ms.iter().filter(|t| **t > after_ms && **t <= until_ms) {
            let cells = self.cells.iter().map(|(name, cell)| {
                let value = match cell {
                    Cell::Fixed(value) => value.clone(),
                    Cell::Time(offset_ms) => Value::Int(start_ms + offset_ms),
                };
                (name.as_str(), value)
            });
            builder.row(&self.instance, start_ms + time, cells);
        }
        (builder.rows() > 0).then(|| builder.build())
    }
}

fn cell(kind: Kind, value: &serde_json::Value) -> Option<Cell> {
    if value.is_null() {
        return Some(Cell::Fixed(Value::Null));
    }
    Some(Cell::Fixed(match kind {
        Kind::Timestamp => return value.as_str().and_then(|t| parse_duration_ms(t).ok()).map(Cell::Time),
        Kind::Int => value.as_i64()?.into(),
        Kind::Float => value.as_f64()?.into(),
        Kind::Bool => value.as_bool()?.into(),
        Kind::Text => value.as_str().map_or_else(|| value.to_string(), str::to_owned).into(),
        Kind::Bytes => return None,
    }))
}
