//! A tiny trunk with random parameters and the exact losses that objectives estimate.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::{Condition, Denoiser, LogitTransform, State, StepInput, Token};
use lldm_models::nn::Precision;
use lldm_models::{Answers, Attention, NoiseConfig, Trunk, TrunkConfig, TrunkDenoiser};
use lldm_train::objective::{Objective, Rows, T_MAX, T_MIN};
use lldm_train::parameters::Parameters;

pub(crate) const VOCABULARY: usize = 14;
pub(crate) const MASK: Token = 0;

pub(crate) struct Tiny {
    pub(crate) denoiser: TrunkDenoiser,
    pub(crate) parameters: Parameters,
}

impl Tiny {
    pub(crate) fn new(attention: Attention, block_length: Option<usize>) -> Self {
        Self::build(TrunkConfig { attention, block_length, ..Self::config() })
    }

    /// The trunk that an objective asks for.
    pub(crate) fn of(objective: &dyn Objective, time_input: bool) -> Self {
        Self::build(TrunkConfig {
            attention: objective.attention(),
            block_length: objective.block_length(),
            noise: objective.noise(),
            answers: objective.answers(),
            time_input,
            ..Self::config()
        })
    }

    fn config() -> TrunkConfig {
        TrunkConfig {
            model_type: lldm_models::trunk::MODEL_TYPE.to_string(),
            vocab_size: VOCABULARY,
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 24,
            max_position_embeddings: 32,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-6,
            attention: Attention::Full,
            block_length: None,
            time_input: false,
            mask_token_id: MASK,
            eos_token_id: 1,
            pad_token_id: 2,
            bos_token_id: None,
            noise: NoiseConfig::default(),
            answers: Answers::Clean,
        }
    }

    fn build(config: TrunkConfig) -> Self {
        let mut parameters = Parameters::new(3, Precision::F32);
        let trunk = Trunk::new(&config, &mut parameters).unwrap();
        // New output projections are zero and new embeddings small: such a trunk says nearly the same everywhere.
        for ((name, var), stream) in parameters.iter().zip(0..) {
            let (centre, reach) = match var.dims() {
                [_] => (1.0, 0.3),
                [VOCABULARY, _] => (0.0, 1.2),
                dims => (0.0, 2.0 / (dims[dims.len() - 1] as f64).sqrt()),
            };
            assert!(!name.is_empty());
            var.set(&random(stream, var.dims(), centre, reach)).unwrap();
        }
        Self { denoiser: TrunkDenoiser::new(Arc::new(trunk)), parameters }
    }

    pub(crate) fn trunk(&self) -> &Trunk {
        self.denoiser.trunk()
    }

    /// The sum of the loss over scored tokens, for draw `draw`.
    pub(crate) fn nats(&self, objective: &dyn Objective, rows: &Rows<'_>, draw: usize) -> f64 {
        objective.loss(self.trunk(), rows, &Rng::new(11, 0).at(draw, 0)).unwrap().nats
    }

    /// The mean over draws and its standard error.
    pub(crate) fn mean_nats(&self, objective: &dyn Objective, rows: &Rows<'_>, draws: usize) -> (f64, f64) {
        mean((0..draws).map(|draw| self.nats(objective, rows, draw)).collect())
    }

    /// The outputs of the trunk for each canvas behind the prefix, before anything is made of them.
    pub(crate) fn outputs(&self, prefix: &[Token], canvases: &[Vec<Token>], time: f64) -> Vec<Vec<Vec<f64>>> {
        let tokens: Vec<_> = canvases.iter().flat_map(|canvas| prefix.iter().chain(canvas)).copied().collect();
        let length = tokens.len() / canvases.len();
        let positions: Vec<_> = (0..length).collect();
        // The prefix of a block was read at time 0.
        let times: Vec<_> = (0..tokens.len()).map(|at| if at % length < prefix.len() { 0.0 } else { time }).collect();
        let visibility = self.trunk().config().visibility(0);
        let hidden = self.trunk().hidden(&tokens, canvases.len(), &positions, Some(&times), visibility, None).unwrap();
        let rows: Vec<Vec<f32>> = self.trunk().logits(&hidden).unwrap().to_vec2().unwrap();
        let wide = |row: &Vec<f32>| row.iter().map(|value| f64::from(*value)).collect();
        rows.chunks(length).map(|rows| rows[prefix.len()..].iter().map(wide).collect()).collect()
    }

