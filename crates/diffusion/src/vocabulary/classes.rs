//! The class sums of a row: what a constraint needs of V logits.

use super::race::{Draw, Race};
use super::row::Row;
use crate::canvas::Token;
use crate::contract::LogitTransform;

/// Per class of a token partition: the statistics that a constraint works on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassStat {
    /// ln of the summed probability of the class.
    pub log_sum: f64,
    /// The most probable token of the class.
    pub best: Token,
    /// Its log probability.
    pub log_best: f64,
    /// An exact draw of a token given the class.
    pub drawn: Token,
}

/// The class statistics of one row: `class_of` maps each of the V tokens to a class below `classes`. A class without
/// any admissible token has `log_sum` minus infinity. Top-k and top-p do not act here: they could leave a constraint nothing.
pub fn class_stats(
    logits: &[f32],
    transform: &LogitTransform,
    class_of: &[u16],
    classes: usize,
    key: u64,
) -> Vec<ClassStat> {
    let row = Row::new(logits, transform);
    let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let mut stats = vec![ClassStat { log_sum: 0.0, best: 0, log_best: f64::NEG_INFINITY, drawn: 0 }; classes];
    let mut races = vec![Race::new(); classes];
    let mut total = 0.0;
    for (token, logit) in row.iter() {
        let class = usize::from(class_of[token]);
        let shifted = logit - best;
        let weight = shifted.exp();
        total += weight;
        let stat = &mut stats[class];
        stat.log_sum += weight;
        if shifted > stat.log_best {
            stat.log_best = shifted;
            stat.best = token as Token;
        }
        let temperature = if transform.temperature > 0.0 { transform.temperature } else { 1.0 };
        let weight = (temperature <= 1.0).then_some(weight);
        races[class].enter(Draw::Key(key), token, shifted / temperature, weight);
    }
    for (stat, race) in stats.iter_mut().zip(races) {
        stat.log_sum = stat.log_sum.ln() - total.ln();
        stat.log_best -= total.ln();
        stat.drawn = race.winner.map_or(stat.best, |token| token as Token);
    }
    stats
}
