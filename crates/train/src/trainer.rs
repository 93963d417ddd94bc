//! The training loop: from a recipe to a model folder, resumable at any moment.
//!
//! Data order, noise and parameters are functions of the recipe and the step alone. A run that is killed and resumed
//! goes on from its last checkpoint and ends with the same bits as one that was not.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::DType;

use lldm_diffusion::rng::{Purpose, Rng};
use lldm_models::nn::{Loaded, Weights, backward, release_buffers};
use lldm_models::{Attention, Trunk, TrunkConfig};

use crate::checkpoint::{self, ModelFiles, Progress, Saved};
use crate::data::{Batch, Batches, BatchesConfig, END, Layout, MASK, PAD, Places, TokenSet};
use crate::dataset::Dataset;
use crate::ema::Ema;
use crate::error::{Error, Result};
use crate::measure::fitting_objective;
use crate::objective::{Measures, Objective, Rows};
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::recipe::Recipe;
use crate::tracker::{Jsonl, Metrics, TensorBoard, Tracker};

/// The folder of the finished model below the run's.
pub const MODEL: &str = "model";

/// A training under way.
pub struct Trainer {
    recipe: Recipe,
    dataset: Dataset,
    objective: Box<dyn Objective>,
    config: TrunkConfig,
    trunk: Trunk,
    parameters: Parameters,
    optimizer: Optimizer,
    ema: Ema,
    progress: Progress,
    tokenizer_json: Vec<u8>,
}

/// What a training ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The model's folder.
    pub model: PathBuf,
    /// Bits per byte of the held-out rows that were looked at.
    pub held_out_bits_per_byte: f64,
    /// Whether that is an upper bound of the true value, or the value.
    pub bound: bool,
    /// The number of parameters.
    pub parameters: usize,
    /// Tokens trained on.
    pub tokens: u64,
}

impl Trainer {
    /// Prepares a run, or takes up one that was interrupted.
    pub fn new(recipe: Recipe, places: &Places, resume: bool) -> Result<Self> {
        let run = recipe.output.clone();
        let found = checkpoint::latest(&run)?;
        if !resume && (found.is_some() || run.join(MODEL).exists()) {
            let message = "there is a run already: go on with --resume, or choose another output".to_string();
            return Err(Error::Run { folder: run, message });
        }
        if resume && found.is_none() {
            let message = "there is no checkpoint to resume from: start without --resume".to_string();
            return Err(Error::Run { folder: run, message });
        }
        fs::create_dir_all(&run).map_err(|source| Error::file(&run, source))?;
        let tokenizer_path = run.join("tokenizer.json");
        let dataset = Dataset::load(&recipe, places, resume.then_some(&tokenizer_path))?;
        dataset.tokenizer.save(&tokenizer_path)?;
        let tokenizer_json = fs::read(&tokenizer_path).map_err(|source| Error::file(&tokenizer_path, source))?;

        let objective = recipe.objective()?;
        let config = trunk_config(&recipe, objective.as_ref(), dataset.tokenizer.vocabulary());
        let mut parameters = Parameters::new(recipe.train.seed, recipe.train.precision);
        let trunk = Trunk::new(&config, &mut parameters)?;
        let optimizer = Optimizer::new(recipe.optimizer, &parameters);
        let ema = Ema::new(&parameters, recipe.train.ema)?;
        let mut trainer = Self {
            recipe,
            dataset,
            objective,
            config,
            trunk,
            parameters,
            optimizer,
            ema,
            progress: Progress::default(),
            tokenizer_json,
        };
        if let Some(found) = found {
            trainer.restore(&found)?;
        }
        // Only now: a recipe that does not fit leaves the run as it is.
        write_recipe(&run, &trainer.recipe)?;
        Ok(trainer)
    }

