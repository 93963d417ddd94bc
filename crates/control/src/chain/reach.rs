//! Which states matter in front of each cell: those that the text can have come to, and from which it can still end in time.

use super::Place;
use super::weights::Weights;
use crate::automaton::TokenAutomaton;

/// The states that matter in front of each cell, and behind the last one. It may hold a few that do not: where almost everything is
/// possible in a cell, all is taken for possible.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    states: Vec<u32>,
    /// The stretch of each cell.
    stretches: Vec<(usize, usize)>,
    /// Whether the text may have ended before.
    ended: Vec<bool>,
}

impl Reach {
    pub(super) fn new(automaton: &TokenAutomaton, place: Place, weights: &Weights) -> Self {
        let (cells, flow) = (weights.cells(), automaton.flow());
        let count = automaton.states();
        let mut reach = Self { states: Vec::new(), stretches: Vec::with_capacity(cells + 1), ended: vec![false] };
        let mut reached = vec![place.state];
        // Whether the states changed at the last cell, which was one where all is possible.
        let mut stands = false;
        let mut marks = vec![usize::MAX; count + 1];
        // Within so many tokens the farthest state comes to an end.
        let farthest = (0..count as u32).map(|state| automaton.distance(state)).max().unwrap_or(0);
        for cell in 0..=cells {
            let left = (cells - cell).saturating_add(place.room).min(place.most.saturating_sub(place.written + cell));
            match reach.stretches.last() {
                Some(last) if stands && left >= farthest => reach.stretches.push(*last),
                _ => {
                    let from = reach.states.len();
                    reach.states.extend(reached.iter().filter(|state| automaton.distance(**state) <= left));
                    reach.stretches.push((from, reach.states.len()));
                }
            }
            if cell == cells {
                break;
            }
            let lists = weights.lists(cell);
            let ends = lists[lists.len() - 1] > 0.0 && reached.iter().any(|state| automaton.is_accepting(*state));
            reach.ended.push(reach.ended[cell] || ends);
            let any = lists.iter().filter(|weight| **weight > 0.0).count() * 2 > lists.len();
            if stands && any {
                continue;
            }
            for state in &reached {
                for edge in flow.of(*state) {
                    if any || lists[edge.list as usize] > 0.0 {
                        marks[edge.to as usize] = cell;
                    }
                }
            }
            let next: Vec<u32> = (0..count as u32).filter(|state| marks[*state as usize] == cell).collect();
            stands = any && next == reached;
            reached = next;
        }
        reach
    }

    /// The states in front of a cell, ascending.
    pub(super) fn states(&self, cell: usize) -> &[u32] {
        let (from, to) = self.stretches[cell];
        &self.states[from..to]
    }

    /// Whether the text may have ended before a cell.
    pub(super) fn ended(&self, cell: usize) -> bool {
        self.ended[cell]
    }
}

/// Whether a text in each state behind a canvas of that length can still be completed, where `given` are classes of tokens that
/// stand so far behind it.
pub(super) fn completable(
    automaton: &TokenAutomaton,
    place: Place,
    length: usize,
    given: &[(usize, u16)],
) -> Vec<bool> {
    let before = place.written + length;
    let Some(most) = place.most.checked_sub(before).map(|most| most.min(place.room)) else {
        return vec![false; automaton.states()];
    };
    // No text ends before what is given.
    let last = given.iter().map(|(at, _)| at + 1).max().unwrap_or(0);
    let fewest = place.fewest.saturating_sub(before).max(last);
    let Some(spare) = most.checked_sub(fewest) else { return vec![false; automaton.states()] };
    // After exactly the fewest tokens, acceptance must be near enough.
    let states = 0..automaton.states() as u32;
    let mut can: Vec<bool> = states.clone().map(|state| automaton.distance(state) <= spare).collect();
    let mut cell = fewest;
    while let Some(at) = cell.checked_sub(1) {
        let class = given.iter().find(|(given, _)| *given == at).map(|(_, class)| *class);
        let fits = |classes: &[u16]| class.is_none_or(|class| classes.contains(&class));
        let before = |state| automaton.edges(state).any(|edge| can[edge.to as usize] && fits(edge.classes));
        let next = states.clone().map(before).collect();
        // Where nothing changes any more, the next change comes with what is given.
        cell = match class.is_none() && next == can {
            true => given.iter().map(|(given, _)| given + 1).filter(|given| *given <= at).max().unwrap_or(0),
            false => at,
        };
        can = next;
    }
    can
}
