//! Why something was not taken: one word each, the same in acknowledgements, metrics and log lines.

/// A reason for refusing rows or a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Bytes that are not a batch, or break one of its rules.
    Malformed,
    /// Larger than the door takes.
    TooLarge,
    /// Older than retention keeps.
    TooOld,
    /// Further in the future than clocks may differ.
    TooNew,
    /// Labels that are none: not in order, one twice, or no metric's name.
    BadLabels,
    /// More labels than a series may have.
    TooManyLabels,
    /// A label's name or value of more bytes than it may have.
    LabelTooLong,
    /// A native histogram that breaks a rule: its buckets don't fit its spans, its count or its bounds.
    BadHistogram,
    /// More series than the limit allows.
    SeriesLimit,
    /// A class or tenant this sender may not write.
    Forbidden,
    /// No room now: head full or disk full; the sender should try again.
    Full,
    /// The store refuses all writes after a failed sync until it is reopened.
    Poisoned,
}

impl Refusal {
    /// All of them, for metrics.
    pub const ALL: [Refusal; 12] = [
        Refusal::Malformed,
        Refusal::TooLarge,
        Refusal::TooOld,
        Refusal::TooNew,
        Refusal::BadLabels,
        Refusal::TooManyLabels,
        Refusal::LabelTooLong,
        Refusal::BadHistogram,
        Refusal::SeriesLimit,
        Refusal::Forbidden,
        Refusal::Full,
        Refusal::Poisoned,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::TooLarge => "too_large",
            Refusal::TooOld => "too_old",
            Refusal::TooNew => "too_new",
            Refusal::BadLabels => "bad_labels",
            Refusal::TooManyLabels => "too_many_labels",
            Refusal::LabelTooLong => "label_too_long",
            Refusal::BadHistogram => "bad_histogram",
            Refusal::SeriesLimit => "series_limit",
            Refusal::Forbidden => "forbidden",
            Refusal::Full => "full",
            Refusal::Poisoned => "poisoned",
        }
    }

    /// Whether sending the same again can't succeed.
    pub fn is_final(self) -> bool {
        !matches!(self, Refusal::Full | Refusal::Poisoned)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
