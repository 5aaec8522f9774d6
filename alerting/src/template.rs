//! Templates in labels and annotations: Go's text/template with Prometheus' variables and functions.
//!
//! gotmpl parses and walks. Between the two we rewrite its tree, so that what Prometheus' templates rely on holds: a
//! missing label is empty, numbers print as Go prints them, and an unknown function or variable is an error when rules
//! are loaded. A template that asks `query` is run again with the answers until it asks nothing new, so expanding stays a
//! pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gotmpl::parse::{
    ActionNode, BranchNode, CommandNode, DefineNode, Expr, ListNode, Node, Parser, PipeNode, Pos, SmolStr, TemplateNode,
};
use gotmpl::{TemplateError, Value};
use parking_lot::Mutex;
use proto::Labels;

use crate::forecast::words::Words;

mod format;
mod functions;

pub use format::{humanize, humanize_duration};

/// Declared before every template; what it adds to the first line's columns is taken off error positions.
const PRELUDE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}{{$forecast := .Forecast}}";
/// Stands at the end of every text: if it is not the last node, the parser stopped at a stray `end` or `else`.
const POSTLUDE: &str = "{{\"\"}}";
/// Variables a template may use without declaring them.
const VARIABLES: [&str; 6] = ["$", "$labels", "$externalLabels", "$externalURL", "$value", "$forecast"];
/// Most different `query` calls of one expansion.
pub const QUERIES_MAX: usize = 16;
/// Most `range` iterations of one expansion.
const RANGE_ITERATIONS_MAX: u64 = 100_000;
/// Longest text an expansion may give, bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The function every printed value goes through.
const SHOW: &str = "__show";
/// The function every field access goes through.
const FIELD: &str = "__field";

/// A template that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct TemplateFault {
    /// Line in the template's text, from one.
    pub line: usize,
    /// Column in that line, from one.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A sample as `query` gives it to templates.
#[derive(Clone, Debug, PartialEq)]
pub struct QueriedSample {
    /// Labels, metric name included.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// Answers to the `query` calls of templates; the error's text is shown where the template stood.
pub type QueryAnswers = BTreeMap<String, Result<Vec<QueriedSample>, String>>;

/// What a template can see.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `$labels`: labels of the expression's result, metric name included.
    pub labels: &'a Labels,
    /// `$value`.
    pub value: f64,
    /// `$externalLabels`.
    pub external_labels: &'a Labels,
    /// `$externalURL`.
    pub external_url: &'a str,
    /// Time of the evaluation, milliseconds.
    pub now_ms: i64,
    /// What was answered so far.
    pub answers: &'a QueryAnswers,
    /// `$forecast` of forecast rules.
    pub forecast: Option<&'a Words>,
}

/// What came of expanding a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expansion {
    /// The text.
    Text(String),
    /// Run it again with the answer to this query.
    Needs(String),
    /// It failed.
    Failed(String),
}

/// A template, parsed and checked.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    /// `None`: there is nothing to expand.
    parsed: Option<Arc<(ListNode, Vec<DefineNode>)>>,
}

impl Template {
    /// Parses and checks a template.
    pub fn parse(source: &str) -> Result<Template, TemplateFault> {
        if !source.contains("{{") {
            return Ok(Template { source: source.into(), parsed: None });
        }
        let text = format!("{PRELUDE}{source}{POSTLUDE}");
        let (mut tree, mut defines) = Parser::new(&text, "{{", "}}").and_then(|p| p.parse()).map_err(|e| fault(&e))?;
        let end = text.len() - POSTLUDE.len();
        if !matches!(tree.nodes.pop(), Some(Node::Action(last)) if last.pos.offset >= end) {
            return Err(TemplateFault { line: 1, column: 1, message: "unexpected {{end}} or {{else}}".into() });
        }
        let mut rewrite = Rewrite { variables: VARIABLES.into_iter().map(Into::into).collect(), text: &text };
        rewrite.list(&mut tree)?;
        for define in &mut defines {
            rewrite.list(&mut define.body)?;
        }
        Ok(Template { source: source.into(), parsed: Some(Arc::new((tree, defines))) })
    }

    /// Text that is printed as it stands.
    pub fn literal(source: &str) -> Template {
        Template { source: source.into(), parsed: None }
    }

    /// The text it was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fills it in.
    pub fn expand(&self, scope: &Scope<'_>) -> Expansion {
        let Some(parsed) = &self.parsed else { return Expansion::Text(self.source.clone()) };
        let needs: Arc<Mutex<Option<String>>> = Arc::default();
        let mut all = functions::all();
        functions::bind(&mut all, scope, needs.clone());
        let mut template = match gotmpl::Template::new("").max_range_iters(RANGE_ITERATIONS_MAX).funcs(all).parse("") {
            Ok(template) => template.add_parse_tree("main", parsed.0.clone()),
            Err(e) => return Expansion::Failed(e.to_string()),
        };
        for define in &parsed.1 {
            template = template.add_parse_tree(&define.name, define.body.clone());
        }
        let mut text = Bounded(String::new());
        let done = template.execute_template(&mut text, "main", &data(scope));
        match (done, needs.lock().take()) {
            (_, Some(query)) => Expansion::Needs(query),
            (Ok(()), None) => Expansion::Text(text.0),
            (Err(e), None) => Expansion::Failed(e.to_string()),
        }
    }
}

