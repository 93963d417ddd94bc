//! Bounds and likelihoods held against brute force on small random joint distributions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chain;
mod enumeration;
mod integral;
mod monte_carlo;

use lldm::likelihood::{BoundConfig, Kind, block_bound, exhaustive_bound};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::toy::{Table, Vectors};
use lldm_diffusion::{
    Condition, Context, Denoiser, DenoiserInfo, LogitTransform, Logits, Prediction, Result, State, StepInput, Token,
};

/// Logits are f32: this is what a sum over at most 5 of them is good for.
const ROUNDING: f64 = 1e-5;
/// (words, length) of the tables.
const SIZES: [(usize, usize); 4] = [(2, 2), (3, 3), (2, 5), (3, 4)];

/// A table over all texts, whose weights span two orders of magnitude: its cells depend on one another.
fn table(words: usize, length: usize) -> Table {
    let rng = Rng::new(17, (words * 10 + length) as u64).at(0, 0);
    let texts = (0..words.pow(length as u32)).map(|number| {
        let text = (0..length).map(|at| (number / words.pow(at as u32) % words) as Token).collect();
        (text, 0.01 + rng.uniform(number, Purpose::Token).powi(4))
    });
    Table::new(words + 1, words as Token, Vec::new(), texts.collect()).unwrap()
}

/// A wrong denoiser: its distributions are those of the table, flattened or sharpened.
struct Tempered {
    table: Table,
    power: f32,
    info: DenoiserInfo,
}

impl Tempered {
    fn new(table: Table, power: f32, grid: Option<usize>) -> Self {
        let info = DenoiserInfo { canvas_grid: grid, ..table.info().clone() };
        Self { table, power, info }
    }
}

impl Denoiser for Tempered {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        self.table.prefill(prefix)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        self.table.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        let exact = self.table.denoise(input, context)?;
        let exact = exact.as_any().downcast_ref::<Logits>().unwrap();
        let rows = (0..exact.rows()).flat_map(|row| exact.row(row)).map(|logit| logit * self.power);
        Ok(Box::new(Logits::new(rows.collect(), exact.vocabulary())?))
    }
}

/// ln p of the cells in `hidden` given the other ones of `cells` and the context, one by one.
fn log_probabilities(denoiser: &dyn Denoiser, context: &mut Context, cells: &[Token], hidden: &[usize]) -> Vec<f64> {
    let mask = denoiser.info().mask.unwrap();
    let canvas: Vec<_> = (0..cells.len()).map(|at| if hidden.contains(&at) { mask } else { cells[at] }).collect();
    let state = State::Tokens(&canvas);
    let input = StepInput { state, time: 1.0, temperature: 1.0, previous: None, condition: Condition::Given };
    let targets: Vec<_> = hidden.iter().map(|at| (*at, cells[*at])).collect();
    let transform = LogitTransform { banned: vec![mask], ..LogitTransform::default() };
    denoiser.denoise(&input, context).unwrap().log_probabilities(&targets, &transform).unwrap()
}

fn orders(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(length - 1);
    let insert = |order: &Vec<usize>, at: usize| [&order[..at], &[length - 1], &order[at..]].concat();
    shorter.iter().flat_map(|order| (0..length).map(move |at| insert(order, at))).collect()
}

/// -ln q of the cells, for each order in which they can be written.
fn by_order(denoiser: &dyn Denoiser, context: &mut Context, cells: &[Token]) -> Vec<f64> {
    let write = |order: Vec<usize>| -> f64 {
        (0..order.len()).map(|at| -log_probabilities(denoiser, context, cells, &order[at..])[0]).sum()
    };
    orders(cells.len()).into_iter().map(write).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The bound by blocks that end at `ends`: for each, the mean over all orders of writing it.
fn by_blocks(denoiser: &dyn Denoiser, prefix: &[Token], text: &[Token], ends: &[usize]) -> f64 {
    let mut context = denoiser.prefill(prefix).unwrap();
    let (mut total, mut start) = (0.0, 0);
    for end in ends {
        total += mean(&by_order(denoiser, &mut context, &text[start..*end]));
        denoiser.extend(&mut context, &text[start..*end]).unwrap();
        start = *end;
    }
    total
}

fn ends(length: usize, block: usize) -> Vec<usize> {
    (0..length).step_by(block).map(|start| (start + block).min(length)).collect()
}

fn config(block_length: usize, samples: usize, seed: u64) -> BoundConfig {
    BoundConfig { block_length, samples, seed }
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < ROUNDING, "{what}: {found} is not {expected}");
}

