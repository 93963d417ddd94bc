//! The conversion of a whole folder, which is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use lldm_kernels::QuantFormat;

use super::plan::Plan;
use super::report::Report;
use super::survey::survey;
use super::tensors;
use crate::error::{Error, Result};
use crate::load::checkpoint::{architecture, tokenizer};
use crate::load::model_files::{CONFIG, GENERATION_CONFIG, ModelFiles, TOKENIZER, WEIGHTS};
use crate::load::weights_file::WeightsFile;

/// What becomes of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvertConfig {
    /// What the weights of layers become; `None` leaves quantised ones as they are and rounds others to bf16.
    pub target: Option<Target>,
    /// Whether they are packed for the kernels of this CPU, to be mapped as they are.
    pub pack: bool,
    /// Whether a model that is there already is replaced.
    pub replace: bool,
}

/// A type of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// bf16.
    Bf16,
    /// Blocks of a GGUF format.
    Quant(QuantFormat),
}

/// Converts the model `from` (a folder or `embedded`) and puts it into the folder `to`. Tensors are read, converted and written some
/// rows at a time.
///
/// # Errors
/// If `from` is no whole model, if `to` is there already and is not to be replaced, or if it cannot be written. Then `to` is as it was.
pub fn convert(from: &str, to: &Path, config: ConvertConfig) -> Result<Report> {
    if from == "toy" {
        let hint = "it is a table without weights; name a folder with config.json, or `embedded`".to_string();
        return Err(Error::NotFound { name: from.to_string(), hint });
    }
    let files = ModelFiles::open(from)?;
    check_target(&files, to, config.replace)?;
    let architecture = architecture(&files)?;
    tokenizer(&files, &architecture)?;
    let file = WeightsFile::read(files.weights.clone(), files.place(WEIGHTS))?;
    let plan = Plan::new(&file, &survey(&file, &architecture)?, config)?;

    let temporary = Temporary::create(to)?;
    let report = tensors::write(&file, &plan, &temporary.path.join(WEIGHTS))?;
    for (name, bytes) in [
        (CONFIG, Some(&files.config)),
        (TOKENIZER, Some(&files.tokenizer)),
        (GENERATION_CONFIG, files.generation.as_ref()),
    ] {
        if let Some(bytes) = bytes {
            let path = temporary.path.join(name);
            fs::write(&path, bytes).map_err(|source| Error::Write { path, source })?;
        }
    }
    temporary.rename(to)?;
    Ok(report)
}

/// Fails where nothing may be put.
fn check_target(files: &ModelFiles, to: &Path, replace: bool) -> Result<()> {
    if !to.exists() {
        return Ok(());
    }
    let refuse = |message: &str| Err(Error::format(to.display(), message));
    let same = |folder: &PathBuf| folder.canonicalize().ok() == to.canonicalize().ok();
    if files.folder.as_ref().is_some_and(same) {
        return refuse("is the model that is to be converted: name another folder for the new one");
    }
    if !replace {
        return refuse("is there already: name another folder, or replace it with --force");
    }
    if !to.join(CONFIG).is_file() {
        return refuse("is no model folder, so that it is not replaced: name another folder");
    }
    Ok(())
}

/// A folder beside its later place; it goes unless it is renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn create(to: &Path) -> Result<Self> {
        let path = beside(to, "tmp");
        fs::create_dir(&path).map_err(|source| Error::Write { path: to.to_path_buf(), source })?;
        Ok(Self { path, renamed: false })
    }

    fn rename(mut self, to: &Path) -> Result<()> {
        let fail = |source| Error::Write { path: to.to_path_buf(), source };
        let old = beside(to, "old");
        let replaced = to.exists();
        if replaced {
            fs::rename(to, &old).map_err(fail)?;
        }
        if let Err(error) = fs::rename(&self.path, to) {
            if replaced {
                // The error that matters is the first one.
                let _ = fs::rename(&old, to);
            }
            return Err(fail(error));
        }
        self.renamed = true;
        if replaced {
            fs::remove_dir_all(&old).map_err(|source| Error::Write { path: old, source })?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // What could not be written may not be there to be removed.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// `models/small` as `models/small.1234.tmp`.
fn beside(to: &Path, ending: &str) -> PathBuf {
    // The components leave out a slash at the end.
    let mut name = to.components().as_path().as_os_str().to_owned();
    name.push(format!(".{}.{ending}", std::process::id()));
    name.into()
}
