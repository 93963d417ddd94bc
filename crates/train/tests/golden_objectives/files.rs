//! The folder's files, its table network, and how the references draw.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use lldm_diffusion::noise::{Alphabet, Marginal};
use lldm_diffusion::{Noise, Token};
use lldm_train::objective::NoisedCell;
use lldm_train::objective::closed_form::divergence;
use serde_json::Value;

/// What the README suggests.
pub(crate) const TOLERANCE: f64 = 2e-5;
/// For what it names: SEDD near t = 1, dsigma near t = 1.
pub(crate) const LOOSE: f64 = 5e-4;

/// One repository's part of the files.
pub(crate) struct Golden {
    tensors: HashMap<String, Tensor>,
    wide: HashMap<String, Tensor>,
    space: &'static str,
    pub(crate) run: Value,
    pub(crate) vocabulary: usize,
    pub(crate) length: usize,
    pub(crate) batch: usize,
}

/// A uniform or masked process of which only alpha and its derivative are known, at whatever t.
pub(crate) struct Given {
    pub(crate) alpha: f64,
    pub(crate) slope: f64,
    pub(crate) alphabet: Alphabet,
}

impl Golden {
    pub(crate) fn open(space: &'static str) -> Self {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden");
        let root = std::env::var_os("LLDM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
        let load =
            |file: &str| candle_core::safetensors::load(root.join("objectives").join(file), &Device::Cpu).unwrap();
        let text = std::fs::read_to_string(root.join("objectives/golden.json")).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        let run = json["runs"][space].take();
        let size = |name: &str| run["params"][name].as_u64().unwrap() as usize;
        let (vocabulary, length, batch) = (size("V"), size("L"), size("B"));
        Self {
            tensors: load("golden.safetensors"),
            wide: load("golden_f64.safetensors"),
            space,
            run,
            vocabulary,
            length,
            batch,
        }
    }

    /// The mask, where a case has one.
    pub(crate) fn mask(&self) -> Token {
        self.vocabulary as Token - 1
    }

    /// All tokens, the mask among them, as the references' uniform noise has it.
    pub(crate) fn everything(&self) -> Alphabet {
        Alphabet { vocabulary: self.vocabulary, without: None }
    }

    /// The cases whose names begin with `prefix`, which is cut off.
    pub(crate) fn cases(&self, prefix: &str) -> Vec<(String, Value)> {
        let cases = self.run["cases"].as_object().unwrap().iter();
        cases.filter_map(|(name, case)| Some((name.strip_prefix(prefix)?.to_string(), case.clone()))).collect()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    fn tensor(&self, kind: &str, key: &str) -> &Tensor {
        let key = format!("{kind}.{}.{key}", self.space);
        self.tensors.get(&key).unwrap_or_else(|| panic!("there is no {key}"))
    }

    pub(crate) fn input(&self, key: &str) -> Vec<f64> {
        Self::values(self.tensor("in", key))
    }

    pub(crate) fn output(&self, key: &str) -> Vec<f64> {
        Self::values(self.tensor("out", key))
    }

    pub(crate) fn input_tokens(&self, key: &str) -> Vec<Token> {
        self.input(key).into_iter().map(|token| token as Token).collect()
    }

    pub(crate) fn output_tokens(&self, key: &str) -> Vec<Token> {
        self.output(key).into_iter().map(|token| token as Token).collect()
    }

    /// The first entry of a queue of draws.
    pub(crate) fn draws(&self, kind: &str) -> Vec<f64> {
        let all = self.tensor("in", &format!("draws.{kind}"));
        Self::values(&all.get(0).unwrap())
    }

    /// The draws that numbers the B rows, and that of the B * L cells.
    pub(crate) fn row_draws(&self) -> Vec<f64> {
        self.draws(&format!("rand_{}", self.batch))
    }

    pub(crate) fn cell_draws(&self) -> Vec<f64> {
        self.draws(&format!("rand_{}x{}", self.batch, self.length))
    }

    pub(crate) fn token_draws(&self) -> Vec<Token> {
        let kind = format!("randint_{}x{}_below{}", self.batch, self.length, self.vocabulary);
        self.draws(&kind).into_iter().map(|token| token as Token).collect()
    }

    /// Names of outputs that begin and end so, what lies between.
    pub(crate) fn between(&self, prefix: &str, suffix: &str) -> Vec<String> {
        let prefix = format!("out.{}.{prefix}", self.space);
        let mut found: Vec<_> = self
            .tensors
            .keys()
            .filter_map(|key| Some(key.strip_prefix(&prefix)?.strip_suffix(suffix)?.to_string()))
            .filter(|name| !name.is_empty())
            .collect();
        found.sort();
        assert!(!found.is_empty(), "nothing is called {prefix}..{suffix}");
        found
    }

    /// Holds numbers against both runs of the reference. Entries that stand for minus infinity are left out.
    pub(crate) fn expect(&self, key: &str, found: &[f64], tolerance: f64) {
        let name = format!("out.{}.{key}", self.space);
        for (run, tensors) in [("float32", &self.tensors), ("float64", &self.wide)] {
            let Some(tensor) = tensors.get(&name) else {
                assert_eq!(run, "float64", "there is no {name}");
                continue;
            };
            let expected = Self::values(tensor);
            assert_eq!(found.len(), expected.len(), "{name}");
            let known = |value: &&f64| value.abs() < 1e4;
            let largest = expected.iter().filter(known).fold(0.0f64, |largest, value| largest.max(value.abs()));
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let allowed = tolerance * expected.abs().max(0.25 * largest);
                assert!(
                    !known(&expected) || (found - expected).abs() <= allowed,
                    "{name}[{at}] ({run}): {found} is not {expected}, {allowed} is allowed"
                );
            }
        }
    }

    pub(crate) fn expect_tokens(&self, key: &str, found: &[Token]) {
        assert_eq!(found, self.output_tokens(key), "out.{}.{key}", self.space);
    }

    /// The V logits of every cell: the table network of the README, for the numbers `times` that the rows are given.
    pub(crate) fn network(&self, tokens: &[Token], times: &[f64], class: &[Option<usize>]) -> Vec<Vec<f64>> {
        let (v, l) = (self.vocabulary, self.length);
        let table = |name: &str| self.input(&format!("net.{name}"));
        let (w, u, time, position, classes) = (table("W"), table("U"), table("T"), table("Pos"), table("Cls"));
        let cell = |at: usize| {
            let (row, column) = (at / l, at % l);
            let (own, next) = (tokens[at] as usize, tokens[row * l + (column + 1) % l] as usize);
            let logit = |token: usize| {
                let class = class.get(row).copied().flatten().map_or(0.0, |class| classes[class * v + token]);
                let timed = times[row].ln_1p() * time[token];
                w[own * v + token] + u[next * v + token] + timed + position[column * v + token] + class
            };
            (0..v).map(logit).collect()
        };
        (0..tokens.len()).map(cell).collect()
    }

    /// Stratified times, or independent ones, on [eps, 1].
    pub(crate) fn times(&self, eps: f64, stratified: bool) -> Vec<f64> {
        let draws = self.row_draws().into_iter().enumerate();
        let count = self.batch as f64;
        let spread = |(row, u): (usize, f64)| if stratified { (u / count + row as f64 / count).fract() } else { u };
        draws.map(|draw| (1.0 - eps) * spread(draw) + eps).collect()
    }

    /// x_t, where each cell moves with its row's chance: to `to`, or to a draw of its own.
    pub(crate) fn moved(&self, chances: &[f64], to: Option<Token>) -> Vec<Token> {
        let x0 = self.input_tokens("x0");
        let draws = if to.is_none() { self.token_draws() } else { Vec::new() };
        let moves = self.cell_draws();
        let cell = |at: usize| match (moves[at] < chances[at / self.length], to) {
            (false, _) => x0[at],
            (true, Some(mask)) => mask,
            (true, None) => draws[at],
        };
        (0..x0.len()).map(cell).collect()
    }

    /// The cells of x0 and x_t at the rows' times.
    pub(crate) fn cells(&self, held: &[Token], times: &[f64]) -> Vec<NoisedCell> {
        let x0 = self.input_tokens("x0").into_iter().zip(held).enumerate();
        x0.map(|(at, (clean, held))| NoisedCell { clean, held: *held, time: times[at / self.length] }).collect()
    }

    /// The mean of the B * L numbers over what is no padding.
    pub(crate) fn masked_mean(&self, values: &[f64]) -> f64 {
        let mask = self.input("attention_mask");
        self.masked(values).iter().sum::<f64>() / mask.iter().sum::<f64>()
    }

    /// The B * L numbers, 0 at padding.
    pub(crate) fn masked(&self, values: &[f64]) -> Vec<f64> {
        values.iter().zip(self.input("attention_mask")).map(|(value, mask)| value * mask).collect()
    }
}

impl Noise for Given {
    fn name(&self) -> &'static str {
        "given"
    }

