//! Exact inference on a canvas under a constraint: the cells are independent given the model's answer, the automaton ties them.
//!
//! For probabilities p_i(v) of tokens v in cells i, the text x of the canvas has the weight prod_i p_i(x_i) if the language allows it,
//! else none (Dang and Ermon 2026, arXiv 2607.07026; Suresh et al. 2025, arXiv 2505.23061 for the most probable text). Tokens of
//! one class do the same, so sums over classes are enough. A text ends with its first end token; what stands behind counts
//! nothing. Where the canvas ends before the text does, the rest must fit into the tokens that are left.
//!
//! Messages are kept as logarithms: the weight of a whole text may lie far below the smallest f64. L cells, S states, C classes,
//! E pairs of states with an edge; a pass costs O(L (S C + E)), and E exponentials a cell.

use crate::automaton::TokenAutomaton;
use crate::error::{Error, Result};

/// Probabilities below this one are taken for it, unless they are zero: what was drawn once stays possible, however sure the
/// model becomes of something else.
const FLOOR: f64 = 1e-280;

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

/// A canvas under a constraint, with the messages from its end: ln of the weight of all ways on from each state.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    automaton: &'a TokenAutomaton,
    /// Probabilities of the classes, `[L, C]`.
    weights: Vec<Vec<f64>>,
    /// `[L + 1, S]`.
    messages: Vec<Vec<f64>>,
    place: Place,
}

/// A way through the canvas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The class of each cell as far as the text reaches, the end token's included.
    pub classes: Vec<u16>,
    /// The state in front of each of these cells, and behind the last one.
    pub states: Vec<u32>,
}

/// A class, and the state behind it; none behind an end token.
type Way = (u16, Option<u32>);

