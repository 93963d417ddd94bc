//! `lldm recipes` and `lldm data`.

use serde_json::Value;

use crate::program::Place;

#[test]
fn recipes_are_listed_and_copied() {
    let place = Place::new();
    assert!(place.good(&["recipes", "ls"]).contains("smoke"));
    place.good(&["recipes", "cp", "smoke"]);
    assert_eq!(place.read("smoke.toml"), include_str!("../../recipes/smoke.toml"));
    assert_eq!(place.good(&["recipes", "cp", "smoke", "-"]), place.read("smoke.toml"));
    let again = place.run(&["recipes", "cp", "smoke"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(1), "error: smoke.toml exists already: name another file\n"));
}

#[test]
fn corpora_are_listed_with_licence_and_place() {
    let place = Place::new();
    let listed: Value = serde_json::from_str(&place.good(&["data", "list", "--json"])).unwrap();
    let find = |id: &str| listed.as_array().unwrap().iter().find(|corpus| corpus["id"] == id).unwrap().clone();
    assert_eq!(find("grammar")["state"], "built in");
    assert_eq!(find("e2e")["licence"], "CC BY-SA 4.0");
    assert_eq!(find("e2e")["state"], "not here: public");
    place.file("data/tatoeba-eng/tatoeba_eng.txt", "Hello.\n");
    let here = place.run_with(&[("LLDM_DATA", "data")], &["data", "list"]);
    assert!(here.stdout.contains("data/tatoeba-eng"), "{here:?}");
    assert!(place.good(&["data", "list"]).contains("tatoeba-eng  CC BY 2.0 FR"));
}

#[test]
fn what_cannot_be_got_is_explained() {
    let place = Place::new();
    let offline = place.run(&["data", "get", "e2e", "--offline"]);
    let missing = place.run(&["data", "get", "tatoeba-eng"]);
    // A port that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = place.run(&["data", "get", "e2e", "--mirror", &mirror]);
    for ran in [&offline, &missing, &refused] {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("licence: CC BY") && lines[1].starts_with("attribution: "));
        assert!(lines[2].starts_with("error: "));
    }
    assert!(offline.stderr.contains("the network is switched off"), "{offline:?}");
    assert!(missing.stderr.contains("https://www.manythings.org/anki/"), "{missing:?}");
    assert!(refused.stderr.contains("run the command again to continue from there"), "{refused:?}");

    place.file("data/tatoeba-eng/tatoeba_eng.txt", "Hello.\n");
    let here = place.run_with(&[("LLDM_DATA", "data")], &["data", "get", "tatoeba-eng"]);
    assert_eq!((here.code, here.stdout.as_str()), (Some(0), "data/tatoeba-eng\n"));
    assert!(here.stderr.contains("note: ") && here.stderr.contains("is not the file that the corpus is made of"));
    assert!(place.good(&["data", "get", "grammar"]).contains("built in"));
}

#[test]
fn training_without_data_names_the_command_that_gets_it() {
    let ran = Place::new().run(&["train", "smoke", "data.corpora=[\"e2e\"]"]);
    assert_eq!(ran.code, Some(1));
    let line = ran.stderr.lines().last().unwrap();
    assert!(line.starts_with("error: the corpus `e2e` was not found"), "{line}");
    assert!(line.ends_with("the command is `lldm data get e2e`"), "{line}");
}
