//! Particles on a table whose law is known: with weights they follow it, under a constraint and under a reward.

use std::collections::BTreeMap;

use lldm_diffusion::particles::RatioOfZ;
use lldm_diffusion::sampler::registry::ALL;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{
    Context, Denoiser, DenoiserInfo, Frame, GenerateConfig, LogitTransform, ParticleConfig, ParticleView, Parts,
    Population, Potential, Prediction, Result, StepInput, Token, generate, generate_particles,
};
use serde_json::json;

use crate::constraint::list;
use crate::{config, full_table, parts, sampler, sequences};

/// Runs of all particles, for each law.
const SEEDS: u64 = 1000;

type Law = BTreeMap<Vec<Token>, f64>;

/// Weighs nothing.
struct Nothing;

/// e to the reward of the last draw, as ratios that telescope: the number of threes, times this.
struct Threes(f64);

/// A table that counts what it reads as context.
struct Counted(Table);

/// What a closure says.
struct By<F>(F);

fn population(
    parts: &Parts<'_>,
    config: &GenerateConfig,
    seed: u64,
    count: usize,
    potential: &dyn Potential,
) -> Population {
    let particles = ParticleConfig { count, ..ParticleConfig::default() };
    let sequence = &sequences(seed..seed + 1)[0];
    generate_particles(parts, config, sequence, &particles, potential, None).unwrap()
}

/// The law of the weighted particles, from many seeds.
fn law(parts: &Parts<'_>, config: &GenerateConfig, seeds: u64, count: usize, potential: &dyn Potential) -> Law {
    let mut law = Law::new();
    for seed in 0..seeds {
        let found = population(parts, config, seed, count, potential);
        for (text, weight) in found.generations.into_iter().zip(found.weights) {
            *law.entry(text.tokens).or_default() += weight / seeds as f64;
        }
    }
    law
}

/// The law of a table, times a factor, renormalised; and the mean of the factor.
fn exact(table: &Table, factor: impl Fn(&[Token]) -> f64) -> (Law, f64) {
    let law: Law = table.texts().iter().map(|(text, p)| (text.clone(), p * factor(text))).collect();
    let total: f64 = law.values().sum();
    (law.into_iter().filter(|(_, p)| *p > 0.0).map(|(text, p)| (text, p / total)).collect(), total)
}

/// Total variation.
fn distance(found: &Law, wanted: &Law) -> f64 {
    let missed: f64 = found.iter().filter(|(text, _)| !wanted.contains_key(*text)).map(|(_, p)| p).sum();
    let apart: f64 = wanted.iter().map(|(text, p)| (p - found.get(text).unwrap_or(&0.0)).abs()).sum();
    (missed + apart) / 2.0
}

fn classes(text: &[Token]) -> Vec<u16> {
    text.iter().map(|token| *token as u16).collect()
}

fn threes(text: &[Token]) -> f64 {
    text.iter().filter(|token| **token == 3).count() as f64
}

/// Alone, a run under a constraint leans to what the first prediction makes likely, cell by cell; the ratios of successive Z make
/// the particles follow p(x | valid), one canvas or two, and their mean weight is p(valid). Without the weights nothing changes.
#[test]
fn weighed_by_ratios_of_z_particles_follow_the_model_given_that_the_text_is_valid() {
    let table = full_table(1..4, 4, vec![]);
    let language = list();
    let (wanted, valid) = exact(&table, |text| f64::from(u8::from((language.accepts)(&classes(text)))));
    for canvas_length in [4, 2] {
        let settings = GenerateConfig { canvas_length, ..config(4) };
        for (name, given) in [("random", json!({"steps": 4})), ("first_hitting", json!({}))] {
            let sampler = sampler(name, given);
            let parts = Parts { constraint: Some(&language), ..parts(&table, &*sampler) };
            let far =
                |count, potential: &dyn Potential| distance(&law(&parts, &settings, SEEDS, count, potential), &wanted);
            let (alone, together, unweighed) = (far(1, &RatioOfZ), far(16, &RatioOfZ), far(16, &Nothing));
            println!(
                "{name}, canvases of {canvas_length}: {alone:.3} alone, {together:.3} together, {unweighed:.3} unweighed"
            );
            assert!(alone > 0.1 && unweighed > 0.1 && together < 0.02, "{name}: {alone} {together} {unweighed}");
            let mean = (0..SEEDS).map(|seed| population(&parts, &settings, seed, 4, &RatioOfZ).log_evidence.exp());
            let mean = mean.sum::<f64>() / SEEDS as f64;
            assert!((mean / valid - 1.0).abs() < 0.03, "{name}: {mean} for {valid}");
        }
    }
}

