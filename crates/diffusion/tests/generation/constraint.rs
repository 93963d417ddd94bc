//! Two languages drawn jointly by enumeration: a list of allowed texts, and parity over classes of tokens.

use lldm_diffusion::sampler::registry::ALL;
use lldm_diffusion::{
    Constraint, ConstraintRun, ConstraintView, Error, GenerateConfig, Guarantee, LogitTransform, Parts, Proposal,
    Result, Sequence, Token, generate,
};
use serde_json::json;

use crate::{V, config, full_table, parts, sampler, sequences, write};

/// Texts of exactly `length` tokens whose sequence of classes is accepted by `accepts`.
#[derive(Clone)]
pub(crate) struct Language {
    class_of: Vec<u16>,
    classes: usize,
    length: usize,
    pub(crate) accepts: fn(&[u16]) -> bool,
}

#[derive(Clone)]
struct Run {
    language: Language,
    written: Vec<u16>,
    log_z: Option<f64>,
}

/// An even number of odd tokens.
fn even(classes: &[u16]) -> bool {
    classes.iter().filter(|class| **class == 1).count().is_multiple_of(2)
}

/// Three texts, each token a class of its own.
fn listed(classes: &[u16]) -> bool {
    [[1, 3, 2, 1], [3, 3, 1, 2], [1, 1, 1, 3]].contains(&[classes[0], classes[1], classes[2], classes[3]])
}

fn parity(length: usize) -> Language {
    Language { class_of: vec![0, 1, 0, 1, 2], classes: 3, length, accepts: even }
}

pub(crate) fn list() -> Language {
    Language { class_of: vec![0, 1, 2, 3, 4], classes: 5, length: 4, accepts: listed }
}

#[test]
fn every_sampler_obeys_a_language() {
    let table = full_table(1..4, 4, vec![]);
    let class = |language: &Language, text: &[Token]| -> Vec<u16> {
        text.iter().map(|token| language.class_of[*token as usize]).collect()
    };
    let settings = [
        (list(), config(4)),
        (list(), GenerateConfig { block_length: 2, ..config(4) }),
        (parity(4), config(4)),
        (parity(4), GenerateConfig { canvas_length: 2, ..config(4) }),
        (parity(5), GenerateConfig { canvas_length: 3, block_length: 2, ..config(5) }),
    ];
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        let free = parts(&table, &*sampler);
        for (language, settings) in &settings {
            for temperature in [0.0, 1.0] {
                let transform = LogitTransform { temperature, ..LogitTransform::default() };
                let settings = GenerateConfig { transform, ..settings.clone() };
                let bound = Parts { constraint: Some(language), ..free };
                let texts = write(&bound, &settings, 0..40);
                for text in &texts {
                    let classes = class(language, &text.tokens);
                    assert!((language.accepts)(&classes), "{}: {:?}", spec.name, text.tokens);
                    assert!(text.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
                }
                let first: Vec<_> = texts.iter().map(|text| &text.tokens).collect();
                assert!(first.windows(2).any(|pair| pair[0] != pair[1]), "{}: the draw is free within", spec.name);
            }
            let broken = |text: &lldm_diffusion::Generation| !(language.accepts)(&class(language, &text.tokens));
            assert!(write(&free, settings, 0..40).iter().any(broken), "{}: without it not all fit", spec.name);
        }
    }
}

/// A given cell narrows the language: only one listed text has a 1 in its third cell and a 2 in its last.
#[test]
fn a_language_is_met_around_pins() {
    let table = full_table(1..4, 4, vec![]);
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        let language = list();
        let parts = Parts { constraint: Some(&language), ..parts(&table, &*sampler) };
        let pinned = sequences(0..20).into_iter().map(|one| Sequence { pins: vec![(2, 1), (3, 2)], ..one });
        for text in generate(&parts, &config(4), &pinned.collect::<Vec<_>>(), None).unwrap() {
            assert_eq!(text.tokens, [3, 3, 1, 2], "{}", spec.name);
        }
    }
}

