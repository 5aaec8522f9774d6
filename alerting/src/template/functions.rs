//! The functions templates may call: Go's own and those of Prometheus.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gotmpl::{FuncMap, Result, TemplateError, Value};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::Labels;
use regex::Regex;

use super::format::{
    go_duration, humanize, humanize_1024, humanize_duration, humanize_percentage, humanize_timestamp, show,
};
use crate::forecast::words::{Word, Words};

use super::{FIELD, QUERIES_MAX, SHOW, Scope};

type Function = fn(&[Value]) -> Result<Value>;

/// Functions of values alone. Those that see the scope (`query`, `now`, `externalURL`, `pathPrefix`) are in [`bind`].
const FUNCTIONS: &[(&str, Function)] = &[
    (SHOW, |a| Ok(text(show(&one("print", a)?)))),
    (FIELD, field),
    ("print", |a| Ok(text(sprint(a)))),
    ("println", |a| Ok(text(a.iter().map(show_argument).collect::<Vec<_>>().join(" ") + "\n"))),
    ("printf", printf),
    ("index", index),
    ("first", first),
    ("label", |a| match a {
        [name, sample] => Ok(sample.field("Labels").and_then(|l| l.field(&string(name))).cloned().unwrap_or(text(""))),
        _ => fail("label wants a name and a sample"),
    }),
    ("value", |a| match one("value", a)?.field("Value") {
        Some(v) => Ok(v.clone()),
        None => fail("value wants a sample"),
    }),
    ("strvalue", |a| {
        let sample = one("strvalue", a)?;
        Ok(sample.field("Labels").and_then(|l| l.field("__value__")).cloned().unwrap_or(text("")))
    }),
    ("args", |a| {
        let pairs = a.iter().enumerate().map(|(i, v)| (Arc::from(format!("arg{i}")), v.clone()));
        Ok(Value::Map(Arc::new(pairs.collect())))
    }),
    ("sortByLabel", sort_by_label),
    ("reReplaceAll", |a| match a {
        [pattern, replacement, subject] => {
            Ok(text(regex(&string(pattern))?.replace_all(&string(subject), &*string(replacement)).into_owned()))
        }
        _ => fail("reReplaceAll wants a pattern, a replacement and a text"),
    }),
    ("match", |a| match a {
        [pattern, subject] => Ok(Value::Bool(regex(&string(pattern))?.is_match(&string(subject)))),
        _ => fail("match wants a pattern and a text"),
    }),
    ("safeHtml", |a| Ok(text(string(&one("safeHtml", a)?)))),
    ("title", |a| Ok(text(title(&string(&one("title", a)?))))),
    ("toUpper", |a| Ok(text(string(&one("toUpper", a)?).to_uppercase()))),
    ("toLower", |a| Ok(text(string(&one("toLower", a)?).to_lowercase()))),
    ("graphLink", |a| Ok(text(format!("/graph?g0.expr={}&g0.tab=0", query_escape(&string(&one("graphLink", a)?)))))),
    ("tableLink", |a| Ok(text(format!("/graph?g0.expr={}&g0.tab=1", query_escape(&string(&one("tableLink", a)?)))))),
    ("urlQueryEscape", |a| Ok(text(query_escape(&string(&one("urlQueryEscape", a)?))))),
    ("stripPort", |a| Ok(text(split_port(&string(&one("stripPort", a)?)).0.to_string()))),
    ("stripDomain", |a| Ok(text(strip_domain(&string(&one("stripDomain", a)?))))),
    ("humanize", |a| Ok(text(humanize(number(&one("humanize", a)?)?)))),
    ("humanize1024", |a| Ok(text(humanize_1024(number(&one("humanize1024", a)?)?)))),
    ("humanizeDuration", |a| Ok(text(humanize_duration(number(&one("humanizeDuration", a)?)?)))),
    ("humanizePercentage", |a| Ok(text(humanize_percentage(number(&one("humanizePercentage", a)?)?)))),
    ("humanizeTimestamp", |a| {
        humanize_timestamp(number(&one("humanizeTimestamp", a)?)?).map(text).map_err(TemplateError::Exec)
    }),
    ("toTime", |a| humanize_timestamp(number(&one("toTime", a)?)?).map(text).map_err(TemplateError::Exec)),
    ("toDuration", |a| Ok(text(go_duration(number(&one("toDuration", a)?)?)))),
    ("parseDuration", |a| {
        let ms = query::promql::number::parse_duration_ms(&string(&one("parseDuration", a)?));
        ms.map(|ms| Value::Float(ms as f64 / 1000.0)).map_err(TemplateError::Exec)
    }),
];

/// Names gotmpl itself brings, and those bound to a scope.
const ELSEWHERE: [&str; 18] = [
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "slice",
    "call",
    "html",
    "js",
    "urlquery",
    "query",
    "now",
    "externalURL",
];

