//! The best of several texts by a scorer: the baseline of every other way to steer.

use lldm_control::{Scorer, guidance::reward};

use crate::error::{Error, Result};
use crate::generate::Generate;
use crate::output::Output;

/// The best of several texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The text; its seed makes it again, alone.
    pub output: Output,
    /// Which of the texts it is.
    pub number: usize,
    /// What each of the texts is worth.
    pub scores: Vec<f64>,
    /// Forward passes over noisy canvases, all texts together.
    pub nfe: usize,
}

/// Writes the one text of `generate` with `count` seeds in a row.
pub(crate) fn best_of(mut generate: Generate<'_>, count: usize, scorer: &dyn Scorer) -> Result<Best> {
    let [prompt] = &generate.prompts[..] else {
        let message =
            format!("the best of several texts is that of one prompt, but {} are given", generate.prompts.len());
        return Err(Error::Prompt { message });
    };
    if count == 0 {
        return Err(lldm_diffusion::Error::setting("best_of", 0, "at least 1 text is needed").into());
    }
    let first = prompt.seed.unwrap_or(generate.seed);
    let seeds = (0..count as u64).map(|number| first.wrapping_add(number));
    generate.prompts = seeds.map(|seed| prompt.clone().seed(seed)).collect();
    let mut outputs = generate.run_all()?;
    let scores: Vec<_> =
        outputs.iter().map(|output| reward(scorer, &output.text, &output.tokens)).collect::<Result<_, _>>()?;
    let nfe = outputs.iter().map(|output| output.usage.nfe).sum();
    let number = (0..count).reduce(|best, next| if scores[next] > scores[best] { next } else { best }).unwrap_or(0);
    Ok(Best { output: outputs.swap_remove(number), number, scores, nfe })
}
