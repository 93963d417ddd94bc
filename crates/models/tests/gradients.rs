//! The fused operations and their gradients, held against the same thing composed of candle's own operations in f64, and
//! against finite differences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Shape, Tensor, Var};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_kernels::Gelu;
use lldm_models::nn::{
    CrossEntropy, Linear, Loaded, Precision, RmsNorm, Rope, SwiGlu, Visibility, add_rows, attend, attend_cached,
    backward, change_values, cross_entropy, gelu, select_rows, with_values,
};

type Operation<'a> = &'a dyn Fn(&[Tensor]) -> Tensor;

/// Uniform numbers in (-1, 1).
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let rng = Rng::new(seed, 0).at(0, 0);
    let draw = |at: usize| (2.0 * rng.uniform(at, Purpose::Token) - 1.0) as f32;
    Tensor::from_vec((0..shape.iter().product()).map(draw).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

/// One number that depends on every entry of `out`, with weights of a seed.
fn mixed(out: &Tensor) -> Tensor {
    let weights = random(99, out.dims()).to_dtype(out.dtype()).unwrap();
    (out * weights).unwrap().sum_all().unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn gradients(operation: Operation<'_>, inputs: &[Tensor]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let vars: Vec<_> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let tensors: Vec<_> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = operation(&tensors);
    let grads = mixed(&out).backward().unwrap();
    let grad = |var: &Var| {
        let candle = flat(grads.get(var).unwrap());
        // Our reverse pass is candle's, whoever sums; the order of the sums may differ.
        if var.dtype() == DType::F32 {
            let own = backward(&mixed(&out)).unwrap().get(var).unwrap().unwrap();
            assert_near(&flat(&own), &candle, 1e-6, "the two reverse passes");
        }
        candle
    };
    (flat(&out), vars.iter().map(grad).collect())
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0, |scale: f64, value| scale.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * scale, "{what} [{at}]: {found} is not {expected}");
    }
}

/// Values and gradients of `fused` (f32) against `composed` (given the same inputs in f64).
fn compare(name: &str, inputs: &[Tensor], fused: Operation<'_>, composed: Operation<'_>, tolerances: [f64; 2]) {
    let wide: Vec<_> = inputs.iter().map(|input| input.to_dtype(DType::F64).unwrap()).collect();
    let (found, found_grads) = gradients(fused, inputs);
    let (expected, expected_grads) = gradients(composed, &wide);
    assert_near(&found, &expected, tolerances[0], name);
    for (input, (found, expected)) in found_grads.iter().zip(&expected_grads).enumerate() {
        assert_near(found, expected, tolerances[1], &format!("{name}, gradient of input {input}"));
    }
}

