//! A digest of this crate's sources: what one of them compiled may be of no use to another, so a cache of compiled constraints tells
//! them apart.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let mut digest = DefaultHasher::new();
    sources(Path::new("src"), &mut digest)?;
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rustc-env=LLDM_CONTROL_SOURCES={:016x}", digest.finish());
    Ok(())
}

/// All files below a folder, in the order of their names.
fn sources(folder: &Path, digest: &mut DefaultHasher) -> io::Result<()> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, digest)?;
        } else {
            path.hash(digest);
            fs::read(&path)?.hash(digest);
        }
    }
    Ok(())
}
