//! Compiled constraints are found again by what they say, and by nothing else.
#![allow(clippy::unwrap_used)]

use lldm_control::cache::Origin;
use lldm_control::constraint::{Case, Keywords, Regex, StartsWith, Template, Words};
use lldm_control::{Cache, Constraints, Error, Joint, Vocabulary};

fn vocabulary(last: &str) -> Vocabulary {
    let tokens: Vec<_> = ["a", "b", " ", "ab", "_", "", last].map(|text| Some(text.as_bytes())).to_vec();
    Vocabulary::new(&tokens, &[5])
}

#[test]
fn what_says_the_same_is_compiled_once() {
    let place = tempfile::tempdir().unwrap();
    let cache = || Cache::default().with_folder(place.path(), Cache::FILE_BYTES);
    let words = || Words { from: 2, to: Some(4) };
    let first = Constraints::new().with(words()).with(Keywords::all(["ab"]));
    let second = Constraints::new().with(Keywords::all(["ab"])).with(words()).tokens(2, Some(9));
    let (memory, vocabulary) = (cache(), vocabulary("c"));
    let compile =
        |constraints: &Constraints, cache| constraints.compile_cached(&vocabulary, Joint::Optional, cache).unwrap();
    let compiled = compile(&first, &memory);
    assert_eq!(compiled.figures().origin, Origin::Compiled);
    // In another order, and with other lengths, which are no part of the automaton.
    for (cache, origin) in [(&memory, Origin::Memory), (&cache(), Origin::File)] {
        let again = compile(&second, cache);
        assert_eq!(again.figures().origin, origin);
        assert_eq!(again.automaton(), compiled.automaton());
        assert_eq!((again.fewest_tokens(), again.accepts("b ab"), again.accepts("ab")), (3, true, false));
        assert_eq!(again.figures().lift, compiled.figures().lift);
    }
    let wrong = Constraints::new().with(words()).with(Keywords::all(["ab"])).tokens(3, Some(2));
    assert!(matches!(wrong.compile_cached(&vocabulary, Joint::Optional, &memory), Err(Error::Empty { .. })));
}

#[test]
fn what_says_something_else_is_compiled_by_itself() {
    let cache = Cache::default();
    let one = |text: &str| Constraints::new().with(Regex(text.to_string()));
    let constraints = [
        one("a+b"),
        one("ab"),
        Constraints::new().with(Template("ab".to_string())),
        Constraints::new().with(StartsWith("ab".to_string())),
        Constraints::new().with(Keywords::all(["ab"])),
        Constraints::new().with(Keywords { case: Case::Any, ..Keywords::all(["ab"]) }),
        Constraints::new(),
    ];
    let origin = |constraints: &Constraints, vocabulary: &Vocabulary, joint| {
        constraints.compile_cached(vocabulary, joint, &cache).unwrap().figures().origin
    };
    for constraints in &constraints {
        assert_eq!(origin(constraints, &vocabulary("c"), Joint::None), Origin::Compiled, "{constraints:?}");
    }
    assert_eq!(origin(&constraints[0], &vocabulary("c"), Joint::Space), Origin::Compiled);
    assert_eq!(origin(&constraints[0], &vocabulary("d"), Joint::None), Origin::Compiled);
    assert_eq!(origin(&constraints[0], &vocabulary("c"), Joint::None), Origin::Memory);
}