/// Gradients of `fused` against central differences along a random direction of each input.
fn differences(name: &str, inputs: &[Tensor], fused: Operation<'_>) {
    let (_, grads) = gradients(fused, inputs);
    let step = 1e-2;
    for (at, input) in inputs.iter().enumerate() {
        for seed in [200, 300, 400] {
            let direction = random(seed + at as u64, input.dims());
            let moved = |by: f64| {
                let mut moved = inputs.to_vec();
                moved[at] = (input + (&direction * by).unwrap()).unwrap();
                flat(&mixed(&fused(&moved)))[0]
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            let slope: f64 = grads[at].iter().zip(flat(&direction)).map(|(grad, step)| grad * step).sum();
            let bound = 2e-3 * (1.0 + slope.abs());
            assert!((difference - slope).abs() < bound, "{name}, input {at}: {difference} is not {slope}");
        }
    }
}

fn check(name: &str, inputs: &[Tensor], fused: Operation<'_>, composed: Operation<'_>) {
    compare(name, inputs, fused, composed, [1e-5, 2e-5]);
    differences(name, inputs, fused);
}

/// A source that hands out the given tensors.
fn source(tensors: &[(&str, &Tensor)], precision: Precision) -> Loaded {
    let named: HashMap<_, _> = tensors.iter().map(|(name, tensor)| (name.to_string(), (*tensor).clone())).collect();
    Loaded::new("test", named, precision)
}

#[test]
fn rms_norm() {
    let inputs = [random(1, &[2, 3, 16]), random(2, &[16])];
    let fused = |t: &[Tensor]| {
        let mut weights = source(&[("n.weight", &t[1])], Precision::F32);
        RmsNorm::new(&mut weights, "n", 16, 1e-3).unwrap().forward(&t[0]).unwrap()
    };
    let composed = |t: &[Tensor]| {
        let square = (t[0].sqr().unwrap().mean_keepdim(D::Minus1).unwrap() + 1e-3).unwrap();
        t[0].broadcast_div(&square.sqrt().unwrap()).unwrap().broadcast_mul(&t[1]).unwrap()
    };
    check("rms_norm", &inputs, &fused, &composed);
}

#[test]
fn rope() {
    // Positions as training doubles them, with a gap.
    let positions = [0usize, 1, 7, 0, 1, 7];
    let (theta, half) = (100.0f64, 4);
    let fused = |t: &[Tensor]| Rope::new(&positions, 2 * half, theta).rotate(&t[0]).unwrap();
    let composed = |t: &[Tensor]| {
        let angle = |position: usize, i: usize| position as f64 * theta.powf(-(i as f64) / half as f64);
        let angles: Vec<f64> = positions.iter().flat_map(|p| (0..half).map(move |i| angle(*p, i))).collect();
        let angles = Tensor::from_vec(angles, (1, positions.len(), 1, half), &Device::Cpu).unwrap();
        let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
        let (a, b) = (t[0].narrow(3, 0, half).unwrap(), t[0].narrow(3, half, half).unwrap());
        let first = (a.broadcast_mul(&cos).unwrap() - b.broadcast_mul(&sin).unwrap()).unwrap();
        let second = (b.broadcast_mul(&cos).unwrap() + a.broadcast_mul(&sin).unwrap()).unwrap();
        Tensor::cat(&[first, second], 3).unwrap()
    };
    check("rope", &[random(3, &[2, 6, 3, 8])], &fused, &composed);
}

/// Whether a query sees a key, as the papers say it.
fn sees(visibility: Visibility, query: usize, key: usize) -> bool {
    match visibility {
        Visibility::Full => true,
        Visibility::Causal { cached } => key <= cached + query,
        Visibility::CausalWindow { window, cached } => key <= cached + query && key + window > cached + query,
        Visibility::CanvasWindow { window, cached } => key + window > cached,
        Visibility::BlockCausal { block_length, cached } => key / block_length <= (cached + query) / block_length,
        Visibility::BlockDiffusion { length, block_length } => {
            let (query_block, key_block) = (query % length / block_length, key % length / block_length);
            match (query < length, key < length) {
                (true, true) => query_block == key_block,
                (true, false) => key_block < query_block,
                (false, true) => false,
                (false, false) => key_block <= query_block,
            }
        }
    }
}

#[test]
fn attention_under_each_visibility() {
    let cases = [
        (Visibility::Full, 5, 5),
        (Visibility::Full, 3, 7),
        (Visibility::Causal { cached: 0 }, 6, 6),
        (Visibility::Causal { cached: 4 }, 2, 6),
        (Visibility::CausalWindow { window: 3, cached: 0 }, 6, 6),
        (Visibility::CausalWindow { window: 3, cached: 4 }, 3, 7),
        (Visibility::CanvasWindow { window: 3, cached: 4 }, 3, 7),
        (Visibility::BlockCausal { block_length: 3, cached: 0 }, 7, 7),
        (Visibility::BlockCausal { block_length: 3, cached: 4 }, 4, 8),
        (Visibility::BlockDiffusion { length: 7, block_length: 3 }, 14, 14),
        (Visibility::BlockDiffusion { length: 4, block_length: 1 }, 8, 8),
    ];
    for (visibility, queries, keys) in cases {
        for kv_heads in [1, 2, 4] {
            let inputs = attention_inputs([2, queries, 4, 8], [2, keys, kv_heads, 8]);
            let fused = |t: &[Tensor]| attend(&t[0], &t[1], &t[2], visibility).unwrap();
            let composed = |t: &[Tensor]| composed_attention(t, visibility, 8f64.powf(-0.5));
            check(&format!("attention, {visibility:?}, {kv_heads} key heads"), &inputs, &fused, &composed);
        }
    }
}

fn attention_inputs(query: [usize; 4], keys: [usize; 4]) -> [Tensor; 3] {
    [random(4, &query), random(5, &keys), random(6, &keys)]
}

fn composed_attention(t: &[Tensor], visibility: Visibility, scale: f64) -> Tensor {
    let by_head = |t: &Tensor| t.transpose(1, 2).unwrap().contiguous().unwrap();
    let (_, queries, heads, _) = t[0].dims4().unwrap();
    let (_, keys, kv_heads, _) = t[1].dims4().unwrap();
    let repeated = |t: &Tensor| {
        let head = |h: usize| t.narrow(2, h * kv_heads / heads, 1).unwrap();
        by_head(&Tensor::cat(&(0..heads).map(head).collect::<Vec<_>>(), 2).unwrap())
    };
    let (q, k, v) = (by_head(&t[0]), repeated(&t[1]), repeated(&t[2]));
    let hidden =
        |query: usize| (0..keys).map(move |key| if sees(visibility, query, key) { 0.0 } else { f64::NEG_INFINITY });
    let hidden: Vec<f64> = (0..queries).flat_map(hidden).collect();
    let hidden = Tensor::from_vec(hidden, (1, 1, queries, keys), &Device::Cpu).unwrap();
    let scores = (q.matmul(&k.t().unwrap()).unwrap() * scale).unwrap();
    let weights = scores.broadcast_add(&hidden).unwrap().exp().unwrap();
    let total = weights.sum_keepdim(D::Minus1).unwrap();
    weights.broadcast_div(&total).unwrap().matmul(&v).unwrap().transpose(1, 2).unwrap()
}

#[test]
fn attention_behind_a_cache() {
    let (visibility, scale) = (Visibility::CanvasWindow { window: 5, cached: 9 }, 1.0);
    let inputs = attention_inputs([2, 3, 4, 8], [2, 12, 2, 8]);
    let part = |t: &Tensor, start: usize, length: usize| t.narrow(1, start, length).unwrap().contiguous().unwrap();
    let pair = |t: &[Tensor], start: usize, length: usize| (part(&t[1], start, length), part(&t[2], start, length));
    let cached = |t: &[Tensor]| [pair(t, 0, 7), pair(t, 7, 2)];
    let composed = |t: &[Tensor]| composed_attention(t, visibility, scale);
    // Gradients flow into the cached tensors too, where they are not constants.
    let through = |t: &[Tensor]| {
        let (key, value) = pair(t, 9, 3);
        attend_cached(&t[0], &cached(t), &key, &value, visibility, scale as f32).unwrap()
    };
    check("attention, through the cache", &inputs, &through, &composed);
    let (key, value) = pair(&inputs, 9, 3);
    let new = [inputs[0].clone(), key, value];
    let behind = |t: &[Tensor]| attend_cached(&t[0], &cached(&inputs), &t[1], &t[2], visibility, scale as f32).unwrap();
    let joined = |t: &[Tensor]| {
        let of = |new: &Tensor, old: &Tensor| {
            Tensor::cat(&[&part(old, 0, 9).to_dtype(new.dtype()).unwrap(), new], 1).unwrap()
        };
        composed_attention(&[t[0].clone(), of(&t[1], &inputs[1]), of(&t[2], &inputs[2])], visibility, scale)
    };
    check("attention, behind the cache", &new, &behind, &joined);
    // Segments change no bit.
    assert_eq!(gradients(&behind, &new).0, gradients(&through, &inputs).0);
    let wrong = pair(&inputs, 0, 7);
    let found =
        attend_cached(&new[0], &[(wrong.0, wrong.1.narrow(1, 0, 6).unwrap())], &new[1], &new[2], visibility, 1.0);
    assert!(found.is_err_and(|error| error.to_string().contains("do not go with")));
}

#[test]
fn swiglu() {
    let inputs = [random(7, &[5, 8]), random(8, &[12, 8]), random(9, &[12, 8]), random(10, &[8, 12])];
    let fused = |t: &[Tensor]| {
        let tensors = [("m.gate_proj.weight", &t[1]), ("m.up_proj.weight", &t[2]), ("m.down_proj.weight", &t[3])];
        SwiGlu::new(&mut source(&tensors, Precision::F32), "m", 8, 12).unwrap().forward(&t[0]).unwrap()
    };
    let composed = |t: &[Tensor]| {
        let gate = t[0].matmul(&t[1].t().unwrap()).unwrap();
        let up = t[0].matmul(&t[2].t().unwrap()).unwrap();
        (gate.silu().unwrap() * up).unwrap().matmul(&t[3].t().unwrap()).unwrap()
    };
    check("swiglu", &inputs, &fused, &composed);
}

#[test]
fn gelu_in_both_forms() {
    let inputs = [(random(20, &[5, 9]) * 3.0).unwrap()];
    // candle's `gelu` is the approximation by a hyperbolic tangent.
    check("gelu, tanh", &inputs, &|t| gelu(&t[0], Gelu::Tanh).unwrap(), &|t| t[0].gelu().unwrap());
    check("gelu, exact", &inputs, &|t| gelu(&t[0], Gelu::Exact).unwrap(), &|t| t[0].gelu_erf().unwrap());
}

#[test]
fn rows_of_a_matrix() {
    let (inputs, rows) = ([random(21, &[4, 6]), random(22, &[5, 6])], vec![3u32, 0, 3, 3, 1]);
    let index = Tensor::new(rows.as_slice(), &Device::Cpu).unwrap();
    let select = |t: &[Tensor]| select_rows(&t[0], rows.clone()).unwrap();
    check("select_rows", &inputs[..1], &select, &|t| t[0].index_select(&index, 0).unwrap());
    let add = |t: &[Tensor]| add_rows(&t[1], &t[0], rows.clone()).unwrap();
    check("add_rows", &inputs, &add, &|t| (&t[1] + t[0].index_select(&index, 0).unwrap()).unwrap());
    // A matrix that is read twice has the sum of both gradients.
    let twice = |t: &[Tensor]| add_rows(&select_rows(&t[0], rows.clone()).unwrap(), &t[0], rows.clone()).unwrap();
    let composed = |t: &[Tensor]| (t[0].index_select(&index, 0).unwrap() * 2.0).unwrap();
    check("rows read twice", &inputs[..1], &twice, &composed);
}

#[test]
fn cross_entropy_with_a_banned_token() {
    let (targets, weights) = (vec![0u32, 5, 2, 2], vec![0.25f32, 2.0, 0.0, 1.0]);
    for banned in [None, Some(6u32), Some(3)] {
        let inputs = [(random(11, &[4, 7]) * 3.0).unwrap()];
        let spec = CrossEntropy { targets: targets.clone(), weights: weights.clone(), banned };
        let fused = |t: &[Tensor]| cross_entropy(&t[0], spec.clone()).unwrap();
        let composed = |t: &[Tensor]| {
            let ban: Vec<f64> = (0..7).map(|v| if Some(v) == banned { f64::NEG_INFINITY } else { 0.0 }).collect();
            let ban = Tensor::from_vec(ban, (1, 7), &Device::Cpu).unwrap();
            let normaliser = t[0].broadcast_add(&ban).unwrap().exp().unwrap().sum_keepdim(1).unwrap().log().unwrap();
            let places = Tensor::from_vec(targets.clone(), (4, 1), &Device::Cpu).unwrap();
            let losses = (normaliser - t[0].gather(&places, 1).unwrap()).unwrap();
            let weights: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            (losses * Tensor::from_vec(weights, (4, 1), &Device::Cpu).unwrap()).unwrap().sum_all().unwrap()
        };
        check(&format!("cross_entropy without {banned:?}"), &inputs, &fused, &composed);
        let (_, grads) = gradients(&fused, &inputs);
        if let Some(banned) = banned {
            assert!((0..4).all(|row| grads[0][row * 7 + banned as usize] == 0.0), "a banned token has no gradient");
        }
        assert!(grads[0][14..21].iter().all(|grad| *grad == 0.0), "a row without weight has no gradient");
    }
}

#[test]
fn linear_in_both_precisions() {
    let inputs = [random(12, &[5, 40]), random(13, &[9, 40])];
    let layer = |precision: Precision| {
        move |t: &[Tensor]| Linear::from_weight(t[1].clone(), precision).unwrap().forward(&t[0]).unwrap()
    };
    let product = |t: &[Tensor]| t[0].matmul(&t[1].t().unwrap()).unwrap();
    check("linear, f32", &inputs, &layer(Precision::F32), &product);
    // bf16 has 8 bits: two rounded factors of a sum of 40, whose errors add up like a random walk. Finite differences
    // would see the steps of the rounding.
    compare("linear, bf16", &inputs, &layer(Precision::Bf16), &product, [1e-2, 1e-2]);
    // With factors that bf16 holds exactly, the sums are f32.
    let exact: Vec<_> = inputs.iter().map(|t| t.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()).collect();
    compare("linear, bf16 of bf16 values", &exact, &layer(Precision::Bf16), &product, [1e-5, 1e-2]);
    let values = |precision: Precision| gradients(&layer(precision), &inputs).0;
    assert_ne!(values(Precision::Bf16), values(Precision::F32), "bf16 does round");
}

#[test]
fn a_frozen_layer_gives_the_bits_of_a_trained_one_row_by_row() {
    let (x, weight) = (random(14, &[37, 40]), random(15, &[70, 40]));
    let layer = |precision: Precision| Linear::from_weight(weight.clone(), precision).unwrap();
    let frozen = layer(Precision::FrozenBf16);
    let all = flat(&frozen.forward(&x).unwrap());
    assert_eq!(all, flat(&layer(Precision::Bf16).forward(&x).unwrap()));
    for (start, count) in [(0, 1), (5, 3), (36, 1), (10, 27)] {
        let part = flat(&frozen.forward(&x.narrow(0, start, count).unwrap()).unwrap());
        assert_eq!(part, all[start * 70..(start + count) * 70], "rows {start}..{}", start + count);
    }
}

/// In the middle of its reverse pass a thread runs another one to its end, as threads of a pool do while they wait.
struct Between(Var);

impl CustomOp1 for Between {
    fn name(&self) -> &'static str {
        "between"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(storage.as_slice::<f32>()?.to_vec()), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let rows = select_rows(&self.0, vec![1, 1]).unwrap();
        let own = backward(&rows.sum_all()?).unwrap().get(&self.0).unwrap().unwrap();
        assert_eq!(flat(&own), [0.0, 0.0, 2.0, 2.0]);
        Ok(Some(grad.clone()))
    }
}

