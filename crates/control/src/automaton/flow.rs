//! The edges of an automaton over tokens.
//!
//! Many edges bear the same classes, so each set of them is kept once, in a list: what is summed over a list in a cell serves all
//! edges that bear it. Edges lie in one array, by the state they leave and the one they reach.

use std::collections::HashMap;

use super::tokens::Columns;

/// All edges of an automaton. From an accepting state one more leads to the state S, behind the end of the text, which none leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Where the edges of each state begin, `[S + 1]`.
    pub(crate) starts: Vec<u32>,
    /// The edges; those of a state ascend by the state that they reach.
    pub(crate) edges: Vec<Edge>,
    /// Where each list begins; one more is the end.
    pub(crate) list_starts: Vec<u32>,
    /// Classes by lists, ascending in each. The last list is that of the end tokens.
    pub(crate) list_classes: Vec<u16>,
}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The state that it reaches.
    pub(crate) to: u32,
    /// The number of its list of classes.
    pub(crate) list: u32,
}

impl Flow {
    pub(super) fn new(columns: &Columns, accepting: &[bool], end_class: u16) -> Self {
        let mut moves: Vec<(u32, u32, u16)> = Vec::with_capacity(columns.iter().map(Vec::len).sum());
        for (class, column) in (0..).zip(columns) {
            moves.extend(column.iter().map(|(from, to)| (*from, *to, class)));
        }
        moves.sort_unstable();
        let mut flow = Self { starts: vec![0], list_starts: vec![0], ..Self::default() };
        let mut number: HashMap<Vec<u16>, u32> = HashMap::new();
        let mut lists: Vec<Vec<u16>> = Vec::new();
        let mut rest = &moves[..];
        for state in 0..accepting.len() as u32 {
            while let Some((_, to, _)) = rest.first().filter(|(from, _, _)| *from == state) {
                let size = rest.iter().take_while(|(from, other, _)| (*from, other) == (state, to)).count();
                let classes: Vec<u16> = rest[..size].iter().map(|(_, _, class)| *class).collect();
                let list = *number.entry(classes).or_insert_with_key(|classes| {
                    lists.push(classes.clone());
                    lists.len() as u32 - 1
                });
                flow.edges.push(Edge { to: *to, list });
                rest = &rest[size..];
            }
            if accepting[state as usize] {
                // Its list is the last one, whose number is not known yet.
                flow.edges.push(Edge { to: accepting.len() as u32, list: u32::MAX });
            }
            flow.starts.push(flow.edges.len() as u32);
        }
        flow.edges.iter_mut().filter(|edge| edge.list == u32::MAX).for_each(|edge| edge.list = lists.len() as u32);
        lists.push(vec![end_class]);
        for list in lists {
            flow.list_classes.extend(list);
            flow.list_starts.push(flow.list_classes.len() as u32);
        }
        flow
    }

    /// The edges of a state.
    pub(crate) fn of(&self, state: u32) -> &[Edge] {
        &self.edges[self.starts[state as usize] as usize..self.starts[state as usize + 1] as usize]
    }

    /// The number of lists U.
    pub(crate) fn lists(&self) -> usize {
        self.list_starts.len() - 1
    }

    /// The classes of a list.
    pub(crate) fn list(&self, list: u32) -> &[u16] {
        &self.list_classes[self.list_starts[list as usize] as usize..self.list_starts[list as usize + 1] as usize]
    }

    /// The bytes that it takes in memory.
    pub(super) fn size_bytes(&self) -> usize {
        size_of_val(&self.starts[..])
            + size_of_val(&self.edges[..])
            + size_of_val(&self.list_starts[..])
            + size_of_val(&self.list_classes[..])
    }
}
