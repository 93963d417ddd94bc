//! Toy denoisers: deterministic, exact, and small enough to enumerate. The loop and every sampler are tested on them.

use std::fmt;
use std::sync::Arc;

use crate::canvas::Token;
use crate::denoiser::{Condition, Context, Denoiser, DenoiserInfo, State, StepInput};
use crate::error::{Error, Result};
use crate::noise::Noise;
use crate::prediction::{Logits, Prediction};

/// A joint distribution over whole texts, given as a table; the denoiser answers with its exact conditionals.
///
/// A text is the canvas, padded with the end token. The prefix selects nothing: it only counts as context.
#[derive(Clone)]
pub struct Table {
    info: DenoiserInfo,
    texts: Vec<(Vec<Token>, f64)>,
    /// The forward process; none is masked noise, whose conditionals are the same at all times.
    noise: Option<Arc<dyn Noise>>,
}

/// A table whose answer also leans on its previous answer, as self-conditioning families do.
#[derive(Clone)]
pub struct SelfConditioned {
    table: Table,
    /// How much of the previous log-probabilities is added.
    pub pull: f32,
}

/// Independent cells with token prior `prior`, seen as z = alpha e(token) + sigma noise: the answer is Bayes' rule.
///
/// `time` is the noise variance sigma^2, and alpha^2 = 1 - sigma^2 (variance preserving).
#[derive(Clone, Debug)]
pub struct Vectors {
    info: DenoiserInfo,
    embeddings: Vec<Vec<f32>>,
    prior: Vec<f64>,
}

impl Table {
    /// A table of (text, weight); every text has the same length L. `mask` is the largest token id.
    pub fn new(vocabulary: usize, mask: Token, end: Vec<Token>, texts: Vec<(Vec<Token>, f64)>) -> Result<Self> {
        let length = texts.first().map_or(0, |(text, _)| text.len());
        let total: f64 = texts.iter().map(|(_, weight)| weight).sum();
        if length == 0 || total <= 0.0 || texts.iter().any(|(text, _)| text.len() != length) {
            return Err(Error::setting("texts", texts.len(), "a table needs texts of one length with positive weight"));
        }
        let texts = texts.into_iter().map(|(text, weight)| (text, weight / total)).collect();
        let info = DenoiserInfo {
            vocabulary,
            mask: Some(mask),
            end,
            max_length: 4096,
            canvas_length: None,
            canvas_grid: None,
            time_dependent: false,
            self_conditioned: false,
            weighs_held: false,
        };
        Ok(Self { info, texts, noise: None })
    }

    /// The texts with their probabilities.
    pub fn texts(&self) -> &[(Vec<Token>, f64)] {
        &self.texts
    }

    /// The same table, but every answer is said to depend on t, so that none is used twice.
    #[must_use]
    pub fn time_dependent(mut self) -> Self {
        self.info.time_dependent = true;
        self
    }

    /// The same table under a forward process of any kind: the answer for a cell is p(token | the other cells as noise at
    /// t), which leaves the token that the cell holds to the posterior.
    #[must_use]
    pub fn under(mut self, noise: Arc<dyn Noise>) -> Self {
        self.info.mask = noise.mask();
        self.info.time_dependent = true;
        self.noise = Some(noise);
        self
    }

    /// p(token | the other cells as noise of `noise` at t) for each of L cells, row-major [L, V], among the texts that begin
    /// with `written` (all, where none does or the prefix is hidden). Where no text fits, every token is equally probable.
    pub fn denoised(
        &self,
        noise: &dyn Noise,
        (written, condition): (&[Token], Condition),
        canvas: &[Token],
        t: f64,
    ) -> Vec<f64> {
        let vocabulary = self.info.vocabulary;
        let end = self.info.end.first().copied().unwrap_or(0);
        let now = noise.marginal(t);
        let noises: Vec<_> = canvas.iter().map(|held| noise.noise_at(now, *held)).collect();
        let fits = |text: &[Token]| text.iter().zip(written).all(|(token, seen)| token == seen);
        let none_fits = condition == Condition::Hidden || !self.texts.iter().any(|(text, _)| fits(text));
        let mut out = vec![0.0; canvas.len() * vocabulary];
        let mut seen = vec![0.0; canvas.len()];
        for (text, weight) in self.texts.iter().filter(|(text, _)| none_fits || fits(text)) {
            let text = |at: usize| text.get(written.len() + at).copied().unwrap_or(end);
            for (at, seen) in seen.iter_mut().enumerate() {
                *seen = noises[at] + if canvas[at] == text(at) { now.alpha } else { 0.0 };
            }
            for at in 0..canvas.len() {
                let others = seen.iter().enumerate().filter(|(other, _)| *other != at);
                out[at * vocabulary + text(at) as usize] += weight * others.map(|(_, p)| p).product::<f64>();
            }
        }
        for row in out.chunks_mut(vocabulary) {
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p = if total > 0.0 { *p / total } else { 1.0 / vocabulary as f64 });
        }
        out
    }

    /// p(token | visible cells) for each of L cells, row-major [L, V]. A canvas shorter than the texts sees their
    /// beginnings, `skip` cells in; where no text fits the visible cells, every token is equally probable.
    pub fn conditionals(&self, canvas: &[Token], skip: usize) -> Vec<f64> {
        let vocabulary = self.info.vocabulary;
        let mut out = vec![0.0; canvas.len() * vocabulary];
        let mut total = 0.0;
        for (text, weight) in &self.texts {
            let text = |at: usize| text.get(skip + at).copied().or(self.info.end.first().copied()).unwrap_or(0);
            let fits =
                canvas.iter().enumerate().all(|(at, token)| Some(*token) == self.info.mask || *token == text(at));
            if fits {
                total += weight;
                for at in 0..canvas.len() {
                    out[at * vocabulary + text(at) as usize] += weight;
                }
            }
        }
        if total == 0.0 {
            return vec![1.0 / vocabulary as f64; out.len()];
        }
        out.iter().map(|p| p / total).collect()
    }

    fn logits(&self, input: &StepInput<'_>, context: &Context) -> Result<Logits> {
        let canvas = input.state.tokens()?;
        let written = context.cache.as_ref().and_then(|cache| cache.downcast_ref::<Vec<Token>>());
        let written = written.map_or(&[][..], Vec::as_slice);
        if let Some(noise) = &self.noise {
            // What earlier canvases wrote is no noise.
            let values = self.denoised(noise.as_ref(), (written, input.condition), canvas, input.time);
            return Logits::new(values.into_iter().map(|p| p.ln() as f32).collect(), self.info.vocabulary);
        }
        let values = match input.condition {
            // The texts that begin with what earlier canvases wrote.
            Condition::Given => {
                let text: Vec<_> = written.iter().chain(canvas).copied().collect();
                self.conditionals(&text, 0).split_off(written.len() * self.info.vocabulary)
            }
            Condition::Hidden => self.conditionals(canvas, written.len()),
        };
        Logits::new(values.into_iter().map(|p| p.ln() as f32).collect(), self.info.vocabulary)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = self.noise.as_ref().map(|noise| noise.name());
        out.debug_struct("Table").field("texts", &self.texts).field("noise", &noise).finish_non_exhaustive()
    }
}