#[test]
fn a_language_that_cannot_be_met_is_an_error() {
    let table = full_table(1..4, 4, vec![]);
    let sampler = sampler("first_hitting", json!({}));
    let error = |language: &Language| {
        let parts = Parts { constraint: Some(language), ..parts(&table, &*sampler) };
        generate(&parts, &config(4), &sequences(0..1), None).unwrap_err().to_string()
    };
    assert_eq!(error(&parity(6)), "the constraint cannot be met: texts have 6 tokens, but 4 are asked for");
    assert_eq!(
        error(&Language { class_of: vec![0; 3], ..parity(4) }),
        "contract broken: a class map of 3 tokens does not fit a prediction of 4 rows over 5 tokens"
    );
    assert_eq!(
        error(&Language { accepts: |_| false, ..parity(4) }),
        "contract broken: a constraint drew 0 tokens for 4 cells"
    );
}

impl Constraint for Language {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Exact
    }

    fn class_of(&self) -> &[u16] {
        &self.class_of
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn start(&self, budget: usize) -> Result<Box<dyn ConstraintRun>> {
        if budget != self.length {
            let message = format!("texts have {} tokens, but {budget} are asked for", self.length);
            return Err(Error::Infeasible { message });
        }
        Ok(Box::new(Run { language: self.clone(), written: Vec::new(), log_z: None }))
    }
}

impl Run {
    /// Whether some text goes on from `classes`.
    fn alive(&self, classes: &mut Vec<u16>) -> bool {
        if classes.len() == self.language.length {
            return (self.language.accepts)(classes);
        }
        (0..self.language.classes as u16).any(|class| {
            classes.push(class);
            let alive = self.alive(classes);
            classes.pop();
            alive
        })
    }
}

impl ConstraintRun for Run {
    fn draw(&mut self, view: &ConstraintView<'_>) -> Result<Vec<Proposal>> {
        let ConstraintView { canvas, stats, leans, rng, .. } = *view;
        let classes = self.language.classes;
        let lean =
            |at: usize, class: u16| leans[at].filter(|lean| self.language.class_of[lean.token as usize] == class);
        // The weight of a class in a cell, and how much of it is the token that the cell leans to.
        let weight = |at: usize, class: u16| {
            let extra = lean(at, class).map_or(0.0, |lean| lean.log_extra.exp());
            (stats[at][usize::from(class)].log_sum.exp() + extra, extra)
        };
        let mut texts = Vec::new();
        for number in 0..classes.pow(canvas.len() as u32) {
            let text: Vec<_> = (0..canvas.len() as u32).map(|at| (number / classes.pow(at) % classes) as u16).collect();
            let fits = (0..canvas.len()).all(|at| {
                let token = canvas.tokens()[at] as usize;
                canvas.cells()[at].is_open() || self.language.class_of[token] == text[at]
            });
            let open = (0..canvas.len()).filter(|at| canvas.cells()[*at].is_open());
            let weight: f64 = open.map(|at| weight(at, text[at]).0).product();
            if fits && weight > 0.0 && self.alive(&mut [&self.written[..], &text].concat()) {
                texts.push((text, weight));
            }
        }
        let total: f64 = texts.iter().map(|(_, weight)| weight).sum();
        self.log_z = Some(total.ln());
        let mut left = rng.uniform(0, view.purpose) * total;
        let chosen = texts.iter().find(|(_, weight)| {
            left -= weight;
            left <= 0.0
        });
        let Some((text, _)) = chosen else { return Ok(Vec::new()) };
        let proposal = |(at, class): (usize, &u16)| {
            let none = Proposal {
                token: 0,
                probability: 1.0,
                entropy: 0.0,
                margin: 0.0,
                best: 0,
                best_probability: 0.0,
                held: 0.0,
            };
            let Some(stat) = stats[at].get(usize::from(*class)) else { return none };
            let (all, extra) = weight(at, *class);
            let leans = lean(at, *class).filter(|_| rng.uniform(at, view.purpose) * all < extra);
            let token = leans.map_or(stat.drawn, |lean| lean.token);
            Proposal { token, probability: stat.log_sum.exp().min(1.0), best: stat.best, ..none }
        };
        assert_eq!(self.language.class_of.len(), V);
        Ok((0..).zip(text).map(proposal).collect())
    }

    fn log_z(&self) -> Option<f64> {
        self.log_z
    }

    fn advance(&mut self, tokens: &[Token]) -> Result<()> {
        self.written.extend(tokens.iter().map(|token| self.language.class_of[*token as usize]));
        Ok(())
    }
}
