//! Rows of one event table, as columns.

use std::sync::Arc;

use crate::tables::{Kind, Table};

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// Kinds Timestamp, Int and Bool (0 or 1).
    Int(i64),
    /// Kind Float.
    Float(f64),
    /// Kind Text.
    Text(Arc<str>),
    /// Kind Bytes.
    Bytes(Arc<[u8]>),
}

macro_rules! value_from {
    ($($from:ty => $make:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(v: $from) -> Value {
                #[allow(clippy::redundant_closure_call)]
                ($make)(v)
            }
        }
    )*};
}

value_from! {
    i64 => Value::Int,
    i32 => |v| Value::Int(i64::from(v)),
    u32 => |v| Value::Int(i64::from(v)),
    u64 => |v: u64| Value::Int(i64::try_from(v).unwrap_or(i64::MAX)),
    f64 => Value::Float,
    bool => |v| Value::Int(i64::from(v)),
    &str => |v: &str| Value::Text(v.into()),
    String => |v: String| Value::Text(v.into()),
    &String => |v: &String| Value::Text(v.as_str().into()),
    Arc<str> => Value::Text,
    Vec<u8> => |v: Vec<u8>| Value::Bytes(v.into()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Value {
        v.map_or(Value::Null, Into::into)
    }
}

/// The cells of one column, one per row; `None` is null.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Kinds Timestamp, Int and Bool.
    Ints(Vec<Option<i64>>),
    /// Kind Float.
    Floats(Vec<Option<f64>>),
    /// Kind Text.
    Texts(Vec<Option<Arc<str>>>),
    /// Kind Bytes.
    Blobs(Vec<Option<Arc<[u8]>>>),
}

impl Cells {
    /// No rows yet, of a column's kind.
    pub fn empty(kind: Kind) -> Cells {
        match kind {
            Kind::Timestamp | Kind::Int | Kind::Bool => Cells::Ints(Vec::new()),
            Kind::Float => Cells::Floats(Vec::new()),
            Kind::Text => Cells::Texts(Vec::new()),
            Kind::Bytes => Cells::Blobs(Vec::new()),
        }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Cells::Ints(v) => v.len(),
            Cells::Floats(v) => v.len(),
            Cells::Texts(v) => v.len(),
            Cells::Blobs(v) => v.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cell of a row.
    pub fn get(&self, row: usize) -> Value {
        match self {
            Cells::Ints(v) => v[row].into(),
            Cells::Floats(v) => v[row].into(),
            Cells::Texts(v) => v[row].clone().into(),
            Cells::Blobs(v) => v[row].clone().map_or(Value::Null, Value::Bytes),
        }
    }

    /// Appends a cell; an integer becomes a float in a float column; false (and nothing appended) if it does not fit.
    fn push(&mut self, value: Value) -> bool {
        match (self, value) {
            (Cells::Ints(v), Value::Int(x)) => v.push(Some(x)),
            (Cells::Ints(v), Value::Null) => v.push(None),
            (Cells::Floats(v), Value::Float(x)) => v.push(Some(x)),
            (Cells::Floats(v), Value::Int(x)) => v.push(Some(x as f64)),
            (Cells::Floats(v), Value::Null) => v.push(None),
            (Cells::Texts(v), Value::Text(x)) => v.push(Some(x)),
            (Cells::Texts(v), Value::Null) => v.push(None),
            (Cells::Blobs(v), Value::Bytes(x)) => v.push(Some(x)),
            (Cells::Blobs(v), Value::Null) => v.push(None),
            _ => return false,
        }
        true
    }
}

/// Rows of one table: one [`Cells`] per column of [`Table::columns`], all of one length. `instance` and `ts` are never null.
#[derive(Clone, Debug, PartialEq)]
pub struct Events {
    /// Whose rows.
    pub table: Table,
    /// One per column of the table, in its order.
    pub columns: Vec<Cells>,
}

impl Events {
    /// No rows yet.
    pub fn new(table: Table) -> Events {
        Events { table, columns: table.columns().iter().map(|c| Cells::empty(c.kind)).collect() }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.columns[0].len()
    }

    /// The cell at a row and a named column; null for a name the table does not have.
    pub fn get(&self, row: usize, column: &str) -> Value {
        self.table.column_index(column).map_or(Value::Null, |i| self.columns[i].get(row))
    }

    /// The timestamp of a row, milliseconds.
    pub fn ts_ms(&self, row: usize) -> i64 {
        match &self.columns[1] {
            Cells::Ints(v) => v[row].unwrap_or(0),
            _ => 0,
        }
    }

    /// The instance of a row.
    pub fn instance(&self, row: usize) -> &str {
        match &self.columns[0] {
            Cells::Texts(v) => v[row].as_deref().unwrap_or(""),
            _ => "",
        }
    }
}

/// Collects rows, given as named cells.
pub struct EventsBuilder {
    events: Events,
}

impl EventsBuilder {
    /// No rows yet.
    pub fn new(table: Table) -> EventsBuilder {
        EventsBuilder { events: Events::new(table) }
    }

    /// Adds a row; columns not named are null.
    ///
    /// # Panics
    /// If a name is not a column of the table or a value not of its kind: these are written in our own source, never outside.
    pub fn row<'a>(&mut self, instance: &str, ts_ms: i64, cells: impl IntoIterator<Item = (&'a str, Value)>) {
        let table = self.events.table;
        let rows = self.events.rows() + 1;
        let [first, second, rest @ ..] = &mut self.events.columns[..] else {
            unreachable!("every table has instance and ts")
        };
        first.push(instance.into());
        second.push(ts_ms.into());
        for (name, value) in cells {
            let index = table.column_index(name).unwrap_or_else(|| panic!("{} has no column {name}", table.name()));
            assert!(rest[index - 2].len() < rows, "{}.{name} set twice in one row", table.name());
            assert!(rest[index - 2].push(value), "{}.{name} got a value of another kind", table.name());
        }
        for column in rest {
            if column.len() < rows {
                column.push(Value::Null);
            }
        }
    }

    /// How many rows so far.
    pub fn rows(&self) -> usize {
        self.events.rows()
    }

    /// The finished rows.
    pub fn build(self) -> Events {
        self.events
    }
}
