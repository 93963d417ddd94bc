//! Filling: what is kept comes back to the byte, whatever is written between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::Range;

use lldm::diffusion::rng::stream;
use lldm::models::Defaults;
use lldm::{FillText, Filled, Pipeline};

/// Texts with gaps of all kinds: within words, at line ends, beside marks, at both ends, of letters beyond ASCII.
const TEXTS: [&str; 8] = [
    "The old king went to the ____ and saw a ____.",
    "The spa____ landed on the ____on.",
    "____ is a word",
    "(\"____\") is a word, and so is ____",
    "Größe: ____ m\n\nFarbe:\t____\n",
    "one____two",
    "x = [1, ____, 3]  ",
    "\u{4e2d}\u{6587} ____ 🙂 ____",
];

/// The gaps between the kept parts, if these are all there.
fn gaps(text: &str, filled: &Filled) -> Vec<String> {
    let kept: Vec<_> = text.split("____").collect();
    let mut rest = filled.text.strip_prefix(kept[0]).expect(text);
    for (gap, kept) in filled.gaps.iter().zip(&kept[1..]) {
        assert!(!gap.is_empty(), "{text}: {filled:?}");
        rest = rest.strip_prefix(gap.as_str()).and_then(|rest| rest.strip_prefix(kept)).expect(text);
    }
    assert!(rest.is_empty() && filled.gaps.len() == kept.len() - 1, "{text}: {filled:?}");
    filled.gaps.clone()
}

#[test]
fn kept_text_comes_back_byte_for_byte() {
    let pipeline = Pipeline::load("embedded").unwrap();
    for text in TEXTS {
        let mut all = Vec::new();
        for seed in 0..4 {
            let fill = || pipeline.fill(FillText::masked(text, "____").unwrap()).seed(seed);
            let filled = fill().run().unwrap();
            assert_eq!(filled, fill().run().unwrap(), "the same seed, the same text");
            let gaps = gaps(text, &filled);
            assert!(gaps.iter().all(|gap| gap.trim() == gap), "{text}: {gaps:?}");
            all.push(gaps);
        }
        assert!(all.iter().any(|gaps| *gaps != all[0]), "{text}: the seed decides, {all:?}");
        let greedy = Defaults { temperature: Some(0.0), ..Defaults::default() };
        let fill = |seed| pipeline.fill(FillText::masked(text, "____").unwrap()).request(greedy.clone()).seed(seed);
        assert_eq!(fill(1).run().unwrap().text, fill(2).run().unwrap().text, "{text}");
    }
}

#[test]
fn gaps_match_their_expression_and_bounds() {
    let pipeline = Pipeline::load("embedded").unwrap();
    for seed in 0..6 {
        let text = "She is ____ years old, and was born in ____.";
        let fill = pipeline.fill(FillText::masked(text, "____").unwrap()).gap("[1-9][0-9]{0,3}").gap_tokens(1..=2);
        let gaps = gaps(text, &fill.seed(seed).run().unwrap());
        assert!(
            gaps.iter().all(|gap| gap.parse::<u32>().is_ok_and(|number| (1..10_000).contains(&number))),
            "{gaps:?}"
        );
    }
    let wide = pipeline.fill(FillText::between("Once", " the end.")).gap_tokens(8..=8).seed(3).run().unwrap();
    let narrow = pipeline.fill(FillText::between("Once", " the end.")).gap_tokens(1..=1).seed(3).run().unwrap();
    assert!(wide.output.tokens.len() == narrow.output.tokens.len() + 7, "{wide:?} {narrow:?}");
    for filled in [wide, narrow] {
        assert!(!filled.gaps[0].starts_with(char::is_alphanumeric), "the word before the gap is over: {filled:?}");
    }
    let wrong = pipeline.fill(FillText::between("a", "b")).gap("(").run().unwrap_err().to_string();
    assert!(wrong.contains("no regular expression"), "{wrong}");
}

/// Words of the toy bring their spaces along, and there are no others.
#[test]
fn models_of_whole_words_fill_too() {
    let pipeline = Pipeline::load("toy").unwrap();
    for sampler in ["low_confidence", "first_hitting", "remdm"] {
        for text in ["the old ____ counted every ____ on the lake", "____ of stars", "a small boat ____"] {
            for seed in 0..6 {
                let request = Defaults { sampler: Some(sampler.to_string()), ..Defaults::default() };
                let fill = pipeline.fill(FillText::masked(text, "____").unwrap()).request(request);
                gaps(text, &fill.seed(seed).run().unwrap());
            }
        }
    }
}

