//! Test data and comparisons for the unit tests of all kernels.

/// The same values as f32 and f64.
pub(crate) struct Noise {
    pub(crate) f32: Vec<f32>,
    pub(crate) f64: Vec<f64>,
}

impl Noise {
    pub(crate) fn len(&self) -> usize {
        self.f32.len()
    }
}

/// `len` values in -2..2 (splitmix64).
pub(crate) fn noise(seed: u64, len: usize) -> Noise {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 * 4.0 - 2.0
    };
    let f32: Vec<f32> = (0..len).map(|_| next()).collect();
    let f64 = f32.iter().map(|x| f64::from(*x)).collect();
    Noise { f32, f64 }
}

/// Fails unless every value is within `tolerance` times the largest expected magnitude (at least 1).
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= tolerance * scale, "value {i}: {found} instead of {expected}");
    }
}

/// The gradient of `f` at `x` by central differences.
pub(crate) fn finite_difference(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let mut moved = x.to_vec();
    (0..x.len())
        .map(|i| {
            moved[i] = x[i] + step;
            let above = f(&moved);
            moved[i] = x[i] - step;
            let below = f(&moved);
            moved[i] = x[i];
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// Runs `f` in a rayon pool of its own.
pub(crate) fn on_threads<T: Send>(threads: usize, f: impl Fn() -> T + Send + Sync) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(f)
}
