//! Random well-formed queries over the series at hand. Each is read and written again by our own parser, so it is a query.
//! Written for what both Prometheus 2 and 3 know.

use fastrand::Rng;

use super::samples::{FIRST_MS, OFF_EDGE_MS, Series};

/// Deepest nesting.
const DEPTH_MAX: u32 = 4;
const WINDOWS: &[&str] = &[
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
    "changes",
    "resets",
    "delta",
    "idelta",
    "deriv",
    "rate",
    "irate",
    "increase",
];
const NUMBERS: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "sin",
    "cos",
    "atan",
    "tanh",
    "asinh",
    "deg",
    "rad",
    "round",
    "timestamp",
    "sort",
    "sort_desc",
    "absent",
    "minute",
    "day_of_week",
    "year",
];
const FOLDS: &[&str] = &["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
const SUMS: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", "<", ">", "<=", ">="];
const SETS: &[&str] = &["and", "or", "unless"];
const LITERALS: &[&str] =
    &["0", "1", "-1", "2", "0.5", "-0.25", "3.7", "100", "1e6", "1e-3", "0x10", "Inf", "-Inf", "NaN", "time()", "pi()"];
const LABELS: &[&str] =
    &["shop", "kind", "job", "instance", "mode", "datname", "state", "command", "device", "le", "nosuch"];

/// Makes queries about some series.
pub struct Dice<'a> {
    rng: Rng,
    series: &'a [Series],
    /// Subqueries around what is being made.
    inside: u32,
}