static ALL: LazyLock<FuncMap> =
    LazyLock::new(|| FUNCTIONS.iter().map(|(name, f)| (name.to_string(), Arc::new(*f) as gotmpl::ValueFunc)).collect());

/// Whether templates may call `name`.
pub(super) fn is_known(name: &str) -> bool {
    name == "pathPrefix" || ELSEWHERE.contains(&name) || ALL.contains_key(name)
}

/// Every function that does not see the scope.
pub(super) fn all() -> FuncMap {
    ALL.clone()
}

/// Adds the functions that see the scope. A `query` that is not answered yet is noted in `needs`.
pub(super) fn bind(functions: &mut FuncMap, scope: &Scope<'_>, needs: Arc<Mutex<Option<String>>>) {
    let answers = scope.answers.clone();
    let query = move |a: &[Value]| {
        let asked = string(&one("query", a)?);
        match answers.get(&asked) {
            Some(Ok(samples)) => {
                Ok(Value::List(samples.iter().map(|s| sample_value(&s.labels, s.value)).collect::<Vec<_>>().into()))
            }
            Some(Err(e)) => fail(format!("query {asked:?}: {e}")),
            None if answers.len() >= QUERIES_MAX => fail(format!("more than {QUERIES_MAX} different queries")),
            None => {
                *needs.lock() = Some(asked);
                fail("not answered yet")
            }
        }
    };
    let now = scope.now_ms as f64 / 1000.0;
    let url = scope.external_url.to_string();
    let path = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let path = path.find('/').map_or("", |i| &path[i..]).to_string();
    let mut add = |name: &str, f: gotmpl::ValueFunc| functions.insert(name.into(), f);
    add("query", Arc::new(query));
    add("now", Arc::new(move |_: &[Value]| Ok(Value::Float(now))));
    add("externalURL", Arc::new(move |_: &[Value]| Ok(text(url.clone()))));
    add("pathPrefix", Arc::new(move |_: &[Value]| Ok(text(path.clone()))));
}

/// A label set as templates see it.
pub(super) fn labels_value(labels: &Labels) -> Value {
    Value::Map(Arc::new(labels.iter().map(|(n, v)| (Arc::from(n), text(v))).collect()))
}

/// A forecast as templates see it.
pub(super) fn words_value(words: &Words) -> Value {
    let value = |word: &Word| match word {
        Word::Text(said) => text(said.as_str()),
        Word::Number(number) => Value::Float(*number),
    };
    Value::Map(Arc::new(words.iter().map(|(name, word)| (Arc::from(*name), value(word))).collect()))
}

fn sample_value(labels: &Labels, value: f64) -> Value {
    let entries = [(Arc::from("Labels"), labels_value(labels)), (Arc::from("Value"), Value::Float(value))];
    Value::Map(Arc::new(entries.into_iter().collect()))
}

fn text(s: impl Into<String>) -> Value {
    Value::String(Arc::from(s.into()))
}

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(TemplateError::Exec(message.into()))
}

fn one(name: &str, args: &[Value]) -> Result<Value> {
    match args {
        [v] => Ok(v.clone()),
        _ => Err(TemplateError::ArgCount { name: name.into(), expected: 1, got: args.len() }),
    }
}

fn string(value: &Value) -> String {
    match value {
        Value::String(s) => s.to_string(),
        other => show(other),
    }
}

/// Numbers, and texts that hold one (of seconds, where a duration is meant).
fn number(value: &Value) -> Result<f64> {
    match value {
        Value::String(s) => match query::promql::number::parse_number(s) {
            Some(v) => Ok(v),
            None => match s.parse() {
                Ok(v) => Ok(v),
                Err(_) => fail(format!("strconv.ParseFloat: parsing {s:?}: invalid syntax")),
            },
        },
        other => match other.as_float() {
            Some(v) => Ok(v),
            None => fail(format!("can't convert {} to a number", other.type_name())),
        },
    }
}