    /// The number of parameters.
    pub fn parameters(&self) -> usize {
        self.parameters.count()
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The data.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Trains to the end.
    pub fn run(&mut self, tracker: &mut dyn Tracker) -> Result<Outcome> {
        let train = self.recipe.train;
        let mut file = Jsonl::open(&self.recipe.output.join("metrics.jsonl"), self.progress.step)?;
        let mut board =
            train.tensorboard.then(|| TensorBoard::open(&self.recipe.output, self.progress.step)).transpose()?;
        let mut window = Window::new(self.progress.tokens);
        let mut last = None;
        while self.progress.step < train.steps {
            let epoch = self.progress.epoch;
            let batches = self.batches(&self.dataset.train, epoch, false)?.starting_at(self.progress.batch);
            for batch in batches {
                let (loss, norm) = rayon::scope(|_| self.update(&batch))?;
                window.add(loss, norm);
                let step = self.progress.step;
                let done = step == train.steps;
                let measured =
                    (done || step.is_multiple_of(train.evaluate_every)).then(|| self.evaluate()).transpose()?;
                if measured.is_some() || step.is_multiple_of(train.log_every) {
                    let rate = self.recipe.optimizer.schedule.factor(step, train.steps);
                    let metrics = window.metrics(self.progress, train.steps, rate, measured);
                    file.record(&metrics)?;
                    board.record(&metrics)?;
                    tracker.record(&metrics)?;
                    window = Window::new(self.progress.tokens);
                }
                last = measured.or(last);
                if done || step.is_multiple_of(train.checkpoint_every) {
                    self.save()?;
                }
                if done {
                    break;
                }
            }
            if self.progress.step < train.steps {
                self.progress.epoch += 1;
                self.progress.batch = 0;
            }
        }
        let model = self.recipe.output.join(MODEL);
        let averaged = self.ema.tensors(&self.parameters)?.into_iter().collect();
        checkpoint::write_model(&model, &self.files(), &averaged, DType::BF16)?;
        let held_out_bits_per_byte = last.map_or_else(|| self.evaluate(), Ok)?;
        release_buffers();
        Ok(Outcome {
            model,
            held_out_bits_per_byte,
            bound: fitting_objective(&self.trunk).measures() == Measures::Bound,
            parameters: self.parameters(),
            tokens: self.progress.tokens,
        })
    }

    /// One update; the loss in nats per scored token, and the gradient's norm.
    fn update(&mut self, batch: &Batch) -> Result<(f64, f64)> {
        let step = self.progress.step;
        let rng = Rng::new(self.recipe.train.seed, 1).at(step, 0);
        let cuts = &self.recipe.data.cuts;
        let cut = cuts[rng.choice(1, Purpose::Position, cuts.len())];
        let (tokens, scored) = (batch.tokens(), batch.scored());
        let length = batch.length();
        let length = if length.is_multiple_of(cut) { length / cut } else { length };
        let rows = Rows { tokens: &tokens, scored: &scored, length };
        let loss = self.objective.loss(&self.trunk, &rows, &rng)?;
        let value = loss.nats / loss.tokens as f64;
        if !value.is_finite() {
            return Err(Error::Diverged { step, what: "loss", value });
        }
        let grads = backward(&loss.tensor)?;
        let norm = self.optimizer.update(&self.parameters, &grads, step, self.recipe.train.steps)?;
        if !norm.is_finite() {
            return Err(Error::Diverged { step, what: "norm of the gradient", value: norm });
        }
        self.ema.update(&self.parameters, step)?;
        self.progress.step += 1;
        self.progress.batch += 1;
        self.progress.tokens += tokens.len() as u64;
        Ok((value, norm))
    }

    /// Bits per byte of the first held-out rows under the averaged parameters, by the objective that measures such a model; the
    /// same draws at each look.
    fn evaluate(&self) -> Result<f64> {
        // On a thread of the pool, as an update.
        rayon::scope(|_| self.held_out_bits_per_byte())
    }

    fn held_out_bits_per_byte(&self) -> Result<f64> {
        let averaged: HashMap<_, _> = self.ema.tensors(&self.parameters)?.into_iter().collect();
        let trunk = Trunk::new(&self.config, &mut Loaded::new("averages", averaged, self.parameters.precision()))?;
        let objective = fitting_objective(&trunk);
        let (mut nats, mut bytes, mut rows) = (0.0, 0usize, 0usize);
        for batch in self.batches(&self.dataset.held_out, 0, true)? {
            let (tokens, scored) = (batch.tokens(), batch.scored());
            let view = Rows { tokens: &tokens, scored: &scored, length: batch.length() };
            let rng = |stream| Rng::new(self.recipe.train.seed, stream).at(batch.index, 0);
            nats += objective.loss(&trunk, &view, &rng(2))?.nats + objective.remainder(&trunk, &view, &rng(5))?;
            bytes += batch.scored_bytes();
            rows += batch.rows();
            if rows >= self.recipe.train.evaluate_rows {
                break;
            }
        }
        Ok(nats / std::f64::consts::LN_2 / bytes.max(1) as f64)
    }

    fn batches(&self, set: &Arc<TokenSet>, epoch: u64, held_out: bool) -> Result<Batches> {
        let config = BatchesConfig {
            layout: self.recipe.data.layout,
            length: self.recipe.data.length,
            batch: if held_out { self.recipe.train.batch.min(16) } else { self.recipe.train.batch },
            seed: self.recipe.train.seed,
            keep_last: held_out,
        };
        Ok(Batches::new(Arc::clone(set), &config, epoch)?)
    }

    fn files(&self) -> ModelFiles<'_> {
        ModelFiles { config: &self.config, generation: &self.recipe.generation, tokenizer: &self.tokenizer_json }
    }

