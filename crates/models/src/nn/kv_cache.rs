//! Cached keys and values of the P tokens before the canvas.

use candle_core::Tensor;

use crate::error::Result;

/// The cache of one layer: keys and values [1, P, H, Dh].
#[derive(Clone, Debug, Default)]
pub struct LayerCache {
    keys_values: Option<(Tensor, Tensor)>,
}

/// The caches of all layers.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    /// One per layer.
    pub layers: Vec<LayerCache>,
    /// The number of cached tokens P.
    pub length: usize,
}

impl KvCache {
    /// An empty cache for that many layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![LayerCache::default(); layers], length: 0 }
    }
}

impl LayerCache {
    /// The cached keys and values followed by new ones, without storing these.
    pub fn joined(&self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        match &self.keys_values {
            None => Ok((keys.clone(), values.clone())),
            Some((k, v)) => Ok((Tensor::cat(&[k, keys], 1)?, Tensor::cat(&[v, values], 1)?)),
        }
    }

    /// Replaces the cached keys and values.
    pub fn store(&mut self, keys: Tensor, values: Tensor) {
        self.keys_values = Some((keys, values));
    }
}
