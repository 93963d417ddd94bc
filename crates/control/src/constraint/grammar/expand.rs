//! A grammar as a regular language: calls of rules are written out, those that repeat become loops, and those that nest are written
//! out level by level.
//!
//! A rule within a network is a copy of its steps, whose last one leads to where the rule was called from; a group of rules that
//! repeat within one another is one copy, whose calls lead to its own steps. A call that takes a level holds the automaton of the rule
//! with one level less, and so does, at the same level, a rule that would be copied often.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::fragment::{Fragment, LAST, Step, fragments};
use super::network::{Network, Node};
use super::recursion::{Recursion, analyse};
use super::syntax::{Definition, Item};
use super::terminal::{Terminals, some};
use crate::automaton::{ByteDfa, Expression};
use crate::budget::Meter;
use crate::error::Result;

/// Copies of a rule within one network, beyond which it is compiled by itself.
const MOST_COPIES: u64 = 2;

/// Depths that are tried where not even the rules of one could be listed.
const MOST_TRIED: u32 = 64;

/// A grammar whose calls are known.
pub(super) struct Expander {
    pub(super) fragments: Vec<Fragment>,
    start: usize,
    /// What may stand before the start.
    ignored: Option<Arc<ByteDfa>>,
    recursion: Recursion,
    /// Rules that are compiled by themselves.
    apart: Vec<bool>,
    /// Rules in which a level of depth may be taken.
    deep: Vec<bool>,
    /// Automata of rules with so many levels left; `None` where there is no text.
    known: HashMap<(usize, u32), Option<Arc<ByteDfa>>>,
    /// The levels left to the rule whose automaton could not be made.
    failed: Option<u32>,
}

impl Expander {
    /// Reads what the rules do.
    ///
    /// # Errors
    /// The meter's, and those of the terminals.
    pub(super) fn new(definitions: &[Definition], start: usize, ignored: &[Item], meter: &Meter) -> Result<Self> {
        let mut terminals = Terminals::new(definitions, ignored, meter)?;
        let ignored = terminals.start()?;
        let mut fragments = fragments(definitions, &mut terminals, meter)?;
        let recursion = analyse(&mut fragments, start, meter)?;
        let (apart, deep) = (apart(&fragments, &recursion, start), deep(&fragments, &recursion));
        Ok(Self { fragments, start, ignored, recursion, apart, deep, known: HashMap::new(), failed: None })
    }

    /// Whether any call takes a level, so that the depth matters.
    pub(super) fn is_cut(&self) -> bool {
        self.deep[self.start]
    }

    /// The automaton of the grammar with so many levels.
    ///
    /// # Errors
    /// [`crate::Error::Empty`] where no text is that shallow, and the meter's.
    pub(super) fn automaton(&mut self, depth: u32, meter: &Meter) -> Result<ByteDfa> {
        let goal = (self.start, self.room(self.start, depth));
        if self.fragments[self.start].steps.is_empty() {
            return Expression::never().compile(meter);
        }
        for unit in self.needed(goal, meter)? {
            if !self.known.contains_key(&unit) {
                let automaton = some(self.compiled(unit, meter)).inspect_err(|_| self.failed = Some(unit.1))?;
                self.known.insert(unit, automaton);
            }
        }
        let whole = match &self.ignored {
            None => Expression::nothing(),
            Some(ignored) => Expression::Automaton(Arc::clone(ignored)),
        };
        match self.known.get(&goal).cloned().flatten() {
            Some(automaton) => whole.then(Expression::Automaton(automaton)).compile(meter),
            None => Expression::never().compile(meter),
        }
    }

    /// The greatest depth below this one, after it failed, that fits; what was made before it failed costs nothing again.
    pub(super) fn fitting(&mut self, depth: u32, meter: &Meter) -> Option<u32> {
        let below = depth.min(self.failed.map_or(MOST_TRIED, |room| room.saturating_add(1)));
        (0..below).rev().find(|depth| self.automaton(*depth, meter).is_ok())
    }

    /// The levels that matter to a rule, of so many.
    fn room(&self, rule: usize, room: u32) -> u32 {
        if self.deep[rule] { room } else { 0 }
    }

    /// What must be compiled for a goal, each behind all that it holds; the goal is the last.
    fn needed(&self, goal: (usize, u32), meter: &Meter) -> Result<Vec<(usize, u32)>> {
        let mut found = HashSet::from([goal]);
        let mut open = vec![goal];
        while let Some((rule, room)) = open.pop() {
            meter.check(found.len() / 8, 0)?;
            // Rules that are copied into the network of this one.
            let mut copied: Vec<usize> = Vec::new();
            let mut waits = vec![rule];
            let mut seen = HashSet::new();
            while let Some(rule) = waits.pop() {
                if !seen.insert(self.recursion.group[&rule]) {
                    continue;
                }
                copied.extend(&self.recursion.groups[self.recursion.group[&rule]]);
                for member in &self.recursion.groups[self.recursion.group[&rule]] {
                    let calls =
                        self.fragments[*member].calls().map(|(_, call)| (call.reference.definition, call.deeper));
                    waits.extend(calls.filter(|(to, deeper)| !deeper && !self.apart[*to]).map(|(to, _)| to));
                }
            }
            for member in copied {
                for (_, call) in self.fragments[member].calls() {
                    let to = call.reference.definition;
                    let inside = self.recursion.group[&to] == self.recursion.group[&member];
                    let unit = match (call.deeper, room) {
                        (true, 0) => continue,
                        (true, _) => (to, self.room(to, room - 1)),
                        (false, _) if inside || !self.apart[to] => continue,
                        (false, _) => (to, self.room(to, room)),
                    };
                    if found.insert(unit) {
                        open.push(unit);
                    }
                }
            }
        }
        let mut all: Vec<_> = found.into_iter().collect();
        all.sort_by_key(|(rule, room)| (*room, self.recursion.group[rule], *rule));
        // Rules without levels count as room 0, whatever holds them; within a room the order of groups decides.
        Ok(all)
    }

