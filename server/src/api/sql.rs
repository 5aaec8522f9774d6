//! `/api/v1/sql`: SQL over every table, answered as JSON, CSV or an Arrow stream.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{
        DataType, Field, Float32Type, Float64Type, Int64Type, Schema, TimeUnit, TimestampMillisecondType, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use query::{SqlAnswer, promql::json::write_string};

use super::{
    Api,
    form::Form,
    reply::{ApiError, Reply, query_error},
    time::format_ms,
};

/// Answers `q`.
pub async fn sql(State(api): State<Api>, form: Form) -> Result<Response, ApiError> {
    let text = form.get("q");
    if text.trim().is_empty() {
        return Err(ApiError::parameter("q", "no SQL given"));
    }
    let write = match form.get("format") {
        "" | "json" => write_json,
        "csv" => write_csv,
        "arrow" => write_arrow,
        other => {
            return Err(ApiError::parameter("format", format!("{other:?} is not allowed; allowed: json, csv, arrow")));
        }
    };
    let _turn = api.turn().await?;
    let answer = api.querier.sql(&api.tenant, text).await.map_err(query_error)?;
    write(&answer)
}

fn failed(error: arrow::error::ArrowError) -> ApiError {
    ApiError::internal(error.to_string())
}

fn write_csv(answer: &SqlAnswer) -> Result<Response, ApiError> {
    let mut bytes = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut bytes);
    if answer.batches.is_empty() {
        writer.write(&as_text(&RecordBatch::new_empty(answer.schema.clone()))?).map_err(failed)?;
    }
    for batch in &answer.batches {
        writer.write(&as_text(batch)?).map_err(failed)?;
    }
    drop(writer);
    let truncated = if answer.truncated { "true" } else { "false" };
    let kind = "text/csv; charset=utf-8; header=present";
    Ok(([(header::CONTENT_TYPE.as_str(), kind), ("x-tidewatch-truncated", truncated)], bytes).into_response())
}

/// Timestamps as RFC 3339, bytes as hexadecimal digits: CSV has no other way.
fn as_text(batch: &RecordBatch) -> Result<RecordBatch, ApiError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let texts = match field.data_type() {
            DataType::Timestamp(..) | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
            other => other.is_nested(),
        };
        if texts {
            let cells = cells(column)?;
            let column: StringArray = (0..column.len()).map(|row| cells.plain(row)).collect();
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(Arc::new(column));
        } else {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
}

fn write_arrow(answer: &SqlAnswer) -> Result<Response, ApiError> {
    let mut bytes = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &answer.schema).map_err(failed)?;
    for batch in &answer.batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    drop(writer);
    Ok(([(header::CONTENT_TYPE, "application/vnd.apache.arrow.stream")], bytes).into_response())
}

fn write_json(answer: &SqlAnswer) -> Result<Response, ApiError> {
    let mut data = String::from("{\"columns\":[");
    for (i, field) in answer.schema.fields().iter().enumerate() {
        if i > 0 {
            data.push(',');
        }
        data.push_str("{\"name\":");
        write_string(&mut data, field.name());
        data.push_str(",\"type\":");
        write_string(&mut data, &field.data_type().to_string());
        data.push('}');
    }
    data.push_str("],\"rows\":[");
    let mut first = true;
    for batch in &answer.batches {
        let columns = batch.columns().iter().map(cells).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            data.push_str(if first { "[" } else { ",[" });
            first = false;
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    data.push(',');
                }
                column.write(&mut data, row);
            }
            data.push(']');
        }
    }
    data.push_str(&format!("],\"truncated\":{}}}", answer.truncated));
    Ok(Reply::raw(data).into_response())
}

/// A column ready to be written cell by cell.
enum Cells {
    /// Whole numbers.
    Int(ArrayRef),
    /// Whole numbers past the signed range.
    Unsigned(ArrayRef),
    /// Numbers; those JSON has no form for (NaN, infinities) become null.
    Float(ArrayRef),
    /// True and false.
    Bool(ArrayRef),
    /// Text.
    Text(ArrayRef),
    /// Milliseconds, written as RFC 3339.
    Time(ArrayRef),
    /// Bytes, written as hexadecimal digits.
    Bytes(ArrayRef),
    /// Everything else, as Arrow prints it.
    Other(ArrayRef),
}

fn cells(column: &ArrayRef) -> Result<Cells, ApiError> {
    use DataType as T;
    let to = |kind: T| cast(column, &kind).map_err(failed);
    Ok(match column.data_type() {
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => Cells::Int(to(T::Int64)?),
        T::UInt64 => Cells::Unsigned(column.clone()),
        T::Float32 => Cells::Float(column.clone()),
        T::Float16 | T::Float64 => Cells::Float(to(T::Float64)?),
        T::Boolean => Cells::Bool(column.clone()),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Cells::Text(to(T::Utf8)?),
        T::Dictionary(_, value) if matches!(**value, T::Utf8 | T::LargeUtf8) => Cells::Text(to(T::Utf8)?),
        T::Timestamp(..) | T::Date32 | T::Date64 => Cells::Time(to(T::Timestamp(TimeUnit::Millisecond, None))?),
        T::Binary | T::LargeBinary | T::BinaryView => Cells::Bytes(to(T::Binary)?),
        _ => Cells::Other(column.clone()),
    })
}

