//! Cases on the default model, as users meet it: prompts, the model's own tokenizer, the text that comes back.

use lldm::control::Error as ControlError;
use lldm::diffusion::Error as DiffusionError;
use lldm::{Error, Pipeline, Prompt};

use super::case::{Case, Kind};
use super::dice::Dice;
use super::tally::{Tally, Turn};

/// The samplers.
pub(crate) const SAMPLERS: [&str; 3] = ["threshold", "low_confidence", "ancestral"];

const PROMPTS: [&str; 5] = ["", "", "The spaceship", "Once upon a time, ", "Text: The Eagle is a pub.\nJSON:"];

/// The most tokens that are asked for; the model sees 128.
const MOST_TOKENS: usize = 96;

/// Writes a text for a case with a sampler.
pub(crate) fn write_with_model(pipeline: &Pipeline, sampler: &'static str, case: &Case, turn: Turn, tally: &mut Tally) {
    let denoiser = match sampler {
        "threshold" => "default model, threshold",
        "low_confidence" => "default model, low_confidence",
        _ => "default model, ancestral",
    };
    tally.case(case, denoiser, turn, |account| {
        let mut dice = Dice::new(turn.seed, sampler, turn.index);
        // Every text can be spelled by single bytes, so that so many tokens are enough.
        let bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let lengths = case.lengths(&bytes, MOST_TOKENS);
        let prompt = *dice.pick(&PROMPTS);
        let enough = match lengths.as_ref().map(|lengths| lengths.fewest()) {
            Some(Some(fewest)) => Some(fewest),
            // No text at all, or none of so few bytes.
            Some(None) => None,
            None => match pipeline.compile(&case.constraints(), prompt) {
                Ok(compiled) => Some(compiled.fewest_tokens()),
                Err(_) => Some(1),
            },
        };
        let max_tokens = match enough {
            Some(enough) => (enough.max(16) + dice.below(12)).min(MOST_TOKENS),
            None => MOST_TOKENS,
        };
        let mut asked = pipeline
            .generate(Prompt::text(prompt))
            .sampler(sampler)
            .max_tokens(max_tokens)
            .canvas_length(if dice.chance(0.7) { max_tokens } else { dice.between(4, max_tokens.max(4)) })
            .constraints(case.constraints())
            .temperature(*dice.pick(&[0.0, 0.9, 1.0]))
            .seed(turn.seed)
            .first_index(turn.index as u64);
        if sampler != "threshold" {
            asked = asked.parameter("steps", 8);
        }
        match asked.run() {
            Ok(output) => match case.fault(&output.text, output.tokens.len()) {
                None => account.text(),
                Some(unmet) => account.fault(format!("{:?} behind {prompt:?} does not meet {unmet}", output.text)),
            },
            Err(Error::Constraint(ControlError::Schema { place, .. })) if case.refused.as_ref() == Some(&place) => {
                account.refused(place.rsplit('/').next().unwrap_or_default());
            }
            Err(Error::Constraint(
                error @ (ControlError::States { .. } | ControlError::Bytes { .. } | ControlError::Time { .. }),
            )) if case.kind == Kind::Schemas => account.refused(format!("beyond a budget ({error})")),
            Err(
                Error::Diffusion(DiffusionError::Infeasible { .. }) | Error::Constraint(ControlError::Empty { .. }),
            ) if enough.is_none_or(|enough| enough > max_tokens) => {
                account.refused("for want of tokens, or that no text meets");
            }
            Err(error) => account.fault(format!("{error} behind {prompt:?} in {max_tokens} tokens")),
        }
    });
}
