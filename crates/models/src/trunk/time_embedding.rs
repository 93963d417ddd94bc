//! How a trunk learns the time of its cells.

use candle_core::Tensor;

use crate::error::Result;
use crate::nn::{Backend, Init, Linear, Weights, add_rows};

/// A two-layer embedding of t (sinusoids as in Vaswani et al. 2017 over 1000 t).
#[derive(Clone, Debug)]
pub(super) struct TimeEmbedding {
    first: Linear,
    second: Linear,
    width: usize,
    backend: Backend,
}

impl TimeEmbedding {
    pub(super) fn new(weights: &mut dyn Weights, width: usize) -> Result<Self> {
        let spread = Init::Normal((width as f64).powf(-0.5));
        Ok(Self {
            first: Linear::new(weights, "model.time_embedding.0", width, width, spread)?,
            second: Linear::new(weights, "model.time_embedding.2", width, width, Init::Zeros)?,
            width,
            backend: weights.backend(),
        })
    }

    /// Adds the embedding of each row's time to its L vectors.
    pub(super) fn add(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        let length = x.dim(0)? / times.len();
        let which = (0..times.len() * length).map(|cell| (cell / length) as u32).collect();
        add_rows(x, &self.embed(times)?, which)
    }

    /// Adds the embedding of each vector's own time; stretches of the same time are embedded once.
    pub(super) fn add_each(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        let mut distinct: Vec<f64> = Vec::new();
        let mut which = Vec::with_capacity(times.len());
        for time in times {
            if distinct.last() != Some(time) {
                distinct.push(*time);
            }
            which.push(distinct.len() as u32 - 1);
        }
        add_rows(x, &self.embed(&distinct)?, which)
    }

    /// The embeddings of N times: [N, D].
    fn embed(&self, times: &[f64]) -> Result<Tensor> {
        let half = self.width / 2;
        let angle = |t: f64, i: usize| 1000.0 * t * (-(i as f64) / half as f64 * 10_000f64.ln()).exp();
        let waves: Vec<f32> = times
            .iter()
            .flat_map(|t| {
                let cosines = (0..half).map(move |i| angle(*t, i).cos() as f32);
                cosines.chain((0..self.width - half).map(move |i| angle(*t, i).sin() as f32))
            })
            .collect();
        let waves = Tensor::from_vec(waves, (times.len(), self.width), self.backend.device())?;
        self.second.forward(&self.first.forward(&waves)?.silu()?)
    }
}
