//! What a conversion did, and what it cost in precision.

use serde::Serialize;

/// The whole conversion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The kernel whose order bf16 panels have, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Bytes of the weights' file as it was.
    pub source_bytes: usize,
    /// Bytes of the new one.
    pub size_bytes: usize,
    /// By kind of tensor, in the order of names.
    pub parts: Vec<Part>,
    /// What could not become what was asked for.
    pub fallbacks: Vec<Fallback>,
}

/// The tensors that differ only in the number of their layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Their name, `*` for the numbers.
    pub kind: String,
    /// What they are stored as.
    pub format: String,
    /// Whether they are packed for the kernels.
    pub packed: bool,
    /// How many.
    pub tensors: usize,
    /// How many numbers.
    pub parameters: usize,
    /// Their bytes.
    pub size_bytes: usize,
    /// The root of the squares of the errors against the source over the squares of its values.
    pub relative_rms_error: f64,
}

/// Tensors whose rows are not whole blocks of the format asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// The format asked for.
    pub asked: &'static str,
    /// What they became.
    pub became: &'static str,
    /// Their names.
    pub tensors: Vec<String>,
}

/// A name with `*` for its numbers, without `.weight`.
pub(super) fn kind(name: &str) -> String {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').map(|part| if number(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_differ_only_in_their_number() {
        assert_eq!(kind("model.layers.12.mlp.up_proj.weight"), "model.layers.*.mlp.up_proj");
        assert_eq!(kind("model.norm2.bias"), "model.norm2.bias");
    }
}
