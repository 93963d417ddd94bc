//! The trunk as a denoiser: what its three kinds of attention keep in the context and how they answer.
//!
//! * full: prefix and canvas go through the network together at each step; nothing is cached.
//! * block-causal: whole blocks of the context are cached; a canvas ends where a block ends.
//! * causal: the canvas is one cell; the row of the last context token predicts it and is cached on the way.
//!
//! Scores become logits of the clean token here; nobody above sees a score.

use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use lldm_diffusion::{Condition, Context, Denoiser, DenoiserInfo, Prediction, StepInput, Token};

use crate::error::{Result, into_diffusion};
use crate::fused_logits::FusedLogits;
use crate::nn::KvCache;
use crate::process::Answers;
use crate::trunk::{Attention, Trunk};

/// What the trunk keeps in a context.
struct State {
    cache: KvCache,
    /// The answer of a causal trunk for the cell behind the cached tokens.
    next: Option<Vec<f32>>,
}

/// A trunk behind the contract of [`Denoiser`].
#[derive(Clone, Debug)]
pub struct TrunkDenoiser {
    trunk: Arc<Trunk>,
    info: DenoiserInfo,
}

impl TrunkDenoiser {
    /// Wraps a trunk.
    pub fn new(trunk: Arc<Trunk>) -> Self {
        let config = trunk.config();
        let timed = config.time_input || config.answers.depends_on_time(trunk.noise());
        let info = DenoiserInfo {
            vocabulary: config.vocab_size,
            mask: trunk.noise().mask(),
            end: vec![config.eos_token_id],
            max_length: config.max_position_embeddings - usize::from(config.bos_token_id.is_some()),
            canvas_length: (config.attention == Attention::Causal).then_some(1),
            canvas_grid: config.block_length,
            time_dependent: timed,
            self_conditioned: false,
            weighs_held: config.answers == Answers::Posterior,
        };
        Self { trunk, info }
    }

    /// The network.
    pub fn trunk(&self) -> &Arc<Trunk> {
        &self.trunk
    }

    /// The tokens that the network reads as context: a causal trunk begins with the end token, one with full attention
    /// with the token that it asks for.
    fn context_tokens(&self, context: &Context) -> Vec<Token> {
        let config = self.trunk.config();
        let begin = match config.attention {
            Attention::Causal => Some(config.eos_token_id),
            Attention::Full | Attention::BlockCausal => config.bos_token_id,
        };
        begin.into_iter().chain(context.tokens.iter().copied()).collect()
    }

    /// Runs tokens that stand behind the cache; returns their hidden vectors.
    fn behind_cache(&self, tokens: &[Token], time: f64, cache: &mut KvCache, store: bool) -> Result<Tensor> {
        let cached = cache.length;
        let positions: Vec<_> = (cached..cached + tokens.len()).collect();
        let visibility = self.trunk.config().visibility(cached);
        self.trunk.hidden(tokens, 1, &positions, Some(&[time]), visibility, Some((cache, store)))
    }

    /// Caches the first `target` tokens of the context, if they are not yet.
    fn store(&self, context: &mut Context, target: usize) -> Result<()> {
        let tokens = self.context_tokens(context);
        let state = self.state(context)?;
        let from = state.cache.length;
        if from < target {
            self.behind_cache(&tokens[from..target], 0.0, &mut state.cache, true)?;
            context.passes += 1;
        }
        Ok(())
    }

