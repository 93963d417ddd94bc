//! Large language diffusion models: run them, measure them, hold them to a form.
//!
//! ```
//! use lldm::{Pipeline, Prompt};
//!
//! let pipeline = Pipeline::load("toy")?;
//! let out = pipeline.generate(Prompt::text("")).seed(7).run()?;
//! println!("{} ({} NFE)", out.text, out.usage.nfe);
//! # Ok::<(), lldm::Error>(())
//! ```
//!
//! [`Pipeline`] joins a model, its tokenizer and a sampler. [`likelihood`] measures how probable a text is, [`judge`]
//! and [`metric`] how good generated text is. What a text may be held to is in [`control`], the process itself in [`diffusion`], the
//! networks in [`models`].

pub mod best;
mod constraint;
pub mod error;
pub mod fill;
pub mod generate;
pub mod judge;
pub mod likelihood;
pub mod metric;
pub mod output;
mod particles;
pub mod pipeline;
pub mod prompt;
pub mod settings;
mod vocabulary;

pub use best::Best;
pub use error::{Error, Result};
pub use fill::{Fill, FillText, Filled};
pub use generate::Generate;
pub use lldm_control as control;
pub use lldm_diffusion as diffusion;
pub use lldm_models as models;
pub use output::Output;
pub use pipeline::Pipeline;
pub use prompt::Prompt;
pub use settings::{Layer, Origin, Settings};
