//! What is refused, and in which words.

use lldm_diffusion::sampler::{Action, BlockSampler, BlockStart, StepTimes, StepView};
use lldm_diffusion::toy::{Table, Vectors};
use lldm_diffusion::{
    Condition, Context, Denoiser, DenoiserInfo, GenerateConfig, LogitTransform, Logits, Prediction, Result, Sampler,
    Sequence, State, StepInput, StepRng, Token, generate,
};
use serde_json::json;

use crate::{END, MASK, V, config, full_table, parts, sampler, sequences};

/// Writes the mask.
#[derive(Clone)]
struct Masker;

/// Answers `rows` rows of `logit`.
struct Flat {
    info: DenoiserInfo,
    rows: usize,
    logit: f32,
}

/// Answers nothing.
struct Silent(Flat);

fn refused(denoiser: &dyn Denoiser, settings: &GenerateConfig, sequence: Sequence) -> String {
    let sampler = sampler("first_hitting", json!({}));
    generate(&parts(denoiser, &*sampler), settings, &[sequence], None).unwrap_err().to_string()
}

fn sequence(prefix: Vec<Token>, pins: Vec<(usize, Token)>) -> Sequence {
    Sequence { prefix, pins, ..sequences(0..1).remove(0) }
}

fn flat(rows: usize, logit: f32) -> Flat {
    Flat { info: full_table(1..4, 1, vec![]).info().clone(), rows, logit }
}

#[test]
fn settings_out_of_range() {
    let table = full_table(1..4, 4, vec![]);
    let refused = |settings: GenerateConfig| refused(&table, &settings, sequence(vec![], vec![]));
    assert_eq!(refused(GenerateConfig { max_tokens: 0, ..config(4) }), "max_tokens is 0, but at least 1 is needed");
    assert_eq!(
        refused(GenerateConfig { canvas_length: 0, ..config(4) }),
        "canvas_length is 0, but at least 1 is needed"
    );
    assert_eq!(refused(GenerateConfig { block_length: 0, ..config(4) }), "block_length is 0, but at least 1 is needed");
    for (temperature, found) in [(f64::NAN, "NaN"), (-0.5, "-0.5"), (f64::INFINITY, "inf")] {
        let transform = LogitTransform { temperature, ..LogitTransform::default() };
        assert_eq!(
            refused(GenerateConfig { transform, ..config(4) }),
            format!("temperature is {found}, but it must be a finite number of at least 0")
        );
    }
}

#[test]
fn prompts_and_pins_that_do_not_fit() {
    let table = full_table(1..4, 4, vec![]);
    let refused_here = |prefix, pins| refused(&table, &config(5), sequence(prefix, pins));
    assert_eq!(
        refused_here(vec![1; 4092], vec![]),
        "the prompt has 4092 tokens and 5 more are asked for, but the model sees at most 4096: \
         shorten the prompt or ask for fewer tokens"
    );
    let unknown = "token 5 lies outside of the vocabulary of 5 entries: does the tokenizer belong to the model?";
    assert_eq!(refused_here(vec![1, 5], vec![]), unknown);
    assert_eq!(refused_here(vec![], vec![(0, 1), (2, 5)]), unknown);
    assert_eq!(refused_here(vec![], vec![(4, 1), (5, 1)]), "pin is 5, but it must lie within the 5 cells asked for");
    assert_eq!(
        refused_here(vec![], vec![(4, MASK)]),
        "pin is 4, but that is the mask: leave the cell out to have it written"
    );

    // One prompt that does not fit is refused before anything is written for the others.
    let sampler = sampler("first_hitting", json!({}));
    let mut frames = 0;
    let mut observer = |_: &lldm_diffusion::Frame| frames += 1;
    let both = [sequence(vec![], vec![]), sequence(vec![9], vec![])];
    assert!(generate(&parts(&table, &*sampler), &config(4), &both, Some(&mut observer)).is_err());
    assert_eq!(frames, 0);

    // Canvases of a fixed length reach beyond the tokens asked for.
    let mut fixed = flat(4, 0.0);
    (fixed.info.canvas_length, fixed.info.max_length) = (Some(4), 9);
    assert_eq!(
        refused(&fixed, &config(5), sequence(vec![1, 1], vec![])),
        "the prompt has 2 tokens and 8 more are asked for, but the model sees at most 9: \
         shorten the prompt or ask for fewer tokens"
    );
    fixed.info.canvas_grid = Some(0);
    assert_eq!(
        refused(&fixed, &config(5), sequence(vec![], vec![])),
        "contract broken: a denoiser asks for canvases of 0 cells"
    );
}