/// Fields of structs must exist, keys of label sets need not.
fn field(args: &[Value]) -> Result<Value> {
    let [of, names @ ..] = args else { return fail("nothing to look at") };
    let mut value = of.clone();
    for name in names {
        let name = string(name);
        value = match &value {
            Value::Map(map) => match map.get(name.as_str()) {
                Some(v) => v.clone(),
                None if matches!(map.get("Labels"), Some(Value::Map(_))) => {
                    return fail(format!("can't evaluate field {name}; there are {}", keys(map)));
                }
                None => text(""),
            },
            Value::Nil => return fail(format!("nil pointer evaluating {name}")),
            other => return fail(format!("can't evaluate field {name} in type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn keys(map: &BTreeMap<Arc<str>, Value>) -> String {
    map.keys().map(|k| k.as_ref()).collect::<Vec<_>>().join(", ")
}

fn index(args: &[Value]) -> Result<Value> {
    let [of, keys @ ..] = args else { return fail("index of nothing") };
    keys.iter().try_fold(of.clone(), |value, key| match (&value, key) {
        (Value::Map(map), Value::String(key)) => Ok(map.get(key.as_ref()).cloned().unwrap_or(text(""))),
        _ => value.index(key),
    })
}

fn first(args: &[Value]) -> Result<Value> {
    match one("first", args)? {
        Value::List(items) if !items.is_empty() => Ok(items[0].clone()),
        Value::List(_) => fail("first() called on vector with no elements"),
        other => fail(format!("first wants a list, got {}", other.type_name())),
    }
}

fn sort_by_label(args: &[Value]) -> Result<Value> {
    let [name, Value::List(items)] = args else { return fail("sortByLabel wants a label name and samples") };
    let name = string(name);
    let key = |v: &Value| v.field("Labels").and_then(|l| l.field(&name)).map(string).unwrap_or_default();
    let mut items = items.to_vec();
    items.sort_by_cached_key(key);
    Ok(Value::List(items.into()))
}

fn show_argument(value: &Value) -> String {
    if matches!(value, Value::Nil) { "<nil>".into() } else { show(value) }
}

/// Go's Sprint: a space between operands of which neither is a string.
fn sprint(args: &[Value]) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 && !matches!(arg, Value::String(_)) && !matches!(args[i - 1], Value::String(_)) {
            out.push(' ');
        }
        out.push_str(&show_argument(arg));
    }
    out
}

/// printf of gotmpl, with what it prints otherwise than Go (floats and collections behind `%v`) printed beforehand.
fn printf(args: &[Value]) -> Result<Value> {
    static BUILTIN: LazyLock<Arc<gotmpl::Template>> = LazyLock::new(|| {
        let parsed = gotmpl::Template::new("printf").parse(
            "{{if eq .n 0}}{{printf .f}}{{else if eq .n 1}}{{printf .f .a0}}{{else if eq .n 2}}{{printf .f .a0 .a1}}\
             {{else if eq .n 3}}{{printf .f .a0 .a1 .a2}}{{else if eq .n 4}}{{printf .f .a0 .a1 .a2 .a3}}\
             {{else if eq .n 5}}{{printf .f .a0 .a1 .a2 .a3 .a4}}{{else}}{{printf .f .a0 .a1 .a2 .a3 .a4 .a5}}{{end}}",
        );
        Arc::new(parsed.unwrap_or_else(|e| unreachable!("a constant template: {e}")))
    });
    const ARGUMENTS_MAX: usize = 6;
    let [Value::String(format), rest @ ..] = args else { return fail("printf wants a format") };
    if rest.len() > ARGUMENTS_MAX {
        return fail(format!("printf takes at most {ARGUMENTS_MAX} values, got {}", rest.len()));
    }
    let mut values = rest.to_vec();
    let (mut next, mut chars) = (0, format.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        for verb in chars.by_ref() {
            match verb {
                '*' => next += 1,
                '%' => break,
                c if c.is_ascii_digit() || "+-# .".contains(c) => {}
                verb => {
                    if let Some(value) = values.get_mut(next)
                        && verb == 'v'
                        && matches!(value, Value::Float(_) | Value::List(_) | Value::Map(_))
                    {
                        *value = text(show(value));
                    }
                    next += 1;
                    break;
                }
            }
        }
    }
    let mut data: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    data.insert("f".into(), Value::String(format.clone()));
    data.insert("n".into(), Value::Int(values.len() as i64));
    for (i, value) in values.into_iter().enumerate() {
        data.insert(format!("a{i}").into(), value);
    }
    BUILTIN.execute_to_string(&Value::Map(Arc::new(data))).map(text)
}

/// Compiled size of one pattern at most, bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

fn regex(pattern: &str) -> Result<Regex> {
    let built = regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|e| TemplateError::Exec(format!("regular expression {pattern:?}: {e}")))
}

/// Upper case after every character that is neither letter, digit nor underscore.
fn title(s: &str) -> String {
    let mut start = true;
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = !(c.is_alphanumeric() || c == '_' || c == '\'') && (c.is_ascii() || c.is_whitespace());
        if c == '\'' {
            start = true;
        }
    }
    out
}

const QUERY_KEEPS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// Go's url.QueryEscape.
pub(crate) fn query_escape(s: &str) -> String {
    utf8_percent_encode(s, QUERY_KEEPS).to_string().replace(' ', "+")
}

/// Host and port of `host:port` or `[v6]:port`; all of it and nothing otherwise.
fn split_port(address: &str) -> (&str, Option<&str>) {
    if let Some(rest) = address.strip_prefix('[') {
        return match rest.split_once("]:") {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (address, None),
    }
}

fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.into();
    }
    let host = host.split('.').next().unwrap_or(host);
    port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}