    /// The automaton of a rule, once those are known that it holds.
    fn compiled(&self, (rule, room): (usize, u32), meter: &Meter) -> Result<ByteDfa> {
        let mut network = Network::default();
        let end = network.add(Node::End);
        let start = network.add(Node::Fork(Vec::new()));
        // Calls to write out: where they stand, the rule, and what is behind it.
        let mut open = vec![(start, rule, end)];
        let mut copies: HashMap<(usize, u32), u32> = HashMap::new();
        while let Some((from, rule, next)) = open.pop() {
            let first = match copies.get(&(rule, next)) {
                Some(first) => *first,
                None => {
                    let first = self.copy(rule, next, room, &mut network, &mut open, meter)?;
                    copies.insert((rule, next), first);
                    first
                }
            };
            network.lead(from, first);
        }
        network.begin(start);
        ByteDfa::explore(&network, meter)
    }

    /// Copies the group of a rule in front of `next`; the first step of the rule.
    fn copy(
        &self,
        rule: usize,
        next: u32,
        room: u32,
        network: &mut Network,
        open: &mut Vec<(u32, usize, u32)>,
        meter: &Meter,
    ) -> Result<u32> {
        let members = &self.recursion.groups[self.recursion.group[&rule]];
        let mut at = network.len() as u32;
        let mut base: HashMap<usize, u32> = HashMap::new();
        for member in members {
            base.insert(*member, at);
            at += self.fragments[*member].steps.len() as u32;
        }
        meter.check(at as usize / 8, size_of::<Node>() * 8)?;
        let mut returns = vec![(base[&rule] + LAST, next)];
        for member in members {
            let base_here = base[member];
            for step in &self.fragments[*member].steps {
                let node = match step {
                    Step::Fork(to) => Node::Fork(to.iter().map(|to| base_here + to).collect()),
                    Step::Text(automaton, next) => Node::Text(Arc::clone(automaton), base_here + next),
                    Step::Call(call) => {
                        let (to, next) = (call.reference.definition, base_here + call.next);
                        let held = match (call.deeper, room) {
                            (true, 0) => Some(None),
                            (true, _) => Some(self.known.get(&(to, self.room(to, room - 1))).cloned().flatten()),
                            (false, _) if base.contains_key(&to) || !self.apart[to] => None,
                            (false, _) => Some(self.known.get(&(to, self.room(to, room))).cloned().flatten()),
                        };
                        match held {
                            Some(Some(automaton)) => Node::Text(automaton, next),
                            Some(None) => Node::Fork(Vec::new()),
                            None => {
                                if let Some(base) = base.get(&to) {
                                    returns.push((base + LAST, next));
                                    Node::Fork(vec![base + self.fragments[to].first])
                                } else {
                                    open.push((network.len() as u32, to, next));
                                    Node::Fork(Vec::new())
                                }
                            }
                        }
                    }
                };
                network.add(node);
            }
        }
        returns.into_iter().for_each(|(last, next)| network.lead(last, next));
        Ok(base[&rule] + self.fragments[rule].first)
    }
}

/// The rules that would be copied into a network too often.
fn apart(fragments: &[Fragment], recursion: &Recursion, start: usize) -> Vec<bool> {
    let mut apart = vec![false; fragments.len()];
    let mut copies = vec![0u64; fragments.len()];
    copies[start] = 1;
    // From the start on; what a group leads to comes behind it.
    for group in recursion.groups.iter().rev() {
        let mut own = 0u64;
        for rule in group {
            apart[*rule] = copies[*rule] > MOST_COPIES;
            own = own.saturating_add(if apart[*rule] { 1 } else { copies[*rule] });
        }
        for rule in group {
            let calls = fragments[*rule].calls().filter(|(_, call)| !call.deeper);
            let mut ways: Vec<(usize, u32)> = calls.map(|(_, call)| (call.reference.definition, call.next)).collect();
            ways.sort_unstable();
            ways.dedup();
            let outside = ways.into_iter().filter(|(to, _)| recursion.group[to] != recursion.group[rule]);
            outside.for_each(|(to, _)| copies[to] = copies[to].saturating_add(own));
        }
    }
    apart
}

/// The rules from which a level may be taken.
fn deep(fragments: &[Fragment], recursion: &Recursion) -> Vec<bool> {
    let mut deep = vec![false; fragments.len()];
    for group in &recursion.groups {
        let takes =
            |rule: &usize| fragments[*rule].calls().any(|(_, call)| call.deeper || deep[call.reference.definition]);
        let found = group.iter().any(takes);
        group.iter().for_each(|rule| deep[*rule] = found);
    }
    deep
}
