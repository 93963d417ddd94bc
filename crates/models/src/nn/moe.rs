//! A mixture of experts: each token goes through K of E gated feed-forward layers, whose outputs are added by weight (Shazeer et al.
//! 2017, arXiv 1701.06538). Which and by what weight is the router's business, and the family's.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use lldm_kernels::{ExpertWeights, Gate, Gelu, Routes};

use super::candle::ops;
use super::linear::Linear;
use super::slices::tensor;
use crate::error::{Error, Result};

/// E experts: down(activation(gate x) * up x).
#[derive(Clone, Debug)]
pub struct Experts {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// One product over all touched experts.
    Grouped(Arc<lldm_kernels::Experts>),
    /// One after the other, by candle's operations.
    Each { gate_up: Vec<Linear>, down: Vec<Linear>, gate: Gate },
}

impl Experts {
    /// From the layers of each expert: `gate_up`, [2 F, D] with the gates first, and `down`, [D, F].
    pub fn new(gate_up: Vec<Linear>, down: Vec<Linear>, gate: Gate) -> Result<Self> {
        let form = match (packed(&gate_up), packed(&down)) {
            (Some(gate_up), Some(down)) => {
                let joined = lldm_kernels::Experts::new(gate_up, down, gate);
                Form::Grouped(Arc::new(joined.map_err(|error| Error::format("experts", error))?))
            }
            _ if gate_up.len() != down.len() => {
                let message = format!("{} layers to the inner units, {} back", gate_up.len(), down.len());
                return Err(Error::format("experts", message));
            }
            _ => Form::Each { gate_up, down, gate },
        };
        Ok(Self { form })
    }

    /// E.
    pub fn count(&self) -> usize {
        match &self.form {
            Form::Grouped(experts) => experts.count(),
            Form::Each { down, .. } => down.len(),
        }
    }

    /// The sum over the K experts of each token of weight * expert(x): [N, D] to [N, D].
    pub fn forward(&self, x: &Tensor, routes: Routes<'_>) -> Result<Tensor> {
        let (tokens, pairs) = (x.dim(0)?, routes.experts.len());
        if pairs != tokens * routes.top_k || pairs != routes.weights.len() {
            let message = format!(
                "{pairs} experts and {} weights for {tokens} tokens of {} each",
                routes.weights.len(),
                routes.top_k
            );
            return Err(Error::format("experts", message));
        }
        if let Some(expert) = routes.experts.iter().find(|expert| **expert as usize >= self.count()) {
            return Err(Error::format("experts", format!("there is no expert {expert} of {}", self.count())));
        }
        match &self.form {
            Form::Grouped(_) if x.track_op() => {
                Err(Error::format("experts", "packed weights have no gradient: train with weights in f32"))
            }
            Form::Grouped(experts) => {
                let mut out = vec![0.0; x.elem_count()];
                experts.forward(&tensor(&x.contiguous()?)?, routes, &mut out);
                Ok(Tensor::from_vec(out, x.shape(), &Device::Cpu)?)
            }
            Form::Each { gate_up, down, gate } => {
                let mut out = x.zeros_like()?;
                for (expert, (gate_up, down)) in gate_up.iter().zip(down).enumerate() {
                    let chosen = (0..pairs).filter(|pair| routes.experts[*pair] as usize == expert);
                    let (rows, weights): (Vec<_>, Vec<_>) =
                        chosen.map(|pair| ((pair / routes.top_k) as u32, routes.weights[pair])).unzip();
                    if rows.is_empty() {
                        continue;
                    }
                    let joined = gate_up.forward(&ops::select_rows(x, &rows)?)?;
                    let inner = joined.dim(1)? / 2;
                    let (gates, ups) = (joined.narrow(1, 0, inner)?, joined.narrow(1, inner, inner)?);
                    let gates = match gate {
                        Gate::Silu => gates.silu()?,
                        Gate::GeluTanh => ops::gelu(&gates, Gelu::Tanh)?,
                    };
                    let parts = down.forward(&(gates * ups)?)?;
                    let weights = Tensor::from_vec(weights, (rows.len(), 1), x.device())?;
                    let rows = Tensor::new(rows, x.device())?;
                    out = out.index_add(&rows, &parts.broadcast_mul(&weights)?, 0)?;
                }
                Ok(out)
            }
        }
    }
}

/// The weights for one product over all, where all of them are packed in one kind.
fn packed(layers: &[Linear]) -> Option<ExpertWeights> {
    let quant: Option<Vec<_>> = layers.iter().map(|layer| layer.packed_quant().cloned()).collect();
    let bf16 = || layers.iter().map(|layer| layer.packed_bf16().cloned()).collect::<Option<Vec<_>>>();
    quant.map(ExpertWeights::Quant).or_else(|| bf16().map(ExpertWeights::Bf16))
}
