//! The numbers that the chain sums: plain f64 in columns of one scale, and numbers of a far wider range.
//!
//! A column of f64 spans 2^990. What lies further below the largest of its column is raised to that bound, which the chain's account of
//! losses must allow; where it does not, all is done with wide numbers, which are exact to f64's precision whatever the range.

/// The power of two of a column's largest f64.
const TOP: i32 = 900;
/// The power of two that no f64 of a column lies below. The weight of a class is at least 2^-931, so no product vanishes.
const BOTTOM: i32 = -90;
/// The same as a number.
const FLOOR: f64 = power(BOTTOM);

/// A number that is not negative.
pub(super) trait Number: Copy + Default {
    /// 2 to this power.
    fn power(exponent: i64) -> Self;

    /// Whether it is zero, which it only is where no text goes on.
    fn is_zero(self) -> bool;

    /// A product with a weight.
    fn times(self, weight: f64) -> Self;

    /// A sum.
    fn plus(self, other: Self) -> Self;

    /// A product with a power of two.
    fn raised(self, exponent: i64) -> Self;

    /// A factor in [1, 2) and a power of two, of a number above zero.
    fn split(self) -> (f64, i64);

    /// A product that f64 can hold; what is too small is zero.
    fn product(self, other: Self) -> f64;

    /// Its natural logarithm.
    fn ln(self) -> f64;

    /// Brings the numbers of these states into range, all by the same power of two, so that 2^`least` would still be in range; returns
    /// the power of two by which they have become smaller.
    fn settle(column: &mut [Self], states: &[u32], least: Option<i64>) -> i64;

    /// What numbers of a column are raised to.
    fn bottom() -> Self;

    /// Whether it may have been raised.
    fn is_floor(self) -> bool;
}

impl Number for f64 {
    fn power(exponent: i64) -> Self {
        1f64.raised(exponent)
    }

    fn is_zero(self) -> bool {
        self == 0.0
    }

    fn times(self, weight: f64) -> Self {
        self * weight
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn raised(self, exponent: i64) -> Self {
        let [first, second] = powers(exponent);
        self * first * second
    }

    fn split(self) -> (f64, i64) {
        let wide = Wide::new(self, 0);
        (wide.mantissa, wide.exponent)
    }

    fn product(self, other: Self) -> f64 {
        self * other
    }

    fn ln(self) -> f64 {
        libm::log(self)
    }

    fn settle(column: &mut [Self], states: &[u32], least: Option<i64>) -> i64 {
        let most = states.iter().map(|state| column[*state as usize]).fold(0.0, f64::max);
        let own = (most > 0.0).then(|| i64::from(exponent(most)));
        let Some(largest) = own.max(least) else { return 0 };
        let shift = i64::from(TOP) - largest;
        let [first, second] = powers(shift);
        for state in states {
            let number = &mut column[*state as usize];
            // A choice rather than a branch: columns are long.
            *number = if *number > 0.0 { (*number * first * second).max(FLOOR) } else { 0.0 };
        }
        -shift
    }

    fn bottom() -> Self {
        FLOOR
    }

    fn is_floor(self) -> bool {
        self == FLOOR
    }
}

/// mantissa * 2^exponent; the mantissa lies in [1, 2), or is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wide {
    mantissa: f64,
    exponent: i64,
}

impl Wide {
    /// From a positive f64 that is not subnormal, times a power of two.
    fn new(value: f64, scale: i64) -> Self {
        let exponent = exponent(value);
        let bits = (value.to_bits() & !(0x7FF << 52)) | (1023 << 52);
        Self { mantissa: f64::from_bits(bits), exponent: scale + i64::from(exponent) }
    }

    fn to_f64(self, exponent: i64) -> f64 {
        self.mantissa.raised(exponent)
    }
}

impl Number for Wide {
    fn power(exponent: i64) -> Self {
        Self { mantissa: 1.0, exponent }
    }

