//! Functions that map one float to one float. Histograms are left out of their results.

use super::function_clock as clock;

/// A function's name and what it does to a float.
pub(super) type FloatMap = (&'static str, fn(f64) -> f64);

/// Every such function.
static MAPS: &[FloatMap] = &[
    ("abs", f64::abs),
    ("acos", f64::acos),
    ("acosh", f64::acosh),
    ("asin", f64::asin),
    ("asinh", f64::asinh),
    ("atan", f64::atan),
    ("atanh", f64::atanh),
    ("ceil", f64::ceil),
    ("cos", f64::cos),
    ("cosh", f64::cosh),
    ("deg", |v| v * 180.0 / std::f64::consts::PI),
    ("exp", f64::exp),
    ("floor", f64::floor),
    ("ln", f64::ln),
    ("log10", f64::log10),
    ("log2", f64::log2),
    ("rad", |v| v * std::f64::consts::PI / 180.0),
    ("sgn", sign),
    ("sin", f64::sin),
    ("sinh", f64::sinh),
    ("sqrt", f64::sqrt),
    ("tan", f64::tan),
    ("tanh", f64::tanh),
];

/// The map called `name`.
pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    MAPS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

/// The map of a clock function such as `hour`.
pub(super) fn find_clock(name: &str) -> Option<fn(f64) -> f64> {
    clock::PARTS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

fn sign(v: f64) -> f64 {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
}

/// The larger of two as Go's `math.Max` has it: +Inf even beside NaN, otherwise NaN beside NaN, and 0 above -0.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    match (a, b) {
        (f64::INFINITY, _) | (_, f64::INFINITY) => f64::INFINITY,
        (a, b) if a.is_nan() || b.is_nan() => f64::NAN,
        (a, b) if a == b => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        (a, b) => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

/// The smaller of two as Go's `math.Min` has it: -Inf even beside NaN, otherwise NaN beside NaN, and -0 below 0.
pub(super) fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

/// The multiple of `nearest` closest to `v`; halves go up.
pub(super) fn round(v: f64, nearest: f64) -> f64 {
    // Dividing by the inverse is more exact than multiplying by fractions such as 0.1.
    let inverse = 1.0 / nearest;
    (v * inverse + 0.5).floor() / inverse
}
