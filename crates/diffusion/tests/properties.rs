//! What every sampler of the registry keeps, whatever its settings: proptest on the toy denoisers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use lldm_diffusion::noise::{self, Masked, Noise, registry::Space};
use lldm_diffusion::registry::{Kind, Parameter};
use lldm_diffusion::sampler::Reads;
use lldm_diffusion::sampler::registry::{ALL, Spec, build};
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::{EndOfText, Never};
use lldm_diffusion::toy::{SelfConditioned, Table};
use lldm_diffusion::{
    Cell, Compat, Context, Denoiser, DenoiserInfo, EndRule, FinishReason, Frame, GenerateConfig, Generation,
    LogitTransform, Parts, Prediction, Result, Sampler, Sequence, StepInput, Token, generate,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};

/// Words are the tokens 1 to 3; 0 ends a text and 4 is the mask.
const END: Token = 0;
const WORDS: Token = 3;
const MASK: Token = 4;

/// A toy denoiser that insists on a canvas length or a grid.
struct Shaped {
    inner: Box<dyn Denoiser>,
    info: DenoiserInfo,
}

/// A generation drawn by proptest.
#[derive(Clone, Debug)]
struct Case {
    texts: Vec<(Vec<Token>, f64)>,
    denoiser: u8,
    noise: usize,
    shape: (Option<usize>, Option<usize>),
    ends: bool,
    config: GenerateConfig,
    sequences: Vec<Sequence>,
    settings: Vec<f64>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_text_is_whole(case in case()) {
        for spec in ALL {
            let (texts, frames) = case.run(&*case.sampler(spec), &case.sequences);
            for (text, sequence) in texts.iter().zip(&case.sequences) {
                check_text(&case, text, sequence);
                check_frames(&case, text, sequence, &frames[&sequence.index]);
            }
        }
    }

