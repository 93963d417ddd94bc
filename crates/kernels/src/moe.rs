//! A mixture of experts: each token goes through K of E gated feed-forward layers, whose outputs are added by weight (Shazeer et al.
//! 2017, arXiv 1701.06538, eq. 1). The choice and the weights are the caller's.
//!
//! Rows are grouped by expert, so that the weights of an expert that any token chose are read once, in one product over all of its
//! rows; experts that nobody chose cost nothing. Tasks are (expert, panel of columns). Activations are rounded once for each
//! token, not for each of its experts, and a token's outputs are added in the order of its choices: its result depends on no other
//! token. Shapes: D width, F inner units of an expert, N tokens.

use rayon::prelude::*;

use crate::gated::{Gate, gated};
use crate::gemm::{Layout, PackedBf16, gemm_bf16_packed};
use crate::quant::{PackedQuant, gemm_grouped};

/// The weights `[E, outputs, inputs]` of one product of all experts.
#[derive(Clone, Debug)]
pub enum ExpertWeights {
    /// Blocks of a GGUF format.
    Quant(Vec<PackedQuant>),
    /// bf16; each is the factor `[inputs, outputs]`.
    Bf16(Vec<PackedBf16>),
}

/// E experts: `down(activation(gate x) · up x)`.
#[derive(Clone, Debug)]
pub struct Experts {
    gate_up: ExpertWeights,
    down: ExpertWeights,
    gate: Gate,
    width: usize,
    inner: usize,
}

/// Which experts the tokens go to: K a token, `[N, K]` each.
#[derive(Clone, Copy, Debug)]
pub struct Routes<'a> {
    /// K.
    pub top_k: usize,
    /// The experts chosen, below E.
    pub experts: &'a [u32],
    /// What each counts for.
    pub weights: &'a [f32],
}

impl ExpertWeights {
    /// E.
    pub fn count(&self) -> usize {
        match self {
            Self::Quant(experts) => experts.len(),
            Self::Bf16(experts) => experts.len(),
        }
    }

    /// The common shape `[outputs, inputs]`, if there is one.
    fn shape(&self) -> Option<[usize; 2]> {
        let mut shapes: Box<dyn Iterator<Item = [usize; 2]>> = match self {
            Self::Quant(experts) => Box::new(experts.iter().map(|expert| [expert.outputs(), expert.inputs()])),
            Self::Bf16(experts) => Box::new(experts.iter().map(|expert| [expert.cols(), expert.rows()])),
        };
        let first = shapes.next()?;
        shapes.all(|shape| shape == first).then_some(first)
    }
}

impl Experts {
    /// Joins `gate_up`, `[E, 2 F, D]` with the gates first, and `down`, `[E, D, F]`.
    ///
    /// # Errors
    /// One line that says which shapes do not fit.
    pub fn new(gate_up: ExpertWeights, down: ExpertWeights, gate: Gate) -> Result<Self, String> {
        let count = [gate_up.count(), down.count()];
        match (gate_up.shape(), down.shape()) {
            (Some([joined, width]), Some([out, inner]))
                if joined == 2 * inner && out == width && count[0] == count[1] =>
            {
                Ok(Self { gate_up, down, gate, width, inner })
            }
            (first, second) => Err(format!(
                "experts need gate_up [E, 2 F, D] and down [E, D, F], but there are {} of {first:?} and {} of {second:?}",
                count[0], count[1]
            )),
        }
    }

    /// E.
    pub fn count(&self) -> usize {
        self.gate_up.count()
    }

