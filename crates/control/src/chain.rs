//! Exact inference on a canvas under a constraint: the cells are independent given the model's answer, the automaton ties them.
//!
//! For probabilities p_i(v) of tokens v in cells i, the text x of the canvas has the weight prod_i p_i(x_i) if the language allows it,
//! else none (Dang and Ermon 2026, arXiv 2607.07026; Suresh et al. 2025, arXiv 2505.23061 for the most probable text). Tokens of
//! one class do the same, so sums over classes are enough. A text ends with its first end token; what stands behind counts
//! nothing. Where the canvas ends before the text does, the rest must fit into the tokens that are left.
//!
//! L cells, S states, E edges, and U lists of classes that edges bear, of N classes together: a pass costs O(L (N + E)), without a
//! logarithm. Messages are f64 that share a power of two by cell; the weight of a text may lie far below the smallest f64, and where
//! the states of one cell lie so far apart that this matters, numbers of a wider range take their place.

mod lists;
mod marginals;
mod messages;
mod most_probable;
mod number;
mod reach;
mod weights;

use self::messages::{Behind, Canvas};
use self::number::{Number, Wide};
use self::reach::{Reach, completable};
use self::weights::Weights;
use crate::automaton::TokenAutomaton;
use crate::error::{Error, Result};

pub use self::marginals::Marginals;

/// What is known of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// ln of the probability of each of the C classes.
    Free(&'a [f64]),
    /// A token of this class is there.
    Held(u16),
}

/// Where a canvas lies in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The state in front of it.
    pub state: u32,
    /// Tokens before it.
    pub written: usize,
    /// Tokens that may follow it.
    pub room: usize,
    /// The fewest tokens of a whole text, without its end token.
    pub fewest: usize,
    /// The most.
    pub most: usize,
}

/// A canvas under a constraint, with the messages from its end: the weight of all ways on from each state.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    canvas: Canvas<'a>,
    place: Place,
    messages: Messages,
}

/// A way through the canvas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The class of each cell as far as the text reaches, the end token's included.
    pub classes: Vec<u16>,
    /// The state in front of each of these cells, and behind the last one.
    pub states: Vec<u32>,
}

/// The messages, in plain numbers where their range is enough.
#[derive(Clone, Debug)]
enum Messages {
    Plain(Behind<f64>),
    Wide(Behind<Wide>),
}

impl Place {
    /// The beginning of a text, on a canvas that `room` tokens may follow.
    pub fn start(room: usize) -> Self {
        Self { state: 0, written: 0, room, fewest: 0, most: usize::MAX }
    }

    /// Whether an end token may stand in a cell of the canvas.
    fn may_end(&self, cell: usize) -> bool {
        (self.fewest..=self.most).contains(&(self.written + cell))
    }
}

