//! From a corpus to its folder: first the user's data folder, then the cache, and only when asked for the network.

use std::path::{Path, PathBuf};

use super::corpus::{Corpus, CorpusFile, Form, Source};
use super::download::{Download, Progress, file_sha256};
use super::error::{DataError, Result};

/// Where corpora are looked for, and whether the network may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// A folder of the user's with one folder for each corpus (`LLDM_DATA`). Never written to.
    pub data: Option<PathBuf>,
    /// The folder for what is downloaded, with one folder for each corpus.
    pub cache: PathBuf,
    /// Whether the network is switched off (`LLDM_OFFLINE`).
    pub offline: bool,
}

/// A corpus that was found: where, and as which of its forms.
#[derive(Clone, Debug)]
pub struct Located {
    pub folder: PathBuf,
    pub form: &'static Form,
}

impl Places {
    /// `LLDM_DATA`, the system's cache folder followed by `lldm/data`, and `LLDM_OFFLINE` (any value but `0` and the
    /// empty one).
    pub fn from_env() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Ok(Self {
            data: set("LLDM_DATA").map(PathBuf::from),
            cache: dirs::cache_dir().ok_or(DataError::NoCacheFolder)?.join("lldm").join("data"),
            offline: set("LLDM_OFFLINE").is_some_and(|value| value != "0"),
        })
    }

    /// The folders that may hold the corpus, in the order in which they are looked at.
    pub fn folders(&self, corpus: &Corpus) -> Vec<PathBuf> {
        self.data.iter().chain([&self.cache]).map(|place| place.join(corpus.id)).collect()
    }
}

impl Located {
    /// The path of one of the form's files.
    pub fn path(&self, file: &CorpusFile) -> PathBuf {
        self.folder.join(file.path)
    }
}

/// Finds the corpus on the disk. A file that has a public address must have the size that is known of it; whether the
/// contents are the known ones is for [`verify`] to say.
pub fn locate(corpus: &Corpus, places: &Places) -> Result<Located> {
    if corpus.is_generated() {
        return Err(DataError::Generated { corpus: corpus.id.to_owned() });
    }
    let mut looked = Vec::new();
    for folder in places.folders(corpus) {
        for form in corpus.forms {
            match missing(form, &folder) {
                0 => {
                    check_sizes(form, &folder)?;
                    return Ok(Located { folder, form });
                }
                some => looked.push(describe(form, &folder, some)),
            }
        }
    }
    Err(DataError::Missing { corpus: corpus.id.to_owned(), looked, how: how_to_obtain(corpus, places) })
}

/// Finds the corpus, and downloads into the cache what is not there. With a `mirror` every file is taken from
/// `<mirror>/<corpus id>/<path>`, also one that has no public address. Every file is checked by its sha256.
pub fn get(
    corpus: &Corpus,
    places: &Places,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Located> {
    let not_found = match locate(corpus, places) {
        Err(error @ DataError::Missing { .. }) => error,
        other => return other,
    };
    let Some(form) = corpus.forms.iter().find(|form| mirror.is_some() || form.is_public()) else {
        return Err(not_found);
    };
    let folder = places.cache.join(corpus.id);
    for file in form.files {
        let to = folder.join(file.path);
        let url = match (mirror, file.source) {
            (Some(mirror), _) => format!("{}/{}/{}", mirror.trim_end_matches('/'), corpus.id, file.path),
            (None, Source::Url(url)) => url.to_owned(),
            (None, Source::Manual { .. }) => return Err(not_found),
        };
        if to.is_file() {
            continue;
        }
        if places.offline {
            return Err(DataError::Offline { path: to, url });
        }
        Download { url, to, bytes: file.bytes, sha256: file.sha256.to_owned() }.run(progress)?;
    }
    locate(corpus, places)
}

/// Reads every file of a located corpus and compares it with the size and the sha256 that are known.
pub fn verify(located: &Located) -> Result<()> {
    for file in located.form.files {
        check_sha256(file, located.path(file))?;
    }
    Ok(())
}

fn check_sha256(file: &CorpusFile, path: PathBuf) -> Result<()> {
    let (found_bytes, found) = file_sha256(&path)?;
    if found == file.sha256 {
        return Ok(());
    }
    Err(DataError::WrongFile { path, expected: file.sha256, expected_bytes: file.bytes, found, found_bytes })
}

/// How many of the form's files the folder lacks.
fn missing(form: &Form, folder: &Path) -> usize {
    form.files.iter().filter(|file| !folder.join(file.path).is_file()).count()
}

/// "`folder`/{a, b}" with what is missing.
fn describe(form: &Form, folder: &Path, missing: usize) -> String {
    let names: Vec<&str> = form.files.iter().map(|file| file.path).collect();
    let list = match names.as_slice() {
        [first, .., last] if names.len() > 4 => format!("{first} ... {last}"),
        few => few.join(", "),
    };
    format!("{} ({list}: {missing} of {} missing)", folder.display(), names.len())
}

fn check_sizes(form: &Form, folder: &Path) -> Result<()> {
    for file in form.files.iter().filter(|file| matches!(file.source, Source::Url(_))) {
        let path = folder.join(file.path);
        let bytes = path.metadata().map_err(|source| DataError::Read { path: path.clone(), source })?.len();
        if bytes != file.bytes {
            // Another size is another sum.
            check_sha256(file, path)?;
        }
    }
    Ok(())
}

/// What to do about a corpus that was not found.
fn how_to_obtain(corpus: &Corpus, places: &Places) -> String {
    let mut how = Vec::new();
    if corpus.forms.iter().any(Form::is_public) {
        how.push(if places.offline {
            "download it: unset LLDM_OFFLINE, which switches the network off, and fetch the corpus".to_owned()
        } else {
            "download it: it is public, fetch the corpus".to_owned()
        });
    }
    if places.data.is_none() {
        how.push(format!("or set LLDM_DATA to a folder that has the folder {} with these files", corpus.id));
    }
    for form in corpus.forms {
        let Some(Source::Manual { page, note }) = form.files.first().map(|file| file.source) else { continue };
        how.push(match form.files.len() {
            1 | 2 => format!("or make the {} files from {page}: {note}", form.name),
            n => format!("or make the {n} {} files, the first from {page} and so on by number: {note}", form.name),
        });
    }
    how.join("\n")
}