#[test]
fn a_reverse_pass_within_another_leaves_it_alone() {
    let table = Var::from_tensor(&random(30, &[2, 2])).unwrap();
    // The sum hands over its gradient before the pass within, the selection behind it.
    let rows = select_rows(&table, vec![0, 1, 0]).unwrap().apply_op1(Between(table.clone())).unwrap();
    let loss = add_rows(&rows, &table, vec![1, 1, 1]).unwrap().sum_all().unwrap();
    assert_eq!(flat(&backward(&loss).unwrap().get(&table).unwrap().unwrap()), [2.0, 2.0, 4.0, 4.0]);
}

#[test]
fn values_change_where_they_lie() {
    let var = Var::from_tensor(&random(31, &[3, 2])).unwrap();
    let before = flat(&var);
    let row = var.narrow(0, 1, 1).unwrap();
    let sum = change_values(&row, |values| {
        values.iter_mut().for_each(|value| *value += 1.0);
        values.len()
    });
    assert_eq!(sum.unwrap(), 2);
    let moved = |(at, x): (usize, &f64)| if at / 2 == 1 { f64::from(*x as f32 + 1.0) } else { *x };
    let expected: Vec<f64> = before.iter().enumerate().map(moved).collect();
    assert_eq!(flat(&var), expected);
    assert_eq!(
        with_values(&row, |values| values.to_vec()).unwrap(),
        row.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    );
    assert!(with_values(&var.t().unwrap(), |_| ()).is_err_and(|error| error.to_string().contains("contiguous")));
}
