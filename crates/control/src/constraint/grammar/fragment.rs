//! A rule as a small network: how its text goes from the first step to the last, with terminals and other rules on the way.

use std::collections::HashMap;
use std::sync::Arc;

use super::syntax::{Definition, Item, Reference};
use super::terminal::Terminals;
use crate::automaton::ByteDfa;
use crate::budget::Meter;
use crate::error::Result;

/// The step that ends a rule.
pub(super) const LAST: u32 = 0;

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// On to all of these without a text.
    Fork(Vec<u32>),
    /// Over a text of this automaton.
    Text(Arc<ByteDfa>, u32),
    /// Over a text of another rule.
    Call(Call),
}

/// Another rule within a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) reference: Reference,
    pub(super) next: u32,
    /// Something may stand before it in its rule.
    pub(super) before: bool,
    /// Something may stand behind it.
    pub(super) after: bool,
    /// It takes a level of depth.
    pub(super) deeper: bool,
}

/// A rule; the step [`LAST`] forks to nothing, until it is known what is behind the rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragment {
    pub(super) steps: Vec<Step>,
    pub(super) first: u32,
}

/// The fragments of all rules, by the number of the definition; those of terminals, and of rules that derive no text, are empty.
///
/// # Errors
/// The meter's, and those of the terminals.
pub(super) fn fragments(definitions: &[Definition], terminals: &mut Terminals, meter: &Meter) -> Result<Vec<Fragment>> {
    let mut all = Vec::with_capacity(definitions.len());
    let mut steps = 0;
    for definition in definitions {
        let mut fragment = Fragment::default();
        if !definition.terminal {
            fragment.step(Step::Fork(Vec::new()));
            let room = Room { definitions, meter, before: steps };
            fragment.first = fragment.add(&definition.body, LAST, terminals, &room)?;
        }
        steps += fragment.steps.len();
        all.push(fragment);
    }
    without_empty_rules(&mut all, meter)?;
    for fragment in &mut all {
        fragment.mark_sides();
    }
    Ok(all)
}

struct Room<'a> {
    definitions: &'a [Definition],
    meter: &'a Meter,
    /// Steps of other fragments.
    before: usize,
}

impl Fragment {
    /// The rules within, with their steps.
    pub(super) fn calls(&self) -> impl Iterator<Item = (usize, &Call)> {
        self.steps.iter().enumerate().filter_map(|(at, step)| match step {
            Step::Call(call) => Some((at, call)),
            Step::Fork(_) | Step::Text(..) => None,
        })
    }

    fn step(&mut self, step: Step) -> u32 {
        self.steps.push(step);
        self.steps.len() as u32 - 1
    }

    /// Adds an item in front of `next`; its first step.
    fn add(&mut self, item: &Item, next: u32, terminals: &mut Terminals, room: &Room) -> Result<u32> {
        room.meter.check((room.before + self.steps.len()) / 8, size_of::<Step>() * 8)?;
        match item {
            Item::Name(reference) if !room.definitions[reference.definition].terminal => {
                let call = Call { reference: *reference, next, before: true, after: true, deeper: false };
                Ok(self.step(Step::Call(call)))
            }
            Item::Sequence(items) => {
                let mut next = next;
                for item in items.iter().rev() {
                    next = self.add(item, next, terminals, room)?;
                }
                Ok(next)
            }
            Item::Choice(items) => {
                let starts = items.iter().map(|item| self.add(item, next, terminals, room)).collect::<Result<_>>()?;
                Ok(self.step(Step::Fork(starts)))
            }
            Item::Repeat { item, from, to } => {
                let mut after = match to {
                    None => {
                        let fork = self.step(Step::Fork(Vec::new()));
                        let again = self.add(item, fork, terminals, room)?;
                        self.steps[fork as usize] = Step::Fork(vec![again, next]);
                        fork
                    }
                    Some(to) => {
                        let mut after = next;
                        for _ in *from..*to {
                            let once = self.add(item, after, terminals, room)?;
                            after = self.step(Step::Fork(vec![once, next]));
                        }
                        after
                    }
                };
                for _ in 0..*from {
                    after = self.add(item, after, terminals, room)?;
                }
                Ok(after)
            }
            terminal => Ok(match terminals.used(terminal)? {
                Some(automaton) => self.step(Step::Text(automaton, next)),
                None => self.step(Step::Fork(Vec::new())),
            }),
        }
    }