    fn is_zero(self) -> bool {
        self.mantissa == 0.0
    }

    fn times(self, weight: f64) -> Self {
        let value = self.mantissa * weight;
        if value == 0.0 { Self::default() } else { Self::new(value, self.exponent) }
    }

    fn plus(self, other: Self) -> Self {
        let (large, small) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // A zero has some exponent, too.
        if large.is_zero() || small.is_zero() {
            return if large.is_zero() { small } else { large };
        }
        let apart = small.exponent - large.exponent;
        if apart < -100 { large } else { Self::new(large.mantissa + small.to_f64(apart), large.exponent) }
    }

    fn raised(self, exponent: i64) -> Self {
        Self { exponent: self.exponent + exponent, ..self }
    }

    fn split(self) -> (f64, i64) {
        (self.mantissa, self.exponent)
    }

    fn product(self, other: Self) -> f64 {
        (self.mantissa * other.mantissa).raised(self.exponent + other.exponent)
    }

    fn ln(self) -> f64 {
        libm::log(self.mantissa) + self.exponent as f64 * std::f64::consts::LN_2
    }

    fn settle(_: &mut [Self], _: &[u32], _: Option<i64>) -> i64 {
        0
    }

    fn bottom() -> Self {
        Self::default()
    }

    fn is_floor(self) -> bool {
        false
    }
}

/// 2^exponent, for -1022 to 1023.
const fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Two factors of 2^exponent, neither of which leaves the range; what lies far beyond the range is cut.
fn powers(exponent: i64) -> [f64; 2] {
    let exponent = exponent.clamp(-2000, 2000) as i32;
    let half = exponent / 2;
    [power(half), power(exponent - half)]
}

/// The power of two at or below a positive number; -1023 for subnormal ones.
fn exponent(value: f64) -> i32 {
    (value.to_bits() >> 52) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_numbers_do_as_plain_ones_where_both_can() {
        let values = [1.0, 0.3, 7.25, 1e-250, 3e200, 0.0, 2f64.powi(-53)];
        for a in values {
            for b in values.into_iter().filter(|b| *b <= 1.0) {
                let wide = |value: f64| Wide::power(0).times(value);
                let near = |found: Wide, expected: f64| {
                    let found = found.product(Wide::power(0));
                    assert!((found - expected).abs() <= 4.0 * f64::EPSILON * expected, "{found} is not {expected}");
                };
                near(wide(a).plus(wide(b)), a + b);
                if a * b >= f64::MIN_POSITIVE {
                    near(wide(a).times(b), a * b);
                    near(wide(a).raised(3), a * 8.0);
                    assert_eq!(wide(a).split(), a.split());
                    let (found, expected) = (wide(a).times(b).ln(), (a * b).ln());
                    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} is not {expected}");
                }
            }
        }
        assert!(Wide::power(-5000).times(1e-280).ln() < -4000.0);
        assert!(Wide::default().is_zero() && Wide::power(0).times(0.0).is_zero());
    }

    #[test]
    fn columns_are_brought_into_range_and_nothing_but_zero_is_zero() {
        let mut column = [1e-300, 0.0, 1e-5, 1e-308];
        let exponent = f64::settle(&mut column, &[0, 1, 2, 3], None);
        let near = |found: f64, expected: f64| (found.raised(exponent) / expected - 1.0).abs() < 1e-12;
        assert!(near(column[2], 1e-5) && near(column[0], 1e-300) && column[1] == 0.0);
        assert!(column[3].is_floor() && !column[0].is_floor());
        assert_eq!(f64::settle(&mut [0.0, 0.0], &[0, 1], None), 0);
        let mut column = [1e-300, 0.0, 1e-5];
        let exponent = f64::settle(&mut column, &[0, 1, 2], Some(3000));
        assert!(column == [FLOOR, 0.0, FLOOR] && exponent == 3000 - i64::from(TOP));
    }
}