impl Cells {
    fn array(&self) -> &ArrayRef {
        match self {
            Cells::Int(a) | Cells::Unsigned(a) | Cells::Float(a) | Cells::Bool(a) => a,
            Cells::Text(a) | Cells::Time(a) | Cells::Bytes(a) | Cells::Other(a) => a,
        }
    }

    /// The cell as text, without quotes; `None`: null.
    fn plain(&self, row: usize) -> Option<String> {
        let array = self.array();
        if array.is_null(row) {
            return None;
        }
        match self {
            Cells::Int(a) => Some(a.as_primitive::<Int64Type>().value(row).to_string()),
            Cells::Unsigned(a) => Some(a.as_primitive::<UInt64Type>().value(row).to_string()),
            Cells::Float(a) => match a.data_type() {
                DataType::Float32 => finite(a.as_primitive::<Float32Type>().value(row)),
                _ => finite(a.as_primitive::<Float64Type>().value(row)),
            },
            Cells::Bool(a) => Some(a.as_boolean().value(row).to_string()),
            Cells::Text(a) => Some(a.as_string::<i32>().value(row).to_owned()),
            Cells::Time(a) => Some(format_ms(a.as_primitive::<TimestampMillisecondType>().value(row))),
            Cells::Bytes(a) => Some(a.as_binary::<i32>().value(row).iter().map(|b| format!("{b:02x}")).collect()),
            Cells::Other(a) => {
                let formatter = ArrayFormatter::try_new(a, &FormatOptions::default()).ok()?;
                Some(formatter.value(row).to_string())
            }
        }
    }

    fn write(&self, out: &mut String, row: usize) {
        match (self, self.plain(row)) {
            (_, None) => out.push_str("null"),
            (Cells::Int(_) | Cells::Unsigned(_) | Cells::Float(_) | Cells::Bool(_), Some(text)) => out.push_str(&text),
            (_, Some(text)) => write_string(out, &text),
        }
    }
}

/// Each column's cells as text.
pub fn texts(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ApiError> {
    let columns = batch.columns().iter().map(cells).collect::<Result<Vec<_>, _>>()?;
    Ok(columns.iter().map(|column| (0..batch.num_rows()).map(|row| column.plain(row)).collect()).collect())
}

/// The shortest digits that give the number back; none for what JSON can't hold.
fn finite<F: Into<f64> + serde::Serialize + Copy>(value: F) -> Option<String> {
    value.into().is_finite().then(|| serde_json::to_string(&value).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{BinaryArray, BooleanArray, Float64Array, Int64Array, TimestampMillisecondArray, UInt64Array};

    fn answer() -> SqlAnswer {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("calls", Arc::new(Int64Array::from(vec![Some(3), None]))),
            ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
            ("mean", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
            ("text", Arc::new(StringArray::from(vec![Some("a \"b\",\nc"), None]))),
            ("ts", Arc::new(TimestampMillisecondArray::from(vec![1_500, 0]).with_timezone("UTC"))),
            ("bytes", Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        SqlAnswer { schema: batch.schema(), batches: vec![batch], truncated: true }
    }

    async fn body(response: Response) -> Vec<u8> {
        axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn json_has_columns_rows_and_whether_rows_were_cut() {
        let value: serde_json::Value = serde_json::from_slice(&body(write_json(&answer()).unwrap()).await).unwrap();
        assert_eq!(value["data"]["columns"][0], serde_json::json!({"name": "calls", "type": "Int64"}));
        assert_eq!(
            value["data"]["rows"],
            serde_json::json!([
                [3, u64::MAX, 0.5, true, "a \"b\",\nc", "1970-01-01T00:00:01.500Z", "00ff"],
                [null, 0, null, false, null, "1970-01-01T00:00:00.000Z", ""],
            ])
        );
        assert_eq!(value["data"]["truncated"], true);
    }

    #[tokio::test]
    async fn csv_has_a_header_and_the_same_cells() {
        let text = String::from_utf8(body(write_csv(&answer()).unwrap()).await).unwrap();
        let expected = "calls,big,mean,ok,text,ts,bytes\n\
            3,18446744073709551615,0.5,true,\"a \"\"b\"\",\nc\",1970-01-01T00:00:01.500Z,00ff\n\
            ,0,NaN,false,,1970-01-01T00:00:00.000Z,\n"; // CSV can't tell an empty cell from null
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn arrow_is_read_back_as_it_was() {
        let bytes = body(write_arrow(&answer()).unwrap()).await;
        let reader = arrow::ipc::reader::StreamReader::try_new(&bytes[..], None).unwrap();
        let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].num_rows(), 2);
        assert_eq!(batches[0].schema(), answer().schema);
    }
}