fn spans(text: &str, spans: &[Range<usize>]) -> FillText {
    FillText::spans(text, spans).unwrap()
}

/// The stronger the noise, the less of a span survives; outside nothing changes.
#[test]
fn strength_says_how_much_of_a_span_survives() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let text = "The boy ran to the river and sat down. \u{201c}He\u{201d} was very happy there.\n";
    let places = [4..15, 42..63];
    let same = |strength: f64| {
        let mut same = 0;
        for seed in 0..12 {
            let filled = match pipeline.fill(spans(text, &places)).strength(strength).seed(seed).run() {
                Ok(filled) => filled,
                // Little noise may leave everything.
                Err(error) => {
                    assert!(strength < 0.5 && error.to_string().contains("nothing of this text is noised"), "{error}");
                    continue;
                }
            };
            assert!(filled.text.starts_with(&text[..4]) && filled.text.ends_with(&text[63..]), "{filled:?}");
            assert!(filled.text.contains(&text[15..42]), "{filled:?}");
            let kept = filled.text.split(' ').filter(|word| text.split(' ').any(|other| other == *word)).count();
            same += kept;
        }
        same
    };
    let counts = [0.2, 0.6, 1.0].map(same);
    assert!(counts[0] < 12 * 20 && counts[1] > counts[2], "{counts:?}");
    let error = |fill: lldm::Fill<'_>| fill.run().unwrap_err().to_string();
    assert!(error(pipeline.fill(spans(text, &places)).strength(1.5)).contains("between 0 and 1"));
    assert!(error(pipeline.fill(FillText::between("a", "b")).strength(0.5)).contains("needs text to start from"));
}

/// What the model cannot see of a long text is kept all the same.
#[test]
fn long_texts_are_filled_in_their_middle() {
    let pipeline = Pipeline::load("embedded").unwrap();
    let word = |n: u64| ["river", "mountain", "quiet", "house", "king", "Straße"][(stream(5, n) % 6) as usize];
    let words = |from: u64, to: u64| (from..to).map(word).collect::<Vec<_>>().join(" ");
    let (before, after) = (words(0, 600), words(600, 1200));
    let filled = pipeline.fill(FillText::between(&format!("{before} "), &format!(" {after}"))).seed(2).run().unwrap();
    assert!(filled.text.starts_with(&before) && filled.text.ends_with(&after));
    assert!(filled.text.len() > before.len() + after.len() + 2);
    let text = format!("{before} and {after}");
    let span = before.len() + 1..before.len() + 4;
    let again = pipeline.fill(spans(&text, std::slice::from_ref(&span))).strength(1.0).seed(2).run().unwrap();
    assert!(again.text.starts_with(&text[..span.start]) && again.text.ends_with(&text[span.end..]));
    let far = FillText::masked(&format!("____ {before} {after} ____"), "____").unwrap();
    let error = pipeline.fill(far).run().unwrap_err().to_string();
    assert!(error.contains("longer than what the model sees"), "{error}");
}

#[test]
fn a_model_that_sees_one_side_is_told_so() {
    let toy = lldm::models::load("toy").unwrap();
    let mut model = toy;
    struct OneSided(Box<dyn lldm::diffusion::Denoiser>, lldm::diffusion::DenoiserInfo);
    impl lldm::diffusion::Denoiser for OneSided {
        fn info(&self) -> &lldm::diffusion::DenoiserInfo {
            &self.1
        }
        fn prefill(&self, prefix: &[u32]) -> lldm::diffusion::Result<lldm::diffusion::Context> {
            self.0.prefill(prefix)
        }
        fn extend(&self, context: &mut lldm::diffusion::Context, tokens: &[u32]) -> lldm::diffusion::Result<()> {
            self.0.extend(context, tokens)
        }
        fn denoise(
            &self,
            input: &lldm::diffusion::StepInput<'_>,
            context: &mut lldm::diffusion::Context,
        ) -> lldm::diffusion::Result<Box<dyn lldm::diffusion::Prediction>> {
            self.0.denoise(input, context)
        }
    }
    let info = lldm::diffusion::DenoiserInfo { canvas_length: Some(1), ..model.denoiser.info().clone() };
    model.denoiser = Box::new(OneSided(model.denoiser, info));
    let error = Pipeline::new(model).fill(FillText::between("a", "b")).run().unwrap_err().to_string();
    assert!(error.contains("does not see what stands behind a gap"), "{error}");
}
