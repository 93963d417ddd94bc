//! The engine against enumeration: what it draws, and what it says of each cell, on canvases of few cells over few tokens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use lldm_control::constraint::Regex;
use lldm_control::{Compiled, Constraints, Joint, Vocabulary, round};
use lldm_diffusion::rng::{Purpose, Rng, open_unit, stream};
use lldm_diffusion::vocabulary::class_stats;
use lldm_diffusion::{Canvas, Cell, Constraint, ConstraintView, Error, Lean, LogitTransform, Logits, Proposal, Token};

/// The last token ends a text.
const PIECES: [&str; 5] = ["a", "b", "ab", " ", "ba"];
const END: Token = 5;
const V: usize = 6;

const EXPRESSIONS: [&str; 8] =
    ["a*b*", "(ab)+", "[ab]* [ab]*", "a?", ".*ba.*", "(a|b){3,4}", " ?a[ab ]{0,4}", "(?s:.)*"];

/// A canvas with what is known of its cells.
struct Case {
    expression: &'static str,
    compiled: Compiled,
    logits: Vec<f32>,
    canvas: Canvas,
    leans: Vec<Option<Lean>>,
    temperature: f64,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut count = 0;
        let mut next = || {
            count += 1;
            stream(seed, count)
        };
        let mut below = |bound: u64| next() % bound;
        let cells = 1 + below(4) as usize;
        let logits =
            (0..cells * V).map(|_| 4.0 * open_unit(stream(seed ^ 77, below(1 << 40))) as f32).collect::<Vec<_>>();
        let mut canvas = Canvas::noisy(vec![0; cells]);
        for at in 0..cells {
            match below(8) {
                0 => canvas.pin(at, below(V as u64) as Token),
                1 => _ = canvas.commit(at, below(V as u64 - 1) as Token),
                2 | 3 => _ = canvas.draft(at, below(V as u64) as Token),
                _ => {}
            }
        }
        let temperature = [1.0, 0.6, 1.0, 0.0][below(4) as usize];
        let expression = EXPRESSIONS[below(8) as usize];
        let pieces: Vec<Option<&str>> = PIECES.iter().copied().map(Some).chain([None]).collect();
        let vocabulary = Vocabulary::new(&pieces, &[END]);
        let compiled =
            Constraints::new().with(Regex(expression.to_string())).compile(&vocabulary, Joint::None).unwrap();
        let mut case = Self { expression, compiled, leans: vec![None; cells], logits, canvas, temperature };
        for at in 0..cells {
            if case.canvas.cells()[at] == Cell::Draft {
                let token = case.canvas.tokens()[at];
                let log_extra = [-1.0, 0.5, 3.0, f64::NEG_INFINITY][below(4) as usize];
                case.leans[at] = Some(Lean { token, log_p: case.plain(at)[token as usize].ln(), log_extra });
            }
        }
        case
    }

    fn transform(&self) -> LogitTransform {
        LogitTransform { temperature: self.temperature, ..LogitTransform::default() }
    }

    /// The probabilities of an open cell before the lean.
    fn plain(&self, at: usize) -> Vec<f64> {
        let heat = if self.temperature > 0.0 { self.temperature } else { 1.0 };
        let weights = self.logits[at * V..(at + 1) * V].iter().map(|logit| (f64::from(*logit) / heat).exp());
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }

    /// The probabilities of a cell.
    fn cell(&self, at: usize) -> Vec<f64> {
        let held = self.canvas.tokens()[at] as usize;
        if !self.canvas.cells()[at].is_open() {
            return (0..V).map(|token| f64::from(u8::from(token == held))).collect();
        }
        let mut p = self.plain(at);
        if let Some(lean) = self.leans[at] {
            p[lean.token as usize] += lean.log_extra.exp();
        }
        let total: f64 = p.iter().sum();
        p.into_iter().map(|p| p / total).collect()
    }

    /// Every accepted text with its probability given that it is accepted; it ends behind its first end token.
    fn texts(&self) -> (Vec<(Vec<Token>, f64)>, f64) {
        let judge = regex::Regex::new(&format!("^(?:{})$", self.expression)).unwrap();
        let spelled = |text: &[Token]| text.iter().map(|token| PIECES[*token as usize]).collect::<String>();
        let (mut open, mut done) = (vec![(Vec::new(), 1.0)], Vec::new());
        for at in 0..self.canvas.len() {
            let mut longer = Vec::new();
            for (text, weight) in open {
                for (token, p) in self.cell(at).into_iter().enumerate().filter(|(_, p)| *p > 0.0) {
                    let mut next: Vec<Token> = text.clone();
                    next.push(token as Token);
                    if token as Token == END {
                        if judge.is_match(&spelled(&text)) {
                            done.push((next, weight * p));
                        }
                    } else {
                        longer.push((next, weight * p));
                    }
                }
            }
            open = longer;
        }
        done.extend(open.into_iter().filter(|(text, _)| judge.is_match(&spelled(text))));
        let total: f64 = done.iter().map(|(_, weight)| weight).sum();
        (done.into_iter().map(|(text, weight)| (text, weight / total)).collect(), total)
    }

    /// What the engine proposes, and its ln Z.
    fn draw(&self, seed: u64) -> Result<(Vec<Proposal>, f64), Error> {
        let compiled = &self.compiled;
        let rng = Rng::new(seed, 0).at(0, 0);
        let logits = Logits::new(self.logits.clone(), V).unwrap();
        let stats = (0..self.canvas.len()).map(|at| {
            let key = rng.bits(at, Purpose::Token);
            let open = self.canvas.cells()[at].is_open();
            let stats = || class_stats(logits.row(at), &self.transform(), compiled.class_of(), compiled.classes(), key);
            if open { stats() } else { Vec::new() }
        });
        let stats: Vec<_> = stats.collect();
        let mut run = compiled.start(self.canvas.len())?;
        let proposals = run.draw(&ConstraintView {
            canvas: &self.canvas,
            given: &[],
            stats: &stats,
            leans: &self.leans,
            banned: &[],
            ends_from: 0,
            greedy: self.temperature == 0.0,
            rng: &rng,
            purpose: Purpose::Constraint,
        })?;
        Ok((proposals, run.log_z().unwrap()))
    }
}

