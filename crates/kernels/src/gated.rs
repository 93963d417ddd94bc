//! Gated units over joined products: of each row `[gate | up]` of 2 F values, `activation(gate) · up`.
//!
//! Shazeer 2020, "GLU variants improve transformer" (arXiv 2002.05202): SwiGLU with silu(x) = x / (1 + exp(-x)), and GEGLU with the
//! tanh form of GELU, 0.5 x (1 + tanh(sqrt(2 / π) (x + 0.044715 x³))), which is x / (1 + exp(-2 z)) for the argument z of tanh.

use rayon::prelude::*;

use crate::exp::exp_lanes;
use crate::simd::{LANES, Simd, dispatch};

/// What the gate goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// silu: Llama, Qwen, LLaDA.
    Silu,
    /// The tanh form of GELU: Gemma.
    GeluTanh,
}

/// `joined` is `[N, 2 F]`, gates before ups, `out` `[N, F]`.
pub fn gated(joined: &[f32], inner: usize, gate: Gate, out: &mut [f32]) {
    assert!(inner > 0 && out.len().is_multiple_of(inner), "gated: {} values are not rows of {inner}", out.len());
    assert_eq!(joined.len(), 2 * out.len(), "gated: gates and ups are not twice the output");
    out.par_chunks_mut(inner)
        .zip(joined.par_chunks(2 * inner))
        .with_min_len(8)
        .for_each(|(out, joined)| row(joined, gate == Gate::GeluTanh, out));
}

fn row(joined: &[f32], gelu: bool, out: &mut [f32]) {
    dispatch!(row_body(joined: &[f32], gelu: bool, out: &mut [f32]))
}

#[inline(always)]
fn row_body<S: Simd>(s: S, joined: &[f32], gelu: bool, out: &mut [f32]) {
    let (gates, ups) = joined.split_at(out.len());
    for ((gate, up), out) in gates.chunks(LANES).zip(ups.chunks(LANES)).zip(out.chunks_mut(LANES)) {
        let x = s.load_partial(gate, 0.0);
        let argument = if gelu {
            // 2 sqrt(2 / π) and that times 0.044715.
            s.mul(x, s.fma(s.mul(x, x), s.splat(0.071_354_814), s.splat(1.595_769)))
        } else {
            x
        };
        let sigmoid = s.div(s.splat(1.0), s.add(s.splat(1.0), exp_lanes(s, s.sub(s.splat(0.0), argument))));
        s.store_partial(s.mul(s.mul(x, sigmoid), s.load_partial(up, 0.0)), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, noise};
    use crate::simd::at_each_level;

    #[test]
    fn matches_f64() {
        for inner in [1, 16, 45] {
            let x = noise(1, 3 * 2 * inner);
            for gate in [Gate::Silu, Gate::GeluTanh] {
                let activation = |x: f64| match gate {
                    Gate::Silu => x / (1.0 + (-x).exp()),
                    Gate::GeluTanh => {
                        let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                        0.5 * x * (1.0 + z.tanh())
                    }
                };
                let rows = x.f64.chunks_exact(2 * inner);
                let expected: Vec<f64> =
                    rows.flat_map(|row| (0..inner).map(move |i| activation(row[i]) * row[inner + i])).collect();
                let out = at_each_level(|| {
                    let mut out = vec![f32::NAN; 3 * inner];
                    gated(&x.f32, inner, gate, &mut out);
                    out
                });
                assert_close(&out, &expected, 1e-6);
            }
        }
        let mut out = [f32::NAN; 2];
        gated(&[-1e30, 1e30, 1.0, 1.0], 2, Gate::GeluTanh, &mut out);
        assert_eq!(out, [0.0, 1e30]);
    }
}
