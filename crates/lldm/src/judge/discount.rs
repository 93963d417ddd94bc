//! The three discounts of an order (Chen & Goodman 1999, section 3), and what stands in where they cannot be estimated.
//!
//! With `n_i` the number of n-grams whose (adjusted) count is `i`:
//!
//! ```text
//! Y = n1 / (n1 + 2 n2)    D1 = 1 - 2Y n2/n1    D2 = 2 - 3Y n3/n2    D3+ = 3 - 4Y n4/n3
//! ```
//!
//! Reference implementation: KenLM `lm/builder/adjust_counts.cc`, whose `--discount_fallback` has the same stand-in values.

/// The discounts of one order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discount {
    /// What is taken off counts of 1, of 2, and of 3 and more. Each is above 0 and at most 1, 2 and 3.
    pub values: [f64; 3],
    /// False where the corpus is too small or too regular for an estimate, and [`Discount::FALLBACK`] stands in.
    pub estimated: bool,
}

impl Discount {
    /// KenLM's stand-in. Half of the count or less: some mass always goes to the shorter context.
    pub const FALLBACK: [f64; 3] = [0.5, 1.0, 1.5];

    /// From the numbers of n-grams that were counted 1, 2, 3 and 4 times.
    pub(super) fn estimate(times: [u64; 4]) -> Self {
        let n = times.map(|n| n as f64);
        let y = n[0] / (n[0] + 2.0 * n[1]);
        let values = [1, 2, 3].map(|i| i as f64 - (i + 1) as f64 * y * n[i] / n[i - 1]);
        // A missing count makes a value infinite, not a number, or as great as the count itself, which would leave nothing
        // to an n-gram that was seen; a wild one makes it negative.
        let sound = times.iter().all(|&n| n > 0) && values.iter().all(|&value| value > 0.0);
        if sound { Self { values, estimated: true } } else { Self { values: Self::FALLBACK, estimated: false } }
    }

    /// The discount of an n-gram with this count (at least 1).
    pub(super) fn of(&self, count: u32) -> f64 {
        match count {
            0 => 0.0,
            1 => self.values[0],
            2 => self.values[1],
            _ => self.values[2],
        }
    }
}
