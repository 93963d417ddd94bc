//! s-sahoo/duo: ancestral steps of uniform noise with both ends and a nucleus, and MDLM and SEDD as they are there. Its
//! Psi-samplers are in `psi.rs`.

use std::collections::BTreeSet;

use lldm_diffusion::noise::{Alphabet, Masked, Noise, Uniform};
use lldm_diffusion::sampler::StepTimes;
use lldm_diffusion::schedule::LogLinear;
use lldm_diffusion::{Compat, LogitTransform, Token};
use serde_json::{Value, json};

use crate::draws::{Draws, by_race};
use crate::file::Golden;
use crate::network::Network;
use crate::replay::{Predicted, Process, after, close};
use crate::sedd::{clean_from_scores, rest_is_mask};
use crate::{TOLERANCE, linspace};

/// The end of the repository's log-linear schedule.
const SCHEDULE: LogLinear = LogLinear { eps: 1e-3 };

/// The settings of a case.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) json: &'a Value,
    pub(crate) settings: &'a Value,
    pub(crate) golden: &'a Golden,
}

#[test]
fn golden_objectives_duo_samplers() {
    let golden = Golden::read("duo");
    let mut tested = 0;
    for (name, json) in golden.samplers() {
        let case = Case { name, json, settings: &json["settings"], golden: &golden };
        if case.settings["sampling.predictor"] == "psi" {
            case.check_psi();
        } else {
            case.check();
        }
        tested += 1;
    }
    golden.compare_left_out(&BTreeSet::new(), &[], tested);
}

impl Case<'_> {
    fn algorithm(&self) -> &str {
        self.json["algorithm"].as_str().expect("an algorithm")
    }

    fn greedy(&self) -> bool {
        self.settings["sampling.noise_removal"] == "greedy"
    }

    /// The log-linear grid down to eps, and a last step that removes all noise.
    fn times(&self) -> Vec<StepTimes> {
        let steps = self.settings["sampling.steps"].as_u64().map_or(self.golden.size("steps"), |steps| steps as usize);
        let mut grid = linspace(1.0, self.settings["eps"].as_f64().expect("eps"), steps);
        grid.push(0.0);
        grid.windows(2).map(|pair| StepTimes::new(pair[0], pair[1])).collect()
    }

    pub(crate) fn noise(&self, network: &Network<'_>) -> Box<dyn Noise> {
        match self.algorithm() {
            "DUO_BASE" => {
                let alphabet = Alphabet { vocabulary: network.vocabulary, without: None };
                Box::new(Uniform { schedule: SCHEDULE, alphabet })
            }
            "MDLM" | "SEDDAbsorb" => Box::new(Masked { schedule: SCHEDULE, mask: network.mask() }),
            other => panic!("this test does not know the algorithm `{other}`"),
        }
    }

    pub(crate) fn predict(&self, network: &Network<'_>, process: &Process<'_>, tokens: &[Token], t: f64) -> Predicted {
        if self.algorithm() == "SEDDAbsorb" {
            return Predicted::from_clean(clean_from_scores(network, process.noise, tokens, t), tokens);
        }
        let sees_time = self.settings["algo.time_conditioning"].as_bool().unwrap_or(true);
        let sigma = if sees_time { -process.noise.marginal(t).alpha.ln() } else { 0.0 };
        // The crossing token is kept here.
        let top_p = self.settings["sampling.p_nucleus"].as_f64().unwrap_or(1.0);
        let transform = LogitTransform { top_p, ..process.transform() };
        Predicted::new(&network.logits(tokens, sigma, None), tokens, &transform, network.vocabulary)
    }

    fn check(&self) {
        let (golden, name) = (self.golden, self.name);
        let (network, length) = (Network::new(golden), golden.size("L"));
        let noise = self.noise(&network);
        let times = self.times();
        let updates = self.json["updates"].as_u64().expect("updates") as usize;
        assert_eq!(updates, times.len() - usize::from(self.greedy()), "{name}");
        let (sampler, settings) = match self.settings["sampling.predictor"].as_str() {
            Some("analytic") => ("tau_leaping", json!({ "method": "analytic", "steps": times.len() - 1 })),
            None | Some("ancestral_cache") if self.greedy() => {
                ("ancestral", json!({ "tail": "greedy", "steps": times.len() - 1 }))
            }
            None | Some("ancestral_cache") => ("ancestral", json!({})),
            Some(other) => panic!("this test does not know the predictor `{other}`"),
        };
        let process = Process::new(sampler, settings, noise.as_ref(), length);
        let (probs, x) = (golden.output(name, "probs"), golden.output(name, "x"));
        let mut draws = Draws::new(golden, self.json);
        let mut canvases = match noise.mask() {
            Some(mask) => vec![vec![mask; length]; golden.size("B")],
            None => draws.next_tokens(),
        };
        let mut runs: Vec<_> = canvases.iter().map(|_| process.begin(Compat::Exact)).collect();
        for (step, times) in times.iter().enumerate() {
            let uniforms = if step < updates { draws.next() } else { Vec::new() };
            for (row, (tokens, run)) in canvases.iter_mut().zip(&mut runs).enumerate() {
                // Where ours ends its steps at the same time, its grid is the reference's.
                let own = run.next_step(length, &lldm_diffusion::Rng::new(0, 0).at(0, step));
                if sampler == "tau_leaping" || self.greedy() && self.settings["eps"] == 1e-5 {
                    assert!((own.t - times.t).abs() < 1e-12 && (own.s - times.s).abs() < 1e-12, "{name} step {step}");
                }
                let predicted = self.predict(&network, &process, tokens, times.t);
                let (mut found, actions) = process.step(run.as_mut(), *times, tokens, &predicted);
                if step == updates {
                    assert_eq!(
                        after(tokens, &actions),
                        golden.output(name, "final").tokens(&[row]),
                        "{name} row {row}"
                    );
                    continue;
                }
                if let (Some(mask), "SEDDAbsorb", true) = (noise.mask(), self.algorithm(), times.s > 0.0) {
                    found.iter_mut().for_each(|row| rest_is_mask(row, mask));
                }
                let stored = x.tokens(&[step, row]);
                for at in 0..length {
                    let place = format!("{name} step {step} row {row} cell {at}");
                    close(&found[at], probs.at(&[step, row, at]), TOLERANCE, &place);
                    let uniforms = &uniforms[row][at * network.vocabulary..];
                    assert_eq!(by_race(&found[at], uniforms), stored[at], "{place}");
                }
                *tokens = stored;
            }
        }
        if !self.greedy() {
            let last: Vec<_> = (0..canvases.len()).map(|row| golden.output(name, "final").tokens(&[row])).collect();
            assert_eq!(canvases, last, "{name}");
        }
        assert!(draws.finished(), "{name}");
    }
}
