//! Compensated summation, with the bits of Kahan's in Neumaier's form, which Prometheus uses: what an addition loses is a number
//! that both find exactly.

/// Adds `x` to a sum with its running compensation.
#[inline(always)]
pub(super) fn add(x: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + x;
    // Knuth's form asks for no comparison, which would keep several sums from being made at a time
    let added = total - sum;
    let lost = (sum - (total - added)) + (x - added);
    let compensation = if total.is_infinite() { 0.0 } else { compensation + lost };
    (total, compensation)
}

/// Adds one number to each of several sums.
#[inline(always)]
pub(super) fn add_each<const L: usize>(x: [f64; L], sum: &mut [f64; L], compensation: &mut [f64; L]) {
    for lane in 0..L {
        (sum[lane], compensation[lane]) = add(x[lane], sum[lane], compensation[lane]);
    }
}

/// The same for sums that stay finite: of others sum or compensation is not finite in the end.
#[inline(always)]
pub(super) fn add_each_finite<const L: usize>(x: [f64; L], sum: &mut [f64; L], compensation: &mut [f64; L]) {
    for lane in 0..L {
        let total = sum[lane] + x[lane];
        let added = total - sum[lane];
        compensation[lane] += (sum[lane] - (total - added)) + (x[lane] - added);
        sum[lane] = total;
    }
}

/// The value of a sum with its compensation.
#[inline]
pub(super) fn value(sum: f64, compensation: f64) -> f64 {
    if sum.is_infinite() { sum } else { sum + compensation }
}

/// A sum being built.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: f64,
    compensation: f64,
}

impl Sum {
    #[inline]
    pub(super) fn add(&mut self, x: f64) {
        (self.sum, self.compensation) = add(x, self.sum, self.compensation);
    }

    /// The sum so far.
    #[inline]
    pub(super) fn value(self) -> f64 {
        value(self.sum, self.compensation)
    }
}

/// A mean being built: a direct one as long as the sum fits, an incremental one from then on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    count: f64,
    value: f64,
    compensation: f64,
    incremental: bool,
}

impl Mean {
    #[inline]
    pub(super) fn add(&mut self, x: f64) {
        self.count += 1.0;
        if !self.incremental {
            let (value, compensation) = add(x, self.value, self.compensation);
            if self.count == 1.0 || !value.is_infinite() {
                (self.value, self.compensation) = (value, compensation);
                return;
            }
            self.incremental = true;
            self.value /= self.count - 1.0;
            self.compensation /= self.count - 1.0;
        }
        if self.value.is_infinite() {
            let same_infinity = x.is_infinite() && (self.value > 0.0) == (x > 0.0);
            if same_infinity || x.is_finite() {
                return; // the mean is right already; subtracting infinities would spoil it
            }
        }
        let q = (self.count - 1.0) / self.count;
        (self.value, self.compensation) = add(x / self.count, q * self.value, q * self.compensation);
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(self) -> bool {
        self.count == 0.0
    }

    #[inline]
    pub(super) fn value(self) -> f64 {
        if self.incremental {
            self.value + self.compensation
        } else {
            self.value / self.count + self.compensation / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_giants_leave_the_small_ones() {
        let mut sum = Sum::default();
        for x in [1.0, 1e100, 1.0, -1e100] {
            sum.add(x);
        }
        assert_eq!(sum.value(), 2.0);
        let mut mean = Mean::default();
        for x in [9e307, 9e307] {
            mean.add(x);
        }
        assert_eq!(mean.value(), 9e307);
    }
}
