//! The class sums of a row: what a constraint needs of V logits.

use super::filter::Cut;
use super::race::{Draw, Race};
use super::row::Row;
use crate::canvas::Token;
use crate::contract::LogitTransform;

/// How far below its weight, in nats, a token that top-k or top-p leaves out is taken: it is drawn only where a constraint leaves
/// nothing else. Left out wholly, it could leave a constraint nothing at all.
const LEFT_OUT: f64 = 40.0;

/// Per class of a token partition: the statistics that a constraint works on, all of the distribution that is drawn from
/// (at temperature 0, where that is a single token, of the one at temperature 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassStat {
    /// ln of the summed probability of the class.
    pub log_sum: f64,
    /// The entropy within the class, in nats.
    pub entropy: f64,
    /// The most probable token of the class.
    pub best: Token,
    /// Its log probability.
    pub log_best: f64,
    /// The log probability of the second most probable.
    pub log_second: f64,
    /// An exact draw of a token given the class.
    pub drawn: Token,
    /// Its log probability.
    pub log_drawn: f64,
}

/// The class statistics of one row: `class_of` maps each of the V tokens to a class below `classes`. A class without
/// any admissible token has `log_sum` minus infinity.
pub fn class_stats(
    logits: &[f32],
    transform: &LogitTransform,
    class_of: &[u16],
    classes: usize,
    key: u64,
) -> Vec<ClassStat> {
    let row = Row::new(logits, transform);
    let temperature = if transform.temperature > 0.0 { transform.temperature } else { 1.0 };
    let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let cut = Cut::new(&row, best, transform);
    let none = f64::NEG_INFINITY;
    let empty =
        ClassStat { log_sum: 0.0, entropy: 0.0, best: 0, log_best: none, log_second: none, drawn: 0, log_drawn: none };
    let mut stats = vec![empty; classes];
    let mut races = vec![Race::new(); classes];
    let mut total = 0.0;
    let left_out = |token, logit| if cut.is_none_or(|cut: Cut| cut.keeps(token, logit)) { 0.0 } else { LEFT_OUT };
    let tempered = |token: usize, logit: f64| (logit - best) / temperature - left_out(token, logit);
    for (token, logit) in row.iter() {
        let class = usize::from(class_of[token]);
        let log_weight = tempered(token, logit);
        let weight = log_weight.exp();
        total += weight;
        let stat = &mut stats[class];
        stat.log_sum += weight;
        if weight > 0.0 {
            stat.entropy += weight * log_weight;
        }
        if log_weight > stat.log_best {
            (stat.log_second, stat.log_best) = (stat.log_best, log_weight);
            stat.best = token as Token;
        } else {
            stat.log_second = stat.log_second.max(log_weight);
        }
        races[class].enter(Draw::Key(key), token, log_weight, Some(weight));
    }
    let log_total = total.ln();
    for (stat, race) in stats.iter_mut().zip(races) {
        let drawn = race.winner.unwrap_or(stat.best as usize);
        stat.drawn = drawn as Token;
        stat.log_drawn = match stat.log_best > none {
            true => tempered(drawn, row.logit(drawn)) - log_total,
            false => none,
        };
        let (sum, weighted) = (stat.log_sum, stat.entropy);
        stat.entropy = if sum > 0.0 { (sum.ln() - weighted / sum).max(0.0) } else { 0.0 };
        stat.log_sum = sum.ln() - log_total;
        stat.log_best -= log_total;
        stat.log_second -= log_total;
    }
    stats
}
