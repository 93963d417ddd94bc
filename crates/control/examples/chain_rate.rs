//! Prints what a step costs on the host, by constraint, and what its compilation does:
//! `cargo run --release -p lldm-control --example chain_rate [CELLS [V]]` (256 and 262144)
//!
//! The rows are as sharp as a model's. `held`: the step where every third cell is held. `sharp`: where classes lie hundreds of nats
//! apart, so that plain numbers may not be enough.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use lldm_control::automaton::{lift, synthetic_tokens};
use lldm_control::constraint::{Banned, Case, Choice, JsonSchema, Keywords, Language, Match, Regex, Words, compile};
use lldm_control::{Budget, Chain, Place, Row, TokenAutomaton, Vocabulary};
use lldm_diffusion::rng::stream;

const PROPERTIES: &str = r#"{"type":"object","required":["name","age","email","status","tags","price","items","note"],
  "properties":{"name":{"type":"string"},"age":{"type":"integer"},"email":{"type":"string"},
  "status":{"enum":["new","open","closed","lost"]},"tags":{"type":"array","items":{"type":"string"}},"price":{"type":"number"},
  "items":{"type":"array","items":{"type":"object","required":["id","size"],
  "properties":{"id":{"type":"integer"},"size":{"type":"string"}},"additionalProperties":false}},
  "note":{"type":"string"}},"additionalProperties":false}"#;

fn main() {
    let mut sizes = std::env::args().skip(1).map(|size| size.parse().expect("a number"));
    let (cells, size) = (sizes.next().unwrap_or(256), sizes.next().unwrap_or(262_144));
    let start = Instant::now();
    let tokens = synthetic_tokens(size, 1);
    let made = start.elapsed();
    let vocabulary = Vocabulary::new(&tokens, &[1]);
    let sorted = start.elapsed() - made;
    println!("V {size}, L {cells}; tokens made in {made:.0?}, sorted in {sorted:.0?}; medians, times in ms");
    println!(
        "{:28} {:>6} {:>6} {:>6} {:>6} | {:>7} {:>7} | {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} | {:>6} {:>6}",
        "",
        "bytes",
        "tokens",
        "class",
        "edges",
        "dfa",
        "lift",
        "new",
        "draw",
        "marg",
        "entr",
        "step",
        "best",
        "held",
        "sharp"
    );
    for (name, languages) in constraints() {
        let languages: Vec<&dyn Language> = languages.iter().map(AsRef::as_ref).collect();
        let start = Instant::now();
        let dfa = compile(&languages, Budget::default()).expect("the constraint compiles");
        let dfa_ms = 1e3 * start.elapsed().as_secs_f64();
        let start = Instant::now();
        let automaton = lift(&dfa, &vocabulary, &Budget::default().meter()).expect("it can be lifted");
        let lift_ms = 1e3 * start.elapsed().as_secs_f64();
        let edges: usize = (0..automaton.states() as u32).map(|state| automaton.edges(state).len()).sum();
        let step = Canvas::new(&automaton, cells, 0, 1.0).times(&automaton);
        let held = Canvas::new(&automaton, cells, 3, 1.0).times(&automaton);
        let sharp = Canvas::new(&automaton, cells, 0, 30.0).times(&automaton);
        println!(
            "{name:28} {:6} {:6} {:6} {edges:6} | {dfa_ms:7.1} {lift_ms:7.1} | {:6.3} {:6.3} {:6.3} {:6.3} {:6.3} {:6.3} | {:6.3} {:6.3}",
            dfa.states(),
            automaton.states(),
            automaton.classes(),
            step[0],
            step[1],
            step[2],
            step[3],
            step[..4].iter().sum::<f64>(),
            step[4],
            held[..4].iter().sum::<f64>(),
            sharp[..4].iter().sum::<f64>(),
        );
    }
}

