//! A grammar of any depth at work: texts are drawn from left to right, token by token among those that llguidance's parser lets follow,
//! and whole texts alone are proposed.
//!
//! The mask is local: what it lets follow can be completed by some text, but perhaps by none that fits, and the draws are no exact ones
//! (the guarantee is `Verified`). A try that is not over in time is cut, earlier each time, and closed by a search among short tokens.
//! What was drawn last is the witness of what a sampler committed: where no new text is found, it is proposed again, so only the first
//! draw of a canvas can fail. Each token is a class of its own, which bounds V.

use std::sync::Arc;

use lldm_diffusion::rng::Purpose;
use lldm_diffusion::vocabulary::ClassStat;
use lldm_diffusion::{
    Constraint, ConstraintRun, ConstraintView, Error as DiffusionError, Guarantee, Proposal, StepRng, Token,
};

use super::compiled::infeasible;
use crate::constraint::{Grammar, Prefix, Verifier};
use crate::error::{Error, Result};

/// Texts that are begun in search of one that fits; each is cut a little earlier than the one before.
const TRIES: usize = 16;
/// Tokens that are tried to close a text.
const CLOSING_TOKENS: usize = 512;
/// Steps of the search for a way to close a text, beside one for each cell.
const CLOSING_STEPS: usize = 60;
/// The most tokens of a vocabulary.
const MOST_TOKENS: usize = 1 << 16;

/// A grammar of any depth, for a tokenizer.
#[derive(Clone)]
pub struct Verified {
    verifier: Arc<Verifier>,
    class_of: Arc<[u16]>,
    end: Arc<[Token]>,
    /// Tokens that close a text soon, the best first.
    closing: Arc<[Token]>,
}

#[derive(Clone)]
struct Run {
    grammar: Verified,
    /// What stands before the canvas.
    before: Prefix,
    /// Tokens that may be written from the start of the canvas on.
    left: usize,
    /// The text that was drawn last on this canvas, up to its end token.
    witness: Option<Vec<Token>>,
}

impl Verified {
    /// From the bytes of each of the V tokens (`None` for a special one), and the tokens that end a text.
    ///
    /// # Errors
    /// [`Error::Verifier`] where llguidance cannot use the grammar, [`Error::Classes`] where V is too large.
    pub fn new<B: AsRef<[u8]>>(grammar: &Grammar, tokens: &[Option<B>], end: &[Token]) -> Result<Self> {
        if tokens.len() > MOST_TOKENS {
            return Err(Error::Classes { limit: MOST_TOKENS });
        }
        let verifier = Arc::new(Verifier::new(grammar, tokens, end)?);
        let class_of = (0..tokens.len()).map(|token| token as u16).collect();
        Ok(Self { verifier, class_of, end: end.into(), closing: closing(tokens) })
    }
}

impl Constraint for Verified {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Verified
    }

    fn class_of(&self) -> &[u16] {
        &self.class_of
    }

    fn classes(&self) -> usize {
        self.class_of.len()
    }

    fn start(&self, budget: usize) -> lldm_diffusion::Result<Box<dyn ConstraintRun>> {
        Ok(Box::new(Run { grammar: self.clone(), before: self.verifier.start(), left: budget, witness: None }))
    }
}

impl Run {
    /// A text for the canvas, up to its end token, if this try finds one.
    fn text(
        &self,
        view: &ConstraintView<'_>,
        cells: usize,
        attempt: usize,
        mut steps: usize,
    ) -> Result<Option<Vec<Token>>> {
        let mut prefix = self.before.clone();
        let mut text = Vec::new();
        let cut = cells - cells * attempt / TRIES;
        for at in 0..cut {
            let token = if view.canvas.cells()[at].is_open() {
                let mut allowed = prefix.allowed()?;
                if at < view.ends_from {
                    self.grammar.end.iter().for_each(|token| allowed[*token as usize] = false);
                }
                match choose(view, &allowed, at, attempt) {
                    Some(token) => token,
                    None => return Ok(None),
                }
            } else {
                view.canvas.tokens()[at]
            };
            text.push(token);
            if self.grammar.end.contains(&token) {
                return Ok(prefix.may_end()?.then_some(text));
            }
            if !prefix.push(token)? {
                return Ok(None);
            }
        }
        // Behind the canvas there may be room for the rest.
        if cut == cells && (cells < self.left || prefix.may_end()?) {
            return Ok(Some(text));
        }
        let closed = self.close(view, &mut prefix, &mut text, cells, &mut steps)?;
        Ok(closed.then_some(text))
    }

    /// Brings a text to its end within the canvas, depth first.
    fn close(
        &self,
        view: &ConstraintView<'_>,
        prefix: &mut Prefix,
        text: &mut Vec<Token>,
        cells: usize,
        steps: &mut usize,
    ) -> Result<bool> {
        let at = text.len();
        let over = prefix.may_end()?;
        if over && at == cells && cells == self.left {
            return Ok(true);
        }
        if at == cells || *steps == 0 {
            return Ok(false);
        }
        *steps -= 1;
        let held = (!view.canvas.cells()[at].is_open()).then(|| view.canvas.tokens()[at]);
        let end = held.or(self.grammar.end.first().copied()).filter(|token| self.grammar.end.contains(token));
        if let (true, Some(end)) = (over && (held.is_some() || at >= view.ends_from), end) {
            text.push(end);
            return Ok(true);
        }
        let allowed = prefix.allowed()?;
        let held = held.as_ref().map(std::slice::from_ref);
        let possible = |token: &&Token| allowed[**token as usize] && (held.is_some() || !view.banned.contains(token));
        for token in held.unwrap_or(&self.grammar.closing).iter().filter(possible) {
            if !prefix.push(*token)? {
                continue;
            }
            text.push(*token);
            if self.close(view, prefix, text, cells, steps)? {
                return Ok(true);
            }
            text.pop();
            prefix.pop(1)?;
            if *steps == 0 {
                break;
            }
        }
        Ok(false)
    }
}