#[test]
fn nothing_that_may_be_written() {
    let nothing = |cell| {
        format!(
            "the denoiser gives no token a probability in cell {cell}: its logits are not numbers, or all that it \
             allows is banned"
        )
    };
    for logit in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(refused(&flat(3, logit), &config(3), sequence(vec![], vec![])), nothing(0), "{logit}");
    }
    let transform = LogitTransform { banned: vec![1, 2, 3], ..LogitTransform::default() };
    let table = full_table(1..4, 4, vec![]);
    let banned = GenerateConfig { transform, ..config(4) };
    assert_eq!(refused(&table, &banned, sequence(vec![], vec![])), nothing(0));
    // The only text ends before the given cell.
    let table = Table::new(V, MASK, vec![END], vec![(vec![1, END, 2], 1.0)]).unwrap();
    assert_eq!(refused(&table, &config(3), sequence(vec![], vec![(2, 2)])), nothing(1));
}

#[test]
fn parts_that_break_their_contract() {
    let table = full_table(1..4, 4, vec![]);
    let error = generate(&parts(&table, &Masker), &config(4), &sequences(0..1), None).unwrap_err();
    assert_eq!(error.to_string(), "contract broken: sampler `masker` wrote the mask");
    assert_eq!(
        refused(&flat(3, 0.0), &config(4), sequence(vec![], vec![])),
        "contract broken: a prediction of 3 rows for 4 cells"
    );
    assert_eq!(
        refused(&Silent(flat(4, 0.0)), &config(4), sequence(vec![], vec![])),
        "contract broken: 0 predictions for 1 canvases"
    );
    let error = Logits::new(vec![0.0; 7], 3).unwrap_err().to_string();
    assert_eq!(error, "contract broken: 7 logits are not rows of a vocabulary of 3");
    let error = Table::new(V, MASK, vec![], vec![(vec![1], 1.0), (vec![1, 2], 1.0)]).unwrap_err().to_string();
    assert_eq!(error, "texts is 2, but a table needs texts of one length with positive weight");
}

#[test]
fn tokens_and_vectors_are_not_mixed_up() {
    let vectors = Vectors::new(vec![vec![1.0, 0.0], vec![0.0, 1.0]], vec![0.5, 0.5]).unwrap();
    assert_eq!(
        refused(&vectors, &config(4), sequence(vec![], vec![])),
        "the denoiser works on vectors, but was given tokens"
    );
    let ask = |denoiser: &dyn Denoiser, state| {
        let input = StepInput { state, time: 0.5, temperature: 1.0, previous: None, condition: Condition::Given };
        let mut context = denoiser.prefill(&[]).unwrap();
        denoiser.denoise(&input, &mut context).err().unwrap().to_string()
    };
    let table = full_table(1..4, 4, vec![]);
    let values = [0.0; 6];
    assert_eq!(ask(&table, State::Vectors(&values, 2)), "the denoiser works on tokens, but was given vectors");
    assert_eq!(
        ask(&vectors, State::Vectors(&values, 3)),
        "the denoiser works on vectors of width 2, but was given width 3"
    );
}

impl Sampler for Masker {
    fn name(&self) -> &'static str {
        "masker"
    }

    fn settings(&self) -> serde_json::Value {
        json!({})
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Masker)
    }
}

impl BlockSampler for Masker {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        StepTimes::new(1.0, 0.0)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        vec![(view.block.start, Action::Commit(MASK))]
    }
}

impl Denoiser for Flat {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        Ok(Context::plain(prefix))
    }

    fn extend(&self, _: &mut Context, _: &[Token]) -> Result<()> {
        Ok(())
    }

    fn denoise(&self, _: &StepInput<'_>, _: &mut Context) -> Result<Box<dyn Prediction>> {
        Ok(Box::new(Logits::new(vec![self.logit; self.rows * V], V)?))
    }
}

impl Denoiser for Silent {
    fn info(&self) -> &DenoiserInfo {
        self.0.info()
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        self.0.prefill(prefix)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        self.0.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        self.0.denoise(input, context)
    }

    fn denoise_batch(&self, _: &[StepInput<'_>], _: &mut [&mut Context]) -> Result<Vec<Box<dyn Prediction>>> {
        Ok(Vec::new())
    }
}
