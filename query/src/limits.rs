//! What one question may cost. A larger one is answered by an error that names the bound.

/// Bounds on one question, PromQL or SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Series one PromQL query may touch.
    pub series_max: usize,
    /// Samples one PromQL query may hold at once.
    pub samples_max: usize,
    /// How long one question may run, milliseconds.
    pub timeout_ms: u64,
    /// Rows one SQL answer may hold; what is beyond is cut and said.
    pub sql_rows_max: usize,
    /// Memory one SQL query may use, bytes.
    pub sql_memory_bytes_max: usize,
    /// Longest query text, bytes.
    pub text_bytes_max: usize,
    /// Whether experimental PromQL functions are on, as with Prometheus' feature flag.
    pub experimental: bool,
    /// How far an instant selector looks back for a sample, milliseconds.
    pub lookback_ms: i64,
}

impl Default for QueryLimits {
    fn default() -> QueryLimits {
        QueryLimits {
            series_max: 1_000_000,
            samples_max: 50_000_000,
            timeout_ms: 120_000,
            sql_rows_max: 100_000,
            sql_memory_bytes_max: 1 << 30,
            text_bytes_max: 1 << 20,
            experimental: true,
            lookback_ms: 300_000,
        }
    }
}