    fn save(&self) -> Result<()> {
        let mut state = self.optimizer.tensors()?;
        state.extend(self.parameters.tensors().into_iter().map(|(name, tensor)| (format!("value.{name}"), tensor)));
        let averaged = self.ema.tensors(&self.parameters)?.into_iter().collect();
        checkpoint::write(&self.recipe.output, self.progress, &self.files(), &averaged, &state)
    }

    fn restore(&mut self, saved: &Saved) -> Result<()> {
        let Saved { folder, progress, state } = saved;
        checkpoint::check_config(folder, &self.config)?;
        for (name, var) in self.parameters.iter() {
            match state.get(&format!("value.{name}")) {
                Some(tensor) if tensor.dims() == var.dims() => var.set(tensor)?,
                _ => {
                    let message =
                        format!("the checkpoint has no fitting `{name}`: the recipe is not the one it was made by");
                    return Err(Error::Run { folder: folder.clone(), message });
                }
            }
        }
        self.optimizer.restore(state)?;
        let averaged =
            candle_core::safetensors::load(folder.join(lldm_models::load::WEIGHTS), &candle_core::Device::Cpu)?;
        self.ema.restore(&averaged)?;
        self.progress = *progress;
        Ok(())
    }
}

/// What is averaged between two reports.
struct Window {
    loss: f64,
    norm: f64,
    updates: usize,
    tokens: u64,
    start: Instant,
}

impl Window {
    fn new(tokens: u64) -> Self {
        Self { loss: 0.0, norm: 0.0, updates: 0, tokens, start: Instant::now() }
    }

    fn add(&mut self, loss: f64, norm: f64) {
        self.loss += loss;
        self.norm += norm;
        self.updates += 1;
    }

    fn metrics(&self, progress: Progress, steps: usize, rate: f64, measured: Option<f64>) -> Metrics {
        let updates = self.updates.max(1) as f64;
        let seconds = self.start.elapsed().as_secs_f64();
        Metrics {
            step: progress.step,
            steps,
            loss: self.loss / updates,
            held_out_bits_per_byte: measured,
            grad_norm: self.norm / updates,
            rate,
            tokens: progress.tokens,
            tokens_per_second: (progress.tokens - self.tokens) as f64 / seconds.max(1e-9),
        }
    }
}

pub(crate) fn trunk_config(recipe: &Recipe, objective: &dyn Objective, vocabulary: usize) -> TrunkConfig {
    TrunkConfig {
        model_type: lldm_models::trunk::MODEL_TYPE.to_string(),
        vocab_size: vocabulary,
        hidden_size: recipe.model.hidden_size,
        num_hidden_layers: recipe.model.layers,
        num_attention_heads: recipe.model.heads,
        intermediate_size: recipe.model.intermediate_size,
        max_position_embeddings: recipe.data.length,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        attention: objective.attention(),
        block_length: objective.block_length(),
        time_input: recipe.model.time_input,
        mask_token_id: MASK,
        eos_token_id: END,
        pad_token_id: PAD,
        bos_token_id: (objective.attention() == Attention::Full && recipe.data.layout == Layout::Packed).then_some(END),
        noise: objective.noise(),
        answers: objective.answers(),
    }
}

/// Saves the resolved recipe beside what it makes.
fn write_recipe(run: &Path, recipe: &Recipe) -> Result<()> {
    let (path, temporary) = (run.join("config.toml"), run.join("config.toml.tmp"));
    let text = recipe.to_toml()?;
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|source| Error::file(&path, source))
}