    fn marginal(&self, _: f64) -> Marginal {
        Marginal { alpha: self.alpha, mask: 0.0, uniform: 1.0 - self.alpha }
    }

    fn slope(&self, _: f64) -> Marginal {
        Marginal { alpha: self.slope, mask: 0.0, uniform: -self.slope }
    }

    fn mask(&self) -> Option<Token> {
        None
    }

    fn alphabet(&self) -> Option<Alphabet> {
        Some(self.alphabet)
    }
}

/// The bound's density of a cell: the weight of the noise times the closed form.
pub(crate) fn density(noise: &dyn Noise, logits: &[f64], cell: &NoisedCell) -> f64 {
    match noise.bound_weight(cell.held, cell.clean, cell.time) {
        0.0 => 0.0,
        weight => weight * divergence(noise, logits, cell).nats(),
    }
}

/// T times the KL divergence of one step's true posterior from the predicted one: D3PM's loss of a cell.
pub(crate) fn step_divergence(noise: &dyn Noise, logits: &[f64], cell: &NoisedCell, steps: f64) -> f64 {
    let known: Vec<f64> = (0..logits.len()).map(|token| f64::from(token == cell.clean as usize)).collect();
    let predicted: Vec<f64> = log_softmax(logits).into_iter().map(f64::exp).collect();
    let past = cell.time - 1.0 / steps;
    let [q, p] = [known, predicted].map(|clean| noise.posterior(cell.held, &clean, past, cell.time));
    steps * q.iter().zip(p).filter(|(q, _)| **q > 0.0).map(|(q, p)| q * (q / p).ln()).sum::<f64>()
}

pub(crate) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = top + logits.iter().map(|logit| (logit - top).exp()).sum::<f64>().ln();
    logits.iter().map(|logit| logit - total).collect()
}
