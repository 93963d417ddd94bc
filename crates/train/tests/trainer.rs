//! Whole trainings on the built-in grammar: they learn, and a run that was killed ends with the same bits as one that was
//! not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use lldm_models::load::WEIGHTS;
use lldm_train::data::{Grammar, Places};
use lldm_train::measure::{MeasureConfig, measure};
use lldm_train::tracker::{Metrics, Tracker};
use lldm_train::{Error, Outcome, Recipe, Trainer};

/// A run of 40 updates in epochs of about 10.
const SMALL: &str = r#"
    name = "small"
    output = "unset"
    data = { corpora = ["grammar"], length = 16, cuts = [1, 2], load = { grammar_sentences = 130 } }
    tokenizer = { vocabulary = 400 }
    model = { hidden_size = 32, layers = 2, heads = 2, intermediate_size = 48 }
    objective = { name = "masked" }
    optimizer = { learning_rate = 0.01, schedule = { warmup_steps = 5 } }
    train = { steps = 40, batch = 8, ema = 0.9, evaluate_every = 20, checkpoint_every = 10, log_every = 5, evaluate_rows = 8 }
"#;

/// Fails at one update, as if the power went.
struct Kill(usize);

impl Tracker for Kill {
    fn record(&mut self, metrics: &Metrics) -> lldm_train::Result<()> {
        match metrics.step == self.0 {
            true => Err(Error::recipe("test", "killed")),
            false => Ok(()),
        }
    }
}

fn places() -> Places {
    Places { data: None, cache: "no/cache".into(), offline: true }
}

fn recipe(output: &Path, overrides: &[&str]) -> Recipe {
    let mut overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    overrides.push(format!("output={}", output.display()));
    Recipe::parse(SMALL, "small.toml", &overrides).unwrap()
}

fn train(output: &Path, overrides: &[&str], resume: bool, kill: usize) -> lldm_train::Result<Outcome> {
    Trainer::new(recipe(output, overrides), &places(), resume)?.run(&mut Kill(kill))
}

fn lines(output: &Path) -> Vec<Metrics> {
    let text = fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| Metrics { tokens_per_second: 0.0, ..serde_json::from_str(line).unwrap() }).collect()
}