/// Whatever the order, the product of exact conditionals is the joint probability: nothing is lost in the bound.
#[test]
fn with_exact_conditionals_the_bound_is_the_likelihood() {
    for (words, length) in SIZES {
        let table = table(words, length);
        for (text, probability) in table.texts() {
            let expected = -probability.ln();
            let bound = exhaustive_bound(&table, &[], text).unwrap();
            assert_near(bound.nats, expected, "all subsets");
            assert_eq!((bound.kind, bound.nfe, bound.tokens), (Kind::Bound, (1 << length) - 1, length));
            let exact = block_bound(&table, &[], text, &config(1, 32, 0)).unwrap();
            assert_near(exact.nats, expected, "block length 1");
            assert_eq!((exact.kind, exact.nfe, exact.standard_error), (Kind::Exact, length, Some(0.0)));
            for block in 2..=length {
                assert_near(by_blocks(&table, &[], text, &ends(length, block)), expected, "blocks");
            }
        }
    }
}

#[test]
fn a_wrong_denoiser_pays() {
    for (words, length) in SIZES {
        for power in [0.5, 2.0] {
            let wrong = Tempered::new(table(words, length), power, None);
            let (mut expected_bound, mut entropy) = (0.0, 0.0);
            for (text, probability) in wrong.table.texts() {
                let bound = exhaustive_bound(&wrong, &[], text).unwrap().nats;
                let orders = by_order(&wrong, &mut wrong.prefill(&[]).unwrap(), text);
                assert_near(bound, mean(&orders), "subsets are orders");
                // What it bounds is -ln of its own probability, the mixture over orders (Jensen).
                let own = -mean(&orders.iter().map(|nats| (-nats).exp()).collect::<Vec<_>>()).ln();
                assert!(bound > own - ROUNDING, "{bound} is below {own}");
                expected_bound += probability * bound;
                entropy -= probability * probability.ln();
                // Block length 1 is writing from left to right.
                let exact = block_bound(&wrong, &[], text, &config(1, 1, 0)).unwrap();
                assert_near(exact.nats, by_blocks(&wrong, &[], text, &ends(length, 1)), "block length 1");
            }
            assert!(expected_bound > entropy + 0.01, "{words} words, power {power}: {expected_bound} and {entropy}");
        }
    }
}

#[test]
fn estimates_fall_around_the_exact_block_sums() {
    for (words, length) in SIZES {
        let wrong = Tempered::new(table(words, length), 2.0, None);
        let texts = wrong.table.texts();
        for (text, _) in [&texts[0], &texts[texts.len() / 2], &texts[texts.len() - 1]] {
            for block in 1..=length {
                let expected = by_blocks(&wrong, &[], text, &ends(length, block));
                let found = block_bound(&wrong, &[], text, &config(block, 400, 5)).unwrap();
                let distance = (found.nats - expected).abs();
                assert!(
                    distance < 5.0 * found.standard_error.unwrap() + ROUNDING,
                    "blocks of {block}: {found:?}, {expected}"
                );
                assert_eq!(found.kind, if block == 1 { Kind::Exact } else { Kind::Bound });
            }
            let exhaustive = exhaustive_bound(&wrong, &[], text).unwrap().nats;
            assert_near(by_blocks(&wrong, &[], text, &[length]), exhaustive, "one block");
            let (whole, zero) = (config(length, 40, 3), config(0, 40, 3));
            let whole = block_bound(&wrong, &[], text, &whole).unwrap();
            assert_eq!(whole, block_bound(&wrong, &[], text, &zero).unwrap(), "0 is the whole text");
            assert!((whole.nats - exhaustive).abs() < 5.0 * whole.standard_error.unwrap() + ROUNDING);
        }
    }
}