impl<'a> Dice<'a> {
    /// The same seed makes the same queries.
    pub fn new(seed: u64, series: &'a [Series]) -> Dice<'a> {
        Dice { rng: Rng::with_seed(seed), series, inside: 0 }
    }

    /// One query.
    pub fn query(&mut self) -> String {
        let depth = self.rng.u32(1..=DEPTH_MAX);
        if self.rng.u32(..30) == 0 { self.scalar(depth) } else { self.vector(depth) }
    }

    fn one_of(&mut self, list: &[&'static str]) -> &'static str {
        list[self.rng.usize(..list.len())]
    }

    fn chance(&mut self, of: u32) -> bool {
        self.rng.u32(..of) == 0
    }

    fn seconds(&mut self, most: u32) -> String {
        let seconds = self.rng.u32(1..=most);
        match self.rng.u32(..3) {
            0 => format!("{}m", seconds / 60 + 1),
            1 if seconds > 60 => format!("{}m{}s", seconds / 60, seconds % 60),
            _ => format!("{seconds}s"),
        }
    }

    /// `offset` and `@`, mostly none.
    fn shift(&mut self) -> String {
        let mut out = String::new();
        if self.chance(8) {
            let sign = if self.chance(3) { "-" } else { "" };
            out = format!(" offset {sign}{}", self.seconds(400));
        }
        if self.chance(12) {
            let at = (FIRST_MS + self.rng.i64(0..1_500) * 1000 + OFF_EDGE_MS) as f64 / 1000.0;
            let fixed = format!(" @ {at}");
            out += match self.rng.u32(..3) {
                0 => " @ start()",
                1 => " @ end()",
                _ => &fixed,
            };
        }
        out
    }

    /// A selector without what shifts it: the metric of a series at hand and some of its labels.
    fn bare_selector(&mut self) -> String {
        let series = self.series;
        // half of all from the shop, which is the smaller part and the odder
        let shop = self.rng.bool();
        let labels = loop {
            let labels = &series[self.rng.usize(..series.len())].labels;
            if (labels["job"] == "shop") == shop || series.iter().all(|s| s.labels["job"] == "shop") {
                break labels;
            }
        };
        let mut matchers = Vec::new();
        for (name, value) in labels {
            if name == "__name__" || !self.chance(3) {
                continue;
            }
            let plain = value.chars().all(|c| c.is_ascii_alphanumeric());
            let (op, value) = match self.rng.u32(..6) {
                0 => ("!=", value.clone()),
                1 if plain && value.len() > 1 => ("=~", format!("{}.*", &value[..1])),
                2 if plain => ("=~", format!("{value}|north|idle|[a-c].+")),
                3 if plain => ("!~", format!("{value}|x.*")),
                4 => ("=~", ".*".to_owned()),
                _ => ("=", value.clone()),
            };
            matchers.push(format!("{name}{op}{value:?}"));
        }
        if matchers.is_empty() {
            labels["__name__"].clone()
        } else {
            format!("{}{{{}}}", labels["__name__"], matchers.join(","))
        }
    }

    fn selector(&mut self) -> String {
        let bare = self.bare_selector();
        format!("{bare}{}", self.shift())
    }

    /// A range vector.
    fn window(&mut self, depth: u32) -> String {
        if depth > 0 && self.chance(5) {
            self.inside += 1;
            let inner = self.vector(depth - 1);
            self.inside -= 1;
            let step = if self.chance(8) { String::new() } else { format!("{}s", self.rng.u32(5..90)) };
            if self.inside > 0 {
                // times within a subquery are whole seconds; its windows must not begin at one
                return format!("({inner})[{}s500ms:{step}]", self.rng.u32(1..400));
            }
            return format!("({inner})[{}:{step}]{}", self.seconds(400), self.shift());
        }
        let (inner, range) = (self.bare_selector(), self.seconds(700));
        format!("{inner}[{range}]{}", self.shift())
    }

    fn scalar(&mut self, depth: u32) -> String {
        match self.rng.u32(..6) {
            0 if depth > 0 => format!("scalar({})", self.vector(depth - 1)),
            1 if depth > 0 => {
                let (a, op, b) = (self.scalar(depth - 1), self.one_of(SUMS), self.scalar(depth - 1));
                format!("({a} {op} {b})")
            }
            2 if depth > 0 => {
                let (a, op, b) = (self.scalar(depth - 1), self.one_of(COMPARISONS), self.scalar(depth - 1));
                format!("({a} {op} bool {b})")
            }
            3 => format!("{}", self.rng.i32(-20..200)),
            _ => self.one_of(LITERALS).to_owned(),
        }
    }

    fn labels(&mut self) -> String {
        let count = self.rng.usize(..4);
        (0..count).map(|_| self.one_of(LABELS)).collect::<Vec<_>>().join(", ")
    }

    fn grouping(&mut self) -> String {
        match self.rng.u32(..3) {
            0 => String::new(),
            1 => format!(" by ({})", self.labels()),
            _ => format!(" without ({})", self.labels()),
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        let Some(below) = depth.checked_sub(1) else { return self.selector() };
        match self.rng.u32(..20) {
            0..=1 => self.selector(),
            2..=6 => format!("{}({})", self.one_of(WINDOWS), self.window(below)),
            7 => match self.rng.u32(..4) {
                0 => format!("quantile_over_time({}, {})", self.scalar(0), self.window(below)),
                1 => format!("predict_linear({}, {})", self.window(below), self.scalar(0)),
                2 => format!("absent_over_time({})", self.window(below)),
                _ => {
                    let (window, a, b) = (self.window(below), self.rng.u32(1..10), self.rng.u32(1..10));
                    format!("double_exponential_smoothing({window}, 0.{a}, 0.{b})")
                }
            },
            8..=10 => format!("{}{} ({})", self.one_of(FOLDS), self.grouping(), self.vector(below)),
            11 => match self.rng.u32(..4) {
                0 => format!("topk{} ({}, {})", self.grouping(), self.rng.i32(-1..5), self.vector(below)),
                1 => format!("bottomk{} ({}, {})", self.grouping(), self.rng.i32(0..5), self.vector(below)),
                2 => format!("quantile{} ({}, {})", self.grouping(), self.scalar(0), self.vector(below)),
                _ => format!("count_values{} (\"v\", {})", self.grouping(), self.vector(below)),
            },
            12..=13 => format!("{}({})", self.one_of(NUMBERS), self.vector(below)),
            14 => match self.rng.u32(..7) {
                0 => format!("clamp({}, {}, {})", self.vector(below), self.scalar(0), self.scalar(0)),
                1 => format!("clamp_min({}, {})", self.vector(below), self.scalar(below)),
                2 => format!("round({}, {})", self.vector(below), self.scalar(0)),
                3 => format!("histogram_quantile({}, {})", self.scalar(0), self.vector(below)),
                4 => format!("vector({})", self.scalar(below)),
                5 => {
                    let (to, from) = (self.one_of(LABELS), self.one_of(LABELS));
                    format!("label_replace({}, {to:?}, \"<$1>\", {from:?}, \"(.*)t.*\")", self.vector(below))
                }
                _ => {
                    let (to, a, b) = (self.one_of(LABELS), self.one_of(LABELS), self.one_of(LABELS));
                    format!("label_join({}, {to:?}, \"-\", {a:?}, {b:?})", self.vector(below))
                }
            },
            15 => format!("-({})", self.vector(below)),
            16..=17 => self.with_number(below),
            _ => self.with_vector(below),
        }
    }

    fn operator(&mut self) -> String {
        match self.rng.u32(..3) {
            0 => format!("{} bool", self.one_of(COMPARISONS)),
            1 => self.one_of(COMPARISONS).to_owned(),
            _ => self.one_of(SUMS).to_owned(),
        }
    }

    fn with_number(&mut self, depth: u32) -> String {
        let (vector, op, number) = (self.vector(depth), self.operator(), self.scalar(depth));
        if self.rng.bool() { format!("({vector}) {op} {number}") } else { format!("{number} {op} ({vector})") }
    }

    fn with_vector(&mut self, depth: u32) -> String {
        let left = self.vector(depth);
        // the same on both sides matches more often than two of chance
        let right = if self.chance(3) { left.clone() } else { self.vector(depth) };
        let word = if self.rng.bool() { "on" } else { "ignoring" };
        let matching = if self.chance(3) { String::new() } else { format!(" {word} ({})", self.labels()) };
        if self.chance(3) {
            return format!("({left}) {}{matching} ({right})", self.one_of(SETS));
        }
        let op = self.operator();
        let grouping = match self.rng.u32(..5) {
            0 if !matching.is_empty() => " group_left ()",
            1 if !matching.is_empty() => " group_right ()",
            _ => "",
        };
        format!("({left}) {op}{matching}{grouping} ({right})")
    }
}