    /// The steps behind a step, and whether a text lies between.
    fn behind(&self, at: usize) -> (&[u32], bool) {
        match &self.steps[at] {
            Step::Fork(to) => (to, false),
            Step::Text(_, next) => (std::slice::from_ref(next), true),
            Step::Call(call) => (std::slice::from_ref(&call.next), true),
        }
    }

    /// The steps from which the last one is reached over calls that `passes` allows.
    fn ending(&self, passes: impl Fn(&Call) -> bool) -> Vec<bool> {
        let mut sources: HashMap<u32, Vec<u32>> = HashMap::new();
        for at in 0..self.steps.len() {
            if matches!(&self.steps[at], Step::Call(call) if !passes(call)) {
                continue;
            }
            self.behind(at).0.iter().for_each(|to| sources.entry(*to).or_default().push(at as u32));
        }
        let mut found = vec![false; self.steps.len()];
        let mut open = if self.steps.is_empty() { Vec::new() } else { vec![LAST] };
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut found[at as usize], true) {
                open.extend(sources.get(&at).into_iter().flatten());
            }
        }
        found
    }

    /// The steps that are reached from these over calls that `passes` allows.
    fn reached(&self, mut open: Vec<u32>, passes: impl Fn(&Call) -> bool) -> Vec<bool> {
        let mut found = vec![false; self.steps.len()];
        while let Some(at) = open.pop() {
            let stops = matches!(&self.steps[at as usize], Step::Call(call) if !passes(call));
            if !std::mem::replace(&mut found[at as usize], true) && !stops {
                open.extend(self.behind(at as usize).0);
            }
        }
        found
    }

    /// Notes of each call whether anything may stand before it and behind it.
    fn mark_sides(&mut self) {
        let over = |at: &usize| self.behind(*at).1;
        let texts: Vec<usize> = (0..self.steps.len()).filter(over).collect();
        let inside = self.reached(texts.iter().map(|at| self.behind(*at).0[0]).collect(), |_| true);
        // Steps before any text, against the direction; a text itself is one.
        let mut ahead = vec![false; self.steps.len()];
        texts.iter().for_each(|at| ahead[*at] = true);
        let mut sources: Vec<Vec<u32>> = vec![Vec::new(); self.steps.len()];
        for at in 0..self.steps.len() {
            if let Step::Fork(to) = &self.steps[at] {
                to.iter().for_each(|to| sources[*to as usize].push(at as u32));
            }
        }
        let mut open: Vec<u32> = texts.iter().map(|at| *at as u32).collect();
        while let Some(at) = open.pop() {
            for from in &sources[at as usize] {
                if !std::mem::replace(&mut ahead[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        for (at, step) in self.steps.iter_mut().enumerate() {
            if let Step::Call(call) = step {
                (call.before, call.after) = (inside[at], ahead[call.next as usize]);
            }
        }
    }

    /// Cuts off the steps that lead from nowhere or to nowhere.
    fn trim(&mut self, passes: impl Fn(&Call) -> bool) {
        let (reached, ending) = (self.reached(vec![self.first], &passes), self.ending(&passes));
        let live: Vec<bool> = reached.iter().zip(&ending).map(|(reached, ending)| *reached && *ending).collect();
        for (at, step) in self.steps.iter_mut().enumerate() {
            match step {
                Step::Fork(to) if live[at] => to.retain(|to| live[*to as usize]),
                Step::Text(..) | Step::Call(_) if live[at] => {}
                _ => *step = Step::Fork(Vec::new()),
            }
        }
    }
}

/// Empties the fragments of rules that derive no text, and takes out the ways over them.
fn without_empty_rules(all: &mut [Fragment], meter: &Meter) -> Result<()> {
    let mut derives = vec![false; all.len()];
    let mut changed = true;
    while changed {
        changed = false;
        // What is defined late is often what others are made of.
        for at in (0..all.len()).rev().filter(|at| !all[*at].steps.is_empty()) {
            meter.check(0, 0)?;
            if !derives[at] && all[at].ending(|call| derives[call.reference.definition])[all[at].first as usize] {
                derives[at] = true;
                changed = true;
            }
        }
    }
    for (at, fragment) in all.iter_mut().enumerate() {
        if !derives[at] {
            *fragment = Fragment::default();
        } else {
            fragment.trim(|call| derives[call.reference.definition]);
        }
    }
    Ok(())
}
