//! A recipe: everything that decides a training, as TOML with overrides.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use lldm_models::nn::Precision;
use lldm_models::registry::Defaults;

use crate::data::{Layout, LoadConfig};
use crate::error::{Error, Result};
use crate::objective;
use crate::optimizer::OptimizerConfig;

/// Everything that decides a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the model is called.
    pub name: String,
    /// The folder of the run.
    pub output: PathBuf,
    /// What it is trained on.
    pub data: DataConfig,
    /// How text becomes tokens.
    #[serde(default)]
    pub tokenizer: TokenizerConfig,
    /// The trunk's sizes.
    pub model: ModelConfig,
    /// What it is trained for.
    pub objective: ObjectiveConfig,
    /// How its parameters are updated.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// How long, and with what care.
    pub train: TrainConfig,
    /// What the model asks for when it writes (`generation_config.json`).
    #[serde(default)]
    pub generation: Defaults,
}

/// The training data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Corpora by id (`lldm data list`).
    #[serde(default)]
    pub corpora: Vec<String>,
    /// The user's own .txt, .jsonl and .tsv files; about 2% of their texts are held out.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Tokens of a row, L.
    pub length: usize,
    /// How documents become rows: `packed` or `padded`.
    #[serde(default = "default_layout")]
    pub layout: Layout,
    /// Each update cuts its rows into pieces of L / c tokens, with c drawn from this list; so a model also learns short
    /// canvases. Each must divide L.
    #[serde(default = "default_cuts")]
    pub cuts: Vec<usize>,
    /// How corpora become documents.
    #[serde(default)]
    pub load: LoadConfig,
}

/// The tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// The vocabulary V of a byte-level BPE trained on the training split.
    pub vocabulary: usize,
    /// A tokenizer.json to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// The trunk's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// D.
    pub hidden_size: usize,
    /// Layers.
    pub layers: usize,
    /// H.
    pub heads: usize,
    /// Inner units of the feed-forward layers.
    pub intermediate_size: usize,
    /// Whether t enters the network.
    #[serde(default)]
    pub time_input: bool,
}

/// The objective: a name in [`objective::registry`], and its parameters beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveConfig {
    /// The name.
    pub name: String,
    /// The parameters; a recipe that was read holds all of them.
    #[serde(flatten)]
    pub parameters: Map<String, Value>,
}

/// The course of the training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Updates.
    pub steps: usize,
    /// Rows of an update, B.
    pub batch: usize,
    /// The seed of parameters, data order and noise.
    #[serde(default)]
    pub seed: u64,
    /// Decay of the averaged parameters.
    #[serde(default = "default_ema")]
    pub ema: f64,
    /// How products are computed: `f32` or `bf16`.
    #[serde(default, with = "precision")]
    pub precision: Precision,
    /// Updates between two looks at held-out text.
    #[serde(default = "default_every")]
    pub evaluate_every: usize,
    /// Held-out rows looked at.
    #[serde(default = "default_rows")]
    pub evaluate_rows: usize,
    /// Updates between two checkpoints.
    #[serde(default = "default_every")]
    pub checkpoint_every: usize,
    /// Updates between two lines of metrics.
    #[serde(default = "default_log")]
    pub log_every: usize,
    /// Whether the metrics are also written as TensorBoard events, in the folder of the run.
    #[serde(default = "default_tensorboard")]
    pub tensorboard: bool,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { vocabulary: 4096, file: None }
    }
}

impl Recipe {
    /// Reads a recipe and applies `key.path=value` overrides, whose values are TOML or bare words.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::file(path, source))?;
        Self::parse(&text, &path.display().to_string(), overrides)
    }

    /// As [`Recipe::read`], from the text of the recipe called `place`.
    pub fn parse(text: &str, place: &str, overrides: &[String]) -> Result<Self> {
        let mut table: toml::Table = text.parse().map_err(|error| Error::recipe(place, error))?;
        for item in overrides {
            let Some((key, value)) = item.split_once('=') else {
                return Err(Error::recipe(item, "an override is written key.path=value"));
            };
            let value = format!("x = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("x"));
            let value = value.unwrap_or_else(|| toml::Value::String(item[key.len() + 1..].to_string()));
            set(&mut table, key, value)?;
        }
        let mut recipe: Self = table.try_into().map_err(|error| Error::recipe(place, error))?;
        let ObjectiveConfig { name, parameters } = &mut recipe.objective;
        *parameters = objective::registry::resolve(name, parameters)?;
        *name = objective::registry::find(name)?.name.to_string();
        recipe.check(place)?;
        Ok(recipe)
    }

    /// The recipe as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::recipe(&self.name, error))
    }

    /// The objective.
    pub fn objective(&self) -> Result<Box<dyn objective::Objective>> {
        objective::registry::build(&self.objective.name, &self.objective.parameters)
    }

    fn check(&self, place: &str) -> Result<()> {
        let objective = self.objective()?;
        if self.model.time_input && !objective.takes_time() {
            let message = format!("model.time_input is set, but `{}` trains without a time", objective.name());
            return Err(Error::recipe(place, message));
        }
        let positive = [
            ("data.length", self.data.length),
            ("train.steps", self.train.steps),
            ("train.batch", self.train.batch),
            ("train.evaluate_every", self.train.evaluate_every),
            ("train.evaluate_rows", self.train.evaluate_rows),
            ("train.checkpoint_every", self.train.checkpoint_every),
            ("train.log_every", self.train.log_every),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::recipe(place, format!("{key} is 0, but at least 1 is needed")));
        }
        if self.data.corpora.is_empty() && self.data.files.is_empty() {
            return Err(Error::recipe(place, "data names neither corpora nor files"));
        }
        let DataConfig { length, cuts, .. } = &self.data;
        if cuts.is_empty() || cuts.iter().any(|cut| *cut == 0 || length % cut != 0) {
            return Err(Error::recipe(
                place,
                format!("data.cuts is {cuts:?}, but each cut must divide data.length {length}"),
            ));
        }
        if !(0.0..1.0).contains(&self.train.ema) {
            return Err(Error::recipe(place, format!("train.ema is {}, but must lie in [0, 1)", self.train.ema)));
        }
        Ok(())
    }
}