/// The law is p(x) e^r(x) / Z, and the mean weight is Z. A single run knows nothing of the reward.
#[test]
fn weighed_by_a_reward_particles_follow_the_tilted_law() {
    let table = full_table(1..4, 4, vec![]);
    let (wanted, mean) = exact(&table, |text| threes(text).exp());
    for canvas_length in [4, 2] {
        let settings = GenerateConfig { canvas_length, ..config(4) };
        for (name, given) in [("random", json!({"steps": 4})), ("ancestral", json!({"steps": 40}))] {
            let sampler = sampler(name, given);
            let parts = parts(&table, &*sampler);
            let far =
                |count, potential: &dyn Potential| distance(&law(&parts, &settings, SEEDS, count, potential), &wanted);
            let (alone, together, unweighed) = (far(1, &Threes(1.0)), far(16, &Threes(1.0)), far(16, &Nothing));
            println!(
                "{name}, canvases of {canvas_length}: {alone:.3} alone, {together:.3} together, {unweighed:.3} unweighed"
            );
            assert!(alone > 0.2 && unweighed > 0.2 && together < 0.08, "{name}: {alone} {together} {unweighed}");
            let found = (0..SEEDS).map(|seed| population(&parts, &settings, seed, 4, &Threes(1.0)).log_evidence.exp());
            let found = found.sum::<f64>() / SEEDS as f64;
            assert!((found / mean - 1.0).abs() < 0.05, "{name}: {found} for {mean}");
        }
    }
}

#[test]
fn one_particle_is_a_plain_run() {
    let table = full_table(1..4, 4, vec![]);
    let settings = GenerateConfig { canvas_length: 2, ..config(4) };
    let language = list();
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        for constraint in [None, Some(&language)] {
            let constraint = constraint.map(|language| language as &dyn lldm_diffusion::Constraint);
            let parts = Parts { constraint, ..parts(&table, &*sampler) };
            for seed in 0..10 {
                let plain = generate(&parts, &settings, &sequences(seed..seed + 1), None).unwrap();
                let alone = population(&parts, &settings, seed, 1, &Nothing);
                assert_eq!(alone.generations, plain, "{}", spec.name);
                let usage = plain[0].usage;
                assert_eq!((alone.nfe, alone.context_passes), (usage.nfe, usage.context_passes), "{}", spec.name);
                assert_eq!((alone.weights, alone.chosen, alone.resampled), (vec![1.0], 0, 0), "{}", spec.name);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_particles() {
    let table = full_table(1..4, 4, vec![]);
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        let parts = parts(&table, &*sampler);
        let write = |seed| population(&parts, &config(4), seed, 6, &Threes(2.0));
        assert_eq!(write(3), write(3), "{}", spec.name);
        assert!((4..10).any(|seed| write(seed).generations != write(3).generations), "{}", spec.name);
    }
}

/// All but one particle end after the first pass: the others go on as its copies, each with its own draws. Each holds the cell
/// that the one had written, and its context is read again where it was another one.
#[test]
fn copies_part_and_keep_what_was_written() {
    let table = Counted(full_table(1..4, 6, vec![]));
    let sampler = sampler("left_to_right", json!({}));
    let settings = GenerateConfig { canvas_length: 1, ..config(6) };
    let parts = parts(&table, &*sampler);
    let (mut parted, mut read_again) = (0, 0);
    for seed in 0..30 {
        // Particles are told apart by the order in which they are weighed.
        // In the second round, when the first token is in the context.
        let weighed = std::sync::atomic::AtomicUsize::new(0);
        let one = By(|view: &ParticleView<'_>, memory: &mut Vec<f64>| {
            let number = weighed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            memory.extend(memory.is_empty().then(|| f64::from(view.tokens[0])));
            assert_eq!(memory[0], f64::from(view.tokens[0]), "what was written stays, and so does the memory");
            if (8..16).contains(&number) && number != 8 + 5 { f64::NEG_INFINITY } else { 0.0 }
        });
        let found = population(&parts, &settings, seed, 8, &one);
        assert_eq!(found.resampled, 1);
        assert!((found.log_evidence - (1f64 / 8.0).ln()).abs() < 1e-12);
        let texts: std::collections::BTreeSet<_> = found.generations.iter().map(|text| &text.tokens).collect();
        assert!(texts.iter().all(|text| text[0] == found.generations[5].tokens[0]));
        parted += texts.len();
        assert_eq!(found.nfe, 8 * 6);
        // The prefix, and each canvas but the last; twice more where the first token was another one.
        let usual = 8 * 6;
        assert!((usual..=usual + 7 * 2).contains(&found.context_passes) && found.context_passes.is_multiple_of(2));
        read_again += (found.context_passes - usual) / 2;
        let alone = generate(&parts, &settings, &sequences(seed..seed + 1), None).unwrap();
        assert_eq!(alone[0].usage.context_passes, 6);
    }
    assert!(parted > 30 * 4, "{parted} texts among 30 times 8");
    assert!(read_again > 30 && read_again < 7 * 30, "{read_again} of 7 times 30 contexts are read again");
}

/// Frames tell the particles apart, and watching changes nothing.
#[test]
fn every_particle_is_watched() {
    let table = full_table(1..4, 4, vec![]);
    let sampler = sampler("first_hitting", json!({}));
    let parts = parts(&table, &*sampler);
    let (mut seen, mut last) = (BTreeMap::<u64, usize>::new(), BTreeMap::new());
    let mut observer = |frame: &Frame| {
        *seen.entry(frame.sequence).or_default() += 1;
        last.insert(frame.sequence, frame.cells.iter().map(|cell| cell.token).collect::<Vec<_>>());
    };
    let particles = ParticleConfig { count: 3, ..ParticleConfig::default() };
    let sequence = &sequences(5..6)[0];
    let found =
        generate_particles(&parts, &config(4), sequence, &particles, &Threes(0.1), Some(&mut observer)).unwrap();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(0, 6), (1 << 32, 6), (2 << 32, 6)]);
    assert_eq!(found, population(&parts, &config(4), 5, 3, &Threes(0.1)));
    assert!(last.into_values().eq(found.generations.into_iter().map(|text| text.tokens)));
}