/// The tokens of a text as far as it reaches, and end tokens behind it.
fn padded(text: &[Token], cells: usize) -> Vec<Token> {
    text.iter().copied().chain(std::iter::repeat(END)).take(cells).collect()
}

/// ln Z and the statistics of every cell.
#[test]
fn cells_are_described_as_by_enumeration() {
    let mut tested = 0;
    for seed in 0..4000 {
        let case = Case::new(seed);
        let (texts, total) = case.texts();
        let drawn = case.draw(seed);
        if total == 0.0 {
            assert!(matches!(drawn, Err(Error::Infeasible { .. })), "case {seed}");
            continue;
        }
        let (proposals, log_z) = drawn.unwrap();
        assert!((log_z - total.ln()).abs() < 1e-10, "case {seed}: {log_z} {}", total.ln());
        tested += 1;
        for (at, found) in proposals.iter().enumerate().filter(|(at, _)| case.canvas.cells()[*at].is_open()) {
            let mut marginal = [0.0; V];
            // Behind the end of a text there are end tokens, which are no part of it.
            let mut over = 0.0;
            for (text, p) in &texts {
                match text.get(at) {
                    Some(token) => marginal[*token as usize] += p,
                    None => over += p,
                }
            }
            let place = format!("case {seed}, cell {at}: {found:?}, {marginal:?}, over {over}");
            // Over, or ended just here: the token is the same.
            let close = |found: f64, wanted: &[f64]| wanted.iter().any(|wanted| (found - wanted).abs() < 1e-9);
            let own = marginal[found.token as usize];
            assert!(close(found.probability, &[own, if found.token == END { over } else { own }]), "{place}");
            let mut all: Vec<f64> = marginal.iter().copied().chain([over]).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            assert!(close(found.best_probability, &all[..1]), "{place}");
            assert!(close(found.margin, &[all[0] - all[1]]), "{place}");
            let best = if over >= all[0] { END } else { found.best };
            assert!(found.best == best && (over >= all[0] || close(marginal[best as usize], &all[..1])), "{place}");
            let entropy: f64 = all.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            // A lean splits a token in two, which adds at most ln 2.
            let slack = if case.leans[at].is_some() { 2f64.ln() } else { 0.0 };
            assert!(
                (-1e-9..slack + 1e-9).contains(&(found.entropy - entropy)),
                "{place}, {entropy}, {}",
                found.entropy - entropy
            );
            let held = case.leans[at].map_or(0.0, |lean| marginal[lean.token as usize]);
            assert!(close(found.held, &[held]), "{place}");
        }
    }
    assert!(tested > 2000, "{tested} cases had a text");
}