    #[test]
    fn neither_batch_nor_threads_nor_observer_matter(
        case in case(),
        order in any::<u64>(),
        cuts in any::<u32>(),
        threads in 1usize..6,
    ) {
        for spec in ALL {
            let sampler = case.sampler(spec);
            let whole = case.texts(&*sampler, &case.sequences);

            // The same sequences in another order and grouping.
            let mut shuffled: Vec<_> = case.sequences.iter().zip(&whole).collect();
            shuffled.sort_by_key(|(sequence, _)| order.wrapping_mul(sequence.index * 2 + 1) >> 7);
            let mut group = Vec::new();
            for (at, (sequence, text)) in shuffled.iter().enumerate() {
                group.push(((*sequence).clone(), (*text).clone()));
                if cuts >> at & 1 == 1 || at + 1 == shuffled.len() {
                    let (sequences, texts): (Vec<_>, Vec<_>) = group.drain(..).unzip();
                    prop_assert_eq!(case.texts(&*sampler, &sequences), texts);
                }
            }

            // One at a time, on several threads.
            let (case, sampler) = (&case, &*sampler);
            let alone = std::thread::scope(|scope| {
                let work = case.sequences.chunks(case.sequences.len().div_ceil(threads)).map(|share| {
                    scope.spawn(move || {
                        share.iter().flat_map(|one| case.texts(sampler, std::slice::from_ref(one))).collect::<Vec<_>>()
                    })
                });
                let work: Vec<_> = work.collect();
                work.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            prop_assert_eq!(&alone, &whole);

            let (seen, frames) = case.run(sampler, &case.sequences);
            prop_assert_eq!(&seen, &whole);
            for one in &case.sequences {
                let (_, alone) = case.run(sampler, std::slice::from_ref(one));
                prop_assert_eq!(&alone[&one.index], &frames[&one.index]);
            }
        }
    }

    /// A text whose first word is never the end cannot come out empty under `Leftmost`: words are free up to a length,
    /// so that whatever cells are written, the first one still wants a word.
    #[test]
    fn leftmost_gives_no_empty_text(case in case(), lengths in proptest::collection::vec(0.01..1.0f64, 1..5)) {
        let texts = lengths.iter().enumerate().flat_map(|(last, weight)| {
            let length = last + 1;
            (0..3usize.pow(length as u32)).map(move |number| {
                let word = |at: usize| number / 3usize.pow(at as u32) % 3;
                let text = (0..6).map(|at| if at < length { word(at) as Token + 1 } else { END });
                (text.collect(), *weight)
            })
        });
        let mut case = Case { texts: texts.collect(), ends: true, denoiser: 0, ..case };
        case.config.end_rule = EndRule::Leftmost;
        case.sequences.iter_mut().for_each(|sequence| sequence.pins.clear());
        // A text that is changed after the fact may be one that the table does not know, and then it says nothing.
        let masked = Masked { schedule: Linear, mask: MASK };
        for spec in ALL.iter().filter(|spec| case.sampler(spec).reads(&masked) == Reads::Noisy) {
            for text in case.texts(&*case.sampler(spec), &case.sequences) {
                prop_assert!(!text.tokens.is_empty(), "{} gave an empty text", spec.name);
            }
        }
    }
}

fn check_text(case: &Case, text: &Generation, sequence: &Sequence) {
    assert!(text.tokens.iter().all(|token| *token < MASK), "{:?}", text.tokens);
    assert_eq!(text.probabilities.len(), text.tokens.len());
    assert!(text.probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{:?}", text.probabilities);
    for (position, token) in &sequence.pins {
        assert_eq!(text.tokens.get(*position), Some(token), "pin {position} of {:?}", text.tokens);
    }
    match text.finish {
        FinishReason::Length => assert_eq!(text.tokens.len(), case.config.max_tokens),
        FinishReason::Stop => assert!(case.ends && text.tokens.len() <= case.config.max_tokens),
    }
    if case.ends {
        assert!(!text.tokens.contains(&END));
    }
    let usage = text.usage;
    assert_eq!((usage.prompt_tokens, usage.tokens), (sequence.prefix.len(), text.tokens.len()));
    assert!(usage.nfe <= usage.steps && usage.blocks <= usage.steps, "{usage:?}");
    if case.denoiser != 0 || case.noise().name != "masked" {
        assert_eq!(usage.nfe, usage.steps, "an answer that may differ is asked for");
    }
}

fn check_frames(case: &Case, text: &Generation, sequence: &Sequence, frames: &[Frame]) {
    let mut start = 0;
    for (at, frame) in frames.iter().enumerate() {
        let length = frame.cells.len();
        for (cell, seen) in frame.cells.iter().enumerate() {
            let pin = sequence.pins.iter().find(|(position, _)| *position == start + cell);
            assert_eq!(pin.is_some(), seen.state == Cell::Fixed, "cell {cell} of frame {at}");
            assert!(pin.is_none_or(|(_, token)| *token == seen.token && seen.probability == 1.0));
            assert!((0.0..=1.0).contains(&seen.probability));
            assert!(seen.state == Cell::Noisy || seen.token < MASK, "cell {cell} of frame {at} shows the mask");
            assert!(
                !frame.done || matches!(seen.state, Cell::Fixed | Cell::Committed),
                "frame {at}: {:?}",
                frame.cells
            );
        }
        if let (_, Some(grid)) = case.shape {
            assert!((sequence.prefix.len() + start) / grid == (sequence.prefix.len() + start + length - 1) / grid);
        }
        let Some(next) = frames.get(at + 1) else {
            assert!(frame.done);
            assert_eq!((frame.nfe, frame.step), (text.usage.nfe, text.usage.steps));
            let written: Vec<_> = frame.cells.iter().map(|cell| cell.token).collect();
            assert_eq!(text.tokens[start..], written[..text.tokens.len() - start]);
            break;
        };
        assert!(frame.nfe <= next.nfe && frame.step <= next.step, "frame {at}");
        assert_eq!(next.canvas, frame.canvas + usize::from(frame.done));
        if frame.done {
            start += length;
        } else {
            // No registry sampler takes a written cell back.
            let kept = frame.cells.iter().zip(&next.cells).filter(|(before, _)| before.state == Cell::Committed);
            assert!(kept.into_iter().all(|(before, after)| before == after), "frame {at}");
        }
    }
}

impl Case {
    fn noise(&self) -> &'static noise::registry::Spec {
        &noise::registry::ALL[self.noise]
    }

    fn drawn(&self, parameters: &[Parameter]) -> Map<String, Value> {
        let mut settings = Map::new();
        for (parameter, dice) in parameters.iter().zip(self.settings.iter().cycle()) {
            let value = match parameter.kind {
                Kind::Integer { min } => Value::from(min + (dice * 12.0) as u64),
                Kind::Number { min, max } => Value::from(min + dice * (max.min(4.0) - min)),
                Kind::Choice(words) => Value::from(words[(dice * words.len() as f64) as usize]),
                Kind::Flag => Value::from(*dice < 0.5),
            };
            settings.insert(parameter.name.to_string(), value);
        }
        // A window begins before it ends.
        if let (Some(on), Some(off)) = (settings.get("t_on").cloned(), settings.get("t_off").cloned())
            && on.as_f64() < off.as_f64()
        {
            settings.insert("t_on".to_string(), off);
            settings.insert("t_off".to_string(), on);
        }
        settings
    }

    fn sampler(&self, spec: &Spec) -> Box<dyn Sampler> {
        let settings = self.drawn(spec.parameters);
        build(spec.name, &settings).unwrap()
    }

    fn call(&self, sampler: &dyn Sampler, sequences: &[Sequence], observer: &mut dyn FnMut(&Frame)) -> Vec<Generation> {
        let end = if self.ends { vec![END] } else { Vec::new() };
        let table = Table::new(MASK as usize + 1, MASK, end.clone(), self.texts.clone()).unwrap();
        let space = Space { vocabulary: MASK as usize + 1, mask: Some(MASK) };
        let noise: Arc<dyn Noise> =
            noise::registry::build(self.noise().name, &self.drawn(self.noise().parameters), space).unwrap().into();
        let inner: Box<dyn Denoiser> = match self.denoiser {
            _ if self.noise().name != "masked" && self.denoiser == 2 => {
                Box::new(SelfConditioned::new(table.under(noise.clone()), 0.5))
            }
            _ if self.noise().name != "masked" => Box::new(table.under(noise.clone())),
            0 => Box::new(table),
            1 => Box::new(table.time_dependent()),
            _ => Box::new(SelfConditioned::new(table, 0.5)),
        };
        let info = DenoiserInfo { canvas_length: self.shape.0, canvas_grid: self.shape.1, ..inner.info().clone() };
        let parts = Parts {
            denoiser: &Shaped { inner, info },
            noise: noise.as_ref(),
            sampler,
            stop: if self.ends { &EndOfText { end } } else { &Never },
            guidance: None,
            constraint: None,
        };
        let mut observer = |frame: &Frame| observer(frame);
        generate(&parts, &self.config, sequences, Some(&mut observer)).unwrap()
    }

    fn texts(&self, sampler: &dyn Sampler, sequences: &[Sequence]) -> Vec<Generation> {
        self.call(sampler, sequences, &mut |_| {})
    }

    fn run(&self, sampler: &dyn Sampler, sequences: &[Sequence]) -> (Vec<Generation>, BTreeMap<u64, Vec<Frame>>) {
        let mut frames: BTreeMap<u64, Vec<Frame>> = BTreeMap::new();
        let texts =
            self.call(sampler, sequences, &mut |frame| frames.entry(frame.sequence).or_default().push(frame.clone()));
        (texts, frames)
    }
}

impl Denoiser for Shaped {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        self.inner.prefill(prefix)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        self.inner.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        self.inner.denoise(input, context)
    }
}

/// Texts, sizes, settings and sequences; pins only where no token ends a text, so that the table always has an answer.
fn case() -> impl Strategy<Value = Case> {
    let table = (1usize..7).prop_flat_map(|length| {
        proptest::collection::vec((proptest::collection::vec(END..=WORDS, length), 0.01..1.0f64), 1..9)
    });
    let shape = prop_oneof![
        4 => Just((None, None)),
        1 => (1usize..8).prop_map(|length| (Some(length), None)),
        1 => (1usize..8).prop_map(|grid| (None, Some(grid))),
    ];
    let temperature = prop_oneof![Just(0.0), Just(1.0), 0.1..3.0f64];
    let filters =
        (prop_oneof![Just(0), 1usize..4], prop_oneof![Just(1.0), 0.1..1.0f64], prop_oneof![Just(1.0), 0.5..3.0f64]);
    let transform = (temperature, filters).prop_map(|(temperature, (top_k, top_p, repetition_penalty))| {
        LogitTransform { temperature, top_k, top_p, repetition_penalty, ..LogitTransform::default() }
    });
    let end_rule = prop_oneof![Just(EndRule::Free), Just(EndRule::Leftmost)];
    let compat = prop_oneof![3 => Just(Compat::Exact), 1 => Just(Compat::Reference)];
    let config = (1usize..10, 1usize..8, 1usize..8, end_rule, transform, compat).prop_map(
        |(max_tokens, canvas_length, block_length, end_rule, transform, compat)| GenerateConfig {
            max_tokens,
            canvas_length,
            block_length,
            end_rule,
            transform,
            compat,
        },
    );
    let sequence = (
        proptest::collection::vec(END..=WORDS, 0..4),
        proptest::collection::vec((any::<Index>(), 1..=WORDS), 0..3),
        any::<u64>(),
    );
    let sequences = proptest::collection::vec(sequence, 1..7);
    let noise = 0..noise::registry::ALL.len();
    let settings = proptest::collection::vec(0.0..1.0f64, 5);
    (table, (0u8..3, noise), shape, any::<bool>(), config, sequences, settings).prop_map(
        |(texts, (denoiser, noise), shape, ends, config, sequences, settings)| {
            let sequences = sequences.into_iter().enumerate().map(|(index, (prefix, pins, seed))| {
                let pins = pins.into_iter().map(|(at, token)| (at.index(config.max_tokens), token));
                let pins: BTreeMap<_, _> = if ends { BTreeMap::new() } else { pins.collect() };
                Sequence {
                    prefix,
                    pins: pins.into_iter().collect(),
                    first_banned: Vec::new(),
                    seed,
                    index: index as u64,
                }
            });
            Case { texts, denoiser, noise, shape, ends, sequences: sequences.collect(), config, settings }
        },
    )
}