fn constraints() -> Vec<(&'static str, Vec<Box<dyn Language>>)> {
    let schema = |text: &str| -> Box<dyn Language> {
        Box::new(JsonSchema::new(serde_json::from_str(text).expect("it is JSON")))
    };
    let regex = |pattern: &str| -> Box<dyn Language> { Box::new(Regex(pattern.to_string())) };
    let banned = Banned {
        words: ["dark", "cold", "storm", "night", "blood"].map(String::from).to_vec(),
        matches: Match::Word,
        case: Case::Any,
    };
    vec![
        ("choice of 4", vec![Box::new(Choice(["yes", "no", "perhaps", "never"].map(String::from).to_vec()))]),
        ("banned, 5 words", vec![Box::new(banned)]),
        (
            "schema, 1 property",
            vec![schema(
                r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string"}},"additionalProperties":false}"#,
            )],
        ),
        ("keywords, 2", vec![Box::new(Keywords::all(["spaceship", "ocean"]))]),
        ("keywords, 4", vec![Box::new(Keywords::all(["spaceship", "ocean", "road", "light"]))]),
        ("keywords, 6", vec![Box::new(Keywords::all(["spaceship", "ocean", "road", "light", "rain", "captain"]))]),
        ("2 keywords in a schema", vec![schema(PROPERTIES), Box::new(Keywords::all(["spaceship", "ocean"]))]),
        ("schema, 8 properties", vec![schema(PROPERTIES)]),
        ("words, 60 to 100", vec![Box::new(Words { from: 60, to: Some(100) })]),
        ("date + [a-zA-Z ]{1,200}", vec![regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [a-zA-Z ]{1,200}")]),
        ("[a-z ]{380}", vec![regex("[a-z ]{380}")]),
        ("8 properties, 20 to 60 words", vec![schema(PROPERTIES), Box::new(Words { from: 20, to: Some(60) })]),
    ]
}

/// Rows of ln p, `[L][C]`.
struct Canvas {
    rows: Vec<Vec<f64>>,
    within: Vec<Vec<f64>>,
    held: Vec<Option<u16>>,
}

impl Canvas {
    /// One in `every` cells is held, by what the constraint draws itself.
    fn new(automaton: &TokenAutomaton, cells: usize, every: usize, sharpness: f64) -> Self {
        let mut sizes = vec![0f64; automaton.classes()];
        automaton.class_of().iter().for_each(|class| sizes[*class as usize] += 1.0);
        let uniform = |turn: usize, index: usize| (stream(turn as u64, index as u64) >> 11) as f64 * 2f64.powi(-53);
        let row = |cell: usize| -> Vec<f64> {
            let spread = |index: usize| {
                (0..4).map(|turn| uniform(turn, index) * 12.0).sum::<f64>() * sharpness - 24.0 * sharpness
            };
            let raw: Vec<f64> =
                (0..sizes.len()).map(|class| sizes[class].ln() + spread(cell * sizes.len() + class)).collect();
            let most = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total = most + raw.iter().map(|log| (log - most).exp()).sum::<f64>().ln();
            raw.into_iter().map(|log| log - total).collect()
        };
        let rows: Vec<Vec<f64>> = (0..cells).map(row).collect();
        let within = vec![sizes.iter().map(|size| size.max(1.0).ln()).collect(); cells];
        let mut canvas = Self { rows, within, held: vec![None; cells] };
        if every > 0 {
            let path = canvas.chain(automaton).draw(|cell| uniform(9, cell));
            for (cell, class) in path.classes.iter().enumerate().filter(|(cell, _)| cell % every == 1) {
                canvas.held[cell] = Some(*class);
            }
        }
        canvas
    }

    fn cells(&self) -> Vec<Row<'_>> {
        self.rows.iter().zip(&self.held).map(|(r, h)| h.map_or(Row::Free(r), Row::Held)).collect()
    }

    fn chain<'a>(&self, automaton: &'a TokenAutomaton) -> Chain<'a> {
        Chain::new(automaton, Place::start(64), &self.cells()).expect("some text fits")
    }

    /// Milliseconds of the chain, a draw, the marginals, their entropies, and the most probable text.
    fn times(&self, automaton: &TokenAutomaton) -> [f64; 5] {
        let cells = self.cells();
        let mut times: [Vec<f64>; 5] = Default::default();
        for round in 0..15u64 {
            let mut start = Instant::now();
            let mut lap = |part: usize| {
                times[part].push(1e3 * start.elapsed().as_secs_f64());
                start = Instant::now();
            };
            let chain = self.chain(automaton);
            lap(0);
            black_box(chain.draw(|cell| (stream(round, cell as u64) >> 11) as f64 * 2f64.powi(-53)));
            lap(1);
            let marginals = chain.marginals();
            lap(2);
            black_box(marginals.entropies(&self.within));
            lap(3);
            black_box(chain.most_probable(&cells));
            lap(4);
        }
        times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
    }
}