    /// The masked bound of the scored cells of `canvas` behind `prefix`, over all subsets: the sum over k of 1/k times
    /// the mean over subsets of size k of -ln p of what they hide.
    pub(crate) fn enumerate(&self, prefix: &[Token], canvas: &[Token], scored: &[bool]) -> f64 {
        let places: Vec<_> = (0..canvas.len()).filter(|at| scored[*at]).collect();
        let mut context = self.denoiser.prefill(prefix).unwrap();
        let mut by_size = vec![Vec::new(); places.len() + 1];
        for subset in 1usize..1 << places.len() {
            let hidden: Vec<_> = (0..places.len()).filter(|i| subset >> i & 1 == 1).map(|i| places[i]).collect();
            let mut noisy = canvas.to_vec();
            hidden.iter().for_each(|at| noisy[*at] = MASK);
            let state = State::Tokens(&noisy);
            let input = StepInput { state, time: 0.5, temperature: 1.0, previous: None, condition: Condition::Given };
            let targets: Vec<_> = hidden.iter().map(|at| (*at, canvas[*at])).collect();
            let transform = LogitTransform { banned: vec![MASK], ..LogitTransform::default() };
            let answer = self.denoiser.denoise(&input, &mut context).unwrap();
            let nats: f64 = answer.log_probabilities(&targets, &transform).unwrap().iter().map(|nats| -nats).sum();
            by_size[hidden.len()].push(nats);
        }
        let sizes = by_size.iter().enumerate().skip(1);
        sizes.map(|(size, nats)| nats.iter().sum::<f64>() / (nats.len() * size) as f64).sum()
    }
}

/// The mean and its standard error.
pub(crate) fn mean(values: Vec<f64>) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / ((count - 1.0) * count)).sqrt())
}

/// Every text of L tokens below `count`.
pub(crate) fn all_texts(count: Token, length: usize) -> Vec<Vec<Token>> {
    (0..length).fold(vec![Vec::new()], |texts, _| {
        texts.iter().flat_map(|text| (0..count).map(|token| [&text[..], &[token]].concat())).collect()
    })
}

/// The integral over [T_MIN, T_MAX] by Simpson's rule in ln(t / (1 - t)), where the integrands are smooth.
pub(crate) fn integral(intervals: usize, value: impl Fn(f64) -> f64) -> f64 {
    let logit = |t: f64| (t / (1.0 - t)).ln();
    let step = (logit(T_MAX) - logit(T_MIN)) / intervals as f64;
    let point = |i: usize| {
        let t = 1.0 / (1.0 + (-logit(T_MIN) - step * i as f64).exp());
        let factor = match i {
            i if i == 0 || i == intervals => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        factor * t * (1.0 - t) * value(t)
    };
    (0..=intervals).map(point).sum::<f64>() * step / 3.0
}

/// Uniform numbers around `centre`.
pub(crate) fn random(stream: u64, shape: &[usize], centre: f64, reach: f64) -> Tensor {
    let rng = Rng::new(5, stream).at(0, 0);
    let draw = |at: usize| (centre + reach * (2.0 * rng.uniform(at, Purpose::Token) - 1.0)) as f32;
    Tensor::from_vec((0..shape.iter().product()).map(draw).collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

/// Some words, none of them special.
pub(crate) fn words(seed: u64, count: usize) -> Vec<Token> {
    let rng = Rng::new(seed, 0).at(0, 0);
    (0..count).map(|at| 3 + rng.choice(at, Purpose::Token, VOCABULARY - 3) as Token).collect()
}

pub(crate) fn assert_within(found: (f64, f64), expected: f64, what: &str) {
    let (mean, error) = found;
    assert!((mean - expected).abs() < 5.0 * error + 1e-4, "{what}: {mean} +- {error} is not {expected}");
}
