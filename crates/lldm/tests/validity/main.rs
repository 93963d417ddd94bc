//! Texts under constraints are valid, all of them: random keyword sets, regular expressions and templates, and written schemas, by
//! every sampler under every noise on the toys, rounded from vectors, and on the default model. `cargo xtask soak` does the same
//! for as long as it is told.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod suite;

use lldm::control::Constraints;
use lldm::control::constraint::Regex;
use lldm::diffusion::Error as DiffusionError;
use lldm::{Error, Pipeline, Prompt};
use suite::schemas::written_schemas;
use suite::{Case, Kind, SAMPLERS, SCHEMAS, Tally, Turn, case, pairs, round_vectors, write_toys, write_with_model};

const SEED: u64 = 1;
/// Cases of each kind.
const CASES: usize = 100;

/// Works on cases of a kind; nothing may be wrong.
fn all(kind: Kind, numbers: impl Iterator<Item = usize>, mut work: impl FnMut(&Case, Turn, &mut Tally)) -> Tally {
    let mut tally = Tally::default();
    for index in numbers {
        let mut own = Tally::default();
        work(&case(kind, SEED, index), Turn { seed: SEED, index }, &mut own);
        tally.add(own);
    }
    print!("{}", tally.table());
    assert!(tally.faults.is_empty(), "{} wrong:\n{}", tally.faults.len(), tally.faults.join("\n"));
    tally
}

#[test]
fn keywords_hold_on_the_toys() {
    assert!(CASES >= pairs(), "every pair of a sampler and a noise is met");
    let tally = all(Kind::Keywords, 0..CASES, write_toys);
    assert!(tally.texts() >= 3 * CASES, "{} texts", tally.texts());
}

#[test]
fn regexes_hold_on_the_toys() {
    let tally = all(Kind::Regexes, 0..CASES, write_toys);
    assert_eq!(tally.refused(Kind::Regexes, "that no text"), 0);
    assert!(tally.texts() >= 4 * CASES, "{} texts", tally.texts());
}

#[test]
fn templates_hold_on_the_toys() {
    let tally = all(Kind::Templates, 0..CASES, write_toys);
    assert_eq!(tally.refused(Kind::Templates, "that no text"), 0);
    assert!(tally.texts() >= 4 * CASES, "{} texts", tally.texts());
}

/// All of them; those that are to be refused are among them.
#[test]
fn schemas_hold_on_the_toys() {
    let tally = all(Kind::Schemas, 0..SCHEMAS, write_toys);
    assert_eq!(tally.refused(Kind::Schemas, "beyond"), 0);
    // Two texts by each toy, for each that is not to be refused.
    assert!(tally.texts() >= 4 * 285, "{} texts", tally.texts());
}

/// In one canvas or in several, whether or not any cell is left open.
#[test]
fn what_is_given_must_be_a_part_of_a_valid_text() {
    let language = || Constraints::new().with(Regex("a{6}|b{6}".to_string()));
    let pipeline = Pipeline::load("embedded").unwrap();
    let [a, b] = ["a", "b"].map(|text| pipeline.tokenizer().encode(text).unwrap()[0]);
    for canvas in [1, 2, 4, 6] {
        let write = |pins: &[(usize, u32)]| {
            let prompt = pins.iter().fold(Prompt::text(""), |prompt, (at, token)| prompt.pin(*at, *token));
            let single: Vec<_> = (3..4096).filter(|token| ![a, b].contains(token)).collect();
            let asked = pipeline.generate(prompt).constraints(language()).ban(single);
            asked.max_tokens(6).canvas_length(canvas).run().map(|output| output.text)
        };
        for at in 0..6 {
            assert_eq!(write(&[(at, a)]).unwrap(), "aaaaaa");
            assert_eq!(write(&[(at, b)]).unwrap(), "bbbbbb");
        }
        let all = |last: u32| write(&[(0, a), (1, a), (2, a), (3, a), (4, a), (5, last)]);
        assert_eq!(all(a).unwrap(), "aaaaaa");
        for wrong in [all(b), write(&[(1, a), (4, b)])] {
            assert!(matches!(wrong, Err(Error::Diffusion(DiffusionError::Infeasible { .. }))), "{wrong:?}");
        }
    }
}

#[test]
fn three_hundred_schemas_are_written_and_few_are_to_be_refused() {
    let all = written_schemas();
    assert_eq!(all.len(), SCHEMAS);
    let refused = all.iter().filter(|(_, line)| line.starts_with("refused")).count();
    assert!((10..=15).contains(&refused), "{refused}");
    for level in ["easy", "medium", "hard"] {
        let count = all.iter().filter(|(_, line)| line.starts_with(level)).count();
        assert!(count >= 60, "{count} are {level}");
    }
}

#[test]
fn what_is_rounded_from_vectors_is_valid() {
    for kind in [Kind::Keywords, Kind::Regexes, Kind::Templates, Kind::Schemas] {
        let step = if kind == Kind::Schemas { 7 } else { 1 };
        all(kind, (0..CASES / 3 * step).step_by(step), round_vectors);
    }
}

#[test]
fn the_default_model_obeys() {
    let pipeline = Pipeline::load("embedded").unwrap();
    for kind in [Kind::Keywords, Kind::Regexes, Kind::Templates, Kind::Schemas] {
        let step = if kind == Kind::Schemas { SCHEMAS / CASES } else { 1 };
        all(kind, (0..CASES * step).step_by(step), |case, turn, tally| {
            write_with_model(&pipeline, SAMPLERS[turn.index / step % SAMPLERS.len()], case, turn, tally);
        });
    }
}
