//! A tiny trunk with random weights, none of them zero, and what is asked of it.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::{Condition, Context, Denoiser, Prediction, State, StepInput, Token};
use lldm_models::nn::{Init, Precision, Visibility, Weights};
use lldm_models::{Answers, Attention, FusedLogits, NoiseConfig, Trunk, TrunkConfig, TrunkDenoiser};

pub(crate) const VOCABULARY: usize = 20;
pub(crate) const MASK: Token = 19;
pub(crate) const END: Token = 18;
pub(crate) const BLOCK: usize = 4;

/// Uniform weights that depend on the parameter's name, whatever beginning the layer asks for.
pub(crate) struct Random(pub(crate) Precision);

impl Weights for Random {
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> lldm_models::Result<Tensor> {
        let rng = Rng::new(name.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte)), 0).at(0, 0);
        let (centre, reach) = match (init, shape) {
            (Init::Ones, _) => (1.0, 0.4),
            (_, [VOCABULARY, _]) => (0.0, 1.0),
            (_, shape) => (0.0, 2.0 / (shape[shape.len() - 1] as f64).sqrt()),
        };
        let draw = |at: usize| (centre + reach * (2.0 * rng.uniform(at, Purpose::Token) - 1.0)) as f32;
        let values: Vec<f32> = (0..shape.iter().product()).map(draw).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    fn precision(&self) -> Precision {
        self.0
    }
}

pub(crate) fn config(attention: Attention) -> TrunkConfig {
    TrunkConfig {
        model_type: lldm_models::trunk::MODEL_TYPE.to_string(),
        vocab_size: VOCABULARY,
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 48,
        max_position_embeddings: 64,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        attention,
        block_length: (attention == Attention::BlockCausal).then_some(BLOCK),
        time_input: false,
        mask_token_id: MASK,
        eos_token_id: END,
        pad_token_id: END,
        bos_token_id: None,
        noise: NoiseConfig::default(),
        answers: Answers::Clean,
    }
}

pub(crate) fn build(config: &TrunkConfig, precision: Precision) -> TrunkDenoiser {
    TrunkDenoiser::new(Arc::new(Trunk::new(config, &mut Random(precision)).unwrap()))
}

pub(crate) fn denoiser(attention: Attention) -> TrunkDenoiser {
    build(&config(attention), Precision::F32)
}

/// Some words, none of them special.
pub(crate) fn words(seed: u64, count: usize) -> Vec<Token> {
    let rng = Rng::new(seed, 0).at(0, 0);
    (0..count).map(|at| rng.choice(at, Purpose::Token, END as usize) as Token).collect()
}

/// The words with about half of them masked, the first one always.
pub(crate) fn noised(seed: u64, words: &[Token]) -> Vec<Token> {
    let rng = Rng::new(seed, 1).at(0, 0);
    let masked = |at: usize| at == 0 || rng.uniform(at, Purpose::Corrupt) < 0.5;
    words.iter().enumerate().map(|(at, word)| if masked(at) { MASK } else { *word }).collect()
}

pub(crate) fn input(canvas: &[Token], time: f64, condition: Condition) -> StepInput<'_> {
    StepInput { state: State::Tokens(canvas), time, temperature: 1.0, previous: None, condition }
}

/// The logits of an answer, row by row.
pub(crate) fn rows(prediction: &dyn Prediction) -> Vec<Vec<f32>> {
    let logits = prediction.as_any().downcast_ref::<FusedLogits>().unwrap();
    (0..logits.rows()).map(|row| logits.row(row).to_vec()).collect()
}

pub(crate) fn ask(denoiser: &TrunkDenoiser, canvas: &[Token], context: &mut Context) -> Vec<Vec<f32>> {
    rows(denoiser.denoise(&input(canvas, 0.5, Condition::Given), context).unwrap().as_ref())
}

/// The logits of one pass over everything, without any cache.
pub(crate) fn plain(
    denoiser: &TrunkDenoiser,
    tokens: &[Token],
    positions: &[usize],
    visibility: Visibility,
) -> Vec<Vec<f32>> {
    let trunk = denoiser.trunk();
    let hidden = trunk.hidden(tokens, 1, positions, Some(&[0.5]), visibility, None).unwrap();
    trunk.logits(&hidden).unwrap().to_vec2().unwrap()
}

pub(crate) fn assert_near(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: rows");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}: columns");
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-5, "{what}, row {row}: {a} is not {b}");
        }
    }
}

/// The largest distance of two answers.
pub(crate) fn distance(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    one.iter().flatten().zip(other.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