/// The most probable text at temperature 0; otherwise draws in proportion, by chi-squared tests with Bonferroni's correction.
#[test]
fn texts_are_drawn_as_by_enumeration() {
    let (mut tests, mut worst) = (0, (0.0, 0));
    for seed in 0..400 {
        let case = Case::new(seed);
        let (texts, total) = case.texts();
        if total == 0.0 {
            continue;
        }
        let cells = case.canvas.len();
        // What stands behind the end of a text counts nothing.
        let text_of = |proposals: &[Proposal]| {
            let text: Vec<_> =
                proposals.iter().map(|proposal| proposal.token).take_while(|token| *token != END).collect();
            padded(&text, cells)
        };
        if case.temperature == 0.0 {
            let found = text_of(&case.draw(seed).unwrap().0);
            let most = texts.iter().map(|(_, p)| *p).fold(0.0, f64::max);
            let own: f64 = texts.iter().filter(|(text, _)| padded(text, cells) == found).map(|(_, p)| p).sum();
            assert!(own >= most * (1.0 - 1e-9), "case {seed}: {found:?} has {own}, the most is {most}");
            continue;
        }
        let mut counts: HashMap<Vec<Token>, f64> = HashMap::new();
        let n = 1500;
        for draw in 0..n {
            *counts.entry(text_of(&case.draw(draw).unwrap().0)).or_default() += 1.0;
        }
        let mut expected: HashMap<Vec<Token>, f64> = HashMap::new();
        for (text, p) in &texts {
            *expected.entry(padded(text, cells)).or_default() += p * n as f64;
        }
        assert!(counts.keys().all(|text| expected.contains_key(text)), "case {seed} drew what is not accepted");
        // What is expected less than 5 times is joined.
        let (mut chi, mut freedom, mut rare) = (0.0, -1.0f64, (0.0, 0.0));
        let mut add = |expected: f64, found: f64| {
            chi += (found - expected).powi(2) / expected;
            freedom += 1.0;
        };
        for (text, expected) in &expected {
            let found = counts.get(text).copied().unwrap_or(0.0);
            if *expected < 5.0 {
                rare = (rare.0 + expected, rare.1 + found);
            } else {
                add(*expected, found);
            }
        }
        if rare.0 >= 5.0 {
            add(rare.0, rare.1);
        }
        tests += 1;
        if freedom > 0.0 {
            // Wilson and Hilferty's approximation: a standard normal number.
            let normal = ((chi / freedom).cbrt() - (1.0 - 2.0 / (9.0 * freedom))) / (2.0 / (9.0 * freedom)).sqrt();
            if normal > worst.0 {
                worst = (normal, seed);
            }
        }
    }
    // P(N > 4.9) is 5e-7: 0.01 % over all tests.
    assert!(tests > 100 && worst.0 < 4.9, "{tests} tests, {worst:?}");
}

/// What the engine rounds a prediction to, whose rows all have these logits.
fn rounded(expression: &str, canvas: &Canvas, given: &[(usize, Token)], logits: [f32; V]) -> Result<Vec<Token>, Error> {
    let pieces: Vec<Option<&str>> = PIECES.iter().copied().map(Some).chain([None]).collect();
    let vocabulary = Vocabulary::new(&pieces, &[END]);
    let compiled = Constraints::new().with(Regex(expression.to_string())).compile(&vocabulary, Joint::None).unwrap();
    let logits = Logits::new(logits.repeat(canvas.len()), V).unwrap();
    let mut run = compiled.start(canvas.len() + given.len())?;
    let rng = Rng::new(3, 0).at(0, 0);
    let drawn = round(&compiled, run.as_mut(), (canvas, given), &logits, &LogitTransform::default(), &rng)?;
    Ok(drawn.into_iter().map(|cell| cell.token).collect())
}

/// A prediction may exclude all that ends a text, also before any text was drawn.
#[test]
fn a_text_ends_although_the_prediction_excludes_it() {
    let never = f32::NEG_INFINITY;
    let sure = [never, 0.0, never, never, never, never];
    assert_eq!(rounded("a", &Canvas::noisy(vec![0; 3]), &[], sure).unwrap()[..2], [0, END]);
    // But not before what is given.
    let mut canvas = Canvas::noisy(vec![0; 3]);
    canvas.pin(2, 0);
    for _ in 0..20 {
        let text = rounded("a|b|[ab]{3}", &canvas, &[], sure).unwrap();
        assert!(!text.contains(&END), "{text:?}");
    }
}

#[test]
fn what_is_given_on_the_canvas_and_behind_it_stands_in_the_text() {
    let even = [0.0; V];
    assert_eq!(rounded("ab|ba", &Canvas::noisy(vec![0]), &[(0, 1)], even).unwrap(), [0]);
    assert_eq!(rounded("ab|ba", &Canvas::noisy(vec![0]), &[(0, 0)], even).unwrap(), [1]);
    assert!(matches!(rounded("aa|ba", &Canvas::noisy(vec![0]), &[(0, 1)], even), Err(Error::Infeasible { .. })));
    let mut canvas = Canvas::noisy(vec![0; 2]);
    canvas.pin(0, 1);
    assert_eq!(rounded("ab|ba", &canvas, &[], even).unwrap(), [1, 0]);
}
