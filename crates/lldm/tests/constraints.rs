//! Constraints through the facade: what a text is, several canvases, the model that writes token by token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm::control::Constraints;
use lldm::control::constraint::{Choice, EndsWith, Grammar, Keywords, Regex, StartsWith, Template, Words};
use lldm::diffusion::{Context, Denoiser, DenoiserInfo, Guarantee, Prediction, StepInput, Token};
use lldm::{Pipeline, Prompt};

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Behind a prompt a text begins with the space that joins it; the constraint speaks of what follows.
#[test]
fn a_text_begins_behind_the_joint() {
    let pipeline = Pipeline::load("embedded").unwrap();
    for prompt in ["", "The king said", "The king said ", "A list:\n"] {
        for seed in 0..4 {
            let generate = || pipeline.generate(Prompt::text(prompt)).seed(seed).max_tokens(24);
            let out = generate()
                .constraint(StartsWith("He w".to_string()))
                .constraint(EndsWith("!".to_string()))
                .run()
                .unwrap();
            assert!(out.text.starts_with("He w") && out.text.ends_with('!'), "{prompt:?}: {out:?}");
            let out = generate().constraint(Regex("[A-Z][a-z]+( [a-z]+){3}".to_string())).run().unwrap();
            assert!(
                words(&out.text) == 4 && out.text.starts_with(|letter: char| letter.is_ascii_uppercase()),
                "{out:?}"
            );
            assert_eq!(out.constraint.unwrap().guarantee, Guarantee::Exact);
            let choice = Choice(vec!["red wine".to_string(), "water".to_string()]);
            let out = generate().constraint(choice).run().unwrap();
            assert!(["red wine", "water"].contains(&out.text.as_str()), "{prompt:?}: {out:?}");
        }
    }
}

/// The state is carried from canvas to canvas with the tokens that are left.
#[test]
fn constraints_reach_over_canvases() {
    let pipeline = Pipeline::load("embedded").unwrap();
    for seed in 0..6 {
        for (canvas, block) in [(8, 4), (12, 12), (5, 5)] {
            let keywords = Keywords::all(["river", "castle", "seven"]);
            let generate = pipeline.generate(Prompt::text("Once")).seed(seed).max_tokens(40);
            let generate = generate.canvas_length(canvas).block_length(block);
            let out = generate.constraint(keywords).constraint(Words { from: 12, to: Some(14) }).run().unwrap();
            assert!(["river", "castle", "seven"].iter().all(|word| out.text.contains(word)), "{out:?}");
            assert!((12..=14).contains(&words(&out.text)), "{out:?}");
        }
    }
}

#[test]
fn lengths_in_tokens_are_kept() {
    let pipeline = Pipeline::load("embedded").unwrap();
    for (from, to) in [(3, Some(3)), (10, Some(14)), (0, Some(2))] {
        for seed in 0..4 {
            let constraints = Constraints::new().tokens(from, to);
            let out = pipeline.generate(Prompt::text("It is")).seed(seed).constraints(constraints).run().unwrap();
            assert!(out.tokens.len() >= from && out.tokens.len() <= to.unwrap(), "{from}: {out:?}");
        }
    }
    let wrong = Constraints::new().tokens(9, Some(3));
    let error = pipeline.generate(Prompt::text("")).constraints(wrong).run().unwrap_err().to_string();
    assert!(error.contains("at least 9 and at most 3 tokens cannot be"), "{error}");
    let long = pipeline.generate(Prompt::text("")).max_tokens(5).constraint(Words { from: 30, to: None });
    let error = long.run().unwrap_err().to_string();
    assert!(error.contains("has 30 tokens, but there is room for 5"), "{error}");
}

