//! Rows under noise: a time for each row or block, the draws of their cells, and the logits for the scored ones.
//!
//! The times are spread evenly over rows and blocks: t_j = (u + j) / B mod 1, turned together by one draw u, on
//! [`T_MIN`], [`T_MAX`] (Kingma et al. 2021, arXiv 2107.00630, appendix I.1).

use candle_core::Tensor;

use lldm_diffusion::noise::Block;
use lldm_diffusion::rng::Purpose;
use lldm_diffusion::{Noise, StepRng, Token};
use lldm_models::Trunk;
use lldm_models::nn::Visibility;

use super::closed_form::{NoisedCell, T_MAX, T_MIN};
use super::loss::{Pass, Rows};
use crate::error::Result;

/// Some rows with their scored cells noised.
pub(super) struct Noised {
    /// B * L tokens.
    tokens: Vec<Token>,
    /// B * L times, the same within a row or block.
    times: Vec<f64>,
    /// The scored cells: their place in `tokens`.
    places: Vec<usize>,
    /// What each of them holds.
    pub(super) cells: Vec<NoisedCell>,
    /// Whether the noise drew that, be it the clean token again.
    pub(super) drawn: Vec<bool>,
}

/// Draw `index` of `count` from as many equal strata of [`T_MIN`, `T_MAX`]; `offset` turns all of them together.
pub fn stratified_time(index: usize, count: usize, offset: f64) -> f64 {
    T_MIN + (T_MAX - T_MIN) * (index as f64 / count as f64 + offset).fract()
}

impl Noised {
    /// Noises each row, or each block of a row, at its own stratified time.
    pub(super) fn spread(rows: &Rows<'_>, noise: &dyn Noise, block_length: Option<usize>, rng: &StepRng) -> Self {
        let offset = rng.uniform(0, Purpose::Time);
        Self::draw(rows, noise, block_length, rng, |lane, lanes| stratified_time(lane, lanes, offset))
    }

    /// Noises everything at the same time.
    pub(super) fn at(rows: &Rows<'_>, noise: &dyn Noise, time: f64, rng: &StepRng) -> Self {
        Self::draw(rows, noise, None, rng, |_, _| time)
    }

    fn draw(
        rows: &Rows<'_>,
        noise: &dyn Noise,
        block_length: Option<usize>,
        rng: &StepRng,
        time: impl Fn(usize, usize) -> f64,
    ) -> Self {
        // Without blocks the whole row is one.
        let blocks = Block { inner: noise, block_length: block_length.unwrap_or(rows.length) };
        let count = blocks.count(rows.length);
        let lane = |place: usize| place / rows.length * count + blocks.block_of(place % rows.length);
        let times: Vec<_> = (0..rows.tokens.len()).map(|place| time(lane(place), rows.count() * count)).collect();
        let places: Vec<_> = (0..rows.tokens.len()).filter(|place| rows.scored[*place]).collect();
        let mut tokens = rows.tokens.to_vec();
        let (mut cells, mut drawn) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        for place in &places {
            let (clean, time) = (tokens[*place], times[*place]);
            let found = blocks.corrupt_cell(time, *place, rng);
            tokens[*place] = found.unwrap_or(clean);
            cells.push(NoisedCell { clean, held: tokens[*place], time });
            drawn.push(found.is_some());
        }
        Self { tokens, times, places, cells, drawn }
    }

    /// The logits for the scored cells: [scored, V]. In blocks, each sees itself and the clean blocks before it: the network
    /// reads the noised row and the clean row, which knows its time to be 0.
    pub(super) fn logits(&self, trunk: &Trunk, rows: &Rows<'_>, block_length: Option<usize>) -> Result<Tensor> {
        let (length, count) = (rows.length, rows.count());
        let wanted: Vec<u32>;
        let hidden = match block_length {
            None => {
                wanted = self.places.iter().map(|place| *place as u32).collect();
                let times: Vec<_> = self.times.iter().step_by(length).copied().collect();
                let positions: Vec<_> = (0..length).collect();
                let visibility = trunk.config().visibility(0);
                let pass =
                    Pass { tokens: &self.tokens, batch: count, positions: &positions, times: &times, visibility };
                pass.hidden(trunk, &wanted)?
            }
            Some(block_length) => {
                wanted = self.places.iter().map(|place| (place + place / length * length) as u32).collect();
                let (mut tokens, mut times) = (Vec::new(), Vec::new());
                for row in 0..count {
                    let range = row * length..(row + 1) * length;
                    tokens.extend(&self.tokens[range.clone()]);
                    tokens.extend(&rows.tokens[range.clone()]);
                    times.extend(&self.times[range]);
                    times.extend(std::iter::repeat_n(0.0, length));
                }
                let positions: Vec<_> = (0..length).chain(0..length).collect();
                let visibility = Visibility::BlockDiffusion { length, block_length };
                let pass = Pass { tokens: &tokens, batch: count, positions: &positions, times: &times, visibility };
                pass.hidden(trunk, &wanted)?
            }
        };
        Ok(trunk.logits(&hidden)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lldm_diffusion::Rng;
    use lldm_diffusion::noise::Hybrid;

    #[test]
    fn the_times_cover_their_range_evenly() {
        let times: Vec<_> = (0..4).map(|index| stratified_time(index, 4, 0.9)).collect();
        let mut sorted = times.clone();
        sorted.sort_by(f64::total_cmp);
        assert!((sorted[0] - (T_MIN + (T_MAX - T_MIN) * 0.15)).abs() < 1e-12, "{times:?}");
        assert!(sorted.windows(2).all(|pair| (pair[1] - pair[0] - (T_MAX - T_MIN) / 4.0).abs() < 1e-12));
    }

    #[test]
    fn the_draws_follow_the_marginal_and_spare_what_is_not_scored() {
        let noise = Hybrid::new(0.4, 4, 3);
        let tokens = vec![1; 60_000];
        let scored: Vec<_> = (0..tokens.len()).map(|at| at % 3 != 0).collect();
        let rows = Rows { tokens: &tokens, scored: &scored, length: 100 };
        let noised = Noised::at(&rows, &noise, 0.5, &Rng::new(1, 0).at(0, 0));
        assert_eq!(noised.cells.len(), 40_000);
        assert!((0..tokens.len()).step_by(3).all(|at| noised.tokens[at] == 1));
        let marginal = noise.marginal(0.5);
        for z in 0..4 {
            let share = noised.cells.iter().filter(|cell| cell.held == z).count() as f64 / 40_000.0;
            let expected = noise.noise_at(marginal, z) + if z == 1 { marginal.alpha } else { 0.0 };
            // Four standard deviations are below 0.01.
            assert!((share - expected).abs() < 0.01, "{z}: {share} and {expected}");
        }
        let kept = noised.drawn.iter().filter(|drawn| !**drawn).count() as f64 / 40_000.0;
        assert!((kept - marginal.alpha).abs() < 0.01);
    }
}
