//! The bits of the portable level, recorded: what they were on the CPU of the day they must be on every other.
//!
//! Each kernel's output on fixed inputs is one FNV-1a hash. A kernel whose sums change on purpose takes the new number that its
//! test prints.

use crate::attention::{AttentionShape, KeyValues, all_keys, attention, attention_backward};
use crate::check::noise;
use crate::cross_entropy::CrossEntropy;
use crate::gemm::{Kernel, Layout, product_with};
use crate::quant::{Int8Path, PackedQuant, QuantFormat, grouped_with, random_blocks};
use crate::rope::{rope_in_place, rope_tables};
use crate::simd::at_each_level;
use crate::vocab::{Classes, Request, Transform, class_summaries, log_probabilities, reduce};

/// FNV-1a over bytes, little end first.
struct Hash(u64);

impl Hash {
    fn add(mut self, bits: impl IntoIterator<Item = u64>) -> Self {
        for byte in bits.into_iter().flat_map(u64::to_le_bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    fn floats(self, values: &[f32]) -> Self {
        self.add(values.iter().map(|value| u64::from(value.to_bits())))
    }

    fn doubles(self, values: &[f64]) -> Self {
        self.add(values.iter().map(|value| value.to_bits()))
    }
}

/// At every level, the portable one among them.
fn check(name: &str, expected: u64, run: impl Fn(Hash) -> Hash) {
    let found = at_each_level(|| run(Hash(0xcbf2_9ce4_8422_2325)).0);
    assert!(found == expected, "{name}: {found:#018x} instead of {expected:#018x}");
}

#[test]
fn products() {
    let (m, n, k) = (13, 70, 129);
    let (a, b) = (noise(1, m * k).f32, noise(2, k * n).f32);
    check("bf16", 0xb4bb_616c_6617_15d3, |hash| {
        let mut out = vec![0.0; m * n];
        product_with(Kernel::Portable, &a, Layout::row_major(m, k), &b, Layout::row_major(k, n), &mut out, false);
        hash.floats(&out)
    });
}

#[test]
fn quantised_products() {
    let (m, n, k) = (7, 70, 512);
    let x = noise(3, m * k).f32;
    let recorded = [
        0x5c9b_a356_f912_b729,
        0xc95c_d7d1_89cb_cdfd,
        0xf0e8_e87a_d8cb_73da,
        0x101d_192e_b3a6_19f1,
        0xbce0_6ea4_fee4_88dd,
        0xeba7_ecb7_3c70_8b23,
        0x8f32_ff30_1444_dac3,
    ];
    for (format, recorded) in QuantFormat::ALL.into_iter().zip(recorded) {
        let pack = |seed| {
            let blocks = random_blocks(format, [n, k], 0.05, seed).expect("whole blocks");
            PackedQuant::pack(format, [n, k], &blocks).expect("whole blocks")
        };
        let weights = [pack(1), pack(2)];
        check(&format.to_string(), recorded, |hash| {
            let mut out = vec![0.0; m * n];
            crate::quant::product_with(Int8Path::Portable, &x, &weights[0], &mut out);
            let mut grouped = vec![0.0; 5 * n];
            grouped_with(Int8Path::Portable, &x, &weights, &[0, 6, 1, 1, 4], &[0, 3, 5], &mut grouped);
            hash.floats(&out).floats(&grouped)
        });
    }
}

#[test]
fn attention_forward_and_backward() {
    let shape = AttentionShape { batch: 2, heads: 4, kv_heads: 2, queries: 9, keys: 41, head_dim: 24 };
    let [q, dout] = [4, 5].map(|seed| noise(seed, shape.query_len()).f32);
    let [k, v] = [6, 7].map(|seed| noise(seed, shape.key_len()).f32);
    check("attention", 0xd3c7_4aa2_1a88_f1cc, |hash| {
        let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; shape.lse_len()]);
        let segment = KeyValues { keys: &k, values: &v };
        attention(shape, &q, &[segment], 0.2, &all_keys(shape.keys), &mut out, Some(&mut lse));
        let [mut dq, mut dk, mut dv] = [q.len(), k.len(), v.len()].map(|len| vec![0.0; len]);
        attention_backward(
            shape,
            &q,
            &[segment],
            0.2,
            &all_keys(shape.keys),
            &out,
            &lse,
            &dout,
            &mut dq,
            &mut dk,
            &mut dv,
        );
        [&out, &lse, &dq, &dk, &dv].into_iter().fold(hash, |hash, values| hash.floats(values))
    });
}