/// Short tokens, brackets and quotation marks that close before all others.
fn closing<B: AsRef<[u8]>>(tokens: &[Option<B>]) -> Arc<[Token]> {
    let rank = |bytes: &[u8]| match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b']' | b'}' | b')' | b'>') => 0,
        Some(b'"' | b'\'' | b';' | b'.') => 1,
        Some(byte) if byte.is_ascii_digit() => 2,
        Some(byte) if byte.is_ascii_alphabetic() => 3,
        Some(_) => 4,
        None => 5,
    };
    let mut all: Vec<(usize, u32, Token)> = (0..)
        .zip(tokens)
        .filter_map(|(token, bytes)| Some((token, bytes.as_ref()?.as_ref())))
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(token, bytes)| (bytes.len(), rank(bytes), token))
        .collect();
    all.sort_unstable();
    all.truncate(CLOSING_TOKENS);
    all.into_iter().map(|(_, _, token)| token).collect()
}

impl ConstraintRun for Run {
    fn draw(&mut self, view: &ConstraintView<'_>) -> lldm_diffusion::Result<Vec<Proposal>> {
        let cells = view.canvas.len().min(self.left);
        // Beside a witness a single try is enough, and no search.
        let (tries, steps) = if self.witness.is_some() { (1, 0) } else { (TRIES, CLOSING_STEPS + cells) };
        for attempt in 0..tries {
            if let Some(text) = self.text(view, cells, attempt, steps).map_err(|error| infeasible(&error))? {
                self.witness = Some(text);
                break;
            }
            if attempt + 1 == tries && self.witness.is_none() {
                let message = format!(
                    "none of {TRIES} texts that the grammar lets begin was over within the {} tokens that are left: allow more \
                     tokens, or bound the depth, which finds a text wherever there is one",
                    self.left
                );
                return Err(DiffusionError::Infeasible { message });
            }
        }
        let text = self.witness.clone().unwrap_or_default();
        let end = self.grammar.end.first().copied();
        let proposal = |at: usize| {
            let held = view.canvas.tokens()[at];
            let token = text.get(at).copied().or(end).unwrap_or(held);
            let row = &view.stats[at];
            if !view.canvas.cells()[at].is_open() || row.is_empty() {
                return Proposal { token: held, ..described(row, held) };
            }
            described(row, token)
        };
        Ok((0..view.canvas.len()).map(proposal).collect())
    }

    fn advance(&mut self, tokens: &[Token]) -> lldm_diffusion::Result<()> {
        let count = tokens.len().min(self.left);
        self.left -= count;
        self.witness = None;
        for token in &tokens[..count] {
            if self.grammar.end.contains(token) {
                self.left = 0;
                return Ok(());
            }
            if !self.before.push(*token).map_err(|error| infeasible(&error))? {
                return Err(DiffusionError::Contract {
                    message: format!("token {token} of a finished canvas is none that the grammar allows there"),
                });
            }
        }
        Ok(())
    }
}

/// A token among those allowed, by the prediction's probabilities; the first try at temperature 0 takes the most probable.
fn choose(view: &ConstraintView<'_>, allowed: &[bool], at: usize, attempt: usize) -> Option<Token> {
    let possible = |token: usize| allowed[token] && !view.banned.contains(&(token as Token));
    let log = |stat: &ClassStat| if stat.log_sum.is_nan() { f64::NEG_INFINITY } else { stat.log_sum };
    let stats = view.stats[at].iter().enumerate().filter(|(token, _)| possible(*token));
    let weights: Vec<(usize, f64)> = stats.map(|(token, stat)| (token, log(stat))).collect();
    let best = weights.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    if view.greedy && attempt == 0 {
        return Some(best.0 as Token);
    }
    // Where everything allowed is excluded by the prediction, all of it is alike.
    let weight = |log: f64| if best.1 == f64::NEG_INFINITY { 1.0 } else { (log - best.1).exp() };
    let total: f64 = weights.iter().map(|(_, log)| weight(*log)).sum();
    let mut left = uniform(view.rng, at, attempt, view.purpose) * total;
    let found = weights.iter().find(|(_, log)| {
        left -= weight(*log);
        left < 0.0
    });
    Some(found.unwrap_or(best).0 as Token)
}

/// A number for each cell of each try.
fn uniform(rng: &StepRng, at: usize, attempt: usize, purpose: Purpose) -> f64 {
    rng.uniform(at + (attempt << 12), purpose)
}

/// What the prediction says of a token by itself.
fn described(row: &[ClassStat], token: Token) -> Proposal {
    let log_p = |token: usize| row.get(token).map_or(0.0, |stat| stat.log_sum);
    let (mut best, mut second) = ((token as usize, f64::NEG_INFINITY), f64::NEG_INFINITY);
    let mut entropy = 0.0;
    for (other, stat) in row.iter().enumerate() {
        if stat.log_sum > best.1 {
            (second, best) = (best.1, (other, stat.log_sum));
        } else {
            second = second.max(stat.log_sum);
        }
        if stat.log_sum > f64::NEG_INFINITY {
            entropy -= stat.log_sum.exp() * stat.log_sum;
        }
    }
    let best_probability = if row.is_empty() { 1.0 } else { best.1.exp() };
    Proposal {
        token,
        probability: log_p(token as usize).exp(),
        entropy,
        margin: best_probability - second.exp(),
        best: best.0 as Token,
        best_probability,
        held: 0.0,
    }
}