    fn state<'a>(&self, context: &'a mut Context) -> Result<&'a mut State> {
        let layers = self.trunk.config().num_hidden_layers;
        let state = context.cache.get_or_insert_with(|| Box::new(State { cache: KvCache::new(layers), next: None }));
        state.downcast_mut().ok_or_else(|| {
            lldm_diffusion::Error::Contract { message: "the context belongs to another denoiser".to_string() }.into()
        })
    }

    fn predict(&self, input: &StepInput<'_>, context: &mut Context) -> Result<FusedLogits> {
        let canvas = input.state.tokens()?;
        let config = self.trunk.config();
        let known = self.context_tokens(context);
        if input.condition == Condition::Hidden && config.attention != Attention::Full {
            let message = "cannot hide its prefix: guidance needs a model with full attention".to_string();
            return Err(lldm_diffusion::Error::Denoiser { message }.into());
        }
        if input.condition == Condition::Hidden && self.info.mask.is_none() {
            let message = "cannot hide its prefix: its noise has no mask to hide it behind".to_string();
            return Err(lldm_diffusion::Error::Denoiser { message }.into());
        }
        let hidden = match config.attention {
            Attention::Full => {
                let hide = input.condition == Condition::Hidden;
                let hidden = if hide { known.len() - context.tokens.len()..known.len() } else { 0..0 };
                let prefix = known.iter().enumerate();
                let prefix = prefix.map(|(at, token)| if hidden.contains(&at) { config.mask_token_id } else { *token });
                let tokens: Vec<_> = prefix.chain(canvas.iter().copied()).collect();
                let positions: Vec<_> = (0..tokens.len()).collect();
                let visibility = config.visibility(0);
                self.trunk.hidden(&tokens, 1, &positions, Some(&[input.time]), visibility, None)?
            }
            Attention::BlockCausal => {
                let cache = &mut self.state(context)?.cache;
                let tokens: Vec<_> = known[cache.length..].iter().chain(canvas).copied().collect();
                self.behind_cache(&tokens, input.time, cache, false)?
            }
            Attention::Causal => {
                let state = self.state(context)?;
                if let (Some(next), true) = (&state.next, state.cache.length == known.len()) {
                    return Ok(FusedLogits::new(next.clone(), config.vocab_size)?);
                }
                let tail = &known[state.cache.length..];
                let hidden = self.behind_cache(tail, input.time, &mut state.cache, true)?;
                let last = hidden.narrow(0, tail.len() - 1, 1)?;
                let next = self.trunk.logit_values(&last)?;
                state.next = Some(next.clone());
                return Ok(FusedLogits::new(next, config.vocab_size)?);
            }
        };
        let hidden = hidden.narrow(0, hidden.dim(0)? - canvas.len(), canvas.len())?;
        let mut values = self.trunk.logit_values(&hidden)?;
        let rows = values.par_chunks_exact_mut(config.vocab_size).zip(canvas);
        rows.for_each(|(outputs, held)| self.answer(outputs, *held, input.time));
        Ok(FusedLogits::new(values, config.vocab_size)?)
    }

    /// Turns a cell's outputs into the answer of the contract. Nothing is done to plain logits under masked noise; where
    /// nothing marks noise, the mask is not an answer, whether or not the loop bans it.
    fn answer(&self, outputs: &mut [f32], held: Token, time: f64) {
        let (noise, answers) = (self.trunk.noise(), self.trunk.config().answers);
        if answers.depends_on_time(noise) {
            let mut wide: Vec<f64> = outputs.iter().map(|output| f64::from(*output)).collect();
            answers.plug_in(&mut wide, held, noise, time);
            outputs.iter_mut().zip(wide).for_each(|(output, wide)| *output = wide as f32);
        } else if noise.alphabet().is_some()
            && let Some(output) = noise.not_text().and_then(|token| outputs.get_mut(token as usize))
        {
            *output = f32::NEG_INFINITY;
        }
    }
}

impl Denoiser for TrunkDenoiser {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> lldm_diffusion::Result<Context> {
        let mut context = Context::plain(prefix);
        let config = self.trunk.config();
        let target = match config.attention {
            Attention::Full => 0,
            // The last token is read when the first cell is predicted.
            Attention::Causal => prefix.len(),
            Attention::BlockCausal => whole_blocks(prefix.len(), config.block_length),
        };
        self.store(&mut context, target).map_err(into_diffusion)?;
        Ok(context)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> lldm_diffusion::Result<()> {
        context.tokens.extend(tokens);
        match self.trunk.config().attention {
            Attention::Full | Attention::Causal => Ok(()),
            Attention::BlockCausal => {
                let target = whole_blocks(context.tokens.len(), self.trunk.config().block_length);
                self.store(context, target).map_err(into_diffusion)
            }
        }
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> lldm_diffusion::Result<Box<dyn Prediction>> {
        let prediction = match self.trunk.backend().is_cpu() {
            // On a thread of the pool: from outside, each of the pass's many small parallel parts would wake a worker and sleep.
            true => rayon::scope(|_| self.predict(input, context)),
            false => self.predict(input, context),
        };
        Ok(Box::new(prediction.map_err(into_diffusion)?))
    }

    fn denoise_batch(
        &self,
        inputs: &[StepInput<'_>],
        contexts: &mut [&mut Context],
    ) -> lldm_diffusion::Result<Vec<Box<dyn Prediction>>> {
        // One forward a row, each on a thread of its own: a canvas has rows enough to keep its products busy, and its answer is the same.
        let one = |(input, context): (&StepInput<'_>, &mut &mut Context)| self.denoise(input, context);
        match self.trunk.backend().is_cpu() {
            true => inputs.par_iter().zip(contexts.par_iter_mut()).map(one).collect(),
            false => inputs.iter().zip(contexts.iter_mut()).map(one).collect(),
        }
    }
}

/// The part of `tokens` that fills whole blocks.
fn whole_blocks(tokens: usize, block_length: Option<usize>) -> usize {
    tokens - tokens % block_length.unwrap_or(1)
}
