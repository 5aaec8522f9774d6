//! How bad: the three levels an alert can have.

use std::fmt;

/// The label Prometheus rules carry their grade in.
pub const SEVERITY_LABEL: &str = "severity";

/// The level of an alert; greater is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing; nobody is woken.
    Notice,
    /// Will hurt if nobody looks.
    Warning,
    /// Hurts now.
    Critical,
}

impl Level {
    /// Every level, mildest first.
    pub const ALL: [Level; 3] = [Level::Notice, Level::Warning, Level::Critical];

    /// The level behind the value of a `severity` label; values that name none are warnings.
    pub fn from_severity(severity: Option<&str>) -> Level {
        match severity.unwrap_or("").to_ascii_lowercase().as_str() {
            "info" | "notice" | "none" | "low" | "debug" => Level::Notice,
            "critical" | "page" | "error" | "emergency" | "fatal" | "high" | "disaster" => Level::Critical,
            _ => Level::Warning,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }

    /// The level of that name.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|l| l.name() == name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