impl Denoiser for Table {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        Ok(Context { cache: Some(Box::new(Vec::<Token>::new())), ..Context::plain(prefix) })
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        context.tokens.extend(tokens);
        if let Some(written) = context.cache.as_mut().and_then(|cache| cache.downcast_mut::<Vec<Token>>()) {
            written.extend(tokens);
        }
        Ok(())
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        Ok(Box::new(self.logits(input, context)?))
    }
}

impl SelfConditioned {
    /// Wraps a table; `pull` is how much of the previous log-probabilities is added.
    pub fn new(mut table: Table, pull: f32) -> Self {
        table.info.self_conditioned = true;
        Self { table, pull }
    }
}

impl Denoiser for SelfConditioned {
    fn info(&self) -> &DenoiserInfo {
        &self.table.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        self.table.prefill(prefix)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        self.table.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        let now = self.table.logits(input, context)?;
        let previous = input.previous.and_then(|previous| previous.as_any().downcast_ref::<Logits>());
        let Some(previous) = previous else { return Ok(Box::new(now)) };
        let mut values = Vec::with_capacity(now.rows() * now.vocabulary());
        for row in 0..now.rows() {
            let pulled = now.row(row).iter().zip(previous.row(row)).map(|(now, before)| {
                // A token that was impossible before may have become possible; it is not pulled at all then.
                if before.is_finite() { now + self.pull * before } else { *now }
            });
            values.extend(pulled);
        }
        Ok(Box::new(Logits::new(values, now.vocabulary())?))
    }
}

impl Vectors {
    /// One embedding of width D for each of V tokens, and their prior probabilities.
    pub fn new(embeddings: Vec<Vec<f32>>, prior: Vec<f64>) -> Result<Self> {
        let width = embeddings.first().map_or(0, Vec::len);
        let sound = width > 0 && embeddings.iter().all(|row| row.len() == width) && embeddings.len() == prior.len();
        if !sound {
            return Err(Error::setting(
                "embeddings",
                embeddings.len(),
                "one vector of one width per prior probability",
            ));
        }
        let info = DenoiserInfo {
            vocabulary: embeddings.len(),
            mask: None,
            end: Vec::new(),
            max_length: 4096,
            canvas_length: None,
            canvas_grid: None,
            time_dependent: true,
            self_conditioned: false,
            weighs_held: false,
        };
        Ok(Self { info, embeddings, prior })
    }
}

impl Denoiser for Vectors {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        Ok(Context::plain(prefix))
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        context.tokens.extend(tokens);
        Ok(())
    }

    fn denoise(&self, input: &StepInput<'_>, _: &mut Context) -> Result<Box<dyn Prediction>> {
        let State::Vectors(values, width) = input.state else {
            return Err(Error::Denoiser { message: "works on vectors, but was given tokens".to_string() });
        };
        if width != self.embeddings[0].len() || !values.len().is_multiple_of(width) {
            let message =
                format!("works on vectors of width {}, but was given width {width}", self.embeddings[0].len());
            return Err(Error::Denoiser { message });
        }
        // ln p(v | z) = ln p(v) - |z - alpha e_v|^2 / (2 sigma^2) + constant.
        let variance = input.time.clamp(1e-6, 1.0);
        let alpha = (1.0 - variance).sqrt();
        let mut logits = Vec::with_capacity(values.len() / width * self.embeddings.len());
        for z in values.chunks(width) {
            for (embedding, prior) in self.embeddings.iter().zip(&self.prior) {
                let distance: f64 =
                    z.iter().zip(embedding).map(|(z, e)| (f64::from(*z) - alpha * f64::from(*e)).powi(2)).sum();
                logits.push((prior.ln() - distance / (2.0 * variance)) as f32);
            }
        }
        Ok(Box::new(Logits::new(logits, self.embeddings.len())?))
    }
}
