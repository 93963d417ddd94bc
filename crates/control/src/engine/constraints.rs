//! The constraints of a request: what the text must be, and how many tokens it may have.

use std::sync::Arc;
use std::time::Instant;

use super::compiled::{Compiled, Lengths};
use crate::automaton::{ByteDfa, Expression, Vocabulary, lift};
use crate::budget::{Budget, Meter};
use crate::cache::{Built, Cache, Key, Origin};
use crate::constraint::{Grammar, Language, intersection};
use crate::error::{Error, Result};

/// What may stand between the prompt and the text, and belongs to neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Joint {
    /// Nothing.
    #[default]
    None,
    /// A space, or nothing: where the prompt ends within a line, most tokens that begin a word bring their space along.
    Optional,
    /// A space: every token brings one along, which is not written before the first.
    Space,
}

/// Constraints that hold together.
#[derive(Debug, Default)]
pub struct Constraints {
    languages: Vec<Box<dyn Language>>,
    fewest: Option<usize>,
    most: Option<usize>,
    budget: Budget,
    alone: bool,
    any_depth: Option<Grammar>,
}

impl Constraints {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn with(mut self, language: impl Language + 'static) -> Self {
        self.languages.push(Box::new(language));
        self
    }

    /// A grammar without a bound of depth, which holds alone: its texts are drawn less well and may not be found, see
    /// [`Verified`](super::Verified).
    #[must_use]
    pub fn of_any_depth(mut self, grammar: Grammar) -> Self {
        self.any_depth = Some(grammar);
        self
    }

    /// The grammar that has no bound of depth.
    ///
    /// # Errors
    /// [`Error::Alone`] where there are other constraints beside it.
    pub fn any_depth(&self) -> Result<Option<&Grammar>> {
        let others = !self.languages.is_empty() || self.fewest.is_some() || self.most.is_some();
        if others && self.any_depth.is_some() { Err(Error::Alone) } else { Ok(self.any_depth.as_ref()) }
    }

    /// From so many to so many tokens; the end token is none of them.
    #[must_use]
    pub fn tokens(mut self, from: usize, to: Option<usize>) -> Self {
        self.fewest = Some(from);
        self.most = to;
        self
    }

    /// What the compilation may cost.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Draws each cell by itself, from what the constraints leave of it on the average over all valid texts. What comes out need not be
    /// valid: it is the naive way, to be measured beside the joint draw.
    #[must_use]
    pub fn each_cell_alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Whether there is no constraint.
    pub fn is_empty(&self) -> bool {
        self.languages.is_empty() && self.fewest.is_none() && self.most.is_none() && self.any_depth.is_none()
    }

    /// The constraints for a tokenizer, behind a prompt that ends with that joint.
    ///
    /// # Errors
    /// What is wrong with one of them, that they exclude each other, or that they cost too much.
    pub fn compile(&self, vocabulary: &Vocabulary, joint: Joint) -> Result<Compiled> {
        let lengths = self.lengths()?;
        let built = Arc::new(self.build(vocabulary, joint)?);
        Ok(self.compiled(built, Origin::Compiled, joint, vocabulary, lengths))
    }

    /// The same, looked up first among those that are kept, and kept.
    ///
    /// # Errors
    /// As [`Constraints::compile`].
    pub fn compile_cached(&self, vocabulary: &Vocabulary, joint: Joint, cache: &Cache) -> Result<Compiled> {
        let lengths = self.lengths()?;
        let (built, origin) = cache.get_or_build(self.key(vocabulary, joint), || self.build(vocabulary, joint))?;
        Ok(self.compiled(built, origin, joint, vocabulary, lengths))
    }

    fn compiled(
        &self,
        built: Arc<Built>,
        origin: Origin,
        joint: Joint,
        vocabulary: &Vocabulary,
        lengths: Lengths,
    ) -> Compiled {
        Compiled { built, origin, joint, end: vocabulary.end().to_vec(), lengths, alone: self.alone }
    }

    fn lengths(&self) -> Result<Lengths> {
        if self.any_depth.is_some() {
            return Err(Error::Unbounded);
        }
        let lengths = Lengths { fewest: self.fewest.unwrap_or(0), most: self.most.unwrap_or(usize::MAX) };
        if lengths.fewest > lengths.most {
            let message = format!("at least {} and at most {} tokens cannot be", lengths.fewest, lengths.most);
            return Err(Error::Empty { message });
        }
        Ok(lengths)
    }

    fn build(&self, vocabulary: &Vocabulary, joint: Joint) -> Result<Built> {
        let (start, meter) = (Instant::now(), self.budget.meter());
        let languages: Vec<_> = self.languages.iter().map(AsRef::as_ref).collect();
        let (text, depth) = intersection(&languages, &meter)?;
        let joined = joined(&text, joint, &meter)?;
        let bytes = start.elapsed();
        let automaton = Arc::new(lift(&joined, vocabulary, &meter)?);
        let lift = start.elapsed().saturating_sub(bytes);
        Ok(Built { text, automaton, depth, byte_states: joined.states(), bytes, lift })
    }

    /// What is kept is found by this: all that it depends on. Lengths are no part of an automaton.
    fn key(&self, vocabulary: &Vocabulary, joint: Joint) -> Key {
        let mut languages: Vec<_> = self.languages.iter().map(|language| format!("{language:?}")).collect();
        // All of them must hold, in whatever order they are named.
        languages.sort();
        let joint = format!("{joint:?}");
        let own = [joint.as_bytes(), vocabulary.digest()];
        Key::new(own.into_iter().chain(languages.iter().map(String::as_bytes)))
    }
}

/// The language behind its joint.
fn joined(text: &ByteDfa, joint: Joint, meter: &Meter) -> Result<ByteDfa> {
    let space = match joint {
        Joint::None => return Ok(text.clone()),
        Joint::Optional => Expression::text(" ").optional(),
        Joint::Space => Expression::text(" "),
    };
    space.then(Expression::Automaton(Arc::new(text.clone()))).compile(meter)
}