/// What the cells look like given that the text is accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Marginals {
    /// The probability of each class in each cell, `[L, C]`. The rest to 1 is that the text has ended before.
    pub classes: Vec<Vec<f64>>,
    /// The probability that the end token stands in each cell, and at L that the canvas holds none.
    pub stops: Vec<f64>,
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
        let weights: Vec<Vec<f64>> = rows.iter().map(|row| weights(*row, automaton.classes())).collect();
        let last = completable(automaton, place, rows.len());
        let mut messages: Vec<Vec<f64>> =
            vec![last.into_iter().map(|can| if can { 0.0 } else { f64::NEG_INFINITY }).collect()];
        for (cell, weights) in weights.iter().enumerate().rev() {
            let (behind, ends) = (&messages[messages.len() - 1], place.may_end(cell));
            let states = 0..automaton.states() as u32;
            messages.push(states.map(|state| sum(automaton, state, weights, behind, ends)).collect());
        }
        messages.reverse();
        let chain = Self { automaton, weights, messages, place };
        if chain.log_z() > f64::NEG_INFINITY {
            return Ok(chain);
        }
        let needed = automaton.distance(place.state).max(place.fewest.saturating_sub(place.written));
        let room = (rows.len() + place.room).min(place.most.saturating_sub(place.written));
        if needed > room {
            return Err(Error::TooLong { needed, room });
        }
        Err(Error::Empty {
            message: "the tokens that stand on the canvas already, or those that are banned, leave none".to_string(),
        })
    }

    /// ln of the probability that the cells, drawn independently, make an accepted text.
    pub fn log_z(&self) -> f64 {
        self.messages[0][self.place.state as usize]
    }

    /// A draw of the whole text; `uniform` gives a number in [0, 1) for each cell.
    pub fn draw(&self, mut uniform: impl FnMut(usize) -> f64) -> Path {
        let mut path = Path { classes: Vec::new(), states: vec![self.place.state] };
        let mut state = self.place.state;
        for cell in 0..self.weights.len() {
            let total = self.messages[cell][state as usize];
            let mut left = uniform(cell);
            let mut last = None;
            for (class, to, log_weight) in self.ways(state, cell) {
                let share = (log_weight - total).exp();
                if share > 0.0 {
                    last = Some((class, to));
                }
                left -= share;
                if left < 0.0 {
                    break;
                }
            }
            let Some((class, to)) = last else { break };
            path.classes.push(class);
            path.states.push(to.unwrap_or(state));
            match to {
                Some(to) => state = to,
                None => break,
            }
        }
        path
    }

    /// The most probable text, where `best` holds ln of the probability of the most probable token of each class, `[L, C]`; and ln of
    /// its weight. Of the cells that are held nothing is taken from `best`.
    pub fn most_probable(&self, rows: &[Row<'_>]) -> (Path, f64) {
        let automaton = self.automaton;
        let states = automaton.states() as u32;
        let weight = |cell: usize, class: u16| match rows[cell] {
            Row::Free(logs) => match logs[class as usize] {
                log if log > f64::NEG_INFINITY => log.max(FLOOR.ln()),
                none => none,
            },
            Row::Held(held) if held == class => 0.0,
            Row::Held(_) => f64::NEG_INFINITY,
        };
        let mut values = vec![self.messages[rows.len()].clone()];
        let mut choices: Vec<Vec<Option<Way>>> = Vec::new();
        for cell in (0..rows.len()).rev() {
            let behind = &values[values.len() - 1];
            let best = |state: u32| {
                let mut best = (f64::NEG_INFINITY, None);
                let mut offer = |value: f64, class: u16, to: Option<u32>| {
                    if value > best.0 {
                        best = (value, Some((class, to)));
                    }
                };
                for edge in automaton.edges(state) {
                    let rest = behind[edge.to as usize];
                    edge.classes.iter().for_each(|class| offer(weight(cell, *class) + rest, *class, Some(edge.to)));
                }
                if automaton.is_accepting(state) && self.place.may_end(cell) {
                    offer(weight(cell, automaton.end_class()), automaton.end_class(), None);
                }
                best
            };
            let (value, choice): (Vec<_>, Vec<_>) = (0..states).map(best).unzip();
            values.push(value);
            choices.push(choice);
        }
        let mut path = Path { classes: Vec::new(), states: vec![self.place.state] };
        let mut state = self.place.state;
        for cell in 0..rows.len() {
            let Some((class, to)) = choices[rows.len() - 1 - cell][state as usize] else { break };
            path.classes.push(class);
            path.states.push(to.unwrap_or(state));
            match to {
                Some(to) => state = to,
                None => break,
            }
        }
        (path, values[rows.len()][self.place.state as usize])
    }

    /// What each cell looks like given that the text is accepted.
    pub fn marginals(&self) -> Marginals {
        let (cells, states) = (self.weights.len(), self.automaton.states());
        let log_z = self.log_z();
        let mut classes = vec![vec![0.0; self.automaton.classes()]; cells];
        let mut stops = vec![0.0; cells + 1];
        // ln of the weight of all ways to each state.
        let mut front = vec![f64::NEG_INFINITY; states];
        front[self.place.state as usize] = 0.0;
        for (cell, weights) in self.weights.iter().enumerate() {
            let behind = &self.messages[cell + 1];
            let mut next = Sums::new(states);
            for state in (0..states as u32).filter(|state| front[*state as usize] > f64::NEG_INFINITY) {
                let before = front[state as usize];
                for edge in self.automaton.edges(state) {
                    let rest = behind[edge.to as usize];
                    let joined: f64 = edge.classes.iter().map(|class| weights[*class as usize]).sum();
                    if rest == f64::NEG_INFINITY || joined == 0.0 {
                        continue;
                    }
                    let share = (before + rest - log_z).exp();
                    for class in &edge.classes {
                        classes[cell][*class as usize] += weights[*class as usize] * share;
                    }
                    next.add(edge.to as usize, before + joined.ln());
                }
                if self.automaton.is_accepting(state) && self.place.may_end(cell) {
                    let end = self.automaton.end_class() as usize;
                    let share = weights[end] * (before - log_z).exp();
                    classes[cell][end] += share;
                    stops[cell] += share;
                }
            }
            front = next.logs();
        }
        let ends = front.iter().zip(&self.messages[cells]).filter(|(_, message)| **message == 0.0);
        stops[cells] = ends.map(|(front, _)| (front - log_z).exp()).sum();
        Marginals { classes, stops }
    }

    /// The ways out of a state: class, next state (none behind an end token), ln of the weight of all texts that go on so.
    fn ways(&self, state: u32, cell: usize) -> impl Iterator<Item = (u16, Option<u32>, f64)> {
        let (weights, behind) = (&self.weights[cell], &self.messages[cell + 1]);
        let automaton = self.automaton;
        let end = automaton.end_class();
        let ended = (automaton.is_accepting(state) && self.place.may_end(cell))
            .then(|| (end, None, weights[end as usize].ln()));
        let edges = automaton.edges(state).iter().flat_map(move |edge| {
            let rest = behind[edge.to as usize];
            edge.classes.iter().map(move |class| (*class, Some(edge.to), weights[*class as usize].ln() + rest))
        });
        ended.into_iter().chain(edges)
    }
}