/// Each text of a call has the constraint of its own joint, and is what it would be alone.
#[test]
fn many_texts_are_what_each_would_be_alone() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let prompts = ["", "The dog", "The dog ", ""];
    let write = |prompts: &[&str], first: u64| {
        let prompts = prompts.iter().map(|prompt| Prompt::text(*prompt)).collect();
        let generate = pipeline.generate_all(prompts).seed(4).first_index(first).max_tokens(20);
        generate.constraint(Template("____ and ____.".to_string())).run_all().unwrap()
    };
    let together = write(&prompts, 0);
    for (at, prompt) in prompts.iter().enumerate() {
        assert_eq!(write(&[prompt], at as u64)[0], together[at]);
    }
}

/// A grammar of any depth: every text is one that it derives, however deep.
#[test]
fn grammars_of_any_depth_are_obeyed() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let grammar = || Grammar::lark("start: \"[\" (start (\",\" start)*)? \"]\" | /[a-z]{1,3}/").unwrap();
    let balanced = |text: &str| {
        let mut depth = 0;
        text.bytes().all(|byte| {
            depth += i32::from(byte == b'[') - i32::from(byte == b']');
            depth >= 0
        }) && depth == 0
    };
    let mut deepest = 0;
    for sampler in ["threshold", "remdm"] {
        for seed in 0..2 {
            let constraints = Constraints::new().of_any_depth(grammar());
            // Brackets are rare in stories.
            let brackets =
                ["[", "[["].map(|text| pipeline.tokenizer().encode(text).unwrap()[0]).map(|token| (token, 9.0));
            let generate =
                pipeline.generate(Prompt::text("")).sampler(sampler).seed(seed).bias(brackets).max_tokens(40);
            match generate.constraints(constraints).run() {
                Ok(out) => {
                    assert!(balanced(&out.text), "{sampler}: {}", out.text);
                    assert_eq!(out.constraint.unwrap().guarantee, Guarantee::Verified);
                    let open = out.text.bytes().take_while(|byte| *byte == b'[').count();
                    deepest = deepest.max(open);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(deepest > 4, "some text nests deeper than the usual bound: {deepest}");
    let both = Constraints::new().of_any_depth(grammar()).with(EndsWith("]".to_string()));
    let error = pipeline.generate(Prompt::text("")).constraints(both).run().unwrap_err().to_string();
    assert!(error.contains("holds alone"), "{error}");
}

/// A table that writes from left to right, one cell at a time: the autoregressive arm, whose mask is local.
struct TokenByToken(Box<dyn Denoiser>, DenoiserInfo);

impl Denoiser for TokenByToken {
    fn info(&self) -> &DenoiserInfo {
        &self.1
    }

    fn prefill(&self, prefix: &[Token]) -> lldm::diffusion::Result<Context> {
        self.0.prefill(prefix)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> lldm::diffusion::Result<()> {
        self.0.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> lldm::diffusion::Result<Box<dyn Prediction>> {
        self.0.denoise(input, context)
    }
}

#[test]
fn a_model_that_writes_token_by_token_obeys() {
    let mut model = lldm::models::load("toy").unwrap();
    let info = DenoiserInfo { canvas_length: Some(1), ..model.denoiser.info().clone() };
    model.denoiser = Box::new(TokenByToken(model.denoiser, info));
    let pipeline = Pipeline::new(model);
    let mut texts = std::collections::HashSet::new();
    for seed in 0..20 {
        let generate = || pipeline.generate(Prompt::text("")).seed(seed);
        let out = generate().constraint(Keywords::all(["stars", "silent"])).run().unwrap();
        assert!(out.text.contains("stars") && out.text.contains("silent"), "{out:?}");
        texts.insert(out.text);
        let out = generate().constraint(Words { from: 5, to: Some(5) }).run().unwrap();
        assert_eq!(words(&out.text), 5, "{out:?}");
        let out = generate().constraint(EndsWith("of the moon".to_string())).run().unwrap();
        assert!(out.text.ends_with("of the moon"), "{out:?}");
    }
    assert!(texts.len() > 2, "{texts:?}");
}
