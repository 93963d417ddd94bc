//! s-sahoo/duo: Psi-samplers, of uniform and of masked noise.
//!
//! The reference has three sections, each with a strategy of its own, and times that may stand still. Ours has one strategy:
//! here each step is one of a sampler with the strategy of its section, at the reference's times. The share of the posterior
//! must be the reference's, except in the last step of a section, which the reference leaves to the posterior alone where
//! the strategy depends on alpha.

use lldm_diffusion::Compat;
use lldm_diffusion::sampler::StepTimes;
use serde_json::{Value, json};

use crate::TOLERANCE;
use crate::draws::{Draws, by_race};
use crate::duo::Case;
use crate::network::Network;
use crate::replay::{Process, close};

/// The sections of the runs, where their settings do not name them: the shares of all times that are `high` and `middle`, as the
/// stored shares of the posterior show them.
const SECTIONS: [(&str, f64); 2] = [("high", 0.3), ("middle", 0.4)];

impl Case<'_> {
    /// For each time its section's strategy, and whether it is the last of its section.
    fn strategies(&self, times: usize) -> Vec<(Value, bool)> {
        let mut all = Vec::new();
        let mut section = |name: &str, length: usize| {
            let mode = self.settings[&format!("sampling.psi.{name}_mode")].as_str().expect("a mode");
            all.extend((0..length).map(|at| (strategy(mode), at + 1 == length)));
        };
        let lengths = SECTIONS.map(|(name, share)| {
            let share = self.settings[&format!("sampling.psi.{name}_frac")].as_f64().unwrap_or(share);
            (share * times as f64).round_ties_even() as usize
        });
        SECTIONS.iter().zip(lengths).for_each(|((name, _), length)| section(name, length));
        section("low", times - lengths.iter().sum::<usize>());
        all
    }

    pub(crate) fn check_psi(&self) {
        let (golden, name) = (self.golden, self.name);
        let (network, length) = (Network::new(golden), golden.size("L"));
        let noise = self.noise(&network);
        let (times, kappas) = (golden.output(name, "timesteps").at(&[]), golden.output(name, "kappas").at(&[]));
        let strategies = self.strategies(times.len());
        let (probs, x) = (golden.output(name, "probs"), golden.output(name, "x"));
        assert_eq!(self.json["updates"].as_u64(), Some(times.len() as u64), "{name}");
        let mut draws = Draws::new(golden, self.json);
        let mut canvases = match noise.mask() {
            Some(mask) => vec![vec![mask; length]; golden.size("B")],
            None => draws.next_tokens(),
        };
        for (step, t) in times.iter().enumerate() {
            let step_times = StepTimes::new(*t, times.get(step + 1).copied().unwrap_or(0.0));
            let (strategy, last) = &strategies[step];
            let depends = strategy["strategy"] != "constant";
            // The last update removes all noise and is one of the posterior.
            let posterior = step + 1 == times.len() || *last && depends;
            let settings = if posterior { json!({ "strategy": "constant", "kappa": 1.0 }) } else { strategy.clone() };
            let config: lldm_diffusion::sampler::PsiConfig =
                serde_json::from_value(settings.clone()).expect("settings");
            let alpha = |t: f64| noise.marginal(t).alpha;
            let share = config.posterior_share(*t, alpha(*t), alpha(step_times.s), Compat::Reference);
            assert!(
                (share - kappas[step]).abs() <= TOLERANCE,
                "{name} step {step}: kappa {share} for {}",
                kappas[step]
            );

            let process = Process::new("psi", settings, noise.as_ref(), length);
            let uniforms = draws.next();
            for (row, tokens) in canvases.iter_mut().enumerate() {
                let predicted = self.predict(&network, &process, tokens, *t);
                let mut run = process.begin(Compat::Reference);
                let (found, _) = process.step(run.as_mut(), step_times, tokens, &predicted);
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
        let last: Vec<_> = (0..canvases.len()).map(|row| golden.output(name, "final").tokens(&[row])).collect();
        assert_eq!(canvases, last, "{name}");
        assert!(draws.finished(), "{name}");
    }
}

/// Our settings for a mode of the reference.
fn strategy(mode: &str) -> Value {
    let number = || mode.rsplit('-').next().and_then(|number| number.parse::<f64>().ok()).expect("a number");
    match mode {
        "pure-posterior" => json!({ "strategy": "constant", "kappa": 1.0 }),
        "pure-pc" => json!({ "strategy": "constant", "kappa": 0.0 }),
        _ if mode.starts_with("constant-remdm-") => json!({ "strategy": "remdm", "eta": number() }),
        _ if mode.starts_with("constant-") => json!({ "strategy": "constant", "kappa": number() }),
        _ if mode.starts_with("max-capped-") => json!({ "strategy": "cap", "eta": number() }),
        _ if mode.starts_with("max-rescale-") => json!({ "strategy": "rescale", "eta": number() }),
        other => panic!("this test does not know the mode `{other}`"),
    }
}
