//! One file over HTTP: resumed where a former try ended (Range requests, RFC 9110 section 14), checked by its sha256,
//! and put in place by a rename, so that a file under its own name is always whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::error::{DataError, Result};

/// What is downloaded, and where to.
#[derive(Clone, Debug)]
pub struct Download {
    pub url: String,
    pub to: PathBuf,
    /// The size that the file must have.
    pub bytes: u64,
    /// The sha256 that the file must have, in lower-case hexadecimal.
    pub sha256: String,
}

/// How far a download has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file's name.
    pub file: String,
    /// Bytes on the disk, those of a former try included.
    pub done: u64,
    pub total: u64,
}

impl Download {
    /// Downloads the file. What came is kept in `<name>.partial` until it is whole: after an error in the middle the
    /// next call asks for the rest only.
    pub fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let partial = self.partial();
        if let Some(folder) = self.to.parent() {
            fs::create_dir_all(folder).map_err(|source| DataError::Write { path: folder.to_owned(), source })?;
        }
        let mut have = fs::metadata(&partial).map(|meta| meta.len()).unwrap_or(0);
        if have > self.bytes {
            remove(&partial)?;
            have = 0;
        }
        if have < self.bytes {
            self.receive(&partial, have, progress)?;
        }
        let (found_bytes, found) = file_sha256(&partial)?;
        if found != self.sha256 {
            remove(&partial)?;
            return Err(DataError::WrongDownload {
                url: self.url.clone(),
                expected: self.sha256.clone(),
                expected_bytes: self.bytes,
                found,
                found_bytes,
            });
        }
        fs::rename(&partial, &self.to).map_err(|source| DataError::Write { path: self.to.clone(), source })
    }

    /// The file that holds what came so far.
    pub fn partial(&self) -> PathBuf {
        let mut name = self.to.as_os_str().to_owned();
        name.push(".partial");
        PathBuf::from(name)
    }

    /// Asks for the bytes from `have` on and appends them to `partial`.
    fn receive(&self, partial: &Path, have: u64, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let network =
            |reason: String, have| DataError::Network { url: self.url.clone(), reason, have, expected: self.bytes };
        let mut request = agent().get(&self.url);
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| network(error.to_string(), have))?;
        let status = response.status().as_u16();
        let continues = status == 206 && starts_at(response.headers().get("content-range"), have);
        if status == 416 || (status == 206 && !continues) {
            // What is on the disk is no beginning of what the server has.
            remove(partial)?;
            return Err(network("the server cannot continue the former download, which was removed".to_owned(), 0));
        }
        if status != 200 && status != 206 {
            return Err(DataError::Status { url: self.url.clone(), status, path: self.to.clone() });
        }
        let mut done = if continues { have } else { 0 };
        let write = |source| DataError::Write { path: partial.to_owned(), source };
        let mut file = if continues { OpenOptions::new().append(true).open(partial) } else { File::create(partial) }
            .map_err(write)?;
        // One byte more than expected is enough to see that the file is another.
        let mut body = response.into_body().into_reader().take(self.bytes + 1 - done);
        let name = self.to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut buffer = vec![0; BUFFER];
        loop {
            progress(Progress { file: name.clone(), done, total: self.bytes });
            let read = body.read(&mut buffer).map_err(|error| network(error.to_string(), done))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(write)?;
            done += read as u64;
        }
        file.sync_all().map_err(write)
    }
}

/// The size and the sha256 of a file.
pub fn file_sha256(path: &Path) -> Result<(u64, String)> {
    let read_error = |source| DataError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read_error)?;
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; BUFFER]);
    loop {
        let read = file.read(&mut buffer).map_err(read_error)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok((bytes, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

const BUFFER: usize = 64 * 1024;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .user_agent(concat!("lldm/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Whether a `Content-Range: bytes <start>-<end>/<size>` starts at `start`.
fn starts_at(header: Option<&ureq::http::HeaderValue>, start: u64) -> bool {
    header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().strip_prefix("bytes "))
        .and_then(|range| range.split('-').next())
        .is_some_and(|first| first.trim().parse() == Ok(start))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(DataError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
