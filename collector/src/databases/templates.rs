//! The templates there are: those shipped with the program, and those of the user, which may inherit or replace them.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use super::{template::Template, template_file::TemplateFile};
use crate::config::{ConfigError, Engine};

/// Most files of users' templates.
pub const FILES_MAX: usize = 64;

/// Those shipped, each after the one it inherits.
const SHIPPED: &[(&str, &str)] = &[
    ("postgresql", include_str!("../../templates/postgresql.yaml")),
    ("mariadb", include_str!("../../templates/mariadb.yaml")),
    ("galera", include_str!("../../templates/galera.yaml")),
    ("mysql", include_str!("../../templates/mysql.yaml")),
    ("pgbouncer", include_str!("../../templates/pgbouncer.yaml")),
    ("opengauss", include_str!("../../templates/opengauss.yaml")),
    ("kingbasees", include_str!("../../templates/kingbasees.yaml")),
    ("polardb-postgresql", include_str!("../../templates/polardb-postgresql.yaml")),
    ("polardb-mysql", include_str!("../../templates/polardb-mysql.yaml")),
    ("tidb", include_str!("../../templates/tidb.yaml")),
    ("oceanbase", include_str!("../../templates/oceanbase.yaml")),
    ("goldendb", include_str!("../../templates/goldendb.yaml")),
];

static SHIPPED_SET: LazyLock<Arc<Templates>> = LazyLock::new(|| {
    let mut set = Templates { by_name: BTreeMap::new() };
    for (name, text) in SHIPPED {
        let checked = TemplateFile::read(&format!("{name}.yaml"), text).and_then(|file| {
            let base = file.raw.inherit.as_ref().and_then(|i| set.get(&i.value));
            file.check(base.as_deref())
        });
        // A test reads every one of them.
        let template = checked.unwrap_or_else(|e| unreachable!("a template of our own: {e}"));
        set.by_name.insert(template.name.clone(), Arc::new(template));
    }
    Arc::new(set)
});

/// Templates by name.
#[derive(Clone, PartialEq)]
pub struct Templates {
    by_name: BTreeMap<Arc<str>, Arc<Template>>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Templates {
    /// Those that came with the program.
    pub fn shipped() -> Arc<Templates> {
        SHIPPED_SET.clone()
    }

    /// Those shipped and those of files, each a name for errors and a text. A template that has a shipped one's name
    /// stands in its place; it may inherit it.
    pub fn with(files: Vec<(String, String)>) -> Result<Arc<Templates>, ConfigError> {
        let shipped = Templates::shipped();
        let mut waiting = Vec::new();
        for (name, text) in files {
            let file = TemplateFile::read(&name, &text)?;
            let same = waiting.iter().any(|w: &TemplateFile| w.raw.template.value == file.raw.template.value);
            if same {
                let name = &file.raw.template;
                let message = format!("template: {:?} is not allowed; allowed: a name no other file has", name.value);
                return Err(file.error(name, message));
            }
            waiting.push(file);
        }
        let mut set = Templates::clone(&shipped);
        while !waiting.is_empty() {
            let ready = waiting.iter().position(|file| match &file.raw.inherit {
                None => true,
                Some(base) if base.value == file.raw.template.value => true,
                Some(base) => !waiting.iter().any(|w| w.raw.template.value == base.value),
            });
            let Some(ready) = ready else {
                let first = &waiting[0];
                let base = first.raw.inherit.as_ref().unwrap_or(&first.raw.template);
                let message = format!("inherit: {:?} inherits this one in turn; allowed: no circle", base.value);
                return Err(first.error(base, message));
            };
            let file = waiting.swap_remove(ready);
            let base = match &file.raw.inherit {
                None => None,
                Some(base) => {
                    let own = base.value == file.raw.template.value;
                    let found = if own { shipped.get(&base.value) } else { set.get(&base.value) };
                    let Some(found) = found else {
                        let message =
                            format!("inherit: {:?} is not allowed; allowed: {}", base.value, set.names().join(", "));
                        return Err(file.error(base, message));
                    };
                    Some(found)
                }
            };
            let template = file.check(base.as_deref())?;
            set.by_name.insert(template.name.clone(), Arc::new(template));
        }
        Ok(Arc::new(set))
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<Arc<Template>> {
        self.by_name.get(name).cloned()
    }

    /// The one of an engine.
    pub fn of(&self, engine: Engine) -> Arc<Template> {
        self.get(engine.as_str()).unwrap_or_else(|| unreachable!("every engine has a template"))
    }

    /// Every name.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().map(|n| n.to_string()).collect()
    }
}

/// The files a setting names: a file itself, or those of a folder that end in `.yaml` or `.yml`, in order of their names.
pub fn files_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "yaml" || e == "yml") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;