    /// `out = Σ_k weight_k · expert_k(x)`: x and out are `[N, D]`.
    pub fn forward(&self, x: &[f32], routes: Routes<'_>, out: &mut [f32]) {
        let Self { width, inner, .. } = *self;
        let tokens = x.len().checked_div(width).unwrap_or(0);
        assert_eq!(x.len(), tokens * width, "moe: {} values are not rows of {width}", x.len());
        assert_eq!(out.len(), x.len(), "moe: out must have the shape of x");
        let pairs = tokens * routes.top_k;
        assert!(
            routes.experts.len() == pairs && routes.weights.len() == pairs,
            "moe: {} experts and {} weights for {tokens} tokens of {} each",
            routes.experts.len(),
            routes.weights.len(),
            routes.top_k
        );
        let groups = Groups::new(routes, self.count());
        let mut joined = vec![0.0; pairs * 2 * inner];
        product(x, width, &self.gate_up, &groups.tokens, &groups.starts, &mut joined);
        let mut hidden = vec![0.0; pairs * inner];
        if pairs > 0 {
            gated(&joined, inner, self.gate, &mut hidden);
        }
        drop(joined);
        let rows: Vec<u32> = (0..pairs as u32).collect();
        let mut parts = vec![0.0; pairs * width];
        product(&hidden, inner, &self.down, &rows, &groups.starts, &mut parts);
        if width == 0 {
            return;
        }
        out.par_chunks_mut(width).enumerate().with_min_len(4).for_each(|(token, out)| {
            out.fill(0.0);
            for slot in token * routes.top_k..(token + 1) * routes.top_k {
                let part = &parts[groups.places[slot] as usize * width..][..width];
                out.iter_mut().zip(part).for_each(|(out, part)| *out = part.mul_add(routes.weights[slot], *out));
            }
        });
    }
}

/// The (token, choice) pairs in the order of their experts.
struct Groups {
    /// The token of each pair.
    tokens: Vec<u32>,
    /// Where the pairs of each expert begin; at E, how many there are.
    starts: Vec<usize>,
    /// The place of each pair (token, choice) in that order.
    places: Vec<u32>,
}

impl Groups {
    fn new(routes: Routes<'_>, experts: usize) -> Self {
        let mut starts = vec![0usize; experts + 1];
        for expert in routes.experts {
            let expert = *expert as usize;
            assert!(expert < experts, "moe: expert {expert} of {experts}");
            starts[expert + 1] += 1;
        }
        for expert in 0..experts {
            starts[expert + 1] += starts[expert];
        }
        let mut next = starts.clone();
        let mut tokens = vec![0; routes.experts.len()];
        let place = |(pair, expert): (usize, &u32)| {
            let place = next[*expert as usize];
            next[*expert as usize] += 1;
            tokens[place] = (pair / routes.top_k) as u32;
            place as u32
        };
        let places = routes.experts.iter().enumerate().map(place).collect();
        Self { tokens, starts, places }
    }
}

