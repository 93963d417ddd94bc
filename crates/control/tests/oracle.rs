//! The chain against enumeration: random automata, vocabularies and canvases, all of them small.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use lldm_control::{Chain, Error, Place, Row, TokenAutomaton};
use lldm_diffusion::rng::{Purpose, Rng, StepRng};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// A random automaton over few tokens, the last of which ends the text, with rows for a canvas.
#[derive(Clone, Debug)]
struct Case {
    tokens: usize,
    next: Vec<u32>,
    accepting: Vec<bool>,
    /// p of each token in each cell; a cell that is held has one token.
    cells: Vec<Vec<f64>>,
    place: Place,
}

fn cases() -> impl Strategy<Value = Case> {
    let lengths = (0usize..3, prop_oneof![Just(0usize), 0usize..8], prop_oneof![Just(usize::MAX), 0usize..10]);
    (2usize..=6, 1usize..=5, 1usize..=6, 0usize..=3, lengths).prop_flat_map(|(tokens, states, cells, room, lengths)| {
        let place = Place { state: 0, written: lengths.0, room, fewest: lengths.1, most: lengths.2 };
        let next = prop::collection::vec(prop_oneof![Just(u32::MAX), 0..states as u32], states * (tokens - 1));
        let accepting = prop::collection::vec(any::<bool>(), states);
        let weights = prop::collection::vec(prop::collection::vec(prop_oneof![Just(0.0), 0.01f64..1.0], tokens), cells);
        (next, accepting, weights, prop::collection::vec(any::<Option<prop::sample::Index>>(), cells)).prop_map(
            move |(next, accepting, weights, held)| {
                let cell = |(weights, held): (Vec<f64>, Option<prop::sample::Index>)| -> Vec<f64> {
                    let total: f64 = weights.iter().sum();
                    // A third of the cells are held.
                    match held.map(|held| held.index(3 * tokens)).filter(|held| *held < tokens) {
                        Some(held) => (0..tokens).map(|token| f64::from(u8::from(token == held))).collect(),
                        None if total == 0.0 => vec![1.0 / tokens as f64; tokens],
                        None => weights.into_iter().map(|weight| weight / total).collect(),
                    }
                };
                let cells = weights.into_iter().zip(held).map(cell).collect();
                Case { tokens, next, accepting, cells, place }
            },
        )
    })
}

impl Case {
    fn end(&self) -> u32 {
        self.tokens as u32 - 1
    }

    /// The automaton with a class for each token.
    fn automaton(&self) -> Result<TokenAutomaton, Error> {
        let letters = self.tokens - 1;
        // One more class, for the token that ends the text.
        let rows = self.next.chunks_exact(letters);
        let next = rows.flat_map(|row| row.iter().copied().chain([u32::MAX])).collect();
        TokenAutomaton::new((0..self.tokens as u16).collect(), next, self.accepting.clone(), &[self.end()])
    }

    /// The fewest tokens after which this text may end, by breadth, with at least so many.
    fn needed(&self, text: &[u32], least: usize) -> Option<usize> {
        let letters = self.tokens - 1;
        let step = |state: u32, token: u32| {
            let next = self.next[state as usize * letters + token as usize];
            (next != u32::MAX).then_some(next)
        };
        let mut level = vec![text.iter().try_fold(0, |state, token| step(state, *token))?];
        for steps in 0..=self.accepting.len() + least {
            if steps >= least && level.iter().any(|state| self.accepting[*state as usize]) {
                return Some(steps);
            }
            level = level
                .iter()
                .flat_map(|state| (0..letters as u32).filter_map(move |token| step(*state, token)))
                .collect();
            level.sort_unstable();
            level.dedup();
        }
        None
    }

