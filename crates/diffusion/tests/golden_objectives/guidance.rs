//! kuleshov-group/discrete-diffusion-guidance: ancestral steps of uniform and masked noise (UDLM, D3PM, MDLM), and guidance
//! that joins predictions (masked noise) or posteriors (uniform noise).

use std::collections::BTreeSet;

use lldm_diffusion::noise::{Alphabet, Masked, Noise, Uniform};
use lldm_diffusion::sampler::StepTimes;
use lldm_diffusion::schedule::LogLinear;
use lldm_diffusion::{Compat, PosteriorMix, Prediction, Token};
use serde_json::{Value, json};

use crate::draws::{Draws, by_race};
use crate::file::Golden;
use crate::network::Network;
use crate::replay::{Predicted, Process, close};
use crate::{LeftOut, TOLERANCE, WIDE_TOLERANCE, linspace};

/// The end of the repository's log-linear schedule.
const SCHEDULE: LogLinear = LogLinear { eps: 1e-3 };

/// The settings of a case.
struct Case<'a> {
    name: &'a str,
    settings: &'a Value,
    absorbing: bool,
    /// D-CFG's gamma, if there is guidance.
    gamma: Option<f64>,
}

#[test]
fn golden_objectives_guidance_samplers() {
    let golden = Golden::read("guidance");
    let (mut tested, mut left_out) = (0, BTreeSet::new());
    for (name, json) in golden.samplers() {
        let settings = &json["settings"];
        let case = Case {
            name,
            settings,
            absorbing: settings["diffusion"] == "absorbing_state",
            gamma: settings["guidance"]["gamma"].as_f64(),
        };
        if let Some(reason) = case.left_out() {
            left_out.insert((name, reason));
            continue;
        }
        case.check(&golden, json);
        tested += 1;
    }
    let listed = [
        ("dcbg_absorb_approx", LeftOut::ClassifierGuidance),
        ("dcbg_absorb_exact", LeftOut::ClassifierGuidance),
        ("dcbg_uniform_approx", LeftOut::ClassifierGuidance),
        ("dcbg_uniform_exact", LeftOut::ClassifierGuidance),
    ];
    golden.compare_left_out(&left_out, &listed, tested);
}

impl Case<'_> {
    fn left_out(&self) -> Option<LeftOut> {
        (self.settings["guidance"]["method"] == "cbg").then_some(LeftOut::ClassifierGuidance)
    }

    fn check(&self, golden: &Golden, json: &Value) {
        let (network, length, name) = (Network::new(golden), golden.size("L"), self.name);
        let (vocabulary, mask) = (network.vocabulary, network.mask());
        // The mask is an ordinary token of uniform noise here.
        let noise: Box<dyn Noise> = if self.absorbing {
            Box::new(Masked { schedule: SCHEDULE, mask })
        } else {
            Box::new(Uniform { schedule: SCHEDULE, alphabet: Alphabet { vocabulary, without: None } })
        };
        let process = Process::new("ancestral", json!({}), noise.as_ref(), length);
        let steps = json["steps"].as_u64().expect("steps") as usize;
        let passes: Vec<_> = json["nfe_per_step"].as_array().expect("passes").iter().map(Value::as_u64).collect();
        assert!(self.absorbing || !passes.contains(&Some(0)), "{name}: an answer for another time is used");

        let (probs, x) = (golden.output(name, "probs"), golden.output(name, "x"));
        let mut draws = Draws::new(golden, json);
        let mut canvases = match self.absorbing {
            true => vec![vec![mask; length]; golden.size("B")],
            false => draws.next_tokens(),
        };
        for (step, times) in self.times(steps).into_iter().enumerate() {
            let uniforms = draws.next();
            for (row, tokens) in canvases.iter_mut().enumerate() {
                let predicted = self.predict(golden, &network, &process, tokens, times);
                let mut run = process.begin(Compat::Exact);
                assert_eq!(run.draws_posterior(noise.as_ref(), times), !self.absorbing, "{name}");
                let (found, _) = process.step(run.as_mut(), times, tokens, &predicted);
                let stored = x.tokens(&[step, row]);
                for at in 0..length {
                    let place = format!("{name} step {step} row {row} cell {at}");
                    if self.absorbing && tokens[at] != mask {
                        assert_eq!(stored[at], tokens[at], "{place}");
                        continue;
                    }
                    let wide = self.settings.get("T").is_some() && step == 0;
                    let tolerance = if wide { WIDE_TOLERANCE } else { TOLERANCE };
                    close(&found[at], probs.at(&[step, row, at]), tolerance, &place);
                    assert_eq!(by_race(&found[at], &uniforms[row][at * vocabulary..]), stored[at], "{place}");
                }
                *tokens = stored;
            }
        }
        assert!(draws.finished(), "{name}");
    }

    /// The repository's times; with discrete time T the start of a step is moved to the next multiple of 1 / T.
    fn times(&self, steps: usize) -> Vec<StepTimes> {
        let eps = self.settings["eps"].as_f64().expect("eps");
        let step = (1.0 - eps) / steps as f64;
        let times = linspace(1.0, eps, steps).into_iter().take(steps).map(|t| {
            let t = self.settings["T"].as_f64().map_or(t, |count| ((t * count).floor() + 1.0) / count);
            StepTimes::new(t, t - step)
        });
        times.collect()
    }

    fn predict(
        &self,
        golden: &Golden,
        network: &Network<'_>,
        process: &Process<'_>,
        tokens: &[Token],
        times: StepTimes,
    ) -> Predicted {
        let (noise, transform) = (process.noise, process.transform());
        let sees_time = self.settings["time_conditioning"].as_bool().unwrap_or(true);
        let sigma = if sees_time { -noise.marginal(times.t).alpha.ln() } else { 0.0 };
        let plain = |prediction: &dyn Prediction| Predicted::new(prediction, tokens, &transform, network.vocabulary);
        let Some(gamma) = self.gamma else { return plain(&network.logits(tokens, sigma, None)) };
        let class = self.settings["guidance"]["condition"].as_u64().expect("a class") as usize;
        // The class after the last stands for none.
        let without = network.logits(tokens, sigma, Some(golden.size("classes")));
        let with = network.logits(tokens, sigma, Some(class));
        match gamma {
            0.0 => plain(&without),
            1.0 => plain(&with),
            _ if self.absorbing => plain(with.away_from(&without, gamma - 1.0).expect("of one kind").as_ref()),
            _ => {
                let StepTimes { t, s, .. } = times;
                let mix = PosteriorMix { scale: gamma - 1.0, noise, t, s, held: tokens, weighs_held: false };
                Predicted::mixed(&with, &without, &mix, &transform, network.vocabulary)
            }
        }
    }
}
