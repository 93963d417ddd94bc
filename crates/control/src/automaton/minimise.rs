//! Trimming and minimisation of a deterministic automaton (Hopcroft 1971, for partial automata as in Valmari 2012).

use super::bytes::DEAD;
use crate::budget::Meter;
use crate::error::Result;

/// The minimal automaton of one whose transitions are `next` [states, classes] and whose first state is 0: no state without a
/// way to acceptance, no two states alike. Nothing is left of one that accepts nothing. States are numbered as a walk in order
/// of classes meets them, so that equal languages give equal tables.
pub(super) fn minimise(
    next: Vec<u32>,
    classes: usize,
    accepting: Vec<bool>,
    meter: &Meter,
) -> Result<(Vec<u32>, Vec<bool>)> {
    let states = accepting.len();
    let next = trimmed(next, classes, &accepting);
    let block_of = Partition::refined(&next, classes, &accepting, meter)?.block_of;
    // The blocks that can be reached, in the order of the walk.
    let mut number = vec![DEAD; states + 1];
    let mut order = Vec::new();
    let alive = accepting[0] || next[..classes].iter().any(|to| *to != DEAD);
    if alive {
        number[block_of[0] as usize] = 0;
        order.push(0usize);
    }
    let mut out = Vec::new();
    let mut done = 0;
    while done < order.len() {
        let state = order[done];
        done += 1;
        for to in &next[state * classes..(state + 1) * classes] {
            if *to == DEAD {
                out.push(DEAD);
                continue;
            }
            let block = block_of[*to as usize] as usize;
            if number[block] == DEAD {
                number[block] = order.len() as u32;
                order.push(*to as usize);
            }
            out.push(number[block]);
        }
    }
    Ok((out, order.into_iter().map(|state| accepting[state]).collect()))
}

/// The same transitions without those to states from which nothing is accepted.
fn trimmed(mut next: Vec<u32>, classes: usize, accepting: &[bool]) -> Vec<u32> {
    let states = accepting.len();
    let (starts, sources) = inverse(states, next.iter().enumerate().map(|(at, to)| (at / classes, *to)));
    let mut live = accepting.to_vec();
    let mut open: Vec<_> = (0..states).filter(|state| live[*state]).collect();
    while let Some(state) = open.pop() {
        for from in &sources[starts[state]..starts[state + 1]] {
            if !std::mem::replace(&mut live[*from as usize], true) {
                open.push(*from as usize);
            }
        }
    }
    next.iter_mut().filter(|to| **to != DEAD && !live[**to as usize]).for_each(|to| *to = DEAD);
    next
}

/// For each state the sources of the edges into it: where they begin, and all of them.
fn inverse(states: usize, edges: impl Iterator<Item = (usize, u32)> + Clone) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0usize; states + 1];
    let real = edges.filter(|(_, to)| *to != DEAD);
    real.clone().for_each(|(_, to)| starts[to as usize + 1] += 1);
    (0..states).for_each(|state| starts[state + 1] += starts[state]);
    let (mut place, mut sources) = (starts.clone(), vec![0; starts[states]]);
    for (from, to) in real {
        sources[place[to as usize]] = from as u32;
        place[to as usize] += 1;
    }
    (starts, sources)
}

/// Blocks of states, each a stretch of `elements`.
struct Partition {
    elements: Vec<u32>,
    place: Vec<u32>,
    block_of: Vec<u32>,
    /// Where each block begins and ends, and how many of its elements are marked; those stand first.
    blocks: Vec<(usize, usize, usize)>,
}

impl Partition {
    /// The coarsest partition that tells accepting states from others and that every class of letters respects.
    fn refined(next: &[u32], classes: usize, accepting: &[bool], meter: &Meter) -> Result<Self> {
        let states = accepting.len();
        let inverses: Vec<_> = (0..classes)
            .map(|class| {
                let column = next.iter().skip(class).step_by(classes);
                inverse(states, column.enumerate().map(|(from, to)| (from, *to)))
            })
            .collect();
        let mut partition = Self {
            elements: (0..states as u32).collect(),
            place: (0..states as u32).collect(),
            block_of: vec![0; states],
            blocks: vec![(0, states, 0)],
        };
        (0..states).filter(|state| accepting[*state]).for_each(|state| partition.mark(state as u32));
        partition.split(0);
        // Where a transition is missing there is no block to tell it by, so every block is a splitter once.
        let mut waiting: Vec<(usize, usize)> =
            (0..partition.blocks.len()).flat_map(|block| (0..classes).map(move |class| (block, class))).collect();
        let mut waits = vec![true; waiting.len()];
        let mut touched = Vec::new();
        while let Some((block, class)) = waiting.pop() {
            meter.check(states, classes * size_of::<u32>())?;
            waits[block * classes + class] = false;
            let (from, to, _) = partition.blocks[block];
            let (starts, sources) = &inverses[class];
            let members: Vec<u32> = partition.elements[from..to].to_vec();
            for state in members {
                for source in &sources[starts[state as usize]..starts[state as usize + 1]] {
                    let other = partition.block_of[*source as usize] as usize;
                    if partition.blocks[other].2 == 0 {
                        touched.push(other);
                    }
                    partition.mark(*source);
                }
            }
            for block in touched.drain(..) {
                let Some(new) = partition.split(block) else { continue };
                waits.resize((new + 1) * classes, false);
                let size = |block: usize| partition.blocks[block].1 - partition.blocks[block].0;
                for class in 0..classes {
                    let smaller = if size(new) <= size(block) { new } else { block };
                    let added = if waits[block * classes + class] { new } else { smaller };
                    if !std::mem::replace(&mut waits[added * classes + class], true) {
                        waiting.push((added, class));
                    }
                }
            }
        }
        Ok(partition)
    }

    /// Moves a state to the marked ones of its block; once.
    fn mark(&mut self, state: u32) {
        let (from, _, marked) = self.blocks[self.block_of[state as usize] as usize];
        let (at, to) = (self.place[state as usize] as usize, from + marked);
        if at < to {
            return;
        }
        let other = self.elements[to];
        self.elements.swap(at, to);
        (self.place[state as usize], self.place[other as usize]) = (to as u32, at as u32);
        self.blocks[self.block_of[state as usize] as usize].2 += 1;
    }

    /// Makes a block of the marked states of one, if there are others; its number.
    fn split(&mut self, block: usize) -> Option<usize> {
        let (from, to, marked) = self.blocks[block];
        self.blocks[block].2 = 0;
        if marked == 0 || from + marked == to {
            return None;
        }
        let new = self.blocks.len();
        self.blocks.push((from, from + marked, 0));
        self.blocks[block].0 = from + marked;
        for element in &self.elements[from..from + marked] {
            self.block_of[*element as usize] = new as u32;
        }
        Some(new)
    }
}
