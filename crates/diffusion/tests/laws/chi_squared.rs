//! Pearson's chi-squared test at a level corrected for the number of tests (Bonferroni).

use std::collections::BTreeMap;
use std::f64::consts::PI;

use crate::{DRAWS, Law};
use lldm_diffusion::Token;

/// The probability that any of the tests fails by chance, and an upper bound of their number.
const FAMILY: f64 = 1e-6;
const TESTS: f64 = 64.0;

pub(crate) fn same_law(name: &str, counts: &BTreeMap<Vec<Token>, u64>, law: &Law) {
    let found = differs(counts, law);
    assert!(found.is_empty(), "{name}: {found}");
}

/// What speaks against the counts' coming from the law; empty if nothing does.
pub(crate) fn differs(counts: &BTreeMap<Vec<Token>, u64>, law: &Law) -> String {
    let total: f64 = law.values().sum();
    assert!((total - 1.0).abs() < 1e-9, "a law sums to {total}");
    if let Some(text) = counts.keys().find(|text| law.get(*text).is_none_or(|p| *p <= 0.0)) {
        return format!("{text:?} is impossible");
    }
    // Texts that are expected fewer than 5 times are counted together.
    let (mut chi, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
    for (text, p) in law {
        let (found, expected) = (counts.get(text).copied().unwrap_or(0) as f64, p * DRAWS as f64);
        if expected < 5.0 {
            rare = (rare.0 + found, rare.1 + expected);
        } else {
            chi += (found - expected).powi(2) / expected;
            cells += 1;
        }
    }
    if rare.1 >= 5.0 {
        chi += (rare.0 - rare.1).powi(2) / rare.1;
        cells += 1;
    }
    let limit = chi_squared_quantile(f64::from(cells - 1), FAMILY / TESTS);
    if chi <= limit { String::new() } else { format!("chi-squared {chi} with {} degrees, limit {limit}", cells - 1) }
}

/// The value that a chi-squared variable exceeds with probability `level` (Wilson and Hilferty 1931).
fn chi_squared_quantile(degrees: f64, level: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + normal_quantile(level) * spread.sqrt()).powi(3)
}

/// The value that a normal variable exceeds with probability `level`, for a small level: bisection of the tail's
/// continued fraction.
fn normal_quantile(level: f64) -> f64 {
    let tail = |z: f64| {
        let fraction = (1..200).rev().fold(z, |rest, k| z + f64::from(k) / rest);
        (-z * z / 2.0).exp() / ((2.0 * PI).sqrt() * fraction)
    };
    let (mut low, mut high) = (1.0, 40.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if tail(middle) > level { low = middle } else { high = middle }
    }
    low
}

#[test]
fn the_quantiles_err_on_the_safe_side() {
    assert!((normal_quantile(0.001) - 3.090_232).abs() < 1e-5);
    assert!((normal_quantile(1e-8) - 5.612_001).abs() < 1e-5);
    for degrees in [2, 4, 10, 40, 80] {
        // With an even number of degrees the tail is that of a Poisson sum.
        let half = chi_squared_quantile(f64::from(degrees), FAMILY / TESTS) / 2.0;
        let term = |k: i32| (1..=k).fold((-half).exp(), |term, k| term * half / f64::from(k));
        let tail: f64 = (0..degrees / 2).map(term).sum();
        assert!(tail < FAMILY / TESTS && tail > 0.05 * FAMILY / TESTS, "{degrees} degrees: {tail}");
    }
}
