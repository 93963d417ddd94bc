//! Soft control through the facade: guidance, the best of several texts, particles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm::control::constraint::{Case, Keywords, Match, Order};
use lldm::control::{ClassifierFree, SteeringConfig};
use lldm::diffusion::particles::RatioOfZ;
use lldm::diffusion::{EndRule, Frame};
use lldm::models::Defaults;
use lldm::{Generate, Layer, Origin, Output, Pipeline, Prompt};
use lldm_diffusion::Token;
use serde_json::json;

fn toy() -> Pipeline {
    Pipeline::load("toy").unwrap()
}

fn boat() -> Keywords {
    Keywords { words: vec!["boat".to_string()], order: Order::All, matches: Match::Word, case: Case::Exact }
}

/// The draws of its own law: one cell after the other, end tokens anywhere.
fn free(pipeline: &Pipeline, seed: u64) -> Generate<'_> {
    pipeline.generate(Prompt::default()).sampler("first_hitting").end_rule(EndRule::Free).seed(seed)
}

#[test]
fn guidance_costs_a_second_pass_and_pulls_towards_the_prompt() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let prompt = "Text: The Eagle is a coffee shop that serves Italian food.\nJSON: ";
    let write = |seed: u64| pipeline.generate(Prompt::text(prompt)).max_tokens(12).seed(seed);
    let mut changed = 0;
    for seed in 0..6 {
        let plain = write(seed).run().unwrap();
        assert_eq!(write(seed).guidance_scale(0.0).run().unwrap(), plain);
        assert_eq!(plain.sampler.guidance_scale, 0.0);
        let guided = write(seed).guidance_scale(2.0).run().unwrap();
        assert_eq!((guided.sampler.guidance_scale, guided.usage.nfe), (2.0, 2 * guided.usage.steps));
        let by_hand = ClassifierFree::new(2.0).unwrap();
        assert_eq!(write(seed).guidance(&by_hand).run().unwrap(), guided);
        changed += usize::from(guided.text != plain.text);
    }
    assert!(changed > 0);
    // Without a prompt nothing is hidden, and nothing changes but the cost.
    let empty = |scale: f64| pipeline.generate(Prompt::text("")).max_tokens(8).seed(3).guidance_scale(scale);
    let (plain, guided) = (empty(0.0).run().unwrap(), empty(2.0).run().unwrap());
    assert_eq!((guided.text, guided.usage.nfe), (plain.text, 2 * plain.usage.nfe));
}

#[test]
fn the_scale_is_a_setting_like_others() {
    let layer = |origin, scale: f64| {
        let values: Defaults = serde_json::from_value(json!({ "guidance_scale": scale })).unwrap();
        Layer { origin, values }
    };
    let pipeline = toy().with_layers([layer(Origin::User, 3.0), layer(Origin::Project, 1.0)]);
    let settings = pipeline.settings().unwrap();
    assert_eq!((settings.guidance_scale, settings.origins["guidance_scale"]), (1.0, Origin::Project));
    assert_eq!(pipeline.generate(Prompt::default()).run().unwrap().sampler.guidance_scale, 1.0);
    assert_eq!(pipeline.generate(Prompt::default()).guidance_scale(0.5).run().unwrap().sampler.guidance_scale, 0.5);
    let error = pipeline.generate(Prompt::default()).guidance_scale(f64::INFINITY).run().unwrap_err().to_string();
    assert_eq!(error, "guidance_scale is inf, but it must be a finite number; 0 guides nowhere");
}

#[test]
fn the_best_of_several_texts_is_that_of_its_seed() {
    let pipeline = toy();
    let vowels = |text: &str, _: &[Token]| text.matches(['a', 'e', 'o']).count() as f64;
    let write = || pipeline.generate(Prompt::default()).seed(40);
    let best = write().best_of(12, &vowels).unwrap();
    assert_eq!(best.scores.len(), 12);
    let alone: Vec<_> = (40..52).map(|seed| pipeline.generate(Prompt::default()).seed(seed).run().unwrap()).collect();
    let scores: Vec<_> = alone.iter().map(|output| vowels(&output.text, &output.tokens)).collect();
    assert_eq!(best.scores, scores);
    assert!(scores.iter().all(|score| *score <= scores[best.number]) && scores.iter().any(|score| *score < scores[0]));
    assert!(scores[..best.number].iter().all(|score| *score < scores[best.number]), "the first of equals");
    assert_eq!((&best.output, best.output.seed), (&alone[best.number], 40 + best.number as u64));
    assert_eq!(best.nfe, alone.iter().map(|output| output.usage.nfe).sum::<usize>());
    assert_eq!(write().best_of(12, &vowels).unwrap(), best);
    // A prompt with a seed of its own counts from there.
    let own = pipeline.generate(Prompt::default().seed(43)).best_of(2, &vowels).unwrap();
    assert_eq!(own.scores, scores[3..5]);

    let error = |result: lldm::Result<lldm::Best>| result.unwrap_err().to_string();
    assert_eq!(error(write().best_of(0, &vowels)), "best_of is 0, but at least 1 text is needed");
    let two = pipeline.generate_all(vec![Prompt::default(); 2]).best_of(2, &vowels);
    assert_eq!(error(two), "the best of several texts is that of one prompt, but 2 are given");
    let nothing = |_: &str, _: &[Token]| f64::NAN;
    assert!(error(write().best_of(1, &nothing)).contains("a scorer gives NaN to the text"));
}

