//! Copies of what is at work on a sequence, so that a particle can go on in two ways.

use crate::canvas::Token;
use crate::contract::ConstraintRun;
use crate::generate::Sequence;
use crate::open::Open;
use crate::rng::Rng;
use crate::run::Run;
use crate::sampler::BlockSampler;

/// A sampler that can be copied in the midst of a block. Every one that is `Clone` can.
pub trait ForkSampler {
    /// A copy that goes on by itself.
    fn fork(&self) -> Box<dyn BlockSampler>;
}

/// A constraint that can be copied in the midst of a text. Every one that is `Clone` can.
pub trait ForkConstraint {
    /// A copy that goes on by itself.
    fn fork(&self) -> Box<dyn ConstraintRun>;
}

impl<S: BlockSampler + Clone + 'static> ForkSampler for S {
    fn fork(&self) -> Box<dyn BlockSampler> {
        Box::new(self.clone())
    }
}

impl<C: ConstraintRun + Clone + 'static> ForkConstraint for C {
    fn fork(&self) -> Box<dyn ConstraintRun> {
        Box::new(self.clone())
    }
}

impl<'a> Run<'a> {
    /// A copy that goes on by itself as another sequence, with the draws of number `stream`.
    pub(crate) fn fork(&self, sequence: &'a Sequence, stream: u64) -> Self {
        Self {
            sequence,
            rng: Rng::new(sequence.seed, stream),
            bans: self.bans.clone(),
            constraint: self.constraint.as_ref().map(|constraint| constraint.fork()),
            open: self.open.as_ref().map(Open::fork),
            extended: self.extended.clone(),
            tokens: self.tokens.clone(),
            probabilities: self.probabilities.clone(),
            ..*self
        }
    }

    /// The canvases that the context holds behind the prefix.
    pub(crate) fn context(&self) -> impl Iterator<Item = &[Token]> {
        let mut rest = self.tokens.as_slice();
        self.extended.iter().map(move |length| {
            let (canvas, behind) = rest.split_at(*length);
            rest = behind;
            canvas
        })
    }

    /// Whether the text is finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The text as it would be if the last draws were written.
    pub(crate) fn draft(&self) -> Vec<Token> {
        let draft = self.open.iter().flat_map(Open::draft);
        self.tokens.iter().copied().chain(draft).take(self.config.max_tokens).collect()
    }

    /// Sampler steps taken so far.
    pub(crate) fn steps(&self) -> usize {
        self.usage.steps
    }
}