    /// Every text that is allowed, up to its end token, with its weight.
    fn texts(&self) -> Vec<(Vec<u32>, f64)> {
        let mut open = vec![(Vec::new(), 1.0)];
        let mut done = Vec::new();
        for cell in &self.cells {
            let mut longer = Vec::new();
            for (text, weight) in open {
                for (token, p) in cell.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                    let mut next: Vec<u32> = text.clone();
                    let ends = token as u32 == self.end();
                    let length = self.place.written + text.len();
                    let may_end = (self.place.fewest..=self.place.most).contains(&length);
                    if ends && !(may_end && self.needed(&text, 0) == Some(0)) {
                        continue;
                    }
                    next.push(token as u32);
                    if ends { &mut done } else { &mut longer }.push((next, weight * p));
                }
            }
            open = longer;
        }
        let before = self.place.written + self.cells.len();
        let least = self.place.fewest.saturating_sub(before);
        let most = self.place.most.checked_sub(before).map(|most| most.min(self.place.room));
        let fits = |text: &[u32]| self.needed(text, least).zip(most).is_some_and(|(needed, most)| needed <= most);
        done.extend(open.into_iter().filter(|(text, _)| fits(text)));
        done
    }

    /// Whether a text goes on from a state behind the canvas, to a length that is allowed, with a token given there.
    fn goes_on(&self, state: u32, behind: usize, given: (usize, u32)) -> bool {
        let length = self.place.written + self.cells.len() + behind;
        let may_end = behind > given.0 && (self.place.fewest..=self.place.most).contains(&length);
        if may_end && self.accepting[state as usize] {
            return true;
        }
        let letters = self.tokens - 1;
        behind < self.place.room
            && (0..letters as u32).filter(|token| behind != given.0 || *token == given.1).any(|token| {
                let to = self.next[state as usize * letters + token as usize];
                to != u32::MAX && self.goes_on(to, behind + 1, given)
            })
    }

    /// ln of the sums over classes, and of the most probable token of each, with that token.
    fn rows(&self, automaton: &TokenAutomaton) -> Vec<(Vec<f64>, Vec<f64>, Vec<u32>)> {
        let row = |cell: &Vec<f64>| {
            let (mut sums, mut best) = (vec![0.0; automaton.classes()], vec![0.0; automaton.classes()]);
            let mut token_of = vec![0; automaton.classes()];
            for (token, p) in cell.iter().enumerate() {
                let class = automaton.class_of()[token] as usize;
                sums[class] += p;
                if *p > best[class] {
                    (best[class], token_of[class]) = (*p, token as u32);
                }
            }
            let logs = |values: Vec<f64>| values.into_iter().map(f64::ln).collect();
            (logs(sums), logs(best), token_of)
        };
        self.cells.iter().map(row).collect()
    }
}

