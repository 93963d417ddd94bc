//! `lldm run`, `trace`, `samplers`, `show` and `score` on the toy model, whose texts are the same on every machine.

use serde_json::Value;

use crate::program::Place;

const TEXT: &[&str] = &["run", "-m", "toy", "--seed", "7", "the"];

#[test]
fn only_the_text_reaches_a_pipe() {
    let ran = Place::new().run(TEXT);
    insta::assert_snapshot!(ran.told(), @r"
    code 0
    stdout: the old captain counted every boat on the lake
    stderr:
    ");
}

#[test]
fn the_figures_go_to_stderr() {
    let ran = Place::new().run(&[TEXT, &["--verbose"]].concat());
    assert_eq!(ran.stdout, "the old captain counted every boat on the lake\n");
    let (head, tail) = (ran.stderr.split(" tokens, ").next().unwrap(), ran.stderr.split("tokens/s, ").nth(1).unwrap());
    assert_eq!(head, "9");
    assert!(tail.starts_with("10 NFE, 0.90 tokens/NFE, 10 steps, seed 7 ("), "{tail}");
}

#[test]
fn the_prompt_is_read_from_where_it_is() {
    let place = Place::new();
    let prompt_tokens = |stdout: &str| -> Value {
        let value: Value = serde_json::from_str(stdout).unwrap();
        value["usage"]["prompt_tokens"].clone()
    };
    let args = ["run", "-m", "toy", "--seed", "7", "--json"];
    assert_eq!(prompt_tokens(&place.run_on("the old captain\n", &args).stdout), 3);
    assert_eq!(prompt_tokens(&place.run_on("the old captain\n", &[&args[..], &["-"]].concat()).stdout), 3);
    assert_eq!(prompt_tokens(&place.run_on("not read", &[&args[..], &["the"]].concat()).stdout), 1);
    assert_eq!(prompt_tokens(&place.good(&args)), 0);
    assert_eq!(place.good(&[TEXT, &["--echo"]].concat()), "the the old captain counted every boat on the lake\n");
}

#[test]
fn json_is_the_same_bytes_twice() {
    let place = Place::new();
    let once = place.good(&[TEXT, &["--json"]].concat());
    assert_eq!(once, place.good(&[TEXT, &["--json"]].concat()));
    insta::assert_snapshot!(once, @r#"{"text":"the old captain counted every boat on the lake","seed":7,"model":"toy","sampler":{"name":"low_confidence","parameters":{"steps":32},"max_tokens":12,"canvas_length":12,"block_length":12,"temperature":1.0,"top_k":0,"top_p":1.0,"repetition_penalty":1.0,"guidance_scale":0.0,"end_rule":"leftmost","compat":"exact"},"usage":{"prompt_tokens":1,"tokens":9,"nfe":10,"steps":10,"blocks":1,"context_passes":0},"finish_reason":"stop"}"#);
    let timed: Value = serde_json::from_str(&place.good(&[TEXT, &["--json", "--timing"]].concat())).unwrap();
    assert!(timed["timing"]["tokens_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn guidance_is_told_and_costs_a_second_pass() {
    let place = Place::new();
    let json = |args: &[&str]| -> Value {
        let seed: &[&str] = if args.contains(&"--seed") { &[] } else { &["--seed", "3"] };
        let run = [&["run", "the old captain", "-n", "8", "--json"], seed].concat();
        serde_json::from_str(&place.good(&[&run[..], args].concat())).unwrap()
    };
    let (plain, guided) = (json(&[]), json(&["--guidance", "2"]));
    assert_eq!((&plain["sampler"]["guidance_scale"], &guided["sampler"]["guidance_scale"]), (&0.0.into(), &2.0.into()));
    assert_eq!(guided["usage"]["nfe"].as_u64(), guided["usage"]["steps"].as_u64().map(|steps| 2 * steps));
    assert_eq!(json(&["--guidance", "0"]), plain);
    let changed = |seed: &&str| json(&["--guidance", "4", "--seed", seed])["text"] != json(&["--seed", seed])["text"];
    assert!(["5", "6", "7", "8"].iter().any(changed));
}

#[test]
fn the_seed_decides_and_is_told() {
    let place = Place::new();
    let text = |seed: &str| place.good(&["run", "-m", "toy", "--seed", seed]);
    let texts: std::collections::HashSet<_> = (0..8).map(|seed| text(&seed.to_string())).collect();
    assert!(texts.len() > 3, "{texts:?}");
    let drawn: Value = serde_json::from_str(&place.good(&["run", "-m", "toy", "--json"])).unwrap();
    let seed = drawn["seed"].as_u64().unwrap().to_string();
    assert_eq!(text(&seed).trim_end(), drawn["text"].as_str().unwrap());
}

#[test]
fn jsonl_is_frames_and_the_result() {
    let place = Place::new();
    let stdout = place.good(&[TEXT, &["--jsonl"]].concat());
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, frames) = lines.split_last().unwrap();
    assert_eq!(result["text"], "the old captain counted every boat on the lake");
    assert_eq!(frames.len(), 11);
    assert!(frames.iter().zip(0..).all(|(frame, step)| frame["step"] == step));
    assert!(frames.iter().all(|frame| frame["cells"].as_array().unwrap().len() == 12));
    assert_eq!(frames[10]["done"], true);
}

#[test]
fn a_trace_is_replayed_without_its_model() {
    let place = Place::new();
    place.good(&[TEXT, &["--trace", "run.jsonl"]].concat());
    let header: Value = serde_json::from_str(place.read("run.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!((&header["model"], &header["prompt"], &header["seed"]), (&"toy".into(), &"the".into(), &7.into()));
    assert_eq!(header["sampler"]["parameters"]["steps"], 32);
    insta::assert_snapshot!(place.good(&["trace", "run.jsonl"]), @r"
    step 0   NFE 0   t 1.00  the ░░░░░░░░░░░░
    step 1   NFE 1   t 1.00  the [the]▒▒▒▒▒▒▒▒‹∎›‹∎›‹∎›
    step 2   NFE 2   t 0.92  the the ‹old›▒ [counted]▒▒ ‹at› ‹night›‹∎›‹∎›‹∎›‹∎›
    step 3   NFE 3   t 0.83  the the [old] ‹captain› counted ‹every› ‹stars› ‹on› ‹night›‹∎›‹∎›‹∎›‹∎›
    step 4   NFE 4   t 0.75  the the old [captain] counted ‹every› ‹boat› ‹at› ‹the›‹∎›‹∎›‹∎›‹∎›
    step 5   NFE 5   t 0.67  the the old captain counted [every] ‹stars› ‹at› ‹night›‹∎›‹∎›‹∎›‹∎›
    step 6   NFE 6   t 0.58  the the old captain counted every [boat] ‹on› ‹the› ‹lake›‹∎›‹∎›‹∎›
    step 7   NFE 7   t 0.50  the the old captain counted every boat [on] ‹the› ‹lake›‹∎›‹∎›‹∎›
    step 8   NFE 8   t 0.42  the the old captain counted every boat on [the] ‹lake›‹∎›‹∎›‹∎›
    step 9   NFE 9   t 0.33  the the old captain counted every boat on the [lake]‹∎›‹∎›‹∎›
    step 10  NFE 10  t 0.25  the the old captain counted every boat on the lake∎∎∎
    ");
    // Nothing but the trace is left in the folder.
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);

    place.good(&["trace", "run.jsonl", "--svg", "run.svg"]);
    let svg = place.read("run.svg");
    let document = roxmltree::Document::parse(&svg).unwrap();
    let label = document.root_element().attribute("aria-label").unwrap();
    assert_eq!(label, "the the old captain counted every boat on the lake");
    let shown = document.descendants().filter(|node| node.text().is_some_and(|text| text.starts_with("step ")));
    assert_eq!(shown.count(), 22, "a group and its text for each of 11 frames");
}

#[test]
fn a_canvas_on_a_pipe_is_frame_after_frame() {
    let ran = Place::new().run(&[TEXT, &["--show", "canvas"]].concat());
    assert_eq!(ran.stdout, "the old captain counted every boat on the lake\n");
    assert_eq!(ran.stderr.matches("░ noise").count(), 11);
    assert!(!ran.stderr.contains('\x1b'), "no colours and no cursor on a pipe");
    let none = Place::new().run(&[TEXT, &["--show", "none"]].concat());
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", ""));
}

#[test]
fn flags_win_over_the_environment_the_project_and_the_user() {
    let place = Place::new();
    place.file("config/lldm/config.toml", "temperature = 0.25\nmax_tokens = 3\nsampler = \"threshold\"\n");
    place.file("lldm.toml", "max_tokens = 5\n[sampler_parameters]\nthreshold = 0.5\n");
    let environment = [("LLDM_BLOCK_LENGTH", "2")];
    let shown = place.run_with(&environment, &["show", "toy", "--resolved"]);
    insta::assert_snapshot!(shown.stdout, @r"
    model       toy
    family      toy
    parameters  144
    vocabulary  40
    context     4,096 tokens

    SETTING             VALUE      ORIGIN
    block_length        2          the environment
    canvas_length       12         the checkpoint
    compat              exact      built in, as the paper has it where there is one
    end_rule            leftmost   built in, as the paper has it where there is one
    guidance_scale      0.0        built in, as the paper has it where there is one
    max_tokens          5          the project: [FOLDER]/lldm.toml
    repetition_penalty  1.0        built in, as the paper has it where there is one
    sampler             threshold  the user: [FOLDER]/config/lldm/config.toml
    sampler.minimum     1          built in, as the paper has it where there is one
    sampler.slack       0.0        built in, as the paper has it where there is one
    sampler.threshold   0.5        the project: [FOLDER]/lldm.toml
    temperature         0.25       the user: [FOLDER]/config/lldm/config.toml
    top_k               0          built in, as the paper has it where there is one
    top_p               1.0        built in, as the paper has it where there is one
    ");
    let args = ["run", "-m", "toy", "--seed", "1", "--json", "-n", "4", "--steps", "2", "--sampler", "low_confidence"];
    let ran = place.run_with(&environment, &args);
    // What the project sets for the user's sampler does not fit another one.
    assert_eq!(ran.code, Some(1), "{ran:?}");
    place.file("lldm.toml", "max_tokens = 5\n");
    let value: Value = serde_json::from_str(&place.run_with(&environment, &args).stdout).unwrap();
    let sampler = &value["sampler"];
    assert_eq!((&sampler["max_tokens"], &sampler["block_length"]), (&4.into(), &2.into()));
    assert_eq!((&sampler["temperature"], &sampler["parameters"]["steps"]), (&0.25.into(), &2.into()));
}

#[test]
fn the_toy_is_described_and_scored() {
    let place = Place::new();
    insta::assert_snapshot!(place.good(&["show", "toy"]), @r"
    model       toy
    family      toy
    parameters  144
    vocabulary  40
    context     4,096 tokens
    ");
    let text = "a sentence crossed the canvas";
    let args = ["score", "-m", "toy", "--text", text, "--no-end", "--block-length", "1", "--json"];
    let exact: Value = serde_json::from_str(&place.good(&args)).unwrap();
    // One of twelve sentences.
    assert!((exact["nats"].as_f64().unwrap() - 12f64.ln()).abs() < 1e-4, "{exact}");
    assert_eq!((&exact["kind"], &exact["tokens"], &exact["nfe"]), (&"exact".into(), &5.into(), &5.into()));
    let bound = place.run_on(&format!("{text}\n"), &["score", "-m", "toy"]);
    assert!(bound.stdout.starts_with("estimator   bound\nkind        bound"), "{bound:?}");
    assert!(bound.stdout.contains("tokens      6 (with the end)"), "{bound:?}");
    // The toy knows its sentences' exact conditionals: every estimator finds the same likelihood.
    for (estimator, kind, more) in [
        ("enumeration", "bound", &["--subsets", "40"][..]),
        ("monte-carlo", "bound", &["--samples", "400"]),
        ("chain", "one_order", &[]),
    ] {
        let args = ["score", "-m", "toy", "--text", text, "--no-end", "--json", "--estimator", estimator];
        let found: Value = serde_json::from_str(&place.good(&[&args[..], more].concat())).unwrap();
        assert_eq!((&found["kind"], &found["estimator"]), (&kind.into(), &estimator.into()));
        let within = 5.0 * found["standard_error"].as_f64().unwrap() + 0.01;
        assert!((found["nats"].as_f64().unwrap() - 12f64.ln()).abs() < within, "{found}");
    }
    let refused = place.run(&["score", "-m", "toy", "--text", text, "--estimator", "chain", "--samples", "3"]);
    assert!(refused.stderr.contains("--samples does nothing with --estimator chain"), "{refused:?}");
    let one = place.good(&["score", "-m", "toy", "--text", text, "--samples", "1"]);
    assert!(one.contains("± unknown"), "{one}");
}