/// The mean over seeds is unbiased, and the standard error is not smaller than the scatter.
#[test]
fn standard_errors_are_honest() {
    let wrong = Tempered::new(table(3, 4), 2.0, None);
    let text = &wrong.table.texts()[50].0;
    for (block, samples) in [(4, 3), (4, 8), (2, 6), (3, 5)] {
        let expected = by_blocks(&wrong, &[], text, &ends(4, block));
        let found: Vec<_> =
            (0..400).map(|seed| block_bound(&wrong, &[], text, &config(block, samples, seed)).unwrap()).collect();
        let distances: Vec<_> = found.iter().map(|estimate| estimate.nats - expected).collect();
        let scatter = mean(&distances.iter().map(|distance| distance * distance).collect::<Vec<_>>()).sqrt();
        let claimed =
            mean(&found.iter().map(|estimate| estimate.standard_error.unwrap().powi(2)).collect::<Vec<_>>()).sqrt();
        assert!(mean(&distances).abs() < 4.0 * scatter / 20.0, "blocks of {block}: biased by {}", mean(&distances));
        assert!(scatter < 1.15 * claimed, "blocks of {block}, {samples} samples: {scatter} and {claimed}");
    }
}

#[test]
fn blocks_end_on_the_grid_of_the_family() {
    let table = table(2, 5);
    let text = table.texts()[11].0.clone();
    for (prefix, ends) in [(0, [2, 4, 5].to_vec()), (1, vec![1, 3, 5]), (4, vec![2, 4, 5])] {
        let wrong = Tempered::new(table.clone(), 2.0, Some(2));
        let prefix = vec![0; prefix];
        let expected = by_blocks(&wrong, &prefix, &text, &ends);
        let found = block_bound(&wrong, &prefix, &text, &config(0, 400, 1)).unwrap();
        assert!(
            (found.nats - expected).abs() < 5.0 * found.standard_error.unwrap() + ROUNDING,
            "{found:?}, {expected}"
        );
        let cells: Vec<_> = std::iter::once(0).chain(ends.iter().copied()).collect();
        let passes = cells.windows(2).map(|pair| if pair[1] - pair[0] == 1 { 1 } else { 400 }).sum::<usize>();
        assert_eq!(found.nfe, passes);
    }
}

#[test]
fn what_cannot_be_measured_says_so() {
    let table = table(2, 2);
    let empty = block_bound(&table, &[], &[], &BoundConfig::default()).unwrap();
    assert_eq!((empty.nats, empty.tokens, empty.kind), (0.0, 0, Kind::Exact));
    assert_eq!(exhaustive_bound(&table, &[], &[1]).unwrap().kind, Kind::Exact);
    let long = exhaustive_bound(&table, &[], &[0; 17]).unwrap_err().to_string();
    assert!(long.contains("17 tokens long") && long.contains("16"), "{long}");
    let vectors = Vectors::new(vec![vec![1.0], vec![-1.0]], vec![0.5, 0.5]).unwrap();
    let maskless = block_bound(&vectors, &[], &[0, 1], &BoundConfig::default()).unwrap_err().to_string();
    assert!(maskless.contains("no mask token"), "{maskless}");
    let foreign = block_bound(&table, &[], &[0, 9], &BoundConfig::default()).unwrap_err().to_string();
    assert!(foreign.contains("token 9") && foreign.contains("vocabulary of 3"), "{foreign}");
}

#[test]
fn units() {
    let estimate = lldm::likelihood::Estimate {
        nats: 8.0 * std::f64::consts::LN_2,
        standard_error: Some(0.0),
        tokens: 4,
        nfe: 4,
        kind: Kind::Exact,
    };
    assert!((estimate.bits_per_byte(16) - 0.5).abs() < 1e-12);
    assert!((estimate.perplexity() - 4.0).abs() < 1e-12);
}