impl Marginals {
    /// The entropy in nats of each cell given that the text is accepted, where `within` holds that of the tokens of each class,
    /// `[L, C]`. That a text has ended before counts as one more token.
    pub fn entropies(&self, within: &[Vec<f64>]) -> Vec<f64> {
        let own = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        self.classes
            .iter()
            .zip(within)
            .map(|(classes, within)| {
                let over = own((1.0 - classes.iter().sum::<f64>()).max(0.0));
                over + classes.iter().zip(within).map(|(p, within)| own(*p) + p * within).sum::<f64>()
            })
            .collect()
    }
}

/// The probabilities of the classes in a cell.
fn weights(row: Row<'_>, classes: usize) -> Vec<f64> {
    match row {
        Row::Free(logs) => {
            assert_eq!(logs.len(), classes, "chain: a row must hold a number for each class");
            logs.iter().map(|log| if *log > f64::NEG_INFINITY { log.exp().max(FLOOR) } else { 0.0 }).collect()
        }
        Row::Held(held) => (0..classes).map(|class| if class == held as usize { 1.0 } else { 0.0 }).collect(),
    }
}

/// Whether a text in each state behind a canvas of that length can still be completed.
fn completable(automaton: &TokenAutomaton, place: Place, length: usize) -> Vec<bool> {
    let before = place.written + length;
    let Some(most) = place.most.checked_sub(before).map(|most| most.min(place.room)) else {
        return vec![false; automaton.states()];
    };
    let fewest = place.fewest.saturating_sub(before);
    let Some(spare) = most.checked_sub(fewest) else { return vec![false; automaton.states()] };
    // After exactly the fewest tokens, acceptance must be near enough.
    let states = 0..automaton.states() as u32;
    let mut can: Vec<bool> = states.clone().map(|state| automaton.distance(state) <= spare).collect();
    for _ in 0..fewest {
        let before = |state| automaton.edges(state).iter().any(|edge| can[edge.to as usize]);
        let next = states.clone().map(before).collect();
        if next == can {
            break;
        }
        can = next;
    }
    can
}

/// ln of the weight of all ways on from a state.
fn sum(automaton: &TokenAutomaton, state: u32, weights: &[f64], behind: &[f64], ends: bool) -> f64 {
    let edges = automaton.edges(state);
    let end = if ends && automaton.is_accepting(state) { weights[automaton.end_class() as usize] } else { 0.0 };
    let most = edges.iter().map(|edge| behind[edge.to as usize]).fold(f64::NEG_INFINITY, f64::max);
    let most = if end > 0.0 { most.max(0.0) } else { most };
    if most == f64::NEG_INFINITY {
        return most;
    }
    let mut total = end * (-most).exp();
    for edge in edges {
        let rest = behind[edge.to as usize];
        if rest > f64::NEG_INFINITY {
            let joined: f64 = edge.classes.iter().map(|class| weights[*class as usize]).sum();
            total += joined * (rest - most).exp();
        }
    }
    if total > f64::MIN_POSITIVE {
        return total.ln() + most;
    }
    // So far apart that the largest ways are lost: all in logarithms.
    let logs = edges.iter().map(|edge| {
        let joined: f64 = edge.classes.iter().map(|class| weights[*class as usize]).sum();
        joined.ln() + behind[edge.to as usize]
    });
    let logs: Vec<f64> = logs.chain([end.ln()]).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln() + most
}

/// Sums of weights whose logarithms come one by one.
struct Sums {
    most: Vec<f64>,
    sums: Vec<f64>,
}

impl Sums {
    fn new(count: usize) -> Self {
        Self { most: vec![f64::NEG_INFINITY; count], sums: vec![0.0; count] }
    }

    fn add(&mut self, at: usize, log: f64) {
        let (most, sum) = (&mut self.most[at], &mut self.sums[at]);
        if log > *most {
            *sum = *sum * (*most - log).exp() + 1.0;
            *most = log;
        } else {
            *sum += (log - *most).exp();
        }
    }

    fn logs(self) -> Vec<f64> {
        let log = |(most, sum): (f64, f64)| if sum > 0.0 { most + sum.ln() } else { f64::NEG_INFINITY };
        self.most.into_iter().zip(self.sums).map(log).collect()
    }
}