/// The engine's Z under the model's own law: the mean weight is the share of texts with the word, and particles cost what they
/// cost.
#[test]
fn particles_under_a_constraint_know_how_probable_it_is() {
    let pipeline = toy();
    let seeds = 400;
    let with = (0..seeds).filter(|seed| free(&pipeline, *seed).run().unwrap().text.contains("boat")).count();
    let share = with as f64 / seeds as f64;
    let mut mean = 0.0;
    let mut resampled = 0;
    for seed in 0..seeds / 2 {
        let output = free(&pipeline, seed).constraint(boat()).particles(4, &RatioOfZ).run().unwrap();
        assert!(output.text.split(' ').any(|word| word == "boat"), "{}", output.text);
        let particles = output.particles.unwrap();
        assert_eq!(particles.count, 4);
        assert!(output.usage.nfe > output.usage.steps, "the cost is that of all");
        mean += particles.log_evidence.exp() / (seeds / 2) as f64;
        resampled += particles.resampled;
    }
    // Two standard errors of the share are 0.05 at most.
    assert!((mean - share).abs() < 0.05 && share > 0.05 && share < 0.95, "{mean} for {share}");
    assert!(resampled > 0);
}

#[test]
fn one_particle_is_the_plain_text_and_seeds_decide() {
    let pipeline = toy();
    for seed in 0..10 {
        let plain = free(&pipeline, seed).constraint(boat()).run().unwrap();
        let alone = free(&pipeline, seed).constraint(boat()).particles(1, &RatioOfZ).run().unwrap();
        assert_eq!(Output { particles: None, ..alone.clone() }, plain);
        assert_eq!(alone.particles.unwrap().resampled, 0);
    }
    let write = |seed| free(&pipeline, seed).constraint(boat()).particles(5, &RatioOfZ).run().unwrap();
    assert_eq!(write(2), write(2));
    let mut frames = std::collections::BTreeSet::new();
    let observed = free(&pipeline, 2).constraint(boat()).particles(5, &RatioOfZ);
    let observed = observed.observe(|frame: &Frame| _ = frames.insert(frame.sequence)).run().unwrap();
    assert_eq!(observed, write(2));
    assert_eq!(frames.into_iter().collect::<Vec<_>>(), (0..5).map(|slot| slot << 32).collect::<Vec<u64>>());
    let error = free(&pipeline, 2).particles(0, &RatioOfZ).run().unwrap_err().to_string();
    assert_eq!(error, "particles is 0, but at least 1 is needed");
}

/// Rewarded by their letters, texts have more of them; the scorer sees texts without end tokens. With a constraint both hold.
#[test]
fn steered_texts_are_worth_more() {
    let pipeline = toy();
    let scorer = |text: &str, tokens: &[Token]| {
        assert!(!text.contains('<') && text.split(' ').filter(|word| !word.is_empty()).count() == tokens.len());
        text.matches('e').count() as f64
    };
    let config = SteeringConfig { lambda: 1.0, ..SteeringConfig::default() };
    let mean = |write: &dyn Fn(u64) -> Output| {
        (0..40).map(|seed| scorer(&write(seed).text, &write(seed).tokens)).sum::<f64>() / 40.0
    };
    let plain = mean(&|seed| free(&pipeline, seed).run().unwrap());
    let steered = mean(&|seed| free(&pipeline, seed).steer(8, &scorer, config).run().unwrap());
    assert!(steered > plain + 1.0, "{steered} for {plain}");
    for seed in 0..20 {
        let both = free(&pipeline, seed).constraint(boat()).steer(4, &scorer, config).run().unwrap();
        assert!(both.text.contains("boat"), "{}", both.text);
    }
}
