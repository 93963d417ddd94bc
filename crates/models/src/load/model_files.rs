//! The files of a model, in a folder or in the binary: config.json, model.safetensors, tokenizer.json and, if present,
//! generation_config.json.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lldm_kernels::SharedBytes;

use super::mapped::MappedFile;
use crate::error::{Error, Result};

/// The architecture's file.
pub const CONFIG: &str = "config.json";
/// The weights' file.
pub const WEIGHTS: &str = "model.safetensors";
/// The tokenizer's file.
pub const TOKENIZER: &str = "tokenizer.json";
/// The sampling settings' file.
pub const GENERATION_CONFIG: &str = "generation_config.json";

/// The four files' contents.
pub(crate) struct ModelFiles {
    /// The folder; `None` is the model in the binary.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) config: Cow<'static, [u8]>,
    pub(crate) weights: Source,
    pub(crate) tokenizer: Cow<'static, [u8]>,
    pub(crate) generation: Option<Cow<'static, [u8]>>,
}

/// The bytes of a weights' file.
#[derive(Clone)]
pub(crate) enum Source {
    Mapped(Arc<MappedFile>),
    Embedded(&'static [u8]),
}

impl ModelFiles {
    /// The files of `embedded` (the default model in the binary) or of a folder.
    pub(crate) fn open(name: &str) -> Result<Self> {
        match name {
            "embedded" => Ok(Self::embedded()),
            _ if Path::new(name).is_dir() => Self::folder(Path::new(name)),
            _ => {
                let hint = if Path::new(name).exists() {
                    format!("it is a file; name the folder that holds {CONFIG}")
                } else {
                    "a model is `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json"
                        .to_string()
                };
                Err(Error::NotFound { name: name.to_string(), hint })
            }
        }
    }

    fn embedded() -> Self {
        Self {
            folder: None,
            config: lldm_assets::CONFIG.into(),
            weights: Source::Embedded(lldm_assets::WEIGHTS),
            tokenizer: lldm_assets::TOKENIZER.into(),
            generation: Some(lldm_assets::GENERATION_CONFIG.into()),
        }
    }

    fn folder(folder: &Path) -> Result<Self> {
        let fail = |path: PathBuf, source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => Error::format(
                path.display(),
                format!("is missing: a model folder holds {CONFIG}, {WEIGHTS} and {TOKENIZER}"),
            ),
            _ => Error::Read { path, source },
        };
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).map(Cow::Owned).map_err(|source| fail(path, source))
        };
        let config = read(CONFIG)?;
        let path = folder.join(WEIGHTS);
        let weights = MappedFile::open(&path).map_err(|source| fail(path, source))?;
        Ok(Self {
            folder: Some(folder.to_path_buf()),
            config,
            weights: Source::Mapped(Arc::new(weights)),
            tokenizer: read(TOKENIZER)?,
            generation: folder.join(GENERATION_CONFIG).exists().then(|| read(GENERATION_CONFIG)).transpose()?,
        })
    }

    /// A file as errors name it.
    pub(crate) fn place(&self, file: &str) -> String {
        match &self.folder {
            Some(folder) => folder.join(file).display().to_string(),
            None => format!("embedded {file}"),
        }
    }
}

impl Source {
    /// The bytes, to be kept.
    pub(crate) fn shared(&self) -> SharedBytes {
        match self {
            Self::Mapped(file) => Arc::clone(file) as SharedBytes,
            Self::Embedded(bytes) => Arc::new(*bytes),
        }
    }

    /// Says that these bytes will not be read again soon.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            file.release(range);
        }
    }

    /// Says that these bytes will be read soon.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            file.will_need(range);
        }
    }
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Embedded(bytes) => bytes,
        }
    }
}
