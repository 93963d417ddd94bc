//! The exponential function in f64, in plain arithmetic that compilers turn into lanes; the same bits everywhere.
//!
//! `exp(x) = 2^n · exp(r)` with `r = x - n ln 2` in two steps and `exp(r)` by its Taylor series up to r^13, of which
//! the rest is below 1e-17. The relative error is below 5e-16.

/// 1.5 · 2^52: adding it leaves the nearest integer in the lowest bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts, the first with so few bits that its product with n is exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1 / 13! to 1 / 2!.
const INVERSE_FACTORIALS: [f64; 12] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
];

/// `exp(x)` for x in -700..700.
#[inline(always)]
pub(super) fn exp64(x: f64) -> f64 {
    let shifted = x.mul_add(std::f64::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = INVERSE_FACTORIALS[0];
    for c in &INVERSE_FACTORIALS[1..] {
        p = p.mul_add(r, *c);
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    ((p * r).mul_add(r, r) + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_the_library() {
        assert_eq!(exp64(0.0), 1.0);
        for i in -200_000..=200_000 {
            let x = f64::from(i) * 0.0035;
            assert!((exp64(x) / x.exp() - 1.0).abs() < 5e-16, "{x}");
        }
    }
}