/// Weighing now and then weighs the same in the end.
#[test]
fn rewards_may_be_asked_for_now_and_then() {
    let table = full_table(1..4, 6, vec![]);
    let sampler = sampler("random", json!({"steps": 6}));
    let parts = parts(&table, &*sampler);
    let sequence = &sequences(1..2)[0];
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let counted = By(|view: &ParticleView<'_>, memory: &mut Vec<f64>| {
        asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Threes(1.0).log_potential(view, memory).unwrap()
    });
    for (every, times) in [(1, 7), (2, 4), (6, 2), (50, 1)] {
        asked.store(0, std::sync::atomic::Ordering::Relaxed);
        // Without resampling, the weights are those of the finished texts.
        let particles = ParticleConfig { count: 4, resample_below: 0.0, every };
        let found = generate_particles(&parts, &config(6), sequence, &particles, &counted, None).unwrap();
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 4 * times, "{every}");
        let rewards: Vec<_> = found.generations.iter().map(|text| threes(&text.tokens).exp()).collect();
        let total: f64 = rewards.iter().sum();
        assert!(found.weights.iter().zip(&rewards).all(|(w, r)| (w - r / total).abs() < 1e-12), "{every}");
        assert!((found.log_evidence - (total / 4.0).ln()).abs() < 1e-12);
    }
}

#[test]
fn mistakes_of_particles_are_named() {
    let table = full_table(1..4, 4, vec![]);
    let first_hitting = sampler("first_hitting", json!({}));
    let parts = parts(&table, &*first_hitting);
    let error = |particles: ParticleConfig, temperature: f64, potential: &dyn Potential| {
        let transform = LogitTransform { temperature, ..LogitTransform::default() };
        let settings = GenerateConfig { transform, ..config(4) };
        generate_particles(&parts, &settings, &sequences(0..1)[0], &particles, potential, None).unwrap_err().to_string()
    };
    let some = ParticleConfig { count: 2, ..ParticleConfig::default() };
    assert_eq!(error(ParticleConfig { count: 0, ..some }, 1.0, &Nothing), "particles is 0, but at least 1 is needed");
    assert_eq!(error(ParticleConfig { every: 0, ..some }, 1.0, &Nothing), "every is 0, but at least 1 is needed");
    assert_eq!(
        error(ParticleConfig { resample_below: 1.5, ..some }, 1.0, &Nothing),
        "resample_below is 1.5, but it must lie between 0 and 1"
    );
    assert_eq!(
        error(some, 0.0, &Nothing),
        "temperature is 0, but particles that draw nothing are all the same: it must be above 0"
    );
    let always = |log: f64| By(move |_: &ParticleView<'_>, _: &mut Vec<f64>| log);
    assert_eq!(
        error(some, 1.0, &always(f64::NEG_INFINITY)),
        "the particles have no weight any more, none of them: take more, or a softer reward"
    );
    assert_eq!(error(some, 1.0, &always(f64::NAN)), "contract broken: a potential is e^NaN");
    // Without a constraint, and with a sampler that changes what it wrote.
    let remdm = sampler("remdm", json!({}));
    let language = list();
    for parts in [parts, Parts { sampler: &*remdm, constraint: Some(&language), ..parts }] {
        let error = generate_particles(&parts, &config(4), &sequences(0..1)[0], &some, &RatioOfZ, None).unwrap_err();
        assert!(error.to_string().starts_with("the particles are weighed by a constraint, but none tells"), "{error}");
    }
}

impl Potential for Nothing {
    fn log_potential(&self, _: &ParticleView<'_>, _: &mut Vec<f64>) -> Result<f64> {
        Ok(0.0)
    }
}

impl Potential for Threes {
    fn log_potential(&self, view: &ParticleView<'_>, memory: &mut Vec<f64>) -> Result<f64> {
        let reward = self.0 * threes(view.tokens);
        let before = memory.pop().unwrap_or(0.0);
        memory.push(reward);
        Ok(reward - before)
    }
}

impl<F: Fn(&ParticleView<'_>, &mut Vec<f64>) -> f64 + Send + Sync> Potential for By<F> {
    fn log_potential(&self, view: &ParticleView<'_>, memory: &mut Vec<f64>) -> Result<f64> {
        Ok(self.0(view, memory))
    }
}

impl Denoiser for Counted {
    fn info(&self) -> &DenoiserInfo {
        self.0.info()
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        Ok(Context { passes: 1, ..self.0.prefill(prefix)? })
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        context.passes += 1;
        self.0.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        self.0.denoise(input, context)
    }
}
