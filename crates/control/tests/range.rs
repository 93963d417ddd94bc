//! The chain on long canvases whose weights span hundreds of powers of ten, against the same sums in logarithms, done plainly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm_control::{Chain, Place, Row, TokenAutomaton};
use proptest::prelude::*;

/// ln of the least probability that is told from zero.
const FLOOR: f64 = -644.723_822_200_401_4;

/// An automaton, ln p of the classes in each cell, and what is held.
#[derive(Clone, Debug)]
struct Case {
    automaton: TokenAutomaton,
    rows: Vec<Vec<f64>>,
    held: Vec<Option<u16>>,
    place: Place,
}

fn cases() -> impl Strategy<Value = Case> {
    let spread = prop_oneof![Just(3.0), Just(60.0), Just(500.0)];
    (2usize..=5, 2usize..=8, 1usize..=256, spread, any::<u64>()).prop_filter_map(
        "nothing is accepted",
        |(letters, states, cells, spread, seed)| {
            let mut index = 0;
            let mut uniform = || {
                index += 1;
                (lldm_diffusion::rng::stream(seed, index) >> 11) as f64 * 2f64.powi(-53)
            };
            let mut below = |bound: usize| (uniform() * bound as f64) as usize;
            let mut next: Vec<u32> = Vec::new();
            for state in 0..states {
                // Most tokens change nothing, as most do where a few must come.
                next.extend((0..letters).map(|_| match below(6) {
                    0 => u32::MAX,
                    1 | 2 => below(states) as u32,
                    _ => state as u32,
                }));
                next.push(u32::MAX);
            }
            let accepting = (0..states).map(|_| below(4) == 0).collect();
            let place = Place {
                fewest: if below(3) == 0 { below(cells + 2) } else { 0 },
                most: if below(3) == 0 { below(cells + 4) } else { usize::MAX },
                ..Place::start(below(9))
            };
            let of: Vec<u16> = (0..=letters as u16).collect();
            let automaton = TokenAutomaton::new(of, next, accepting, &[letters as u32]).ok()?;
            // Some tokens are rare in every cell.
            let rare: Vec<f64> =
                (0..automaton.classes()).map(|_| if uniform() < 0.5 { 0.0 } else { -spread }).collect();
            let mut row = || -> Vec<f64> {
                let raw = rare
                    .iter()
                    .map(|rare| if uniform() < 0.1 { f64::NEG_INFINITY } else { rare - 0.1 * spread * uniform() });
                let raw: Vec<f64> = raw.collect();
                let total = sum(raw.iter().copied());
                if total == f64::NEG_INFINITY {
                    return vec![-2.0; automaton.classes()];
                }
                raw.into_iter().map(|log| log - total).collect()
            };
            let rows: Vec<Vec<f64>> = (0..cells).map(|_| row()).collect();
            let classes = automaton.classes();
            let held = (0..cells).map(|_| (uniform() < 0.05).then(|| (uniform() * classes as f64) as u16)).collect();
            Some(Case { automaton, rows, held, place })
        },
    )
}

/// ln of the sum of numbers given by their logarithms.
fn sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY { most } else { most + logs.map(|log| (log - most).exp()).sum::<f64>().ln() }
}