/// The text so far; refuses to grow past [`TEXT_BYTES_MAX`].
struct Bounded(String);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > TEXT_BYTES_MAX {
            return Err(std::io::Error::other(format!("more than {TEXT_BYTES_MAX} bytes of text")));
        }
        self.0.push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn data(scope: &Scope<'_>) -> Value {
    let entries = [
        ("Labels", functions::labels_value(scope.labels)),
        ("ExternalLabels", functions::labels_value(scope.external_labels)),
        ("ExternalURL", Value::String(scope.external_url.into())),
        ("Value", Value::Float(scope.value)),
        ("Forecast", scope.forecast.map_or(Value::Nil, functions::words_value)),
    ];
    Value::Map(Arc::new(entries.into_iter().map(|(k, v)| (Arc::from(k), v)).collect()))
}

fn fault(error: &TemplateError) -> TemplateFault {
    match error {
        TemplateError::Parse { line, col, message, .. } | TemplateError::Lex { line, col, message, .. } => {
            let column = if *line == 1 { col.saturating_sub(PRELUDE.len()).max(1) } else { *col };
            TemplateFault { line: *line, column, message: message.clone() }
        }
        other => TemplateFault { line: 1, column: 1, message: other.to_string() },
    }
}

/// Walks a tree, checks names and routes printing and field access through our functions.
struct Rewrite<'a> {
    variables: BTreeSet<SmolStr>,
    text: &'a str,
}

impl Rewrite<'_> {
    fn fault(&self, pos: Pos, message: String) -> TemplateFault {
        let before = &self.text[..pos.offset.min(self.text.len())];
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |i| i + 1) + 1;
        let column = if line == 1 { column.saturating_sub(PRELUDE.len()).max(1) } else { column };
        TemplateFault { line, column, message }
    }

    fn list(&mut self, list: &mut ListNode) -> Result<(), TemplateFault> {
        list.nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut Node) -> Result<(), TemplateFault> {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(ActionNode { pos, pipe }) => {
                self.pipe(pipe)?;
                if pipe.decl.is_empty() {
                    pipe.commands.push(CommandNode { pos: *pos, args: vec![Expr::Identifier(*pos, SHOW.into())] });
                }
                Ok(())
            }
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => self.branch(branch),
            Node::Template(TemplateNode { pipe: Some(pipe), .. }) => self.pipe(pipe),
            Node::Define(define) => self.list(&mut define.body),
            Node::Template(_) | Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&mut self, branch: &mut BranchNode) -> Result<(), TemplateFault> {
        self.pipe(&mut branch.pipe)?;
        self.list(&mut branch.body)?;
        branch.else_body.as_mut().map_or(Ok(()), |list| self.list(list))
    }

    fn pipe(&mut self, pipe: &mut PipeNode) -> Result<(), TemplateFault> {
        for command in &mut pipe.commands {
            for arg in &mut command.args {
                self.expr(arg)?;
            }
        }
        self.variables.extend(pipe.decl.iter().cloned());
        Ok(())
    }

    fn expr(&mut self, expr: &mut Expr) -> Result<(), TemplateFault> {
        match expr {
            Expr::Identifier(pos, name) => {
                if !functions::is_known(name) {
                    return Err(self.fault(*pos, format!("function {name:?} not defined")));
                }
            }
            Expr::Variable(pos, name, fields) => {
                if !self.variables.contains(name) {
                    return Err(self.fault(*pos, format!("undefined variable {:?}", name.as_str())));
                }
                if !fields.is_empty() {
                    *expr = field_call(*pos, Expr::Variable(*pos, name.clone(), Vec::new()), fields);
                }
            }
            Expr::Field(pos, fields) => *expr = field_call(*pos, Expr::Dot(*pos), fields),
            Expr::Chain(pos, inner, fields) => {
                self.expr(inner)?;
                if !matches!(**inner, Expr::Identifier(..)) {
                    *expr = field_call(*pos, (**inner).clone(), fields);
                }
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe)?,
            Expr::Dot(_) | Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) => {}
        }
        Ok(())
    }
}

fn field_call(pos: Pos, of: Expr, fields: &[SmolStr]) -> Expr {
    let mut args = vec![Expr::Identifier(pos, FIELD.into()), of];
    args.extend(fields.iter().map(|f| Expr::String(pos, f.as_str().into())));
    let commands = vec![CommandNode { pos, args }];
    Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false })
}

#[cfg(test)]
mod tests;
