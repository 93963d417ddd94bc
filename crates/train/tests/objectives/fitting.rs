//! What measures a model is decided by its noise and its answers.

use lldm_models::Attention;
use lldm_train::measure::fitting_objective;
use lldm_train::objective::{Measures, registry};
use serde_json::Map;

use crate::support::Tiny;

#[test]
fn every_model_is_measured_by_a_likelihood_or_a_bound() {
    for spec in registry::ALL {
        let objective = registry::build(spec.name, &Map::new()).unwrap();
        let tiny = Tiny::of(objective.as_ref(), false);
        let fitting = fitting_objective(tiny.trunk());
        assert_ne!(fitting.measures(), Measures::Neither, "{}", spec.name);
        assert_eq!(fitting.measures() == Measures::Exact, objective.attention() == Attention::Causal);
        assert_eq!(fitting.attention(), objective.attention(), "{}", spec.name);
        assert_eq!(fitting.block_length(), objective.block_length(), "{}", spec.name);
        let expected = match spec.name {
            "masked" | "block" | "autoregressive" | "score_entropy" => spec.name,
            _ => "elbo",
        };
        assert_eq!(fitting.name(), expected);
    }
}