fn checkpoints(output: &Path) -> Vec<String> {
    let entries = fs::read_dir(output.join("checkpoints")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn weights(output: &Path) -> Vec<u8> {
    fs::read(output.join("model").join(WEIGHTS)).unwrap()
}

/// Nats a token under the frequencies of the training set itself: what is lost without any context.
fn unigram_entropy(trainer: &Trainer) -> f64 {
    let mut counts = HashMap::new();
    for token in trainer.dataset().train.documents().iter().flat_map(|document| &document.tokens) {
        *counts.entry(*token).or_insert(0.0) += 1.0;
    }
    let total: f64 = counts.values().sum();
    -counts.values().map(|count: &f64| count / total * (count / total).ln()).sum::<f64>()
}

#[test]
fn every_objective_learns_the_grammar_and_none_beats_it() {
    for (objective, precision) in [
        ("name=\"masked\"", "f32"),
        ("name=\"masked\"", "bf16"),
        ("name=\"block\", block_length=4", "bf16"),
        ("name=\"autoregressive\"", "f32"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run");
        let overrides = [
            format!("objective={{{objective}}}"),
            format!("train.precision={precision}"),
            "data.length=32".to_string(),
            "data.load.grammar_sentences=4000".to_string(),
            "tokenizer.vocabulary=512".to_string(),
            "model.hidden_size=48".to_string(),
            "train.steps=400".to_string(),
            "train.batch=16".to_string(),
            "train.checkpoint_every=150".to_string(),
            "train.evaluate_every=200".to_string(),
            "train.evaluate_rows=1000".to_string(),
        ];
        let overrides: Vec<_> = overrides.iter().map(String::as_str).collect();
        let mut trainer = Trainer::new(recipe(&output, &overrides), &places(), false).unwrap();
        let outcome = trainer.run(&mut Kill(0)).unwrap();
        let lines = lines(&output);
        let (first, last) = (&lines[0], &lines[lines.len() - 1]);
        let entropy = unigram_entropy(&trainer);
        assert!(first.loss > entropy, "{objective}: {} begins above {entropy}", first.loss);
        assert!(last.loss < 0.85 * entropy, "{objective}: {} is not clearly below {entropy}", last.loss);

        let held_out = &trainer.dataset().held_out;
        let bytes: usize = held_out_texts(&trainer).iter().map(String::len).sum();
        let floor = floor(&trainer);
        let found = outcome.held_out_bits_per_byte;
        assert!(found > floor && found < 2.5 * floor, "{objective}: {found} bits a byte, the grammar has {floor}");
        assert!((last.held_out_bits_per_byte.unwrap() - found).abs() < 1e-12);

        // The finished model is one that the loader reads, and as good as what was measured on the way.
        let model = lldm_models::load(outcome.model.to_str().unwrap()).unwrap();
        assert_eq!((model.parameters, outcome.parameters), (trainer.parameters(), trainer.parameters()));
        assert_eq!(model.tokenizer.vocabulary(), 512);
        let config = MeasureConfig { length: 32, rows: 1000, draws: 4, seed: 1 };
        let measured = measure(model.trunk.as_ref().unwrap(), held_out, &config).unwrap();
        assert_eq!((measured.bytes, measured.bound), (bytes, !objective.contains("auto")));
        let bound = 5.0 * measured.standard_error.unwrap() + 0.05 * found;
        assert!((measured.bits_per_byte - found).abs() < bound, "{objective}: {measured:?} and {found}");
        assert_eq!(checkpoints(&output), ["step-0000300", "step-0000400"], "two are kept");
        assert!(output.join("config.toml").exists());
    }
}

fn held_out_texts(trainer: &Trainer) -> Vec<String> {
    let documents = trainer.dataset().held_out.documents().iter();
    documents.map(|document| trainer.dataset().tokenizer.decode(&document.tokens).unwrap()).collect()
}

/// Bits a byte of the held-out text under the grammar itself.
fn floor(trainer: &Trainer) -> f64 {
    let texts = held_out_texts(trainer);
    let bytes: usize = texts.iter().map(String::len).sum();
    let nats: f64 = texts.iter().map(|text| -Grammar::new().log_prob(text).unwrap()).sum();
    nats / std::f64::consts::LN_2 / bytes as f64
}

/// Uniform and hybrid noise, scores and plain denoising: the loss falls, what is measured is a bound whatever was trained, and
/// the model that is left writes text.
#[test]
fn every_noise_trains_a_model_that_writes() {
    for (objective, time_input) in [
        ("name=\"uniform\", schedule=\"cosine\"", true),
        ("name=\"uniform_block\", block_length=8", true),
        ("name=\"gidd\"", false),
        ("name=\"gidd\", weighting=\"elbo\"", true),
        ("name=\"score_entropy\"", false),
        ("name=\"score_entropy\", noise=\"uniform\"", true),
        ("name=\"denoising\"", false),
        ("name=\"denoising\", noised_only=true", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run");
        let overrides = [
            format!("objective={{{objective}}}"),
            format!("model.time_input={time_input}"),
            "data.cuts=[1]".to_string(),
            "model.hidden_size=48".to_string(),
            "data.load.grammar_sentences=2000".to_string(),
            "train.steps=300".to_string(),
            "train.batch=16".to_string(),
            "train.evaluate_every=300".to_string(),
            "train.evaluate_rows=400".to_string(),
            "train.checkpoint_every=300".to_string(),
        ];
        let overrides: Vec<_> = overrides.iter().map(String::as_str).collect();
        let mut trainer = Trainer::new(recipe(&output, &overrides), &places(), false).unwrap();
        let outcome = trainer.run(&mut Kill(0)).unwrap();
        let lines = lines(&output);
        let tail = &lines[lines.len() * 9 / 10..];
        let last = tail.iter().map(|line| line.loss).sum::<f64>() / tail.len() as f64;
        assert!(last < 0.95 * lines[0].loss, "{objective}: from {} to {last}", lines[0].loss);
        let found = outcome.held_out_bits_per_byte;
        let held_out =
            trainer.dataset().held_out.documents().iter().map(|document| document.tokens.len()).sum::<usize>();
        let bytes: usize = held_out_texts(&trainer).iter().map(String::len).sum();
        let flat = 400f64.log2() * held_out as f64 / bytes as f64;
        assert!(
            outcome.bound && found > floor(&trainer) && found < flat,
            "{objective}: {found}, a flat guess has {flat}"
        );

        let pipeline = lldm::Pipeline::load(outcome.model.to_str().unwrap()).unwrap();
        let model = pipeline.model();
        let config = MeasureConfig { length: 16, rows: 400, draws: 4, seed: 1 };
        let again = measure(model.trunk.as_ref().unwrap(), &trainer.dataset().held_out, &config).unwrap();
        let near = 5.0 * again.standard_error.unwrap() + 0.1 * found;
        assert!(again.bound && (again.bits_per_byte - found).abs() < near, "{objective}: {again:?} and {found}");
        let info = model.denoiser.info();
        let masked = !objective.contains("uniform") && !objective.contains("denoising");
        assert_eq!((info.mask.is_some(), model.noise.mask()), (masked, info.mask), "{objective}");
        assert_eq!(info.weighs_held, objective == "name=\"denoising\"");
        let output = pipeline.generate(lldm::Prompt::text("the")).max_tokens(12).seed(3).run().unwrap();
        assert!(output.tokens.iter().all(|token| *token != lldm_train::data::MASK), "{objective}: {output:?}");
        if !objective.contains("score_entropy\"") || objective.contains("uniform") {
            assert_eq!(output.sampler.name, "ancestral", "{objective}");
        }
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let block = "objective={name=\"block\", block_length=4}";
    let bf16 = "train.precision=bf16";
    for overrides in [
        &[][..],
        &["optimizer.muon_learning_rate=0.02", block, "data.layout=padded"],
        &[bf16, "optimizer.muon_learning_rate=0.02"],
        &[bf16, "model.time_input=true"],
        &[bf16, block],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
        let expected = train(&whole, overrides, false, 0).unwrap();
        // Killed twice, between checkpoints and just before one; then it goes on to the end.
        assert!(train(&killed, overrides, false, 15).unwrap_err().to_string().contains("killed"));
        assert_eq!(checkpoints(&killed), ["step-0000010"]);
        assert_eq!(lines(&killed).last().unwrap().step, 15);
        assert!(train(&killed, overrides, true, 30).is_err());
        assert_eq!(checkpoints(&killed), ["step-0000010", "step-0000020"]);
        let resumed = Trainer::new(recipe(&killed, overrides), &places(), true).unwrap();
        assert!(resumed.progress().step == 20 && resumed.progress().epoch >= 1, "{:?}", resumed.progress());
        let found = train(&killed, overrides, true, 0).unwrap();
        assert_eq!(found, Outcome { model: found.model.clone(), ..expected });
        assert!(weights(&killed) == weights(&whole), "the models differ");
        assert_eq!(lines(&killed), lines(&whole));
        for state in ["training.safetensors", "training.json", WEIGHTS, "config.json", "tokenizer.json"] {
            let read = |run: &Path| fs::read(run.join("checkpoints/step-0000040").join(state)).unwrap();
            assert!(read(&killed) == read(&whole), "{state} differs");
        }
        // A finished run is left as it is.
        assert_eq!(train(&killed, overrides, true, 0).unwrap(), found);
        assert!(weights(&killed) == weights(&whole));
        assert_eq!(lines(&killed), lines(&whole));
    }
}

/// What a kill leaves behind when it strikes while files are written.
#[test]
fn half_written_files_are_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    train(&whole, &[], false, 0).unwrap();
    assert!(train(&killed, &[], false, 25).is_err());
    let half = killed.join("checkpoints/step-0000030.tmp");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("training.json"), "{").unwrap();
    let metrics = killed.join("metrics.jsonl");
    fs::write(&metrics, fs::read_to_string(&metrics).unwrap() + "{\"step\": 2").unwrap();
    train(&killed, &[], true, 0).unwrap();
    assert!(weights(&killed) == weights(&whole), "the models differ");
    assert_eq!(lines(&killed), lines(&whole));
    assert_eq!(checkpoints(&killed), ["step-0000030", "step-0000040"]);
}

#[test]
fn a_run_is_neither_overwritten_nor_taken_up_out_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let nothing = train(&output, &[], true, 0).unwrap_err().to_string();
    assert!(nothing.contains("no checkpoint to resume from") && nothing.contains("without --resume"), "{nothing}");
    assert!(!output.exists(), "a refusal leaves nothing behind");
    train(&output, &["train.steps=10"], false, 0).unwrap();
    let before = weights(&output);
    let again = train(&output, &["train.steps=10"], false, 0).unwrap_err().to_string();
    assert!(again.contains("there is a run already") && again.contains("--resume"), "{again}");
    // Not even when only the model is left.
    fs::remove_dir_all(output.join("checkpoints")).unwrap();
    assert!(train(&output, &["train.steps=10"], false, 0).unwrap_err().to_string().contains("there is a run already"));
    assert!(weights(&output) == before);
}

#[test]
fn a_run_is_resumed_with_its_own_recipe_only() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    assert!(train(&output, &[], false, 25).is_err());
    let own = fs::read_to_string(output.join("config.toml")).unwrap();
    for (other, said) in [
        (&["model.hidden_size=48"][..], "hidden_size"),
        (&["model.layers=3"], "num_hidden_layers"),
        (&["model.layers=1"], "num_hidden_layers"),
        (&["objective.name=autoregressive"], "attention"),
        (&["data.length=32"], "max_position_embeddings"),
    ] {
        let error = train(&output, other, true, 0).unwrap_err().to_string();
        assert!(error.contains("the recipe is not the one it was made by") && error.contains(said), "{error}");
        assert_eq!(fs::read_to_string(output.join("config.toml")).unwrap(), own, "a refusal changes nothing");
    }
    // More updates are no other recipe.
    train(&output, &["train.steps=50"], true, 0).unwrap();
}

#[test]
fn a_training_that_diverges_says_so_and_spoils_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let overrides = ["optimizer.learning_rate=1e38", "optimizer.schedule.warmup_steps=0", "train.checkpoint_every=1"];
    match train(&output, &overrides, false, 0) {
        Err(error @ Error::Diverged { .. }) => assert!(error.to_string().contains("lower the learning rate")),
        other => panic!("{other:?}"),
    }
    assert!(!output.join("model").exists(), "no model is made of it");
}