/// The same draws for a test at each run.
fn uniforms(round: usize) -> StepRng {
    Rng::new(11, 0).at(0, round)
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-12 * expected.abs().max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_given_behind_the_canvas_narrows_it(case in cases(), at in 0usize..3, token in any::<prop::sample::Index>()) {
        let Ok(automaton) = case.automaton() else { return Ok(()) };
        let given = (at, token.index(case.tokens - 1) as u32);
        // Texts that fill the canvas, whatever may come behind it.
        let case = &case;
        let mut open = vec![(0, 1.0)];
        for cell in &case.cells {
            let step = |(state, weight): (u32, f64)| {
                let letters = 0..case.tokens - 1;
                let next = letters.map(move |token| (case.next[state as usize * (case.tokens - 1) + token], weight * cell[token]));
                next.filter(|(to, weight)| *to != u32::MAX && *weight > 0.0)
            };
            open = open.into_iter().flat_map(step).collect();
        }
        let total: f64 = open.iter().filter(|(state, _)| case.goes_on(*state, 0, given)).map(|(_, weight)| weight).sum();
        let stats = case.rows(&automaton);
        let rows: Vec<_> = stats.iter().map(|(sums, _, _)| Row::Free(sums)).collect();
        let given = [(at, automaton.class_of()[given.1 as usize])];
        match Chain::before_given(&automaton, case.place, &rows, &given) {
            Ok(chain) => prop_assert!(near(chain.log_z(), total.ln()), "{} is not {}", chain.log_z(), total.ln()),
            Err(error) => prop_assert!(total == 0.0, "{error}: {total}"),
        }
    }

    #[test]
    fn sums_marginals_and_the_most_probable_text_are_those_of_enumeration(case in cases()) {
        let texts = case.texts();
        let total: f64 = texts.iter().map(|(_, weight)| weight).sum();
        let Ok(automaton) = case.automaton() else {
            prop_assert!(case.needed(&[], 0).is_none());
            return Ok(());
        };
        prop_assert_eq!(Some(automaton.distance(0)), case.needed(&[], 0));
        let stats = case.rows(&automaton);
        let rows: Vec<_> = stats.iter().map(|(sums, _, _)| Row::Free(sums)).collect();
        let chain = match Chain::new(&automaton, case.place, &rows) {
            Ok(chain) => chain,
            Err(error) => {
                prop_assert!(texts.is_empty(), "{error}: {texts:?}");
                return Ok(());
            }
        };
        prop_assert!(near(chain.log_z(), total.ln()), "{} is not {}", chain.log_z(), total.ln());

        let marginals = chain.marginals();
        for cell in 0..case.cells.len() {
            for class in 0..automaton.classes() {
                let holds = |text: &Vec<u32>| {
                    text.get(cell).is_some_and(|token| automaton.class_of()[*token as usize] as usize == class)
                };
                let expected: f64 = texts.iter().filter(|(text, _)| holds(text)).map(|(_, weight)| weight / total).sum();
                prop_assert!(near(marginals.classes[cell][class], expected), "cell {cell}, class {class}");
            }
            let stops = |text: &Vec<u32>| text.len() == cell + 1 && text.last() == Some(&case.end());
            let expected: f64 = texts.iter().filter(|(text, _)| stops(text)).map(|(_, weight)| weight / total).sum();
            prop_assert!(near(marginals.stops[cell], expected));
        }
        prop_assert!(near(marginals.stops.iter().sum(), 1.0), "{:?}", marginals.stops);

        // The entropy of a cell over its tokens, by way of the classes.
        let within: Vec<Vec<f64>> = case.cells.iter().zip(&stats).map(|(cell, (sums, _, _))| {
            (0..automaton.classes()).map(|class| {
                let total = sums[class].exp();
                let members = cell.iter().enumerate().filter(|(token, p)| automaton.class_of()[*token] as usize == class && **p > 0.0);
                members.map(|(_, p)| p / total).map(|p| -p * p.ln()).sum()
            }).collect()
        }).collect();
        for (cell, entropy) in marginals.entropies(&within).into_iter().enumerate() {
            let mut by_token: HashMap<Option<u32>, f64> = HashMap::new();
            texts.iter().for_each(|(text, weight)| *by_token.entry(text.get(cell).copied()).or_default() += weight / total);
            let expected: f64 = by_token.values().map(|p| -p * p.ln()).sum();
            prop_assert!((entropy - expected).abs() < 1e-9, "{entropy} is not {expected}");
        }

        let best_rows: Vec<_> = stats.iter().map(|(_, best, _)| Row::Free(best)).collect();
        let (path, log) = chain.most_probable(&best_rows);
        let best = texts.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
        prop_assert!(near(log, best.ln()), "{log} is not {}", best.ln());
        let text: Vec<u32> = path.classes.iter().zip(&stats).map(|(class, (_, _, token))| token[*class as usize]).collect();
        let weight = texts.iter().find(|(other, _)| *other == text).map(|(_, weight)| *weight);
        prop_assert!(weight.is_some_and(|weight| near(weight.ln(), best.ln())), "{text:?}");
    }

    /// A held cell is a cell whose distribution is sure.
    #[test]
    fn held_cells_are_sure_cells(case in cases()) {
        let Ok(automaton) = case.automaton() else { return Ok(()) };
        let stats = case.rows(&automaton);
        let held: Vec<_> = case.cells.iter().zip(&stats).map(|(cell, (sums, _, _))| {
            match cell.iter().position(|p| *p == 1.0) {
                Some(token) => Row::Held(automaton.class_of()[token]),
                None => Row::Free(sums),
            }
        }).collect();
        let free: Vec<_> = stats.iter().map(|(sums, _, _)| Row::Free(sums)).collect();
        let both = [held, free].map(|rows| Chain::new(&automaton, case.place, &rows).map(|chain| chain.log_z()));
        prop_assert_eq!(&both[0], &both[1]);
    }
}