/// For each place i of an expert's pairs, `out[i] = W · x[rows[i]]`.
fn product(x: &[f32], inputs: usize, weights: &ExpertWeights, rows: &[u32], starts: &[usize], out: &mut [f32]) {
    match weights {
        ExpertWeights::Quant(experts) => gemm_grouped(x, experts, rows, starts, out),
        ExpertWeights::Bf16(experts) => {
            let mut parts = Vec::new();
            let mut left = out;
            for (expert, range) in experts.iter().zip(starts.windows(2)) {
                let (part, rest) = left.split_at_mut((range[1] - range[0]) * expert.cols());
                left = rest;
                if !part.is_empty() {
                    parts.push((expert, &rows[range[0]..range[1]], part));
                }
            }
            parts.into_par_iter().for_each(|(expert, rows, out)| {
                let gathered: Vec<f32> =
                    rows.iter().flat_map(|row| &x[*row as usize * inputs..][..inputs]).copied().collect();
                gemm_bf16_packed(&gathered, Layout::row_major(rows.len(), inputs), expert, out);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, noise, on_threads};
    use crate::gemm::pack_bf16;
    use crate::quant::QuantFormat;

    const E: usize = 7;
    const D: usize = 64;
    const F: usize = 96;

    /// Q8_0 blocks of the values, and the values that they stand for.
    fn quantised(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let mut blocks = Vec::new();
        for block in values.chunks_exact(32) {
            let scale = half::f16::from_f32(block.iter().fold(0f32, |m, x| m.max(x.abs())) / 127.0);
            blocks.extend(scale.to_le_bytes());
            blocks.extend(block.iter().map(|x| (x / scale.to_f32()).round().clamp(-127.0, 127.0) as i8 as u8));
        }
        let mut back = vec![0.0; values.len()];
        QuantFormat::Q8_0.dequantize(&blocks, &mut back).expect("whole blocks");
        (blocks, back)
    }

    fn weights(bf16: bool, shape: [usize; 2], seed: u64) -> (ExpertWeights, Vec<f64>) {
        let [outputs, inputs] = shape;
        let all: Vec<f32> = noise(seed, E * outputs * inputs).f32.iter().map(|x| x * 0.1).collect();
        let experts = all.chunks_exact(outputs * inputs);
        if bf16 {
            let packed = experts.map(|w| pack_bf16(w, Layout::row_major(outputs, inputs).transposed())).collect();
            let rounded = all.iter().map(|x| half::bf16::from_f32(*x).to_f64()).collect();
            return (ExpertWeights::Bf16(packed), rounded);
        }
        let (mut packed, mut values) = (Vec::new(), Vec::new());
        for expert in experts {
            let (blocks, back) = quantised(expert);
            packed.push(PackedQuant::pack(QuantFormat::Q8_0, shape, &blocks).expect("whole blocks"));
            values.extend(back.into_iter().map(f64::from));
        }
        (ExpertWeights::Quant(packed), values)
    }

    fn times(w: &[f64], x: &[f64]) -> Vec<f64> {
        w.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    /// Some experts get many tokens, some one, some none.
    fn routes(tokens: usize) -> (Vec<u32>, Vec<f32>) {
        let experts = (0..tokens).flat_map(|t| [if t % 5 == 0 { 1 } else { 4 }, [0, 2, 6][t * t % 3]]).collect();
        (experts, noise(9, tokens * 2).f32)
    }

    #[test]
    fn tokens_get_the_weighted_sum_of_their_experts() {
        for bf16 in [false, true] {
            let (gate_up, w1) = weights(bf16, [2 * F, D], 1);
            let (down, w2) = weights(bf16, [D, F], 2);
            let experts = Experts::new(gate_up, down, Gate::Silu).expect("shapes that fit");
            let tokens = 23;
            let (chosen, factors) = routes(tokens);
            let x = noise(3, tokens * D);
            let run = |from: usize, to: usize| {
                let routes =
                    Routes { top_k: 2, experts: &chosen[2 * from..2 * to], weights: &factors[2 * from..2 * to] };
                let mut out = vec![f32::NAN; (to - from) * D];
                experts.forward(&x.f32[from * D..to * D], routes, &mut out);
                out
            };
            let all = on_threads(1, || run(0, tokens));
            assert!(on_threads(3, || run(0, tokens)) == all);
            assert!((0..tokens).all(|token| run(token, token + 1) == all[token * D..(token + 1) * D]));
            let mut expected = vec![0.0; tokens * D];
            for (pair, (expert, factor)) in chosen.iter().zip(&factors).enumerate() {
                let (token, expert) = (pair / 2, *expert as usize);
                let joined = times(&w1[expert * 2 * F * D..][..2 * F * D], &x.f64[token * D..][..D]);
                let hidden: Vec<f64> = (0..F).map(|i| joined[i] / (1.0 + (-joined[i]).exp()) * joined[F + i]).collect();
                for (out, y) in expected[token * D..].iter_mut().zip(times(&w2[expert * D * F..][..D * F], &hidden)) {
                    *out += f64::from(*factor) * y;
                }
            }
            assert_close(&all, &expected, 0.02);
        }
    }

    #[test]
    fn no_tokens_and_wrong_shapes() {
        let (gate_up, _) = weights(false, [2 * F, D], 1);
        let (down, _) = weights(false, [D, F], 2);
        let wrong = Experts::new(gate_up.clone(), gate_up.clone(), Gate::Silu).expect_err("shapes that do not fit");
        assert!(wrong.contains("gate_up [E, 2 F, D]"), "{wrong}");
        let experts = Experts::new(gate_up, down, Gate::GeluTanh).expect("shapes that fit");
        experts.forward(&[], Routes { top_k: 2, experts: &[], weights: &[] }, &mut []);
    }
}
