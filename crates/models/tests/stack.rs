//! The stack of layers as one op, and the projection with its cross-entropy: the bits of the layers one by one, and gradients
//! held against candle's reverse pass over those, in bf16 and in f32.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_kernels::Gelu;
use lldm_models::nn::{
    CrossEntropy, DecoderBlock, DecoderBlockConfig, FeedForwardKind, Init, Linear, Precision, RmsNorm, Rope,
    Visibility, Weights, backward, cross_entropy, decode, select_rows,
};

const BATCH: usize = 3;
const WIDTH: usize = 24;
const VOCABULARY: usize = 70;

/// Parameters that depend on their names alone, none of them zero.
struct Random {
    vars: BTreeMap<String, Var>,
    precision: Precision,
}

impl Weights for Random {
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> lldm_models::Result<Tensor> {
        let seed = name.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte));
        let (centre, reach) = match init {
            Init::Ones => (1.0, 0.4),
            _ => (0.0, 1.5 / (shape[shape.len() - 1] as f64).sqrt()),
        };
        let var = Var::from_tensor(&((random(seed, shape) * reach)? + centre)?)?;
        self.vars.insert(name.to_string(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn precision(&self) -> Precision {
        self.precision
    }
}

/// Uniform numbers in (-1, 1).
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let rng = Rng::new(seed, 0).at(0, 0);
    let draw = |at: usize| (2.0 * rng.uniform(at, Purpose::Token) - 1.0) as f32;
    Tensor::from_vec((0..shape.iter().product()).map(draw).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The relative distance of two gradients in the Euclidean norm.
fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    norm(&(found - expected).unwrap()) / norm(expected)
}

struct Network {
    weights: Random,
    blocks: Vec<DecoderBlock>,
    norm: RmsNorm,
    head: Linear,
}

impl Network {
    fn new(precision: Precision, feed_forward: FeedForwardKind, qk_norm: bool, layers: usize) -> Self {
        let mut weights = Random { vars: BTreeMap::new(), precision };
        let config =
            DecoderBlockConfig { width: WIDTH, heads: 3, head_width: 8, inner: 40, eps: 1e-5, qk_norm, feed_forward };
        let blocks = (0..layers).map(|at| DecoderBlock::new(&mut weights, &format!("layers.{at}"), config).unwrap());
        let blocks = blocks.collect();
        let norm = RmsNorm::new(&mut weights, "norm", WIDTH, 1e-5).unwrap();
        let head = Linear::new(&mut weights, "head", WIDTH, VOCABULARY, Init::Normal(1.0)).unwrap();
        Self { weights, blocks, norm, head }
    }

    /// The layers one by one.
    fn composed(&self, x: &Tensor, rope: Option<&Rope>, visibility: Visibility) -> Tensor {
        let through = |x: Tensor, block: &DecoderBlock| block.forward(&x, BATCH, rope, visibility, None).unwrap();
        self.norm.forward(&self.blocks.iter().fold(x.clone(), through)).unwrap()
    }

    fn stacked(&self, x: &Tensor, rope: Option<&Rope>, visibility: Visibility, rows: Option<&[u32]>) -> Tensor {
        decode(&self.blocks, &self.norm, x, BATCH, rope, visibility, rows).unwrap()
    }
}

/// A scalar that depends on every entry.
fn mixed(out: &Tensor) -> Tensor {
    (out * random(99, out.dims())).unwrap().sum_all().unwrap()
}

#[test]
fn the_stack_is_its_layers_one_by_one() {
    let positions: Vec<usize> = (0..5).chain(0..5).collect();
    let rope = Rope::new(&positions, 8, 100.0);
    let block_diffusion = Visibility::BlockDiffusion { length: 5, block_length: 2 };
    // Some cells in any order, one of them twice; all in order; none.
    let some = [29u32, 3, 4, 17, 3, 0];
    let all: Vec<u32> = (0..30).collect();
    for (feed_forward, qk_norm, rope, visibility, layers, rows) in [
        (FeedForwardKind::SwiGlu, true, Some(&rope), Visibility::Full, 2, None),
        (FeedForwardKind::SwiGlu, true, Some(&rope), block_diffusion, 1, Some(&some[..])),
        (FeedForwardKind::Gelu(Gelu::Tanh), false, None, Visibility::Causal { cached: 0 }, 2, Some(&some)),
        (FeedForwardKind::Gelu(Gelu::Exact), false, Some(&rope), Visibility::Full, 1, Some(&all)),
        (FeedForwardKind::SwiGlu, true, None, Visibility::Full, 0, Some(&some)),
    ] {
        let network = Network::new(Precision::Bf16, feed_forward, qk_norm, layers);
        let wide = Network::new(Precision::F32, feed_forward, qk_norm, layers);
        let x = Var::from_tensor(&random(1, &[BATCH * 10, WIDTH])).unwrap();
        let chosen = |all: Tensor| rows.map_or_else(|| all.clone(), |rows| select_rows(&all, rows.to_vec()).unwrap());
        let composed = |network: &Network| chosen(network.composed(&x, rope, visibility));
        let (found, expected) = (network.stacked(&x, rope, visibility, rows), composed(&network));
        assert_eq!(flat(&found), flat(&expected), "{feed_forward:?}");
        // Without a variable before it the same, and nothing is kept.
        assert_eq!(flat(&network.stacked(&x.as_detached_tensor(), rope, visibility, rows)), flat(&found));
        let found = backward(&mixed(&found)).unwrap();
        let expected = mixed(&expected).backward().unwrap();
        let exact = mixed(&composed(&wide)).backward().unwrap();
        let input = ("x".to_string(), &x, &x);
        let pairs = network.weights.vars.iter().zip(wide.weights.vars.values());
        let pairs = pairs.filter(|((name, _), _)| *name != "head.weight");
        for (name, var, wide) in pairs.map(|((name, var), wide)| (name.clone(), var, wide)).chain([input]) {
            let found = found.get(var).unwrap().unwrap_or_else(|| panic!("{name} has no gradient"));
            let (expected, exact) = (expected.get(var).unwrap(), exact.get(wide).unwrap());
            // The sums run in another order, and now and then a factor is rounded to the other side: by 2^-8 of it.
            let near = distance(&found, expected);
            assert!(near < 2f32.powi(-8), "{feed_forward:?}, {name}: {near}");
            // bf16 has 8 bits; the errors of the factors add up over the layers.
            let off = distance(&found, exact);
            assert!(off < 0.03, "{feed_forward:?}, {name}: {off} from f32");
        }
    }
}

#[test]
fn the_projection_is_the_logits_and_their_cross_entropy() {
    // More rows than are projected together.
    let rows: Vec<u32> = (0..301).collect();
    let targets = rows.iter().map(|row| row * 13 % 60).collect();
    let weights = rows.iter().map(|row| [0.01, 0.0, 0.03][*row as usize % 3]).collect();
    let spec = CrossEntropy { targets, weights, banned: Some(66) };
    for precision in [Precision::Bf16, Precision::F32] {
        let network = Network::new(precision, FeedForwardKind::SwiGlu, false, 0);
        let hidden = Var::from_tensor(&random(2, &[301, WIDTH])).unwrap();
        let loss = || network.head.cross_entropy(&hidden, spec.clone()).unwrap();
        let composed = || {
            let logits = network.head.forward(&hidden).unwrap();
            cross_entropy(&logits, spec.clone()).unwrap()
        };
        assert_eq!(loss().to_scalar::<f32>().unwrap(), composed().to_scalar::<f32>().unwrap());
        let frozen = Linear::from_weight(network.head.weight().unwrap().detach(), precision).unwrap();
        let unasked = frozen.cross_entropy(&hidden.as_detached_tensor(), spec.clone()).unwrap();
        assert_eq!(loss().to_scalar::<f32>().unwrap(), unasked.to_scalar::<f32>().unwrap());
        let (found, expected) = (backward(&(loss() * 4.0).unwrap()).unwrap(), (composed() * 4.0).unwrap().backward());
        let expected = expected.unwrap();
        for var in [&hidden, &network.weights.vars["head.weight"]] {
            let near = distance(&found.get(var).unwrap().unwrap(), expected.get(var).unwrap());
            // A power of two passes through the rounding of the factors.
            assert!(near < 2e-4, "{precision:?}: {near}");
        }
    }
}

/// Everything that is trained, on pools of different sizes.
#[test]
fn threads_change_no_bit() {
    let network = Network::new(Precision::Bf16, FeedForwardKind::SwiGlu, true, 2);
    let positions: Vec<usize> = (0..100).collect();
    let rope = Rope::new(&positions, 8, 100.0);
    let table = Var::from_tensor(&random(3, &[VOCABULARY, WIDTH])).unwrap();
    let step = || {
        let tokens: Vec<u32> = (0..BATCH as u32 * 100).map(|at| at * 31 % 70).collect();
        let x = select_rows(&table, tokens.clone()).unwrap();
        // Two thirds of the cells, as under a mask.
        let rows: Vec<u32> = (0..BATCH as u32 * 100).filter(|row| row % 3 > 0).collect();
        let hidden = network.stacked(&x, Some(&rope), Visibility::Full, Some(&rows));
        let targets = rows.iter().map(|row| tokens[*row as usize]).collect();
        let spec = CrossEntropy { targets, weights: vec![0.01; rows.len()], banned: None };
        let loss = network.head.cross_entropy(&hidden, spec).unwrap();
        let grads = backward(&loss).unwrap();
        let vars = network.weights.vars.values().chain([&table]);
        let grads: Vec<_> = vars.map(|var| flat(&grads.get(var).unwrap().unwrap())).collect();
        (loss.to_scalar::<f32>().unwrap(), grads)
    };
    let expected = step();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(step) == expected, "{threads} threads");
    }
}

#[test]
fn gradients_of_a_stack_are_had_once_and_by_our_reverse_pass() {
    let network = Network::new(Precision::Bf16, FeedForwardKind::SwiGlu, true, 1);
    let x = Var::from_tensor(&random(1, &[BATCH * 4, WIDTH])).unwrap();
    let loss = mixed(&network.stacked(&x, None, Visibility::Full, None));
    assert!(loss.backward().unwrap_err().to_string().contains("lldm_models::nn::backward"));
    let loss = mixed(&network.stacked(&x, None, Visibility::Full, None));
    backward(&loss).unwrap();
    assert!(backward(&loss).unwrap_err().to_string().contains("had once"));
    let beyond = decode(&network.blocks, &network.norm, &x, BATCH, None, Visibility::Full, Some(&[1, 12]));
    assert!(beyond.unwrap_err().to_string().contains("row 12 is beyond the 12"));
}