/// Sets a value at a dotted path; every table on the way must exist or is made.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let mut table = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            table.insert(part.to_string(), value);
            return Ok(());
        }
        let entry = table.entry(part.to_string()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().ok_or_else(|| Error::recipe(key, format!("`{part}` is a value, not a table")))?;
    }
    Ok(())
}

fn default_layout() -> Layout {
    Layout::Packed
}

fn default_cuts() -> Vec<usize> {
    vec![1]
}

fn default_ema() -> f64 {
    0.999
}

fn default_every() -> usize {
    250
}

fn default_rows() -> usize {
    64
}

fn default_log() -> usize {
    10
}

fn default_tensorboard() -> bool {
    true
}

mod precision {
    use lldm_models::nn::Precision;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &Precision, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(match value {
            Precision::F32 => "f32",
            Precision::Bf16 | Precision::FrozenBf16 => "bf16",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Precision, D::Error> {
        match String::deserialize(input)?.as_str() {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            other => Err(D::Error::custom(format!("precision is `{other}`, but must be f32 or bf16"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        name = "small"
        output = "runs/small"
        data = { corpora = ["grammar"], length = 32 }
        model = { hidden_size = 32, layers = 2, heads = 2, intermediate_size = 64 }
        objective = { name = "masked" }
        train = { steps = 10, batch = 4 }
    "#;

    fn message(overrides: &[&str]) -> String {
        let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
        Recipe::parse(SMALL, "small.toml", &overrides).expect_err("a mistake").to_string()
    }

    #[test]
    fn overrides_reach_every_depth_and_the_result_reads_back() {
        let overrides = ["train.steps=7".to_string(), "data.layout=padded".to_string(), "name=other".to_string()];
        let recipe = Recipe::parse(SMALL, "small.toml", &overrides).expect("a recipe");
        assert_eq!((recipe.train.steps, recipe.data.layout), (7, Layout::Padded));
        assert_eq!(recipe.name, "other");
        let again = Recipe::parse(&recipe.to_toml().expect("TOML"), "again", &[]).expect("a recipe");
        assert_eq!(again, recipe);
    }

    #[test]
    fn an_objective_is_saved_with_all_of_its_parameters() {
        let overrides = ["objective.name=udlm".to_string()];
        let recipe = Recipe::parse(SMALL, "small.toml", &overrides).expect("a recipe");
        assert_eq!(
            (recipe.objective.name.as_str(), &recipe.objective.parameters["schedule"]),
            ("uniform", &"linear".into())
        );
        let text = recipe.to_toml().expect("TOML");
        assert!(text.contains("schedule = \"linear\""), "{text}");
        assert_eq!(Recipe::parse(&text, "again", &[]).expect("a recipe"), recipe);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(message(&["train.stepz=3"]).contains("unknown field `stepz`"));
        assert!(message(&["train.steps=0"]).contains("train.steps is 0"));
        assert!(message(&["objective.name=masqued"]).contains("did you mean `masked`?"));
        assert!(message(&["objective.block_length=4"]).contains("there is no parameter `block_length`; it takes none"));
        let weighting = message(&["objective.name=gidd", "objective.weighting=elbow"]);
        assert!(weighting.contains("must be one of elbo, clip, dynamic"), "{weighting}");
        assert!(message(&["steps"]).contains("key.path=value"));
        assert!(message(&["train.steps.x=1"]).contains("`steps` is a value"));
        let timed = ["objective.name=autoregressive", "model.time_input=true"];
        assert!(message(&timed).contains("`autoregressive` trains without a time"));
        assert!(message(&["train.precision=f16"]).contains("must be f32 or bf16"));
    }
}