/// Pearson's statistic of draws of whole texts, over fifty automata; the bound is that of a family-wise level of 1e-6.
#[test]
fn draws_have_the_law_of_the_accepted_texts() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut tested, mut round) = (0, 0);
    while tested < 50 {
        round += 1;
        let case = cases().new_tree(&mut runner).unwrap().current();
        let (texts, Ok(automaton)) = (case.texts(), case.automaton()) else { continue };
        let stats = case.rows(&automaton);
        let rows: Vec<_> = stats.iter().map(|(sums, _, _)| Row::Free(sums)).collect();
        let Ok(chain) = Chain::new(&automaton, case.place, &rows) else { continue };
        let class_text =
            |text: &[u32]| text.iter().map(|token| automaton.class_of()[*token as usize]).collect::<Vec<_>>();
        let mut expected: HashMap<Vec<u16>, f64> = HashMap::new();
        texts.iter().for_each(|(text, weight)| *expected.entry(class_text(text)).or_default() += weight);
        let total: f64 = expected.values().sum();
        let draws = 4000;
        let mut seen: HashMap<Vec<u16>, usize> = HashMap::new();
        for draw in 0..draws {
            let rng = uniforms(round * draws + draw);
            let path = chain.draw(|cell| rng.uniform(cell, Purpose::Constraint));
            assert!(expected.contains_key(&path.classes), "{:?} is not allowed by {case:?}", path.classes);
            *seen.entry(path.classes).or_default() += 1;
        }
        // Rare texts are taken together.
        let (mut statistic, mut bins, mut rare) = (0.0, 0usize, (0.0, 0.0));
        for (text, weight) in &expected {
            let (mean, count) = (weight / total * draws as f64, seen.get(text).copied().unwrap_or(0) as f64);
            if mean < 10.0 {
                rare = (rare.0 + mean, rare.1 + count);
            } else {
                statistic += (count - mean).powi(2) / mean;
                bins += 1;
            }
        }
        if rare.0 >= 10.0 {
            statistic += (rare.1 - rare.0).powi(2) / rare.0;
            bins += 1;
        }
        if bins < 2 {
            continue;
        }
        // Wilson and Hilferty's approximation of the quantile at 1e-6 / 50.
        let (freedom, z) = (bins as f64 - 1.0, 5.5);
        let spread = 2.0 / (9.0 * freedom);
        let bound = freedom * (1.0 - spread + z * spread.sqrt()).powi(3);
        assert!(statistic < bound, "{statistic} over {bins} texts, the bound is {bound}: {case:?}");
        tested += 1;
    }
}

/// Weights far below the smallest f64 keep their ratios.
#[test]
fn texts_of_vanishing_weight_are_told_apart() {
    // Tokens a, b, end; the language is a* b, one b at the end.
    let next = vec![0, 1, u32::MAX, u32::MAX, u32::MAX, u32::MAX];
    let automaton = TokenAutomaton::new(vec![0, 1, 2], next, vec![false, true], &[2]).unwrap();
    let class = |token: usize| automaton.class_of()[token] as usize;
    let mut row = vec![f64::NEG_INFINITY; automaton.classes()];
    (row[class(0)], row[class(1)], row[class(2)]) = (-20.0, -600.0, -0.1);
    let rows = vec![Row::Free(&row[..]); 200];
    let chain = Chain::new(&automaton, Place::start(0), &rows).unwrap();
    // b at once and the end, against a first: each a costs 20 nats.
    let expected = -600.1 + (1.0 / (1.0 - (-20f64).exp())).ln();
    assert!((chain.log_z() - expected).abs() < 1e-9, "{} is not {expected}", chain.log_z());
    let stops = chain.marginals().stops;
    assert!((stops[1] / stops[2] / 20f64.exp() - 1.0).abs() < 1e-9 && stops[3] > 0.0);
}

#[test]
fn what_does_not_fit_is_told() {
    // Exactly three tokens a.
    let dead = u32::MAX;
    let next = vec![1, dead, 2, dead, 3, dead, dead, dead];
    let automaton = TokenAutomaton::new(vec![0, 1], next, vec![false, false, false, true], &[1]).unwrap();
    let row = vec![0.5f64.ln(); automaton.classes()];
    let error = |cells: usize, room| {
        Chain::new(&automaton, Place::start(room), &vec![Row::Free(&row); cells]).map(|_| ()).unwrap_err()
    };
    assert_eq!(error(1, 1), Error::TooLong { needed: 3, room: 2 });
    assert!(Chain::new(&automaton, Place::start(2), &[Row::Free(&row)]).is_ok());
    let held = [Row::Held(automaton.end_class()), Row::Free(&row), Row::Free(&row)];
    assert!(matches!(Chain::new(&automaton, Place::start(0), &held), Err(Error::Empty { .. })));
    // Beyond the last class is what no text holds.
    let held = [Row::Held(automaton.classes() as u16)];
    assert!(matches!(Chain::new(&automaton, Place::start(9), &held), Err(Error::Empty { .. })));
    let short = Place { most: 2, ..Place::start(9) };
    assert_eq!(
        Chain::new(&automaton, short, &[Row::Free(&row)]).map(|_| ()),
        Err(Error::TooLong { needed: 3, room: 2 })
    );
}
