//! What each cell looks like given that the text is accepted, and how sure that is.

use super::lists::of_classes;
use super::messages::{Canvas, Shares};

/// What the cells look like given that the text is accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Marginals {
    /// The probability of each class in each cell, `[L, C]`. The rest to 1 is that the text has ended before.
    pub classes: Vec<Vec<f64>>,
    /// The probability that the end token stands in each cell, and at L that the canvas holds none.
    pub stops: Vec<f64>,
}

impl Marginals {
    pub(super) fn new(canvas: &Canvas<'_>, shares: &Shares) -> Self {
        let (count, end) = (canvas.automaton.classes(), canvas.automaton.end_class() as usize);
        let shares_of_classes = of_classes(canvas.automaton.flow(), count, &shares.lists);
        let probabilities = |(cell, shares): (usize, &[f64])| -> Vec<f64> {
            shares.iter().zip(canvas.weights.classes(cell)).map(|(share, weight)| share * weight).collect()
        };
        let classes: Vec<_> = shares_of_classes.chunks_exact(count).enumerate().map(probabilities).collect();
        let mut stops: Vec<f64> = classes.iter().map(|classes| classes[end]).collect();
        stops.push(shares.open);
        Self { classes, stops }
    }

    /// The entropy in nats of each cell given that the text is accepted, where `within` holds that of the tokens of each class,
    /// `[L, C]`. That a text has ended before counts as one more token.
    pub fn entropies(&self, within: &[Vec<f64>]) -> Vec<f64> {
        let own = |p: f64| if p > 0.0 { -p * libm::log(p) } else { 0.0 };
        self.classes
            .iter()
            .zip(within)
            .map(|(classes, within)| {
                let over = own((1.0 - classes.iter().sum::<f64>()).max(0.0));
                over + classes.iter().zip(within).map(|(p, within)| own(*p) + p * within).sum::<f64>()
            })
            .collect()
    }
}
