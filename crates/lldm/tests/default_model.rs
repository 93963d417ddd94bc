//! The default model in the binary: it writes, never nothing, and the same again from the same seed.
#![allow(clippy::unwrap_used)]

use lldm::control::constraint::Choice;
use lldm::metric::Diversity;
use lldm::{Output, Pipeline, Prompt};

fn write(pipeline: &Pipeline, seed: u64, count: usize) -> Vec<Output> {
    let prompts = vec![Prompt::text(""); count];
    pipeline.generate_all(prompts).seed(seed).run_all().unwrap()
}

/// Where texts are short, confidence-ordered sampling can write the end tokens first and come out empty. The default
/// model with its default sampler must not.
#[test]
fn no_text_of_two_hundred_seeds_is_empty_and_few_are_the_same() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let prompts = (0..200).map(|seed| Prompt::text("").seed(seed)).collect();
    let outputs = pipeline.generate_all(prompts).run_all().unwrap();
    let texts: Vec<_> = outputs.into_iter().map(|output| output.text).collect();
    let diversity = Diversity::of(&texts);
    assert_eq!(diversity.empty, 0, "{texts:?}");
    assert!(diversity.distinct_texts >= 190, "{} distinct texts", diversity.distinct_texts);
}

#[test]
fn a_seed_gives_the_same_text_alone_and_in_a_batch() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let batch = write(&pipeline, 7, 6);
    for (index, output) in (0..).zip(&batch) {
        let alone = pipeline.generate(Prompt::text("")).seed(7).first_index(index).run().unwrap();
        assert_eq!(alone, *output);
    }
    assert_ne!(batch[0].text, write(&pipeline, 8, 1)[0].text);
}

#[test]
fn a_description_becomes_a_json_object() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let prompt =
        "Text: The Eagle is a coffee shop that serves Italian food. It is located in the riverside area.\nJSON: ";
    let output = pipeline.generate(Prompt::text(prompt)).temperature(0.0).max_tokens(64).run().unwrap();
    let record: serde_json::Value = serde_json::from_str(output.text.trim()).unwrap();
    assert_eq!(record["name"], "The Eagle", "{}", output.text);
}

/// A prompt's last word is whole unless the caller says otherwise.
#[test]
fn the_text_does_not_go_on_within_the_prompts_last_word() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let begins = |prompt: &Prompt| {
        let outputs = pipeline.generate_all(vec![prompt.clone(); 40]).seed(3).max_tokens(8).run_all().unwrap();
        outputs.iter().filter(|output| output.text.starts_with(char::is_alphanumeric)).count()
    };
    assert_eq!(begins(&Prompt::text("The spaceship")), 0);
    assert!(begins(&Prompt::text("The spaceship").within_word()) > 0);
}

/// With its long tokens banned, a long text does not fit: nothing may begin that leads there.
#[test]
fn what_is_banned_does_not_count_as_a_way_to_end() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let size = pipeline.model().denoiser.info().vocabulary as u32;
    let long: Vec<u32> = (3..size).filter(|token| pipeline.tokenizer().piece(*token).chars().count() > 1).collect();
    for seed in 0..20 {
        let asked =
            pipeline.generate(Prompt::text("")).constraint(Choice(vec!["aa".into(), "bread and butter".into()]));
        let output = asked.ban(long.clone()).max_tokens(6).canvas_length(1).temperature(3.0).seed(seed).run().unwrap();
        assert_eq!(output.text, "aa");
    }
}
