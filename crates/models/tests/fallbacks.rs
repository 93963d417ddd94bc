//! The operations of candle that a GPU runs, on the CPU: values and gradients beside those of the custom ops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_kernels::quant::random_blocks;
use lldm_kernels::{Gate, Gelu, PackedQuant, QuantFormat, Routes};
use lldm_models::nn::{
    Backend, Blocks, CandleBackend, CrossEntropy, Experts, GeluMlp, Init, Linear, Loaded, Precision, RmsNorm, Rope,
    SwiGlu, Visibility, Weights,
};

/// Uniform numbers in (-1, 1).
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let rng = Rng::new(seed, 0).at(0, 0);
    let draw = |at: usize| (2.0 * rng.uniform(at, Purpose::Token) - 1.0) as f32;
    Tensor::from_vec((0..shape.iter().product()).map(draw).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn candle() -> Arc<CandleBackend> {
    match Backend::candle(Device::Cpu) {
        Backend::Candle(candle) => candle,
        Backend::Kernels => panic!("candle was asked for"),
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The root of the mean square of the differences, as a share of that of the values.
fn error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x).powi(2);
    let differences: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (differences / expected.iter().map(|x| square(*x)).sum::<f64>().max(1e-30)).sqrt()
}

/// Parameters in f32, whatever the backend: only the operations between the products differ.
struct On(Loaded, Backend);

impl Weights for On {
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> lldm_models::Result<Tensor> {
        self.0.get(name, shape, init)
    }

    fn backend(&self) -> Backend {
        self.1.clone()
    }
}

fn source(tensors: &[(&str, &Tensor)], backend: &Backend) -> On {
    let named: HashMap<_, _> = tensors.iter().map(|(name, tensor)| (name.to_string(), (*tensor).clone())).collect();
    On(Loaded::new("test", named, Precision::F32), backend.clone())
}

/// Values and gradients of an operation under both backends.
fn check(name: &str, inputs: &[Tensor], operation: &dyn Fn(&Backend, &[Tensor]) -> Tensor) {
    let run = |backend: &Backend| {
        let vars: Vec<_> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
        let tensors: Vec<_> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let out = operation(backend, &tensors);
        let loss = (&out * random(99, out.dims())).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        (flat(&out), vars.iter().map(|var| flat(grads.get(var).unwrap())).collect::<Vec<_>>())
    };
    let ((found, found_grads), (expected, expected_grads)) = (run(&Backend::Candle(candle())), run(&Backend::Kernels));
    assert!(error(&found, &expected) < 1e-5, "{name}: {}", error(&found, &expected));
    for (at, (found, expected)) in found_grads.iter().zip(&expected_grads).enumerate() {
        assert!(error(found, expected) < 2e-5, "{name}, gradient of input {at}: {}", error(found, expected));
    }
}

#[test]
fn rms_norm() {
    check("rms_norm", &[random(1, &[6, 16]), random(2, &[16])], &|backend, t| {
        RmsNorm::new(&mut source(&[("n.weight", &t[1])], backend), "n", 16, 1e-3).unwrap().forward(&t[0]).unwrap()
    });
}

#[test]
fn rotary_positions() {
    let positions = [0, 1, 7, 0, 1, 7];
    check("rope", &[random(3, &[2, 6, 3, 8])], &|backend, t| {
        Rope::new(&positions, 8, 100.0).on(backend).unwrap().rotate(&t[0]).unwrap()
    });
}

#[test]
fn feed_forward_layers() {
    let inputs = [random(4, &[5, 8]), random(5, &[12, 8]), random(6, &[12, 8]), random(7, &[8, 12])];
    check("swiglu", &inputs, &|backend, t| {
        let names = [("m.gate_proj.weight", &t[1]), ("m.up_proj.weight", &t[2]), ("m.down_proj.weight", &t[3])];
        SwiGlu::new(&mut source(&names, backend), "m", 8, 12).unwrap().forward(&t[0]).unwrap()
    });
    for form in [Gelu::Exact, Gelu::Tanh] {
        check("gelu", &[inputs[0].clone(), inputs[1].clone(), inputs[3].clone()], &|backend, t| {
            let names = [("m.up_proj.weight", &t[1]), ("m.down_proj.weight", &t[2])];
            GeluMlp::new(&mut source(&names, backend), "m", 8, 12, form).unwrap().forward(&t[0]).unwrap()
        });
    }
}

/// Every visibility, with and without grouped queries, keys in a cache or none.
#[test]
fn attention() {
    for (heads, kv_heads) in [(4, 4), (4, 2), (3, 1)] {
        for (visibility, cached) in [
            (Visibility::Full, 0),
            (Visibility::Full, 5),
            (Visibility::Causal { cached: 0 }, 0),
            (Visibility::Causal { cached: 5 }, 5),
            (Visibility::CausalWindow { window: 3, cached: 5 }, 5),
            (Visibility::CanvasWindow { window: 3, cached: 5 }, 5),
            (Visibility::BlockCausal { block_length: 4, cached: 5 }, 5),
            (Visibility::BlockDiffusion { length: 4, block_length: 2 }, 0),
        ] {
            let (batch, length, width) = (2, 8, 6);
            let keys = |seed, length| random(seed, &[batch, length, kv_heads, width]);
            let inputs = [random(8, &[batch, length, heads, width]), keys(9, length), keys(10, length)];
            let segments: Vec<_> = match cached {
                0 => Vec::new(),
                _ => vec![(keys(11, 3), keys(12, 3)), (keys(13, cached - 3), keys(14, cached - 3))],
            };
            check(&format!("{visibility:?}, {heads} heads on {kv_heads}"), &inputs, &|backend, t| {
                backend.attend(&t[0], &segments, &t[1], &t[2], visibility, 0.7).unwrap()
            });
        }
    }
}

/// The mask of one attention is not taken for another's.
#[test]
fn masks_belong_to_their_shape() {
    let backend = Backend::Candle(candle());
    for (length, visibility) in [
        (4, Visibility::Causal { cached: 0 }),
        (4, Visibility::Full),
        (6, Visibility::Causal { cached: 0 }),
        (6, Visibility::CausalWindow { window: 2, cached: 0 }),
        (4, Visibility::Causal { cached: 0 }),
    ] {
        let x = random(20, &[1, length, 2, 4]);
        let found = backend.attend(&x, &[], &x, &x, visibility, 0.5).unwrap();
        let expected = Backend::Kernels.attend(&x, &[], &x, &x, visibility, 0.5).unwrap();
        assert!(error(&flat(&found), &flat(&expected)) < 1e-5, "{visibility:?}");
    }
}

/// A layer of candle's in bf16, and the same of ours: products, rows and losses. candle rounds its products to bf16.
#[test]
fn layers_in_bf16() {
    let (weight, x) = (random(30, &[40, 64]), random(31, &[7, 64]));
    let ours = Linear::from_weight(weight.clone(), Precision::FrozenBf16).unwrap();
    let theirs = Linear::on_candle(&weight, &candle()).unwrap();
    let products = [&theirs, &ours].map(|layer| flat(&layer.forward(&x).unwrap()));
    assert!(error(&products[0], &products[1]) < 4e-3, "{}", error(&products[0], &products[1]));
    assert_eq!(flat(&theirs.rows(&[39, 0, 3]).unwrap()), flat(&ours.rows(&[39, 0, 3]).unwrap()));
    assert!(theirs.rows(&[40]).is_err());
    // A row that weighs nothing may have the banned token for its target.
    let spec = CrossEntropy {
        targets: vec![1, 39, 5, 0, 7, 2, 3],
        weights: vec![1.0, 0.5, 0.0, 2.0, 1.0, 0.1, 1.0],
        banned: Some(5),
    };
    let loss = |layer: &Linear, spec: CrossEntropy| layer.cross_entropy(&x, spec).unwrap().to_scalar::<f32>().unwrap();
    let (found, expected) = (loss(&theirs, spec.clone()), loss(&ours, spec.clone()));
    assert!((found - expected).abs() < 3e-3 * expected, "{found} is not {expected}");
    assert_eq!(loss(&theirs, CrossEntropy { weights: vec![0.0; 7], ..spec }), 0.0);
}

#[test]
fn quantised_layers() {
    let shape = [48, 512];
    let x = random(32, &[7, 512]);
    for format in QuantFormat::ALL {
        let blocks = random_blocks(format, shape, 0.05, 3).unwrap();
        let ours = Linear::from(PackedQuant::pack(format, shape, &blocks).unwrap());
        // The blocks need not begin where their bytes do.
        let bytes = [&[9u8; 3][..], &blocks].concat();
        let range = 3..bytes.len();
        let blocks = Blocks { format, bytes: Arc::new(bytes), range };
        let theirs = Linear::quant_on_candle(shape, blocks, &candle()).unwrap();
        let products = [&theirs, &ours].map(|layer| flat(&layer.forward(&x).unwrap()));
        assert!(error(&products[0], &products[1]) < 0.02, "{format}: {}", error(&products[0], &products[1]));
        assert_eq!(flat(&theirs.rows(&[47, 0]).unwrap()), flat(&ours.rows(&[47, 0]).unwrap()), "{format}");
    }
}

/// Experts one after the other beside one product over all, in every kind of storage.
#[test]
fn experts() {
    let (count, width, inner, tokens) = (5, 64, 32, 9);
    let x = random(40, &[tokens, width]);
    let chosen: Vec<u32> = (0..tokens as u32).flat_map(|token| [token % 3, 4]).collect();
    let weights: Vec<f32> = flat(&random(41, &[2 * tokens]));
    let routes = Routes { top_k: 2, experts: &chosen, weights: &weights };
    let matrices = |seed: u64, shape: [usize; 2]| (0..count).map(move |expert| random(seed + expert, &shape));
    let layers = |seed: u64, shape: [usize; 2], make: &dyn Fn(Tensor) -> Linear| -> Vec<Linear> {
        matrices(seed, shape).map(make).collect()
    };
    let pack = |weight| Linear::from_weight(weight, Precision::FrozenBf16).unwrap();
    for gate in [Gate::Silu, Gate::GeluTanh] {
        let experts = |make: &dyn Fn(Tensor) -> Linear| {
            Experts::new(layers(50, [2 * inner, width], make), layers(60, [width, inner], make), gate).unwrap()
        };
        let packed = experts(&pack);
        let theirs = experts(&|weight| Linear::on_candle(&weight, &candle()).unwrap());
        let exact = experts(&|weight| Linear::from_weight(weight, Precision::F32).unwrap());
        let outs = [&exact, &packed, &theirs].map(|experts| flat(&experts.forward(&x, routes).unwrap()));
        for out in &outs[1..] {
            assert!(error(out, &outs[0]) < 1e-2, "{}", error(out, &outs[0]));
        }
        // Every choice counts.
        let fewer: Vec<f32> =
            weights.iter().enumerate().map(|(at, weight)| if at == 5 { 0.0 } else { *weight }).collect();
        let out = flat(&theirs.forward(&x, Routes { weights: &fewer, ..routes }).unwrap());
        let token = 2 * width..3 * width;
        assert!(error(&out[token.clone()], &outs[2][token]) > 0.01);
        assert_eq!(out[..2 * width], outs[2][..2 * width]);
        for wrong in [Routes { top_k: 3, ..routes }, Routes { experts: &[5; 18], ..routes }] {
            for experts in [&packed, &theirs] {
                assert!(experts.forward(&x, wrong).is_err());
            }
        }
    }
    let grouped = Experts::new(layers(50, [2 * inner, width], &pack), layers(60, [width, inner], &pack), Gate::Silu);
    let tracked = Var::from_tensor(&x).unwrap();
    assert!(grouped.unwrap().forward(tracked.as_tensor(), routes).unwrap_err().to_string().contains("no gradient"));
    let f32 = |weight| Linear::from_weight(weight, Precision::F32).unwrap();
    let few = Experts::new(layers(50, [2 * inner, width], &f32), Vec::new(), Gate::Silu);
    assert!(few.is_err());
}
