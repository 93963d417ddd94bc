//! Rounding under constraints: noisy vectors of some text, the exact answer of the toy over vectors, and one joint draw.

use lldm::control::{Joint, round};
use lldm::diffusion::toy::Vectors;
use lldm::diffusion::{
    Canvas, Condition, Constraint, ConstraintRun, Denoiser, Error, LogitTransform, Result, Rng, State, StepInput, Token,
};

use super::case::{Case, Kind};
use super::dice::Dice;
use super::tally::{Account, Tally, Turn};
use super::toy;

/// Width of a vector, D.
const WIDTH: usize = 6;
/// Variances of the noise, from almost none to almost nothing else.
const VARIANCES: [f64; 5] = [1e-4, 0.05, 0.3, 0.7, 0.99];

/// Rounds a random text, at each noise, to one that is valid.
pub(crate) fn round_vectors(case: &Case, turn: Turn, tally: &mut Tally) {
    tally.case(case, "toy, vectors", turn, |account| {
        let mut dice = Dice::new(turn.seed, "vectors", turn.index);
        let compiled = match case.constraints().compile(toy::vocabulary(), Joint::None) {
            Ok(compiled) => compiled,
            Err(error) => return account.refused(format!("by the compiler ({})", reason(&error.to_string()))),
        };
        let lengths = case.lengths(toy::pieces(), 64);
        let shortest = lengths.map_or_else(|| Some(compiled.fewest_tokens()), |lengths| lengths.fewest());
        let Some(shortest) = shortest else { return account.refused("that no text meets") };
        let cells = (shortest + dice.below(12)).max(1);
        for variance in VARIANCES {
            if let Err(error) = write(case, &compiled, cells, variance, turn.seed, &mut dice, account) {
                account.fault(format!("{error} at the variance {variance}"));
            }
        }
    });
}

/// The end of a message, which says what is wrong.
fn reason(message: &str) -> &str {
    message.split(": ").last().unwrap_or(message)
}

fn write(
    case: &Case,
    constraint: &dyn Constraint,
    cells: usize,
    variance: f64,
    seed: u64,
    dice: &mut Dice,
    account: &mut Account,
) -> Result<()> {
    let embeddings: Vec<Vec<f32>> = (0..toy::SIZE).map(|_| (0..WIDTH).map(|_| normal(dice) as f32).collect()).collect();
    let vectors = Vectors::new(embeddings.clone(), vec![1.0 / toy::SIZE as f64; toy::SIZE])?;
    let mut noised = Vec::with_capacity(cells * WIDTH);
    for _ in 0..cells {
        let token = dice.below(toy::SIZE);
        let noisy = |e: &f32| (1.0 - variance).sqrt() * f64::from(*e) + variance.sqrt() * normal(dice);
        noised.extend(embeddings[token].iter().map(noisy).map(|z| z as f32));
    }
    // The second half is a canvas of its own, now and then.
    let first = if dice.chance(0.3) { dice.between(1, cells) } else { cells };
    let transform =
        LogitTransform { temperature: *dice.pick(&[0.0, 1.0]), banned: vec![toy::MASK], ..LogitTransform::default() };
    let mut run: Box<dyn ConstraintRun> = constraint.start(cells)?;
    let mut text: Vec<Token> = Vec::new();
    for (from, to) in [(0, first), (first, cells)] {
        if from == to || text.contains(&toy::END) {
            continue;
        }
        let input = StepInput {
            state: State::Vectors(&noised[from * WIDTH..to * WIDTH], WIDTH),
            time: variance,
            temperature: 1.0,
            previous: None,
            condition: Condition::Given,
        };
        let prediction = vectors.denoise(&input, &mut vectors.prefill(&[])?)?;
        let canvas = Canvas::noisy(vec![toy::MASK; to - from]);
        let rng = Rng::new(seed, dice.bits()).at(from, 0);
        let drawn = round(constraint, run.as_mut(), (&canvas, &[]), prediction.as_ref(), &transform, &rng)?;
        let tokens: Vec<_> = drawn.iter().map(|cell| cell.token).collect();
        if let Some(cell) = drawn.iter().find(|cell| !(0.0..=1.0).contains(&cell.probability)) {
            return Err(Error::Contract { message: format!("a cell has the probability {}", cell.probability) });
        }
        run.advance(&tokens)?;
        text.extend(tokens);
    }
    let end = text.iter().position(|token| *token == toy::END).unwrap_or(text.len());
    let bytes = toy::bytes(&text[..end]);
    let written = String::from_utf8_lossy(&bytes);
    match case.fault(&written, end) {
        None if case.kind == Kind::Keywords || std::str::from_utf8(&bytes).is_ok() => account.text(),
        None => account.fault(format!("{written:?} is not UTF-8")),
        Some(unmet) => account.fault(format!("{written:?} does not meet {unmet} at the variance {variance}")),
    }
    Ok(())
}

/// A draw of the standard normal (Box and Muller 1958).
fn normal(dice: &mut Dice) -> f64 {
    let radius = (-2.0 * (1.0 - dice.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * dice.unit()).cos()
}
