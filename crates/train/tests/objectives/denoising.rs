//! The simple denoising loss.

use lldm_diffusion::{Denoiser, Token};
use lldm_train::objective::{Denoising, DenoisingConfig, Measures, Objective, Rows, T_MAX, T_MIN};

use crate::support::{MASK, Tiny, VOCABULARY, all_texts, assert_within, words};

fn cross_entropy(outputs: &[f64], token: Token) -> f64 {
    let words = outputs.iter().enumerate().filter(|(token, _)| *token != MASK as usize);
    words.map(|(_, output)| output.exp()).sum::<f64>().ln() - outputs[token as usize]
}

#[test]
fn every_cell_counts_alike_or_only_those_that_were_drawn() {
    let canvas = words(5, 2);
    for noised_only in [false, true] {
        let objective = Denoising(DenoisingConfig { noised_only, ..DenoisingConfig::default() });
        let tiny = Tiny::of(&objective, false);
        // Under the linear schedule a cell is drawn with probability t: the states' probabilities are polynomials of t.
        let mut expected = 0.0;
        let nodes = 200;
        let mut states = all_texts(VOCABULARY as Token, 2);
        states.retain(|z| !z.contains(&MASK));
        let outputs = tiny.outputs(&[], &states, 0.0);
        let both = |outputs: &Vec<Vec<f64>>| [0, 1].map(|at| cross_entropy(&outputs[at], canvas[at]));
        let losses: Vec<_> = states.iter().zip(outputs.iter().map(both)).collect();
        for node in 0..nodes {
            let t = T_MIN + (T_MAX - T_MIN) * (f64::from(node) + 0.5) / f64::from(nodes);
            let share = t / (VOCABULARY - 1) as f64;
            for (z, losses) in &losses {
                // (the state, and that the cell was drawn; the state)
                let drawn = [share; 2];
                let whole = [0, 1].map(|at| share + if z[at] == canvas[at] { 1.0 - t } else { 0.0 });
                for at in 0..2 {
                    let own = if noised_only { drawn[at] } else { whole[at] };
                    expected += own * whole[1 - at] * losses[at] / f64::from(nodes);
                }
            }
        }
        let copies = canvas.repeat(8);
        let rows = Rows { tokens: &copies, scored: &[true; 16], length: 2 };
        let (found, error) = tiny.mean_nats(&objective, &rows, 1500);
        assert_within((found / 8.0, error / 8.0), expected, &format!("noised_only = {noised_only}"));
        assert_eq!(objective.measures(), Measures::Neither);
        assert_eq!(tiny.denoiser.info().weighs_held, !noised_only);
        assert_eq!(tiny.denoiser.info().mask, None);
    }
}
