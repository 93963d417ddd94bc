//! The loop of masked diffusion by hand: load, start from noise, for t descending call one denoise step, project to
//! tokens, decode, print.
//!
//! `cargo run --release -p lldm --example denoise_step -- toy`
#![allow(clippy::print_stdout)]

use lldm::Pipeline;
use lldm::diffusion::noise::{Masked, Noise};
use lldm::diffusion::prediction::RowRequest;
use lldm::diffusion::rng::{Purpose, Rng};
use lldm::diffusion::schedule::{Linear, Schedule};
use lldm::diffusion::vocabulary::Draw;
use lldm::diffusion::{Canvas, Cell, Condition, LogitTransform, State, StepInput};

fn main() -> lldm::Result<()> {
    // Load.
    let name = std::env::args().nth(1).unwrap_or_else(|| "embedded".to_string());
    let pipeline = Pipeline::load(&name)?;
    let denoiser = &pipeline.model().denoiser;
    let mask = denoiser.info().mask.unwrap_or_default();
    let (length, steps, rng) = (pipeline.settings()?.canvas_length.min(32), 16, Rng::new(7, 0));

    // Start from noise: a canvas of masks behind an empty context.
    let noise = Masked { schedule: Linear, mask };
    let mut canvas = Canvas::noisy(noise.prior(length, &rng.at(0, 0)));
    let mut context = denoiser.prefill(&[])?;
    let transform = LogitTransform { banned: vec![mask], ..LogitTransform::default() };

    // For t descending from 1 to 0 ...
    for step in 0..steps {
        let t = 1.0 - step as f64 / steps as f64;
        let s = 1.0 - (step + 1) as f64 / steps as f64;

        // ... one denoise step: the network predicts the clean text, a distribution for each cell ...
        let input = StepInput {
            state: State::Tokens(canvas.tokens()),
            time: t,
            temperature: 1.0,
            previous: None,
            condition: Condition::Given,
        };
        let prediction = denoiser.denoise(&input, &mut context)?;

        // ... is projected to tokens by a draw for each noisy cell ...
        let draws = rng.at(1, step);
        let noisy: Vec<_> = (0..length).filter(|cell| canvas.cells()[*cell] == Cell::Noisy).collect();
        let request =
            |row: &usize| RowRequest { row: *row, draw: Draw::Key(draws.bits(*row, Purpose::Token)), held: None };
        let proposals = prediction.propose(&noisy.iter().map(request).collect::<Vec<_>>(), &transform)?;

        // ... and written with the probability that the reverse process gives to leaving the noise between t and s.
        let reveal = Linear.reveal(t, s);
        for (cell, proposal) in noisy.into_iter().zip(proposals) {
            if draws.uniform(cell, Purpose::Commit) < reveal {
                canvas.commit(cell, proposal.token);
            }
        }

        // Decode and print what stands there; a masked cell is a shade.
        let tokens = canvas.tokens().iter();
        let text: Vec<_> = tokens
            .map(|token| if *token == mask { "░".to_string() } else { pipeline.tokenizer().piece(*token) })
            .collect();
        println!("t = {s:.2}  {}", text.join(if name == "toy" { " " } else { "" }));
    }
    Ok(())
}