impl<'a> Chain<'a> {
    /// The canvas of `rows`.
    ///
    /// # Errors
    /// [`Error::TooLong`] or [`Error::Empty`] where no text has any weight.
    pub fn new(automaton: &'a TokenAutomaton, place: Place, rows: &[Row<'_>]) -> Result<Self> {
        Self::before_given(automaton, place, rows, &[])
    }

    /// The same, where the text must hold tokens of certain classes behind the canvas: how far behind it, and the class.
    ///
    /// # Errors
    /// As [`Chain::new`].
    pub fn before_given(
        automaton: &'a TokenAutomaton,
        place: Place,
        rows: &[Row<'_>],
        given: &[(usize, u16)],
    ) -> Result<Self> {
        let given_from = |last: usize| place.written + rows.len() + last + 1;
        let last = given.iter().map(|(at, _)| given_from(*at)).max().unwrap_or(0);
        let place = Place { fewest: place.fewest.max(last), ..place };
        let weights = Weights::new(automaton, place, rows);
        let reach = Reach::new(automaton, place, &weights);
        let last = completable(automaton, place, rows.len(), given);
        let canvas = Canvas { automaton, weights, reach, state: place.state, last };
        let behind = Behind::<f64>::new(&canvas);
        if behind.total(&canvas).is_zero() {
            return Err(without_text(automaton, place, rows.len()));
        }
        let plain = behind.is_safe(&canvas) || behind.shares(&canvas).is_some();
        let messages = if plain { Messages::Plain(behind) } else { Messages::Wide(Behind::new(&canvas)) };
        Ok(Self { canvas, place, messages })
    }

    /// ln of the probability that the cells, drawn independently, make an accepted text.
    pub fn log_z(&self) -> f64 {
        match &self.messages {
            Messages::Plain(behind) => behind.total(&self.canvas).ln(),
            Messages::Wide(behind) => behind.total(&self.canvas).ln(),
        }
    }

    /// A draw of the whole text; `uniform` gives a number in [0, 1) for each cell.
    pub fn draw(&self, uniform: impl FnMut(usize) -> f64) -> Path {
        match &self.messages {
            Messages::Plain(behind) => draw(&self.canvas, behind, uniform),
            Messages::Wide(behind) => draw(&self.canvas, behind, uniform),
        }
    }

    /// The most probable text, where `best` holds ln of the probability of the most probable token of each class, `[L, C]`; and ln of
    /// its weight. Of the cells that are held nothing is taken from `best`.
    pub fn most_probable(&self, best: &[Row<'_>]) -> (Path, f64) {
        most_probable::most_probable(&self.canvas, self.place, best)
    }

    /// What each cell looks like given that the text is accepted.
    pub fn marginals(&self) -> Marginals {
        let wide = |behind: &Behind<Wide>| behind.shares(&self.canvas);
        let shares = match &self.messages {
            Messages::Plain(behind) => behind.shares(&self.canvas).or_else(|| wide(&Behind::new(&self.canvas))),
            Messages::Wide(behind) => wide(behind),
        };
        Marginals::new(&self.canvas, &shares.expect("wide numbers are never raised"))
    }
}

/// Draws edge by edge, and a class of each.
fn draw<N: Number>(canvas: &Canvas<'_>, behind: &Behind<N>, mut uniform: impl FnMut(usize) -> f64) -> Path {
    let (automaton, flow) = (canvas.automaton, canvas.automaton.flow());
    let mut path = Path { classes: Vec::new(), states: vec![canvas.state] };
    let mut state = canvas.state;
    let mut shares = Vec::new();
    for cell in 0..canvas.weights.cells() {
        let ((column, power), (next, next_power)) = (behind.column(cell), behind.column(cell + 1));
        let lists = canvas.weights.lists(cell);
        let (total, own) = column[state as usize].split();
        let edges = flow.of(state);
        shares.clear();
        shares.extend(edges.iter().map(|edge| {
            let on = next[edge.to as usize].times(lists[edge.list as usize]);
            on.raised(next_power - power - own).product(N::power(0)) / total
        }));
        let Some((at, left)) = pick(&shares, uniform(cell) * shares.iter().sum::<f64>()) else { break };
        let edge = edges[at];
        // Where in the stretch of the edge the number fell is uniform again.
        let weights = canvas.weights.classes(cell);
        let classes = flow.list(edge.list);
        let inner: Vec<f64> = classes.iter().map(|class| weights[*class as usize]).collect();
        let Some((at, _)) = pick(&inner, left / shares[at] * lists[edge.list as usize]) else { break };
        path.classes.push(classes[at]);
        if edge.to as usize == automaton.states() {
            path.states.push(state);
            break;
        }
        path.states.push(edge.to);
        state = edge.to;
    }
    path
}

/// The share that a number falls into when they are laid end to end, and how far; the last one that is any where it lies beyond.
fn pick(shares: &[f64], number: f64) -> Option<(usize, f64)> {
    let mut left = number;
    let mut last = None;
    for (at, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        last = Some((at, left.min(*share)));
        if left < *share {
            break;
        }
        left -= share;
    }
    last
}

/// Why there is no text.
fn without_text(automaton: &TokenAutomaton, place: Place, cells: usize) -> Error {
    let needed = automaton.distance(place.state).max(place.fewest.saturating_sub(place.written));
    let room = (cells + place.room).min(place.most.saturating_sub(place.written));
    if needed > room {
        return Error::TooLong { needed, room };
    }
    let message = "the tokens that are given or stand on the canvas already, or those that are banned, leave none";
    Error::Empty { message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens a, b, other, end: a and b must be said, in any order.
    fn both() -> TokenAutomaton {
        let dead = u32::MAX;
        let next = vec![1, 2, 0, dead, 1, 3, 1, dead, 3, 2, 2, dead, 3, 3, 3, dead];
        TokenAutomaton::new(vec![0, 1, 2, 3], next, vec![false, false, false, true], &[3]).unwrap()
    }

    fn row(automaton: &TokenAutomaton, logs: [f64; 4]) -> Vec<f64> {
        let mut row = vec![f64::NEG_INFINITY; automaton.classes()];
        (0..4).for_each(|token| row[automaton.class_of()[token] as usize] = logs[token]);
        row
    }

    #[test]
    fn numbers_are_wide_only_where_states_that_matter_lie_too_far_apart() {
        let automaton = both();
        let plain = |logs: [f64; 4], ends: bool| {
            let row = row(&automaton, logs);
            let place = if ends { Place::start(0) } else { Place { fewest: 99, ..Place::start(99) } };
            let chain = Chain::new(&automaton, place, &vec![Row::Free(&row); 40]).unwrap();
            matches!(chain.messages, Messages::Plain(_))
        };
        assert!(plain([-3.0, -5.0, -0.1, -4.0], true));
        assert!(plain([-300.0, -200.0, -0.1, -9.0], true));
        assert!(!plain([-400.0, -500.0, -0.1, -9.0], true));
        // Improbable, but alike.
        assert!(plain([-300.0, -300.0, -300.0, -1e-9], false));
    }

    #[test]
    fn wide_numbers_give_what_plain_ones_give() {
        let automaton = both();
        let row = row(&automaton, [-30.0, -9.0, -0.1, -3.0]);
        let mut chain = Chain::new(&automaton, Place::start(0), &vec![Row::Free(&row); 40]).unwrap();
        let plain = (chain.log_z(), chain.marginals(), chain.draw(|cell| (cell as f64 * 0.618).fract()));
        chain.messages = Messages::Wide(Behind::new(&chain.canvas));
        assert!((chain.log_z() - plain.0).abs() < 1e-13 * plain.0.abs());
        for (wide, plain) in chain.marginals().classes.iter().zip(&plain.1.classes) {
            assert!(wide.iter().zip(plain).all(|(wide, plain)| (wide - plain).abs() <= 1e-12 * plain));
        }
        assert_eq!(chain.draw(|cell| (cell as f64 * 0.618).fract()), plain.2);
    }
}
