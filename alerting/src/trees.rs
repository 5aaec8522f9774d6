//! Verdict trees: those that come with the program and the user's own files, read and checked together.

use diagnosis::Trees;
use diagnosis::verdict::TreeError;

use crate::config::Settings;
use crate::rule_file::{self, RuleFileError};

fn located(e: TreeError) -> RuleFileError {
    RuleFileError { file: e.file, line: e.line, message: e.message }
}

/// The built-in trees with those of the files in `alerting.diagnosis`, later files over earlier ones. One bad file and
/// nothing is loaded; the error names file, line, verdict and field.
pub fn load(settings: &Settings) -> Result<Trees, RuleFileError> {
    let mut trees = Trees::builtin();
    for path in rule_file::find(&settings.diagnosis, &settings.base)? {
        let own = Trees::parse(&path.display().to_string(), &rule_file::text(&path)?).map_err(located)?;
        trees.add(own).map_err(located)?;
    }
    Ok(trees)
}
