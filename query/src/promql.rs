//! PromQL, as Prometheus 3 has it: the language, its evaluation over whole series, its answers and annotations.
//!
//! A query goes `lexer` → `parser` → `check`, its selectors' samples are loaded through [`Source`] (`selection`), then
//! `eval` computes all steps of a series at once: windows are laid once for all series with the same times and taken a
//! column at a time (`columns`), or slide over plain slices (`range`), aggregations take series as they stream by (`aggregate`), vectors are matched once by labels (`binary_match`). This module reads no clock, does no
//! I/O of its own and keeps nothing between queries; limits and the stop check are arguments.
//!
//! Reading order: `token`, `lexer`, `ast`, `parser*`, `check`, `format`, `pretty` · `source`, `digest` (windows told by statistics), `selection`, `memory` · `value`, `eval*`,
//! `window`, `window_plan`, `range`, `running`, `columns*`, `functions` (the list of all), `function_*` · `groups`, `aggregate*`, `binary*`, `info` · `histogram*`,
//! `quantile`, `kahan` · `engine`, `budget`, `annotations`, `json` · `notation` (series as test scripts write them).

mod aggregate;
mod aggregate_fold;
mod aggregate_pick;
mod annotations;
pub mod ast;
mod binary;
mod binary_match;
mod binary_set;
pub mod budget;
mod check;
mod columns;
mod columns_line;
mod columns_rate;
mod columns_sliding;
#[cfg(test)]
mod columns_tests;
pub mod digest;
mod durations;
mod edges;
mod edges_histogram;
mod engine;
mod eval;
mod eval_selector;
mod format;
mod function_call;
mod function_clock;
mod function_histogram;
mod function_labels;
mod function_math;
mod function_over_time;
mod function_rate;
mod function_trend;
pub mod functions;
mod groups;
pub mod histogram;
mod histogram_math;
mod histogram_quantile;
mod histogram_sum;
mod histogram_trim;
mod info;
pub mod json;
mod kahan;
mod lexer;
pub mod literal;
pub mod matcher;
pub mod memory;
pub mod notation;
pub mod number;
mod parser;
mod parser_duration;
mod parser_selector;
mod pattern;
pub mod position;
mod pretty;
mod quantile;
mod range;
mod running;
mod selection;
mod series_hash;
pub mod source;
mod token;
mod value;
mod window;
mod window_plan;

pub use ast::Expr;
pub use budget::{Limits, Stop, StopCheck, never_stop};
pub use engine::{Answer, AnswerValue, Engine, MatrixSeries, Options, Query, QueryError, Stats, VectorSample};
pub use histogram::Histogram;
pub use matcher::{MatchOp, Matcher};
pub use memory::MemorySource;
pub use parser::{ParseError, parse_with};
pub use pretty::pretty;
pub use source::{Selection, SeriesSamples, Source, SourceError};
pub use value::{Point, STALE_NAN_BITS};

/// Parts of the language that are off unless asked for, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Experimental functions and aggregations (`--enable-feature=promql-experimental-functions`).
    pub experimental_functions: bool,
    /// Arithmetic in durations (`promql-duration-expr`).
    pub duration_expressions: bool,
    /// `anchored` and `smoothed` (`promql-extended-range-selectors`).
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right` (`promql-binop-fill-modifiers`).
    pub fill_modifiers: bool,
}

impl Features {
    /// Everything on.
    pub fn all() -> Features {
        Features {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
        }
    }
}

/// Parses and type-checks a query with every feature on.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, &Features::all())
}
