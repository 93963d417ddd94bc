//! One sequence on its way through the loop: the canvas that is open, the block, the sampler at work.

use std::sync::Arc;

use crate::bans::Bans;
use crate::canvas::Token;
use crate::constrained::Settled;
use crate::contract::{Compat, ConstraintRun, Observer, Stop, StopView};
use crate::denoiser::{Condition, Context, State, StepInput};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::generate::{FinishReason, GenerateConfig, Generation, Parts, Sequence, Usage};
use crate::open::{Open, apply};
use crate::prediction::Prediction;
use crate::ratio::Ratio;
use crate::rng::Rng;
use crate::sampler::{BlockStart, StepView};

/// The step number under which a canvas's first noise is drawn.
const BEFORE_ALL_STEPS: usize = u32::MAX as usize;

/// Steps after which a block is given up: no method takes as many.
const MOST_STEPS: usize = 1 << 20;

/// The state of one sequence.
pub(crate) struct Run<'a> {
    pub(crate) parts: &'a Parts<'a>,
    pub(crate) config: &'a GenerateConfig,
    pub(crate) sequence: &'a Sequence,
    pub(crate) rng: Rng,
    pub(crate) bans: Bans,
    pub(crate) constraint: Option<Box<dyn ConstraintRun>>,
    pub(crate) open: Option<Open>,
    pub(crate) canvases: usize,
    /// The cells of each canvas that the context holds.
    pub(crate) extended: Vec<usize>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) probabilities: Vec<f32>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Usage,
    /// The weight of what a constraint has drawn, where particles ask for it.
    pub(crate) ratio: Option<Ratio>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(parts: &'a Parts<'a>, config: &'a GenerateConfig, sequence: &'a Sequence) -> Result<Self> {
        let info = parts.denoiser.info();
        let mut bans = Bans::new(&config.transform, info, parts.noise, sequence);
        let nucleus = if parts.sampler.drops_crossing(parts.noise) { config.compat } else { Compat::Exact };
        bans.change(|transform| {
            transform.statistics = parts.sampler.statistics();
            transform.compat = nucleus;
        });
        let constraint = parts.constraint.map(|constraint| constraint.start(config.max_tokens)).transpose()?;
        Ok(Self {
            parts,
            config,
            sequence,
            rng: Rng::new(sequence.seed, sequence.index),
            bans,
            constraint,
            open: None,
            canvases: 0,
            extended: Vec::new(),
            tokens: Vec::new(),
            probabilities: Vec::new(),
            finish: None,
            usage: Usage { prompt_tokens: sequence.prefix.len(), ..Usage::default() },
            ratio: None,
        })
    }

    /// Works until a forward pass is needed (true) or the text is finished (false).
    pub(crate) fn advance(&mut self, context: &mut Context, observer: &mut Option<&mut dyn Observer>) -> Result<bool> {
        while self.finish.is_none() {
            let Some(open) = &mut self.open else {
                self.open_canvas(observer);
                continue;
            };
            if open.block == open.blocks.len() {
                self.close_canvas(context, observer)?;
                continue;
            }
            let block = open.blocks[open.block].clone();
            let noisy = open.canvas.count_noisy(block.clone());
            if open.canvas.count_open(block.clone()) == 0 {
                open.block += 1;
                open.sampler = None;
                continue;
            }
            let sampler = match &mut open.sampler {
                Some(sampler) => sampler,
                None => {
                    self.usage.blocks += 1;
                    open.block_step = 0;
                    let (index, count, compat) = (open.block, open.blocks.len(), self.config.compat);
                    let start = BlockStart { length: block.len(), noisy, index, count, compat };
                    open.sampler.insert(self.parts.sampler.begin(start))
                }
            };
            open.times = sampler.next_step(noisy, &self.rng.at(self.usage.blocks, open.block_step));
            if !open.valid {
                return Ok(true);
            }
            self.step(observer)?;
        }
        Ok(false)
    }

    /// What the denoiser is asked.
    pub(crate) fn input(&self, condition: Condition) -> StepInput<'_> {
        let open = self.open.as_ref();
        let previous = open.filter(|_| self.parts.denoiser.info().self_conditioned);
        StepInput {
            state: State::Tokens(open.map_or(&[], |open| open.canvas.tokens())),
            time: open.map_or(1.0, |open| open.times.t),
            temperature: self.config.transform.temperature * open.map_or(1.0, |open| open.times.heat),
            previous: previous.and_then(|open| open.prediction.as_deref()),
            condition,
        }
    }

    /// Takes the denoiser's answer and makes the step.
    pub(crate) fn absorb(
        &mut self,
        prediction: Box<dyn Prediction>,
        without: Option<Box<dyn Prediction>>,
        observer: &mut Option<&mut dyn Observer>,
    ) -> Result<()> {
        self.usage.nfe += 1 + usize::from(without.is_some());
        if let Some(open) = &mut self.open {
            if prediction.rows() != open.canvas.len() {
                return Err(Error::Contract {
                    message: format!("a prediction of {} rows for {} cells", prediction.rows(), open.canvas.len()),
                });
            }
            open.prediction = Some(prediction.into());
            open.without = without.map(Arc::from);
        }
        self.step(observer)
    }

    /// The finished text.
    pub(crate) fn finish(self, context: &Context) -> Generation {
        let usage = Usage { tokens: self.tokens.len(), context_passes: context.passes, ..self.usage };
        Generation {
            tokens: self.tokens,
            probabilities: self.probabilities,
            finish: self.finish.unwrap_or(FinishReason::Length),
            guarantee: self.parts.constraint.map(|constraint| constraint.guarantee()),
            usage,
        }
    }

    fn open_canvas(&mut self, observer: &mut Option<&mut dyn Observer>) {
        let written = self.tokens.len();
        let info = self.parts.denoiser.info();
        let mut length = self.config.canvas_length.min(self.config.max_tokens - written);
        if let Some(grid) = info.canvas_grid {
            length = length.min(grid - (self.sequence.prefix.len() + written) % grid);
        }
        let length = info.canvas_length.unwrap_or(length);
        let prior = self.parts.noise.prior(length, &self.rng.at(self.canvases, BEFORE_ALL_STEPS));
        self.open = Some(Open::new(prior, &self.sequence.pins, written, self.config.block_length));
        self.show(observer, false);
    }

    fn close_canvas(&mut self, context: &mut Context, observer: &mut Option<&mut dyn Observer>) -> Result<()> {
        self.check_given(&self.rng.at(self.usage.blocks, 0))?;
        self.show(observer, true);
        let Some(open) = self.open.take() else { return Ok(()) };
        self.canvases += 1;
        let room = self.config.max_tokens - self.tokens.len();
        let tokens = &open.canvas.tokens()[..open.canvas.len().min(room)];
        self.take(tokens, &open.seen);
        if self.tokens.len() == self.config.max_tokens {
            self.finish = Some(FinishReason::Length);
            return Ok(());
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.advance(open.canvas.tokens())?;
        }
        self.extended.push(open.canvas.len());
        self.parts.denoiser.extend(context, open.canvas.tokens())
    }

    /// Reduces the prediction, asks the sampler, applies what it says.
    fn step(&mut self, observer: &mut Option<&mut dyn Observer>) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let info = self.parts.denoiser.info();
        let block = open.blocks[open.block].clone();
        let rng = self.rng.at(self.usage.blocks, open.block_step);
        let step = self.proposals(&rng)?;
        let old = self.drawn(&step);
        let Some(open) = &mut self.open else { return Ok(()) };
        for cell in &step.proposals {
            open.see(cell, None);
            open.drawn[cell.position] = Some(cell.proposal.token);
        }

        let Some(sampler) = &mut open.sampler else { return Err(broken("a step without a sampler")) };
        let times = open.times;
        let view = StepView {
            canvas: &open.canvas,
            block,
            proposals: &step.proposals,
            noise: self.parts.noise,
            weighs_held: info.weighs_held || self.constraint.is_some(),
            mixed: step.mixed,
            times,
            rng: &rng,
        };
        let actions = sampler.step(&view);
        let Settled { actions, proposals } = self.settled(actions, step, &rng)?;
        let Some(open) = &mut self.open else { return Ok(()) };
        for (at, action) in &actions {
            let cell = proposals.iter().find(|cell| cell.position == *at);
            cell.into_iter().for_each(|cell| open.see(cell, Some(*action)));
        }
        let noise = |length| self.parts.noise.prior(length, &rng);
        let changed = apply(&mut open.canvas, actions, info.mask, &noise)
            .map_err(|what| broken(&format!("sampler `{}` {what}", self.parts.sampler.name())))?;
        if let (Some(old), true) = (old, changed) {
            self.written(&old, &rng)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.valid = !changed && !info.time_dependent && !info.self_conditioned;
        open.block_step += 1;
        if open.block_step == MOST_STEPS {
            let sampler = self.parts.sampler.name();
            return Err(broken(&format!("sampler `{sampler}` has not finished a block in {MOST_STEPS} steps")));
        }
        open.steps += 1;
        self.usage.steps += 1;

        let view = StopView { canvas: &open.canvas, steps: open.steps };
        if let Stop::Text(length) = self.parts.stop.after_step(view) {
            let open_from = open.canvas.cells().iter().position(|cell| cell.is_open());
            if length > open_from.unwrap_or(open.canvas.len()) {
                return Err(broken(&format!("a stop rule made a text of {length} cells, but not all are written")));
            }
            self.stop(length, observer);
        } else {
            self.show(observer, false);
        }
        Ok(())
    }

    /// Ends the text after `length` cells of the open canvas; what is still open behind it becomes end tokens.
    fn stop(&mut self, length: usize, observer: &mut Option<&mut dyn Observer>) {
        let end = self.parts.denoiser.info().end.first().copied();
        if let Some(open) = &mut self.open {
            for at in length..open.canvas.len() {
                if let (true, Some(end)) = (open.canvas.cells()[at].is_open(), end) {
                    open.canvas.commit(at, end);
                    open.seen[at] = None;
                }
            }
        }
        self.show(observer, true);
        // A canvas longer than the budget may end the text behind the budget.
        let room = self.config.max_tokens - self.tokens.len();
        if let Some(open) = self.open.take() {
            self.take(&open.canvas.tokens()[..length.min(room)], &open.seen);
        }
        self.finish = Some(if length > room { FinishReason::Length } else { FinishReason::Stop });
    }

    fn take(&mut self, tokens: &[Token], seen: &[Option<(Token, f32)>]) {
        self.tokens.extend(tokens);
        self.probabilities.extend(seen[..tokens.len()].iter().map(|seen| seen.map_or(1.0, |(_, p)| p)));
    }

    fn show(&self, observer: &mut Option<&mut dyn Observer>, done: bool) {
        let (Some(observer), Some(open)) = (observer, &self.open) else { return };
        observer.frame(&Frame {
            sequence: self.sequence.index,
            canvas: self.canvases,
            block: open.block.min(open.blocks.len().saturating_sub(1)),
            step: self.usage.steps,
            time: open.times.t,
            nfe: self.usage.nfe,
            log_z: self.constraint.as_ref().and_then(|constraint| constraint.log_z()),
            cells: open.cells(),
            done,
        });
    }
}

pub(crate) fn broken(message: &str) -> Error {
    Error::Contract { message: message.to_string() }
}
