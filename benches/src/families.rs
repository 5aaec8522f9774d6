//! Generated series with a known nature, for the forecast bench: each family a function of the position, a seed and a source of
//! chance. Reproducible: the same seed gives the same series.

/// Hours of past in a generated series, and of future that no choice sees.
pub const PAST: usize = 24 * 28;
/// See [`PAST`].
pub const FUTURE: usize = 24 * 4;
/// Distance of values, milliseconds.
pub const STEP_MS: i64 = 3_600_000;

/// A kind of series.
pub struct Family {
    /// Its name in the table.
    pub name: &'static str,
    /// Makes one.
    pub make: fn(&mut Chance) -> Vec<f64>,
}

/// Every family.
pub const FAMILIES: [Family; 12] = [
    Family { name: "trend", make: trend },
    Family { name: "trend begun lately", make: trend_begun },
    Family { name: "sawtooth, nightly", make: sawtooth_nightly },
    Family { name: "sawtooth, when full", make: sawtooth_full },
    Family { name: "day", make: day },
    Family { name: "day and week", make: day_and_week },
    Family { name: "day and trend", make: day_and_trend },
    Family { name: "level shift", make: level_shift },
    Family { name: "random walk", make: random_walk },
    Family { name: "bursts", make: bursts },
    Family { name: "constant", make: constant },
    Family { name: "counter with resets", make: counter },
];

/// Chance with a seed (xorshift64*).
pub struct Chance(u64);

impl Chance {
    /// Of a seed.
    pub fn new(seed: u64) -> Chance {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            chance.unit();
        }
        chance
    }

    /// Between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two numbers.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Around 0 with variance 1; heavier tails than a bell now and then.
    pub fn noise(&mut self) -> f64 {
        let sum: f64 = (0..6).map(|_| self.unit() - 0.5).sum();
        let tail = if self.unit() < 0.03 { 3.0 } else { 1.0 };
        sum * 2.0_f64.sqrt() * tail
    }
}

fn each(value: impl FnMut(usize) -> f64) -> Vec<f64> {
    (0..PAST + FUTURE).map(value).collect()
}

fn wave(i: usize, period: f64, phase: f64) -> f64 {
    ((i as f64 / period + phase) * std::f64::consts::TAU).sin()
}

fn trend(c: &mut Chance) -> Vec<f64> {
    let (level, slope, rough) = (c.within(10.0, 60.0), c.within(-0.05, 0.1), c.within(0.05, 2.0));
    each(|i| level + slope * i as f64 + rough * c.noise())
}

fn trend_begun(c: &mut Chance) -> Vec<f64> {
    let (level, slope, rough) = (c.within(10.0, 60.0), c.within(0.2, 1.0), c.within(0.02, 0.2));
    let begin = PAST - c.within(24.0, 120.0) as usize;
    each(|i| level + slope * i.saturating_sub(begin) as f64 + rough * c.noise())
}

fn sawtooth_nightly(c: &mut Chance) -> Vec<f64> {
    let (slope, rough, hour) = (c.within(0.5, 3.0), c.within(0.1, 1.0), c.within(0.0, 24.0) as usize);
    each(|i| 20.0 + slope * ((i + hour) % 24) as f64 + rough * c.noise())
}

fn sawtooth_full(c: &mut Chance) -> Vec<f64> {
    let (slope, rough) = (c.within(0.1, 0.6), c.within(0.05, 0.3));
    let mut level = c.within(20.0, 60.0);
    let mut full = 90.0;
    each(|_| {
        level += slope * c.within(0.5, 1.5);
        if level > full {
            level = c.within(15.0, 40.0);
            full = c.within(80.0, 95.0);
        }
        level + rough * c.noise()
    })
}

fn day(c: &mut Chance) -> Vec<f64> {
    let (size, rough, phase) = (c.within(5.0, 30.0), c.within(0.3, 5.0), c.unit());
    let second = c.within(0.0, 0.5);
    each(|i| 50.0 + size * (wave(i, 24.0, phase) + second * wave(i, 12.0, phase)) + rough * c.noise())
}

fn day_and_week(c: &mut Chance) -> Vec<f64> {
    let (size, rough, phase, rest) = (c.within(5.0, 30.0), c.within(0.3, 4.0), c.unit(), c.within(0.1, 0.5));
    each(|i| {
        let work = if (i / 24) % 7 >= 5 { rest } else { 1.0 };
        20.0 + work * size * (1.2 + wave(i, 24.0, phase)) + rough * c.noise()
    })
}

fn day_and_trend(c: &mut Chance) -> Vec<f64> {
    let (size, rough, slope) = (c.within(3.0, 15.0), c.within(0.3, 2.0), c.within(0.02, 0.1));
    each(|i| 10.0 + slope * i as f64 + size * wave(i, 24.0, 0.0) + rough * c.noise())
}

fn level_shift(c: &mut Chance) -> Vec<f64> {
    let (shift, rough, at) = (c.within(10.0, 80.0), c.within(0.2, 2.0), PAST - c.within(30.0, 300.0) as usize);
    let slope = c.within(-0.02, 0.02);
    each(|i| 30.0 + slope * i as f64 + if i >= at { shift } else { 0.0 } + rough * c.noise())
}

fn random_walk(c: &mut Chance) -> Vec<f64> {
    let mut level = 100.0;
    each(|_| {
        level += c.noise();
        level
    })
}

fn bursts(c: &mut Chance) -> Vec<f64> {
    let (rough, often, mut left) = (c.within(0.2, 2.0), c.within(0.005, 0.03), 0.0);
    each(|_| {
        if c.unit() < often {
            left = c.within(10.0, 60.0);
        }
        left *= 0.6;
        10.0 + left + rough * c.noise()
    })
}

fn constant(c: &mut Chance) -> Vec<f64> {
    let level = c.within(0.0, 100.0).round();
    each(|_| level)
}

fn counter(c: &mut Chance) -> Vec<f64> {
    let (rate, mut count) = (c.within(10.0, 1000.0), 0.0);
    let resets = [c.within(0.2, 0.5), c.within(0.6, 0.9)].map(|part| (PAST as f64 * part) as usize);
    each(|i| {
        if resets.contains(&i) {
            count = 0.0;
        }
        count += rate * (1.0 + 0.5 * wave(i, 24.0, 0.0)) * c.within(0.8, 1.2);
        count.round()
    })
}
