//! Answers of SQL as JSON objects, one a row: times in milliseconds, numbers and texts as they are, bytes left out.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use query::SqlAnswer;
use serde_json::{Map, Value};

/// A row by column name; null cells are left out.
pub type Row = Map<String, Value>;

/// The rows of an answer; the error names a column that has no JSON.
pub fn rows(answer: &SqlAnswer) -> Result<Vec<Row>, String> {
    let mut rows = Vec::with_capacity(answer.rows());
    for batch in &answer.batches {
        let first = rows.len();
        rows.resize_with(first + batch.num_rows(), Row::new);
        let schema = batch.schema();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let into = &mut rows[first..];
            column_into(field.name(), column, into).map_err(|e| format!("column {}: {e}", field.name()))?;
        }
    }
    Ok(rows)
}

fn column_into(name: &str, column: &ArrayRef, rows: &mut [Row]) -> Result<(), String> {
    let to = |data_type| cast(column, &data_type).map_err(|e| e.to_string());
    let mut put = |row: usize, value: Value| rows[row].insert(name.into(), value);
    match column.data_type() {
        DataType::Null | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {}
        DataType::Boolean => {
            let cells = column.as_boolean();
            (0..cells.len()).filter(|i| cells.is_valid(*i)).for_each(|i| {
                put(i, cells.value(i).into());
            });
        }
        t if t.is_integer() => {
            let cells = to(DataType::Int64)?;
            let cells = cells.as_primitive::<Int64Type>();
            (0..cells.len()).filter(|i| cells.is_valid(*i)).for_each(|i| {
                put(i, cells.value(i).into());
            });
        }
        t if t.is_numeric() => {
            let cells = to(DataType::Float64)?;
            let cells = cells.as_primitive::<Float64Type>();
            (0..cells.len()).filter(|i| cells.is_valid(*i)).for_each(|i| {
                put(i, cells.value(i).into());
            });
        }
        DataType::Timestamp(..) => {
            let cells = to(DataType::Timestamp(TimeUnit::Millisecond, None))?;
            let cells = cells.as_primitive::<TimestampMillisecondType>();
            (0..cells.len()).filter(|i| cells.is_valid(*i)).for_each(|i| {
                put(i, cells.value(i).into());
            });
        }
        _ => {
            let cells = to(DataType::Utf8)?;
            let cells = cells.as_string::<i32>();
            (0..cells.len()).filter(|i| cells.is_valid(*i)).for_each(|i| {
                put(i, cells.value(i).into());
            });
        }
    }
    Ok(())
}

/// A text as an SQL literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A time as an SQL expression of the type event tables have.
pub fn moment(ms: i64) -> String {
    format!("arrow_cast({ms}, 'Timestamp(Millisecond, Some(\"UTC\"))')")
}
