//! Cached keys and values of the P tokens before the canvas.

use candle_core::Tensor;

use crate::error::Result;

/// The cache of one layer: segments of keys and values, [1, L, KV, Dh] each, P tokens together. Each segment is longer than
/// the one behind it, so that there are few of them and a token is copied few times, however the text grows.
#[derive(Clone, Debug, Default)]
pub struct LayerCache {
    segments: Vec<(Tensor, Tensor)>,
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
    /// The cached keys and values, in order.
    pub fn segments(&self) -> &[(Tensor, Tensor)] {
        &self.segments
    }

    /// Appends keys and values, [1, L, KV, Dh].
    pub fn append(&mut self, mut keys: Tensor, mut values: Tensor) -> Result<()> {
        while let Some((k, v)) = self.segments.last()
            && k.dim(1)? <= keys.dim(1)?
        {
            (keys, values) = (Tensor::cat(&[k, &keys], 1)?, Tensor::cat(&[v, &values], 1)?);
            self.segments.pop();
        }
        self.segments.push((keys, values));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn segments_are_few_and_in_order() {
        let mut cache = LayerCache::default();
        let mut next = 0u32;
        for length in [7, 1, 1, 1, 1, 30, 2].into_iter().chain([1; 100]) {
            let tokens: Vec<f32> = (next..next + length).map(|token| token as f32).collect();
            let keys = Tensor::from_vec(tokens, (1, length as usize, 1, 1), &Device::Cpu).expect("keys");
            let values = keys.neg().expect("values");
            cache.append(keys, values).expect("appended");
            next += length;
            let lengths: Vec<_> = cache.segments().iter().map(|(keys, _)| keys.elem_count()).collect();
            assert!(lengths.windows(2).all(|pair| pair[0] > pair[1]), "{lengths:?}");
            assert!(lengths.len() <= 8, "{lengths:?}");
            let flat = |tensor: &Tensor| tensor.flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("values");
            let keys: Vec<_> = cache.segments().iter().flat_map(|(keys, _)| flat(keys)).collect();
            let values: Vec<_> = cache.segments().iter().flat_map(|(_, values)| flat(values)).collect();
            assert_eq!(keys, (0..next).map(|token| token as f32).collect::<Vec<_>>());
            assert!(keys.iter().zip(&values).all(|(key, value)| *key == -value));
        }
    }
}