impl Case {
    fn cells(&self) -> Vec<Row<'_>> {
        self.rows.iter().zip(&self.held).map(|(row, held)| held.map_or(Row::Free(row), Row::Held)).collect()
    }

    fn weight(&self, cell: usize, class: u16) -> f64 {
        let end = class == self.automaton.end_class();
        if end && !(self.place.fewest..=self.place.most).contains(&(self.place.written + cell)) {
            return f64::NEG_INFINITY;
        }
        match self.held[cell] {
            Some(held) => {
                if held == class {
                    0.0
                } else {
                    f64::NEG_INFINITY
                }
            }
            None => match self.rows[cell][class as usize] {
                log if log == f64::NEG_INFINITY => log,
                log => log.max(FLOOR),
            },
        }
    }

    /// Class, next state and ln of the weight of each way out of a state; S is behind the end.
    fn ways(&self, cell: usize, state: u32) -> Vec<(u16, usize, f64)> {
        let end = self.automaton.end_class();
        let ended = self.automaton.is_accepting(state).then(|| (end, self.automaton.states(), self.weight(cell, end)));
        let edges = self.automaton.edges(state).flat_map(|edge| {
            edge.classes.iter().map(move |class| (*class, edge.to as usize, self.weight(cell, *class)))
        });
        edges.chain(ended).collect()
    }

    /// Whether a text in this state behind the canvas can be completed: by trying all numbers of tokens.
    fn completable(&self, state: u32) -> bool {
        let written = self.place.written + self.rows.len();
        let mut level = vec![state];
        for more in 0..=self.place.room {
            let fits = (self.place.fewest..=self.place.most).contains(&(written + more));
            if fits && level.iter().any(|state| self.automaton.is_accepting(*state)) {
                return true;
            }
            level = level.iter().flat_map(|state| self.automaton.edges(*state)).map(|edge| edge.to).collect();
            level.sort_unstable();
            level.dedup();
        }
        false
    }

    /// ln of all ways on (or of the best one), `[L + 1][S + 1]`.
    fn behind(&self, join: impl Fn(Vec<f64>) -> f64) -> Vec<Vec<f64>> {
        let states = self.automaton.states();
        let mut last: Vec<f64> =
            (0..states as u32).map(|state| if self.completable(state) { 0.0 } else { f64::NEG_INFINITY }).collect();
        last.push(0.0);
        let mut columns = vec![last];
        for cell in (0..self.rows.len()).rev() {
            let next = &columns[columns.len() - 1];
            let mut column: Vec<f64> = (0..states as u32)
                .map(|state| {
                    join(self.ways(cell, state).into_iter().map(|(_, to, weight)| weight + next[to]).collect())
                })
                .collect();
            column.push(0.0);
            columns.push(column);
        }
        columns.reverse();
        columns
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weights_of_any_size_are_summed_as_logarithms_are(case in cases()) {
        let behind = case.behind(|logs| sum(logs.into_iter()));
        let log_z = behind[0][0];
        let cells = case.cells();
        let chain = match Chain::new(&case.automaton, case.place, &cells) {
            Ok(chain) => chain,
            Err(error) => {
                prop_assert!(log_z == f64::NEG_INFINITY, "{error}, but ln Z is {log_z}");
                return Ok(());
            }
        };
        // Each of 256 sums of logarithms errs by an ulp of numbers up to 1e5.
        prop_assert!((chain.log_z() - log_z).abs() < 1e-8, "{} is not {log_z}", chain.log_z());

        let marginals = chain.marginals();
        let states = case.automaton.states();
        let mut front = vec![f64::NEG_INFINITY; states];
        front[0] = 0.0;
        for cell in 0..cells.len() {
            let mut expected = vec![Vec::new(); case.automaton.classes()];
            let mut next = vec![Vec::new(); states + 1];
            for (state, before) in (0..).zip(&front) {
                for (class, to, weight) in case.ways(cell, state) {
                    expected[class as usize].push(before + weight + behind[cell + 1][to]);
                    next[to].push(before + weight);
                }
            }
            for (class, logs) in expected.into_iter().enumerate() {
                let p = (sum(logs.into_iter()) - log_z).exp();
                let found = marginals.classes[cell][class];
                prop_assert!((found - p).abs() < 1e-8, "cell {cell}, class {class}: {found} is not {p}");
            }
            front = next[..states].iter().map(|logs| sum(logs.iter().copied())).collect();
        }
        let open = sum((0..states).map(|state| front[state] + behind[cells.len()][state]));
        prop_assert!((marginals.stops[cells.len()] - (open - log_z).exp()).abs() < 1e-8);
        prop_assert!((marginals.stops.iter().sum::<f64>() - 1.0).abs() < 1e-11);

        let best = case.behind(|logs| logs.into_iter().fold(f64::NEG_INFINITY, f64::max))[0][0];
        let (path, found) = chain.most_probable(&cells);
        prop_assert!((found - best).abs() < 1e-8, "{found} is not {best}");
        for path in [path, chain.draw(|cell| (cell as f64 * 0.618).fract()), chain.draw(|_| 0.0), chain.draw(|_| 1.0 - 1e-16)] {
            let (mut state, mut log) = (0, 0.0);
            for (cell, class) in path.classes.iter().enumerate() {
                let way = case.ways(cell, state as u32).into_iter().find(|(other, _, _)| other == class);
                let (_, to, weight) = way.expect("a path takes ways that there are");
                log += weight;
                state = to;
                prop_assert!(to == states || path.states[cell + 1] == to as u32);
            }
            prop_assert!(log > f64::NEG_INFINITY && (state == states || case.completable(state as u32)));
            prop_assert!(state == states || path.classes.len() == cells.len());
        }
    }
}

/// Six words that the model all but excludes: each state lies 200 powers of ten below the next.
#[test]
fn states_far_apart_are_told_apart() {
    let words = 6;
    // Tokens 0 to 5 are the words, 6 is any other, 7 ends the text. State n: n words have been said, in order.
    let next: Vec<u32> = (0..=words)
        .flat_map(|state| (0..8).map(move |token| if token == state && state < words { state + 1 } else { state }))
        .enumerate()
        .map(|(at, to)| if at % 8 == 7 { u32::MAX } else { to })
        .collect();
    let accepting = (0..=words).map(|state| state == words).collect();
    let automaton = TokenAutomaton::new((0..8).collect(), next, accepting, &[7]).unwrap();
    let class = |token: usize| automaton.class_of()[token] as usize;
    let rare = 1e-200f64;
    let mut row = vec![f64::NEG_INFINITY; automaton.classes()];
    (0..words as usize).for_each(|word| row[class(word)] = rare.ln());
    row[class(6)] = (-6.0 * rare).ln_1p();
    let rows = vec![Row::Free(&row[..]); 256];
    let chain = Chain::new(&automaton, Place::start(0), &rows).unwrap();
    // Each word once, in 256 over 6 ways.
    let ways: f64 = (0..6).map(|word| (256.0 - f64::from(word)) / f64::from(word + 1)).product();
    let expected = ways.ln() + 6.0 * rare.ln();
    assert!((chain.log_z() - expected).abs() < 1e-9, "{} is not {expected}", chain.log_z());
    let marginals = chain.marginals();
    for word in 0..words as usize {
        let total: f64 = marginals.classes.iter().map(|classes| classes[class(word)]).sum();
        assert!((total - 1.0).abs() < 1e-11, "{total}");
    }
    // The first word stands in the first cell in 255 over 5 of the ways.
    assert!((marginals.classes[0][class(0)] - 6.0 / 256.0).abs() < 1e-12);
}
