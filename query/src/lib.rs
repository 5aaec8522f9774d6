//! query

pub mod promql;
