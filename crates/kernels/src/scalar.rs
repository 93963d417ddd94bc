//! Logarithms, exponentials and angles of single values, with the same bits on every CPU.
//!
//! The standard library asks the system's, which has variants for CPUs with fused multiply-adds that round otherwise. These are
//! libm's: musl's algorithms in plain arithmetic, whatever the CPU. Lanes have [`crate::exp`].

pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// ln(1 + x).
pub(crate) fn ln_1p(x: f64) -> f64 {
    libm::log1p(x)
}

pub(crate) fn ln32(x: f32) -> f32 {
    libm::logf(x)
}

pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

/// The cosine and the sine.
pub(crate) fn cos_sin(angle: f64) -> [f64; 2] {
    [libm::cos(angle), libm::sin(angle)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the system's, which err by less than one unit in the last place as well.
    #[test]
    fn they_are_right_to_the_last_places() {
        let near =
            |found: f64, expected: f64| (found - expected).abs() <= 4.0 * f64::EPSILON * expected.abs().max(1e-300);
        for i in 1..20_000 {
            let x = f64::from(i) * 0.0371;
            assert!(near(ln(x), x.ln()) && near(ln(1.0 / x), (1.0 / x).ln()), "{x}");
            assert!(near(ln_1p(-1.0 / (1.0 + x)), (-1.0 / (1.0 + x)).ln_1p()), "{x}");
            assert!(near(exp(x * 0.9), (x * 0.9).exp()) && near(exp(-x * 0.9), (-x * 0.9).exp()), "{x}");
            assert!(near(power(10_000.0, -x / 800.0), 10_000f64.powf(-x / 800.0)), "{x}");
            let ([cos, sin], angle) = (cos_sin(x * 90.0), x * 90.0);
            assert!((cos - angle.cos()).abs() < 4e-16 && (sin - angle.sin()).abs() < 4e-16, "{x}");
            assert!((ln32(x as f32) - (x as f32).ln()).abs() <= 2e-7 * (x as f32).ln().abs().max(0.1), "{x}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!([ln(0.0), exp(f64::NEG_INFINITY), ln(1.0), exp(0.0)], [f64::NEG_INFINITY, 0.0, 0.0, 1.0]);
        assert_eq!((ln32(0.0), ln32(f32::INFINITY)), (f32::NEG_INFINITY, f32::INFINITY));
        assert!(ln(-1.0).is_nan() && exp(f64::NAN).is_nan() && ln32(f32::NAN).is_nan());
    }
}
