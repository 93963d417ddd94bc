//! How many tokens a text may have: breadth-first search over texts, with matchers that are written by hand. It shares nothing with
//! the automata that it checks.

use std::collections::HashMap;

/// A matcher that reads a text byte by byte. Its states are numbers.
pub(crate) trait Part: Send + Sync {
    /// The state before the first byte.
    fn start(&self) -> u64;

    /// The state after one more byte; none where no text goes on like this.
    fn next(&self, state: u64, byte: u8) -> Option<u64>;

    /// Whether the text may end here.
    fn accepts(&self, state: u64) -> bool;
}

/// The numbers of tokens that texts may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// Up to a bound: whether there is a text of so many.
    can: Vec<bool>,
}

/// More states than this are not searched.
const MOST_STATES: usize = 40_000;
const DEAD: u32 = u32::MAX;

impl Lengths {
    /// For texts that all parts accept, spelled with `pieces`, of `tokens` from-to and at most `most`. None where there are too
    /// many states. Without bounds on the tokens only the shortest counts: longer texts are taken for possible.
    pub(crate) fn of(
        parts: &[&dyn Part],
        pieces: &[Vec<u8>],
        tokens: (usize, Option<usize>),
        most: usize,
    ) -> Option<Self> {
        let mut walk = Walk::new(parts);
        let free = tokens == (0, None);
        let mut can = vec![false; most + 1];
        let mut level = vec![0usize];
        for count in 0..=most {
            let fits = count >= tokens.0 && tokens.1.is_none_or(|to| count <= to);
            if fits && level.iter().any(|state| walk.accepts(*state)) {
                can[count] = true;
                if free {
                    can[count..].fill(true);
                    break;
                }
            }
            let mut further = Vec::new();
            for state in level {
                further.extend_from_slice(walk.ways(state, pieces)?);
            }
            further.sort_unstable();
            further.dedup();
            if free {
                // Whoever was here with fewer tokens is not new.
                further.retain(|state| walk.first_seen(*state, count + 1));
            }
            level = further;
        }
        Some(Self { can })
    }

    /// The fewest tokens.
    pub(crate) fn fewest(&self) -> Option<usize> {
        self.can.iter().position(|can| *can)
    }

    /// Whether some text has at most so many.
    pub(crate) fn within(&self, tokens: usize) -> bool {
        self.fewest().is_some_and(|fewest| fewest <= tokens)
    }
}

/// The parts side by side, their states numbered as they are met.
struct Walk<'a> {
    columns: Vec<Column<'a>>,
    numbers: HashMap<Vec<u32>, usize>,
    states: Vec<Vec<u32>>,
    ways: Vec<Option<Vec<usize>>>,
    seen: Vec<usize>,
}

/// One part as a table that grows.
struct Column<'a> {
    part: &'a dyn Part,
    numbers: HashMap<u64, u32>,
    states: Vec<u64>,
    next: Vec<[u32; 256]>,
}

impl<'a> Walk<'a> {
    fn new(parts: &[&'a dyn Part]) -> Self {
        let column = |part: &&'a dyn Part| {
            let start = part.start();
            Column { part: *part, numbers: HashMap::from([(start, 0)]), states: vec![start], next: Vec::new() }
        };
        let start = vec![0; parts.len()];
        Self {
            columns: parts.iter().map(column).collect(),
            numbers: HashMap::from([(start.clone(), 0)]),
            states: vec![start],
            ways: vec![None],
            seen: vec![0],
        }
    }

    fn accepts(&self, state: usize) -> bool {
        let one = |(column, state): (&Column<'_>, &u32)| column.part.accepts(column.states[*state as usize]);
        self.columns.iter().zip(&self.states[state]).all(one)
    }

    /// Whether the state was not met with fewer tokens.
    fn first_seen(&mut self, state: usize, count: usize) -> bool {
        let seen = &mut self.seen[state];
        *seen = (*seen).min(count);
        *seen == count
    }

    /// The states after one more piece; none where there are too many.
    fn ways(&mut self, state: usize, pieces: &[Vec<u8>]) -> Option<&[usize]> {
        if self.ways[state].is_none() {
            let from = self.states[state].clone();
            let mut found = Vec::new();
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                let mut now = from.clone();
                let lives = piece.iter().all(|byte| {
                    now.iter_mut().zip(&mut self.columns).all(|(state, column)| {
                        *state = column.next(*state, *byte);
                        *state != DEAD
                    })
                });
                if lives {
                    found.push(self.number(now));
                }
            }
            found.sort_unstable();
            found.dedup();
            self.ways[state] = Some(found);
        }
        (self.states.len() <= MOST_STATES).then_some(self.ways[state].as_deref()).flatten()
    }

    fn number(&mut self, state: Vec<u32>) -> usize {
        *self.numbers.entry(state).or_insert_with_key(|state| {
            self.states.push(state.clone());
            self.ways.push(None);
            self.seen.push(usize::MAX);
            self.states.len() - 1
        })
    }
}

impl Column<'_> {
    fn next(&mut self, state: u32, byte: u8) -> u32 {
        while self.next.len() <= state as usize {
            let from = self.states[self.next.len()];
            let row = std::array::from_fn(|byte| match self.part.next(from, byte as u8) {
                None => DEAD,
                Some(to) => *self.numbers.entry(to).or_insert_with(|| {
                    self.states.push(to);
                    self.states.len() as u32 - 1
                }),
            });
            self.next.push(row);
        }
        self.next[state as usize][usize::from(byte)]
    }
}
