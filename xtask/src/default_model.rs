//! The pipeline of the default model: train it and its autoregressive twin, measure both, put model and card in their place.
//!
//! A training whose model is there already is skipped, and one that was interrupted goes on: the command can be given again
//! at any time. The card shows the recipe that the model was made by (the run's own config.toml); to train by a recipe that
//! has changed, remove the folder below runs/. `LLDM_DATA` names the folder of the corpora.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

const SUMMARY: &str = "The default model of lldm: a small masked diffusion language model over short English sentences, \
public-domain stories, and restaurant records (record to text, and text to JSON). It is a demonstration that runs \
anywhere in a second, not an assistant. Prompts: the beginning of a sentence; `Record: name = ...; food = ...` on one line \
and `Text: ` on the next; or `Text: ...` on one line and `JSON: ` on the next.";

/// The recipes, in the order in which they are trained; the first is the model, the second its twin.
const RECIPES: [&str; 2] = ["default", "default-autoregressive"];

/// The model's files.
const FILES: [&str; 4] = ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"];

/// Makes the default model.
pub(crate) fn make(root: &Path) -> Result<()> {
    for recipe in RECIPES {
        let run = root.join("runs").join(recipe);
        if run.join("model").exists() {
            println!("{recipe}: trained already");
            continue;
        }
        let resume = run.join("checkpoints").exists().then_some("--resume");
        let file = format!("crates/cli/recipes/{recipe}.toml");
        lldm(root, ["train", &file].into_iter().chain(resume))?;
    }
    let card = root.join("runs/card");
    let [model, twin] = RECIPES.map(|recipe| format!("runs/{recipe}/model"));
    let output = card.display().to_string();
    lldm(
        root,
        [
            "eval",
            &model,
            "--recipe",
            "runs/default/config.toml",
            "--twin",
            &twin,
            "--output",
            &output,
            "--summary",
            SUMMARY,
            "--command",
            "LLDM_DATA=FOLDER cargo xtask default-model",
        ],
    )?;
    let target = root.join("crates/assets/model");
    fs::create_dir_all(&target)?;
    for file in FILES {
        copy(&root.join(&model).join(file), &target.join(file))?;
    }
    for file in ["README.md", "report.json", "curve.svg"] {
        copy(&card.join(file), &target.join(file))?;
    }
    println!("the default model is in {}", target.display());
    Ok(())
}

/// Runs the program of this workspace.
fn lldm<'a>(root: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "lldm-cli", "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("lldm ended with {status}");
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let temporary = to.with_extension("tmp");
    fs::copy(from, &temporary)
        .and_then(|_| fs::rename(&temporary, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}
