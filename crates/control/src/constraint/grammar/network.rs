//! The nondeterministic automaton of a rule: forks, and automata that lead from one to the next. It is explored as a machine whose
//! states are sets (Rabin and Scott 1959).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::automaton::{ByteDfa, Machine};

/// A network of steps.
#[derive(Default)]
pub(super) struct Network {
    nodes: Vec<Node>,
    start: u32,
    /// The round in which each node was last seen, and the number of the round.
    seen: RefCell<(Vec<u32>, u32)>,
}

/// What a node does.
pub(super) enum Node {
    /// The text may end.
    End,
    /// On to all of these.
    Fork(Vec<u32>),
    /// Over a text of this automaton.
    Text(Arc<ByteDfa>, u32),
}

impl Network {
    /// Adds a node; its number.
    pub(super) fn add(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Leads a fork to one more node.
    pub(super) fn lead(&mut self, fork: u32, to: u32) {
        if let Node::Fork(all) = &mut self.nodes[fork as usize] {
            all.push(to);
        }
    }

    /// Begins here.
    pub(super) fn begin(&mut self, start: u32) {
        self.start = start;
        self.seen = RefCell::new((vec![0; self.nodes.len()], 0));
    }

    /// Adds what is reached from a node without a byte: inner states of automata, and the end as a state of its own.
    fn enter(&self, node: u32, set: &mut Vec<(u32, u32)>, seen: &mut (Vec<u32>, u32)) {
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut seen.0[at as usize], seen.1) == seen.1 {
                continue;
            }
            match &self.nodes[at as usize] {
                Node::End => set.push((at, 0)),
                Node::Fork(to) => open.extend(to),
                Node::Text(automaton, next) => {
                    set.push((at, 0));
                    if automaton.is_accepting(0) {
                        open.push(*next);
                    }
                }
            }
        }
    }

    fn closed(&self, mut set: Vec<(u32, u32)>, entered: &[u32]) -> Vec<(u32, u32)> {
        let mut seen = self.seen.borrow_mut();
        seen.1 += 1;
        entered.iter().for_each(|node| self.enter(*node, &mut set, &mut seen));
        set.sort_unstable();
        set.dedup();
        set
    }
}

impl Machine for Network {
    /// Nodes, and the states of their automata.
    type State = Vec<(u32, u32)>;

    fn start(&self) -> Self::State {
        self.closed(Vec::new(), &[self.start])
    }

    fn next(&self, set: &Self::State, byte: u8) -> Option<Self::State> {
        let (mut moved, mut entered) = (Vec::new(), Vec::new());
        for (node, state) in set {
            let Node::Text(automaton, next) = &self.nodes[*node as usize] else { continue };
            let Some(state) = automaton.next(*state, byte) else { continue };
            moved.push((*node, state));
            if automaton.is_accepting(state) {
                entered.push(*next);
            }
        }
        (!moved.is_empty()).then(|| self.closed(moved, &entered))
    }

    fn accepts(&self, set: &Self::State) -> bool {
        set.iter().any(|(node, _)| matches!(self.nodes[*node as usize], Node::End))
    }

    fn alike(&self) -> [u8; 256] {
        let mut class = [0u8; 256];
        let mut known = HashSet::new();
        for node in &self.nodes {
            let Node::Text(automaton, _) = node else { continue };
            if !known.insert(Arc::as_ptr(automaton)) {
                continue;
            }
            let mut number: HashMap<(u8, u8), u8> = HashMap::new();
            for byte in 0..=255u8 {
                let fresh = number.len();
                let key = (class[byte as usize], automaton.class(byte));
                // There are 256 bytes, so there are no more classes.
                class[byte as usize] = *number.entry(key).or_insert(fresh as u8);
            }
        }
        class
    }
}
