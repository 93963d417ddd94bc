//! A model, its tokenizer and the settings that it writes under, joined.

use std::sync::{Arc, OnceLock};

use lldm_control::{Cache, Compiled, Constraints, Vocabulary};
use lldm_models::{Defaults, Device, LoadedModel, Tokenizer};

use crate::constraint::Spelled;
use crate::error::Result;
use crate::generate::Generate;
use crate::prompt::Prompt;
use crate::settings::{Layer, Origin, Settings};

/// A loaded model that can write.
pub struct Pipeline {
    pub(crate) model: LoadedModel,
    pub(crate) layers: Vec<Layer>,
    /// What constraints know of the tokenizer, once one was asked for.
    pub(crate) spelled: OnceLock<Arc<Spelled>>,
    /// Constraints that were compiled.
    pub(crate) cache: Arc<Cache>,
}

impl Pipeline {
    /// Loads `embedded`, `toy`, or a folder.
    pub fn load(name: &str) -> Result<Self> {
        Self::load_on(name, Device::Cpu)
    }

    /// The same, to compute on that device.
    pub fn load_on(name: &str, device: Device) -> Result<Self> {
        Ok(Self::new(lldm_models::load_on(name, device)?))
    }

    /// Wraps a loaded model.
    pub fn new(model: LoadedModel) -> Self {
        let layers = vec![Layer { origin: Origin::Checkpoint, values: model.defaults.clone() }];
        Self { model, layers, spelled: OnceLock::new(), cache: Arc::default() }
    }

    /// Adds settings from the environment, the project or the user.
    #[must_use]
    pub fn with_layers(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.layers.extend(layers);
        self
    }

    /// Keeps compiled constraints there, instead of in a memory of its own.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = cache;
        self
    }

    /// Where compiled constraints are kept.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The model.
    pub fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.model.tokenizer
    }

    /// The settings as they stand without a request.
    pub fn settings(&self) -> Result<Settings> {
        Settings::resolve(&self.layers)
    }

    /// The settings as they stand with a request.
    pub(crate) fn settings_for(&self, request: &Defaults) -> Result<Settings> {
        let mut layers = self.layers.clone();
        layers.push(Layer { origin: Origin::Request, values: request.clone() });
        Settings::resolve(&layers)
    }

    /// The bytes of the model's tokens, as constraints read them.
    pub fn vocabulary(&self) -> Result<&Vocabulary> {
        Ok(&self.spelled()?.vocabulary)
    }

    /// Constraints compiled for a text behind `prompt`.
    pub fn compile(&self, constraints: &Constraints, prompt: &str) -> Result<Compiled> {
        let spelled = self.spelled()?;
        Ok(constraints.compile_cached(&spelled.vocabulary, spelled.joint(prompt), &self.cache)?)
    }

    /// Sets up a text.
    pub fn generate(&self, prompt: Prompt) -> Generate<'_> {
        self.generate_all(vec![prompt])
    }

    /// Sets up several texts, written in step; each is what it would be alone under its number.
    pub fn generate_all(&self, prompts: Vec<Prompt>) -> Generate<'_> {
        Generate::new(self, prompts)
    }
}
