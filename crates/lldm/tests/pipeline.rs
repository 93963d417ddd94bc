//! From a prompt to a text, on the toy model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm::{Error, Layer, Origin, Output, Pipeline, Prompt};
use lldm_diffusion::{Error as DiffusionError, FinishReason, Frame};
use lldm_models::Defaults;
use serde_json::json;

fn toy() -> Pipeline {
    Pipeline::load("toy").unwrap()
}

fn defaults(values: serde_json::Value) -> Defaults {
    serde_json::from_value(values).unwrap()
}

fn sentences() -> Vec<Output> {
    toy().generate_all(vec![Prompt::default(); 12]).sampler("first_hitting").seed(3).run_all().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_output() {
    let pipeline = toy();
    for sampler in ["low_confidence", "first_hitting", "ancestral", "threshold", "left_to_right"] {
        let write = |seed: u64| pipeline.generate(Prompt::text("noise")).sampler(sampler).seed(seed).run().unwrap();
        assert_eq!(write(7), write(7), "{sampler}");
        assert_eq!(write(7).seed, 7);
        let texts: std::collections::HashSet<_> = (0..20).map(|seed| write(seed).text).collect();
        assert!(texts.len() > 3, "{sampler}: {texts:?}");
    }
}

#[test]
fn any_grouping_gives_the_same_outputs() {
    let pipeline = toy();
    let prompts: Vec<_> = ["", "the", "a small boat", "every word", "", "noise"].map(Prompt::text).to_vec();
    for sampler in ["low_confidence", "first_hitting", "ancestral"] {
        let write = |first: usize, count: usize| {
            let group = prompts[first..first + count].to_vec();
            pipeline.generate_all(group).sampler(sampler).seed(5).first_index(first as u64).run_all().unwrap()
        };
        let together = write(0, 6);
        for sizes in [&[1, 1, 1, 1, 1, 1][..], &[2, 4], &[3, 2, 1], &[5, 1]] {
            let mut found = Vec::new();
            for size in sizes {
                found.extend(write(found.len(), *size));
            }
            assert_eq!(found, together, "{sampler}, groups of {sizes:?}");
        }
        assert_ne!(together[0].tokens, together[4].tokens, "{sampler}: the number of a text makes it another one");
    }
}

#[test]
fn a_seed_of_its_own_makes_a_text_independent_of_its_place() {
    let pipeline = toy();
    let alone = pipeline.generate(Prompt::default()).seed(9).run().unwrap();
    let among = pipeline.generate_all(vec![Prompt::default(), Prompt::default().seed(9)]).seed(1).run_all().unwrap();
    assert_eq!(among[1], alone);
    assert_ne!(among[0], alone);
}

#[test]
fn texts_are_those_of_the_toy_and_their_cost_is_counted() {
    for output in sentences() {
        assert!(output.text.split(' ').count() >= 5, "{}", output.text);
        assert!(!output.text.contains('<'), "no special token is written: {}", output.text);
        assert_eq!(output.tokens.len(), output.text.split(' ').count());
        assert_eq!((output.probabilities.len(), output.usage.tokens), (output.tokens.len(), output.tokens.len()));
        assert!(output.usage.nfe >= 1 && output.usage.nfe <= output.usage.steps, "{:?}", output.usage);
        assert_eq!((output.model.as_str(), output.sampler.name.as_str()), ("toy", "first_hitting"));
        assert_eq!(output.finish_reason, FinishReason::Stop);
    }
    let short = toy().generate(Prompt::default()).max_tokens(2).run().unwrap();
    assert_eq!((short.tokens.len(), short.finish_reason), (2, FinishReason::Length));
}

#[test]
fn pinned_cells_are_kept() {
    let pipeline = toy();
    let boat = pipeline.tokenizer().token("boat").unwrap();
    for seed in 0..10 {
        let output = pipeline.generate(Prompt::default().pin(2, boat)).seed(seed).run().unwrap();
        assert_eq!(output.tokens[2], boat);
        assert!(output.text.starts_with("a small boat "), "{}", output.text);
    }
    let mask = pipeline.tokenizer().token("<mask>").unwrap();
    for (pin, said) in [((1, mask), "that is the mask"), ((99, boat), "within the"), ((0, 9999), "token 9999")] {
        let error = pipeline.generate(Prompt::default().pin(pin.0, pin.1)).run().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn settings_resolve_and_reach_the_output() {
    let pipeline = toy();
    let own = pipeline.settings().unwrap();
    assert_eq!((own.sampler.as_str(), own.origins["sampler"]), ("low_confidence", Origin::Checkpoint));
    assert_eq!((own.temperature, own.origins["temperature"]), (1.0, Origin::Paper));
    let pipeline = pipeline.with_layers([
        Layer { origin: Origin::User, values: defaults(json!({"temperature": 0.5, "max_tokens": 6})) },
        Layer {
            origin: Origin::Project,
            values: defaults(json!({"sampler": "threshold", "sampler_parameters": {"threshold": 0.6}})),
        },
        Layer { origin: Origin::Environment, values: defaults(json!({"max_tokens": 7})) },
    ]);
    let settings = pipeline.settings().unwrap();
    assert_eq!((settings.sampler.as_str(), settings.max_tokens, settings.temperature), ("threshold", 7, 0.5));
    assert_eq!(settings.origins["sampler.threshold"], Origin::Project);
    let output = pipeline.generate(Prompt::default()).temperature(0.0).max_tokens(4).run().unwrap();
    assert_eq!((output.sampler.temperature, output.sampler.max_tokens), (0.0, 4));
    assert_eq!(output.sampler.parameters["threshold"], json!(0.6));
    // A canvas is no longer than what is asked for.
    assert_eq!((output.sampler.canvas_length, output.sampler.block_length), (4, 4));
    let request = defaults(json!({"sampler": "low_confidence", "sampler_parameters": {"steps": 2}}));
    let output = pipeline.generate(Prompt::default()).request(request).run().unwrap();
    assert_eq!((output.sampler.name.as_str(), &output.sampler.parameters["steps"]), ("low_confidence", &json!(2)));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_before_any_work() {
    let pipeline = toy();
    let limit = pipeline.model().denoiser.info().max_length;
    let long = |error: Error| match error {
        Error::Diffusion(DiffusionError::TooLong { prefix, canvas, limit }) => (prefix, canvas, limit),
        other => panic!("{other}"),
    };
    let full = pipeline.generate(Prompt::tokens(vec![1; limit])).run().unwrap_err();
    assert!(full.to_string().contains("shorten the prompt"), "{full}");
    assert_eq!(long(full), (limit, 1, limit));
    let asked = pipeline.generate(Prompt::tokens(vec![1; limit - 2])).max_tokens(3).run().unwrap_err();
    assert_eq!(long(asked), (limit - 2, 3, limit));
    // Where nobody asked for a length, the room that is left decides; among others, too.
    let prompts = vec![Prompt::tokens(vec![1; limit - 2]), Prompt::default()];
    let outputs = pipeline.generate_all(prompts).run_all().unwrap();
    assert_eq!(outputs[0].sampler.max_tokens, 2);
    let alone = pipeline.generate(Prompt::default()).first_index(1).run().unwrap();
    assert_eq!(outputs[1], alone);
}

#[test]
fn mistakes_are_named() {
    let pipeline = toy();
    let message = |result: lldm::Result<Output>| result.unwrap_err().to_string();
    let unknown = message(pipeline.generate(Prompt::default()).sampler("low_confidense").run());
    assert!(unknown.contains("there is no sampler `low_confidense`; did you mean `low_confidence`?"), "{unknown}");
    let key = message(pipeline.generate(Prompt::default()).parameter("stepz", 3).run());
    assert!(key.contains("no parameter `stepz`") && key.contains("`steps`"), "{key}");
    let kind = message(pipeline.generate(Prompt::default()).parameter("steps", "many").run());
    assert!(kind.contains("`steps` is \"many\""), "{kind}");
    let cold = message(pipeline.generate(Prompt::default()).temperature(-1.0).run());
    assert!(cold.contains("temperature is -1"), "{cold}");
    let nothing = message(pipeline.generate(Prompt::default()).max_tokens(0).run());
    assert!(nothing.contains("max_tokens is 0"), "{nothing}");
    assert!(message(pipeline.generate_all(Vec::new()).run()).contains("no prompt"));
    assert!(pipeline.generate_all(Vec::new()).run_all().unwrap().is_empty());
    assert!(message(pipeline.generate(Prompt::tokens([4000])).run()).contains("token 4000"));
}

#[test]
fn watching_changes_nothing() {
    let pipeline = toy();
    let mut frames = 0;
    let watched = pipeline.generate(Prompt::default()).seed(4).observe(|_: &Frame| frames += 1).run().unwrap();
    assert_eq!(watched, pipeline.generate(Prompt::default()).seed(4).run().unwrap());
    assert!(frames >= watched.usage.steps, "{frames} frames");
}