#[test]
fn vocabulary() {
    let vocabulary = 5003;
    let logits: Vec<f32> = noise(8, 3 * vocabulary).f32.iter().map(|x| 5.0 * x).collect();
    let requests = [0, 1, 2].map(|row| Request { row, key: Some(row as u64 + 9), held: Some(77), top: 5 });
    let cut = Transform { top_k: 300, top_p: 0.9, temperature: 0.7, soft_cap: Some(30.0), ..Transform::PLAIN };
    check("reduce", 0x49b7_f00b_37f9_75bb, |mut hash| {
        for transform in [&Transform::PLAIN, &cut] {
            for row in reduce(&logits, vocabulary, &requests, transform) {
                hash = hash.add([row.best, row.second.unwrap_or(0), row.token].map(u64::from));
                hash = hash.doubles(&[row.max, row.log_sum_exp, row.entropy, row.best_probability, row.margin]);
                hash = hash.doubles(&[row.probability, row.held]).add(row.top.iter().map(|top| u64::from(top.token)));
            }
        }
        hash
    });
    let of: Vec<u16> = (0..vocabulary).map(|token| (token % 7) as u16).collect();
    check("classes", 0x0939_5e56_1011_132e, |mut hash| {
        for class in class_summaries(
            &logits,
            vocabulary,
            &[(0, 1), (1, 2), (2, 3)],
            Classes { of: &of, count: 7 },
            &Transform::PLAIN,
        )
        .concat()
        {
            hash = hash.add([class.best, class.drawn].map(u64::from)).doubles(&[class.log_sum, class.log_best]);
        }
        hash
    });
    check("likelihood", 0xf418_d31b_6e5b_ea5a, |hash| {
        hash.doubles(&log_probabilities(&logits, vocabulary, &[(0, 5), (0, 6), (2, 4000)], &Transform::PLAIN))
    });
}

#[test]
fn cross_entropy() {
    let (rows, vocabulary) = (5, 777);
    let logits = noise(9, rows * vocabulary).f32;
    let loss = CrossEntropy {
        logits: &logits,
        vocabulary,
        targets: &[3, 700, 12, 0, 44],
        weights: &[1.0, 0.5, 0.0, 2.0, 0.25],
        banned: Some(13),
    };
    check("cross-entropy", 0x6b82_82db_ca45_f1d1, |hash| {
        let (mut losses, mut lse, mut grad) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; logits.len()]);
        let total = loss.forward(&mut losses, &mut lse);
        loss.backward(&lse, 0.3, &mut grad);
        hash.doubles(&[total]).floats(&losses).floats(&lse).floats(&grad)
    });
}

#[test]
fn norms_and_activations() {
    let (rows, width) = (6, 130);
    let [x, other, grad] = [10, 11, 12].map(|seed| noise(seed, rows * width).f32);
    let weight = noise(13, width).f32;
    check("norm", 0xeb27_37bf_1638_3743, |hash| {
        let (mut out, mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; width]);
        crate::norm::rms_norm(&x, &weight, 1e-6, &mut out);
        crate::norm::rms_norm_backward(&x, &weight, 1e-6, &grad, &mut dx, &mut dw);
        hash.floats(&out).floats(&dx).floats(&dw)
    });
    check("swiglu", 0xac48_a8ae_24bd_7083, |hash| {
        let [mut out, mut dgate, mut dup] = [(); 3].map(|()| vec![0.0; x.len()]);
        crate::activation::swiglu(&x, &other, &mut out);
        crate::activation::swiglu_backward(&x, &other, &grad, &mut dgate, &mut dup);
        hash.floats(&out).floats(&dgate).floats(&dup)
    });
    for (form, recorded) in [(crate::Gelu::Exact, 0xdb95_81c0_6842_54b7), (crate::Gelu::Tanh, 0xd6bf_bb4d_0d07_8251)] {
        check("gelu", recorded, |hash| {
            let (mut out, mut inner, mut back) = (vec![0.0; x.len()], x.clone(), grad.clone());
            crate::gelu::gelu(form, &x, &mut out);
            crate::gelu::gelu_backward(form, &mut inner, &mut back);
            hash.floats(&out).floats(&inner).floats(&back)
        });
    }
    for (gate, recorded) in [(crate::Gate::Silu, 0xac2c_4d45_23cc_59b9), (crate::Gate::GeluTanh, 0xe857_294f_ac2c_8820)]
    {
        check("gated", recorded, |hash| {
            let mut out = vec![0.0; x.len() / 2];
            crate::gated::gated(&x, width / 2, gate, &mut out);
            hash.floats(&out)
        });
    }
    check("exp", 0xc858_caac_5dc9_f7bb, |hash| {
        let mut values: Vec<f32> = x.iter().map(|x| 20.0 * x).collect();
        crate::exp::exp_in_place(&mut values);
        hash.floats(&values)
    });
}

#[test]
fn rotary_embedding() {
    let (heads, head_dim) = (3, 34);
    let (cos, sin) = rope_tables(4097, head_dim, 10_000.0);
    let positions = [0, 1, 77, 4096];
    let x = noise(14, 2 * positions.len() * heads * head_dim).f32;
    check("rope", 0x2e65_b8d0_2e93_f9e5, |hash| {
        let mut turned = x.clone();
        rope_in_place(&mut turned, heads, head_dim, &cos, &sin, &positions);
        hash.floats(&cos).floats(&sin).floats(&turned)
    });
}
