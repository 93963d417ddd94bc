//! One step of one of our samplers on the reference's canvas, as the V probabilities that each cell is drawn from.

use lldm_diffusion::noise::Noise;
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::sampler::registry::build;
use lldm_diffusion::sampler::{Action, BlockSampler, BlockStart, CellProposal, Reads, StepTimes, StepView};
use lldm_diffusion::vocabulary::Draw;
use lldm_diffusion::{Canvas, Cell, Compat, LogitTransform, PosteriorMix, Prediction, Proposal, Rng, Sampler, Token};
use serde_json::Value;

/// What is known of the clean tokens of a canvas.
#[derive(Clone)]
pub(crate) struct Predicted {
    /// [L][V]; it may be unnormalised or negative where it comes from scores.
    pub(crate) clean: Vec<Vec<f64>>,
    pub(crate) proposals: Vec<Proposal>,
    /// Whether these are what the cells hold after the step.
    pub(crate) mixed: bool,
}

/// One of our samplers under a forward process.
pub(crate) struct Process<'a> {
    pub(crate) sampler: Box<dyn Sampler>,
    pub(crate) noise: &'a dyn Noise,
    pub(crate) length: usize,
}

impl Predicted {
    /// From logits, through the transform.
    pub(crate) fn new(
        prediction: &dyn Prediction,
        tokens: &[Token],
        transform: &LogitTransform,
        vocabulary: usize,
    ) -> Self {
        let ask = |request: RowRequest<'_>| prediction.propose(&[request], transform).expect("an answer")[0];
        Self::asked(&ask, tokens, vocabulary, false)
    }

    /// What the cells hold after a step of mixed posteriors.
    pub(crate) fn mixed(
        with: &dyn Prediction,
        without: &dyn Prediction,
        mix: &PosteriorMix<'_>,
        transform: &LogitTransform,
        vocabulary: usize,
    ) -> Self {
        let ask =
            |request: RowRequest<'_>| with.propose_mixed(without, mix, &[request], transform).expect("an answer")[0];
        Self::asked(&ask, mix.held, vocabulary, true)
    }

    fn asked(ask: &dyn Fn(RowRequest<'_>) -> Proposal, tokens: &[Token], vocabulary: usize, mixed: bool) -> Self {
        let ask = |row, held| ask(RowRequest { row, draw: Draw::Argmax, held: Some(held) });
        let clean = |row| (0..vocabulary as Token).map(|token| ask(row, token).held).collect();
        let proposals = tokens.iter().enumerate().map(|(row, token)| ask(row, *token)).collect();
        Self { clean: (0..tokens.len()).map(clean).collect(), proposals, mixed }
    }

    /// From numbers that stand for the probabilities of the clean token.
    pub(crate) fn from_clean(clean: Vec<Vec<f64>>, tokens: &[Token]) -> Self {
        let proposal = |(row, held): (&Vec<f64>, &Token)| {
            let held = row[*held as usize];
            Proposal { token: 0, probability: row[0], entropy: 0.0, margin: 0.0, best: 0, best_probability: 0.0, held }
        };
        let proposals = clean.iter().zip(tokens).map(proposal).collect();
        Self { clean, proposals, mixed: false }
    }
}

impl<'a> Process<'a> {
    pub(crate) fn new(name: &str, settings: Value, noise: &'a dyn Noise, length: usize) -> Self {
        let sampler = build(name, settings.as_object().expect("settings")).expect("a sampler");
        Self { sampler, noise, length }
    }

    /// The transform with the sampler's statistics, under which the mask of masked noise is banned.
    pub(crate) fn transform(&self) -> LogitTransform {
        let banned = self.noise.mask().into_iter().collect();
        LogitTransform { banned, statistics: self.sampler.statistics(), ..LogitTransform::default() }
    }

    pub(crate) fn begin(&self, compat: Compat) -> Box<dyn BlockSampler> {
        self.sampler.begin(BlockStart { length: self.length, noisy: self.length, index: 0, count: 1, compat })
    }

    /// The canvas with those tokens: the mask is noise, everything else a draft.
    pub(crate) fn canvas(&self, tokens: &[Token]) -> Canvas {
        let mut canvas = Canvas::noisy(tokens.to_vec());
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| self.noise.mask() != Some(**token)) {
            canvas.draft(at, *token);
        }
        canvas
    }

    /// A step of the sampler: what it draws each cell from, and what it does. A cell that it does not read keeps its token.
    pub(crate) fn step(
        &self,
        run: &mut dyn BlockSampler,
        times: StepTimes,
        tokens: &[Token],
        predicted: &Predicted,
    ) -> (Vec<Vec<f64>>, Vec<(usize, Action)>) {
        let (canvas, rng) = (self.canvas(tokens), Rng::new(0, 0).at(0, 0));
        let reads = self.sampler.reads(self.noise);
        let cells = (0..tokens.len()).filter(|at| reads == Reads::Open || canvas.cells()[*at] == Cell::Noisy);
        let proposals: Vec<_> = cells
            .map(|position| CellProposal { position, proposal: predicted.proposals[position], eligible: true })
            .collect();
        let view = StepView {
            canvas: &canvas,
            block: 0..tokens.len(),
            proposals: &proposals,
            noise: self.noise,
            weighs_held: false,
            mixed: predicted.mixed,
            times,
            rng: &rng,
        };
        let mut probabilities: Vec<Vec<f64>> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            probabilities
                .push((0..predicted.clean[at].len()).map(|v| f64::from(u8::from(v == *token as usize))).collect());
        }
        if let Some(mixtures) = run.mixtures(&view) {
            for (cell, mixture) in proposals.iter().zip(mixtures) {
                let at = cell.position;
                let (mask, alphabet) = (self.noise.mask(), self.noise.alphabet());
                probabilities[at] = mixture.probabilities(tokens[at], &predicted.clean[at], mask, alphabet);
            }
        }
        (probabilities, run.step(&view))
    }
}

/// The canvas after those actions.
pub(crate) fn after(tokens: &[Token], actions: &[(usize, Action)]) -> Vec<Token> {
    let mut tokens = tokens.to_vec();
    for (at, action) in actions {
        match action {
            Action::Commit(token) | Action::Draft(token) => tokens[*at] = *token,
            Action::Renoise => panic!("cell {at} became noise"),
        }
    }
    tokens
}

/// The reference may leave out a common factor.
pub(crate) fn normalised(values: &[f64]) -> Vec<f64> {
    let total: f64 = values.iter().sum();
    values.iter().map(|value| value / total).collect()
}

pub(crate) fn close(found: &[f64], stored: &[f64], tolerance: f64, place: &str) {
    assert_eq!(found.len(), stored.len(), "{place}");
    let largest = stored.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    for (token, (found, stored)) in found.iter().zip(stored).enumerate() {
        assert!((found - stored).abs() <= tolerance * largest, "{place} token {token}: {found} for {stored}");
    }
}
