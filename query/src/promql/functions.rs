//! All functions of the language: name, arguments, result. What they compute is in `function_*` files.

use super::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// A function's signature.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments, optional ones included.
    pub args: &'static [ValueType],
    /// How many of `args` may be left out, or how far the last may repeat.
    pub variadic: Variadic,
    /// The type of its result.
    pub returns: ValueType,
    /// Whether it needs [`super::Options::experimental`].
    pub experimental: bool,
}

/// Whether and how the number of arguments varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// It does not.
    No,
    /// The last this many may be left out.
    Optional(usize),
    /// The last repeats, up to this many times (0 times allowed); `None` is without bound.
    Repeats(Option<usize>),
}

const fn of(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: Variadic::No, returns, experimental: false }
}

const fn optional(name: &'static str, args: &'static [ValueType], count: usize, returns: ValueType) -> Function {
    Function { name, args, variadic: Variadic::Optional(count), returns, experimental: false }
}

const fn repeats(name: &'static str, args: &'static [ValueType], most: Option<usize>, returns: ValueType) -> Function {
    Function { name, args, variadic: Variadic::Repeats(most), returns, experimental: false }
}

const fn experimental(function: Function) -> Function {
    Function { experimental: true, ..function }
}

/// Every function, by name.
pub static FUNCTIONS: &[Function] = &[
    of("abs", &[Vector], Vector),
    of("absent", &[Vector], Vector),
    of("absent_over_time", &[Matrix], Vector),
    of("acos", &[Vector], Vector),
    of("acosh", &[Vector], Vector),
    of("asin", &[Vector], Vector),
    of("asinh", &[Vector], Vector),
    of("atan", &[Vector], Vector),
    of("atanh", &[Vector], Vector),
    of("avg_over_time", &[Matrix], Vector),
    of("ceil", &[Vector], Vector),
    of("changes", &[Matrix], Vector),
    of("clamp", &[Vector, Scalar, Scalar], Vector),
    of("clamp_max", &[Vector, Scalar], Vector),
    of("clamp_min", &[Vector, Scalar], Vector),
    of("cos", &[Vector], Vector),
    of("cosh", &[Vector], Vector),
    of("count_over_time", &[Matrix], Vector),
    optional("day_of_month", &[Vector], 1, Vector),
    optional("day_of_week", &[Vector], 1, Vector),
    optional("day_of_year", &[Vector], 1, Vector),
    optional("days_in_month", &[Vector], 1, Vector),
    of("deg", &[Vector], Vector),
    of("delta", &[Matrix], Vector),
    of("deriv", &[Matrix], Vector),
    experimental(of("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector)),
    experimental(of("end", &[], Scalar)),
    of("exp", &[Vector], Vector),
    experimental(of("first_over_time", &[Matrix], Vector)),
    of("floor", &[Vector], Vector),
    of("histogram_avg", &[Vector], Vector),
    of("histogram_count", &[Vector], Vector),
    of("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    of("histogram_quantile", &[Scalar, Vector], Vector),
    experimental(repeats("histogram_quantiles", &[Vector, String, Scalar, Scalar], Some(9), Vector)),
    of("histogram_stddev", &[Vector], Vector),
    of("histogram_stdvar", &[Vector], Vector),
    of("histogram_sum", &[Vector], Vector),
    optional("hour", &[Vector], 1, Vector),
    of("idelta", &[Matrix], Vector),
    of("increase", &[Matrix], Vector),
    experimental(optional("info", &[Vector, Vector], 1, Vector)),
    of("irate", &[Matrix], Vector),
    repeats("label_join", &[Vector, String, String, String], None, Vector),
    of("label_replace", &[Vector, String, String, String, String], Vector),
    of("last_over_time", &[Matrix], Vector),
    of("ln", &[Vector], Vector),
    of("log10", &[Vector], Vector),
    of("log2", &[Vector], Vector),
    experimental(of("mad_over_time", &[Matrix], Vector)),
    experimental(of("max_of", &[Scalar, Scalar], Scalar)),
    of("max_over_time", &[Matrix], Vector),
    experimental(of("min_of", &[Scalar, Scalar], Scalar)),
    of("min_over_time", &[Matrix], Vector),
    optional("minute", &[Vector], 1, Vector),
    optional("month", &[Vector], 1, Vector),
    of("pi", &[], Scalar),
    of("predict_linear", &[Matrix, Scalar], Vector),
    of("present_over_time", &[Matrix], Vector),
    of("quantile_over_time", &[Scalar, Matrix], Vector),
    of("rad", &[Vector], Vector),
    experimental(of("range", &[], Scalar)),
    of("rate", &[Matrix], Vector),
    of("resets", &[Matrix], Vector),
    optional("round", &[Vector, Scalar], 1, Vector),
    of("scalar", &[Vector], Scalar),
    of("sgn", &[Vector], Vector),
    of("sin", &[Vector], Vector),
    of("sinh", &[Vector], Vector),
    of("sort", &[Vector], Vector),
    experimental(repeats("sort_by_label", &[Vector, String], None, Vector)),
    experimental(repeats("sort_by_label_desc", &[Vector, String], None, Vector)),
    of("sort_desc", &[Vector], Vector),
    of("sqrt", &[Vector], Vector),
    experimental(of("start", &[], Scalar)),
    of("stddev_over_time", &[Matrix], Vector),
    of("stdvar_over_time", &[Matrix], Vector),
    experimental(of("step", &[], Scalar)),
    of("sum_over_time", &[Matrix], Vector),
    of("tan", &[Vector], Vector),
    of("tanh", &[Vector], Vector),
    of("time", &[], Scalar),
    of("timestamp", &[Vector], Vector),
    experimental(of("ts_of_first_over_time", &[Matrix], Vector)),
    experimental(of("ts_of_last_over_time", &[Matrix], Vector)),
    experimental(of("ts_of_max_over_time", &[Matrix], Vector)),
    experimental(of("ts_of_min_over_time", &[Matrix], Vector)),
    of("vector", &[Scalar], Vector),
    optional("year", &[Vector], 1, Vector),
];

/// The function called `name`.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|f| f.name.cmp(name)).ok().map(|i| &FUNCTIONS[i])
}

impl Function {
    /// The fewest and the most arguments it takes.
    pub fn arity(&self) -> (usize, Option<usize>) {
        let len = self.args.len();
        match self.variadic {
            Variadic::No => (len, Some(len)),
            Variadic::Optional(count) => (len - count, Some(len)),
            Variadic::Repeats(most) => (len - 1, most.map(|most| len - 1 + most)),
        }
    }

    /// The type of argument `index`.
    pub fn arg_type(&self, index: usize) -> Option<ValueType> {
        match self.variadic {
            Variadic::Repeats(_) => self.args.get(index).or(self.args.last()).copied(),
            _ => self.args.get(index).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_every_function_is_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert!(FUNCTIONS.iter().all(|f| find(f.name) == Some(f)));
        assert!(find("no_such_function").is_none());
    }
}
