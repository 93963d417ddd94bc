//! What describes the program itself: help, manual, completions, samplers, doctor; and how it ends.

use serde_json::Value;

use crate::program::Place;

const COMMANDS: &[&str] = &[
    "run",
    "trace",
    "train",
    "recipes",
    "data",
    "score",
    "bench",
    "convert",
    "show",
    "samplers",
    "noises",
    "objectives",
    "doctor",
];

#[test]
fn pages_name_every_command_and_sampler() {
    let place = Place::new();
    let samplers: Value = serde_json::from_str(&place.good(&["samplers", "--json"])).unwrap();
    let samplers: Vec<_> = samplers.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(samplers.contains(&"low_confidence") && samplers.len() >= 5);
    let (help, man) = (place.good(&["--help"]), place.good(&["man"]));
    assert!(man.starts_with(".ie") && man.contains(".TH lldm 1"), "{man}");
    for command in COMMANDS {
        assert!(help.contains(command) && man.contains(command), "{command}");
        assert!(place.good(&["man", command]).contains(&format!(".TH lldm-{command} 1")));
        assert!(place.good(&[command, "--help"]).contains(&format!("Usage: lldm {command}")));
    }
    let (run_help, run_man) = (place.good(&["run", "--help"]), place.good(&["man", "run"]));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.good(&["completions", shell]);
        assert!(script.contains("doctor"), "{shell}");
        // Elvish and PowerShell scripts complete no values.
        assert!(
            ["elvish", "powershell"].contains(&shell) || samplers.iter().all(|name| script.contains(name)),
            "{shell}"
        );
    }
    for name in samplers {
        assert!(run_help.contains(name) && run_man.replace("\\-", "-").contains(name), "{name}");
        let one: Value = serde_json::from_str(&place.good(&["samplers", name, "--json"])).unwrap();
        assert_eq!(one[0]["name"], name);
        assert!(place.good(&["samplers"]).contains(name) && place.good(&["samplers", name]).contains("paper"));
    }
}

/// The pages under docs/ are what the registries say.
#[test]
fn the_documentation_is_that_of_the_registries() {
    let place = Place::new();
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for what in ["samplers", "noises", "objectives"] {
        let page = std::fs::read_to_string(docs.join(what).with_extension("md")).unwrap();
        let expected = place.good(&[what, "--markdown"]);
        assert_eq!(page, expected, "make it again: lldm {what} --markdown > docs/{what}.md");
    }
    assert!(place.good(&["noises", "gidd"]).starts_with("noise  hybrid"));
    assert!(place.run(&["noises", "unifrom"]).stderr.contains("did you mean `uniform`?"));
}

#[test]
fn the_doctor_describes_the_machine() {
    let place = Place::new();
    let value: Value = serde_json::from_str(&place.good(&["doctor", "--json"])).unwrap();
    assert!(value["cpu"]["logical_cores"].as_u64().unwrap() >= 1 && value["threads"].as_u64().unwrap() >= 1);
    assert_eq!(value["devices"].as_array().unwrap()[..2], [serde_json::json!("cpu"), serde_json::json!("candle-cpu")]);
    assert!(value["cache"].as_str().unwrap().ends_with("cache/lldm/data"));
    let data = place.run_with(&[("LLDM_DATA", "/corpora"), ("LLDM_KERNEL", "none")], &["doctor"]);
    assert!(data.stdout.contains("/corpora") && data.stdout.contains("LLDM_KERNEL is \"none\""), "{data:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let arguments: [&[&str]; 5] = [
        &["samplers"],
        &["man"],
        &["--help"],
        &["run", "-m", "toy", "--seed", "1"],
        &["run", "-m", "toy", "--seed", "1", "--jsonl"],
    ];
    for args in arguments {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(args);
        let output = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    }
}

#[test]
fn the_version_is_told() {
    assert_eq!(Place::new().good(&["--version"]), concat!("lldm ", env!("CARGO_PKG_VERSION"), "\n"));
    let ran = Place::new().run(&[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains("Usage: lldm <COMMAND>"));
}
