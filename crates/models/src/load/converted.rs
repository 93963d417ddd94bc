//! What `lldm convert` says about its tensors, in the metadata of model.safetensors under the key [`KEY`].
//!
//! A converted tensor lies in the file as U8. Either it is the blocks of a GGUF format, row by row, or, if packed, the panels of the
//! kernels, which are used where they lie: data begin at a multiple of 64, and so does every packed tensor. Panels of quantised
//! weights are the same on every CPU; those of bf16 belong to one kernel.

use std::collections::BTreeMap;

use lldm_kernels::{Bf16Path, QuantFormat};
use serde::{Deserialize, Serialize};

/// The metadata's key.
pub(crate) const KEY: &str = "lldm";
/// The version of everything that this page and the panels' orders say.
pub(crate) const VERSION: u64 = 1;
/// Where data and packed tensors begin.
pub(crate) const ALIGNMENT: usize = 64;

/// The metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Converted {
    /// [`VERSION`].
    pub(crate) version: u64,
    /// The kernel of the bf16 panels, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<String>,
    /// By name.
    pub(crate) tensors: BTreeMap<String, ConvertedTensor>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConvertedTensor {
    /// `bf16` or a GGUF format, such as `q4_k`.
    pub(crate) format: String,
    /// Rows and columns.
    pub(crate) shape: [usize; 2],
    /// Whether these are panels.
    pub(crate) packed: bool,
}

/// How a converted tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Blocks(QuantFormat),
    QuantPanels(QuantFormat),
    Bf16Panels(Bf16Path),
}

impl Converted {
    /// Reads the metadata; an error is what is wrong with it, in one line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| broken(&error))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(VERSION) {
            let found = version.map_or("no version".to_string(), |version| format!("version {version}"));
            return Err(format!(
                "was converted to {found} of the form whose version {VERSION} this program reads: convert the model again"
            ));
        }
        serde_json::from_value(value).map_err(|error| broken(&error))
    }

    /// How one of its tensors is stored.
    pub(crate) fn coding(&self, tensor: &ConvertedTensor) -> Result<Coding, String> {
        let ConvertedTensor { format, packed, .. } = tensor;
        if format == "bf16" && *packed {
            let kernel = self.kernel.as_deref().unwrap_or("none");
            let known = Bf16Path::of_layout(kernel).ok_or_else(|| {
                format!(
                    "is packed for the kernel `{kernel}`, which this program does not know: convert the model again"
                )
            });
            return known.map(Coding::Bf16Panels);
        }
        let known = QuantFormat::ALL.into_iter().find(|known| known.name() == format);
        let known =
            known.ok_or_else(|| format!("holds the format `{format}`, which is unknown: convert the model again"))?;
        Ok(if *packed { Coding::QuantPanels(known) } else { Coding::Blocks(known) })
    }
}

fn broken(error: &serde_json::Error) -> String {
    format!("its metadata `{KEY}` are broken ({error}): convert the model again")
}
