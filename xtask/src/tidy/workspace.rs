//! The packages of the workspace, as `cargo metadata` tells them.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A package of the workspace.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its manifest, relative to the root.
    pub manifest: String,
    /// Its licence, an SPDX expression.
    pub license: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Whether a registry may take it.
    pub published: bool,
    /// The names of all that it depends on: to run, to be built, and to be tested.
    pub dependencies: Vec<String>,
}

/// Asks cargo for the packages of the workspace at `root`.
pub fn read(root: &Path) -> Result<Vec<Package>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    parse(&String::from_utf8(output.stdout)?)
}

/// The packages in the answer of `cargo metadata --no-deps --format-version 1`.
pub fn parse(json: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(json).context("cargo metadata did not answer with JSON")?;
    let root = metadata["workspace_root"].as_str().context("cargo metadata names no workspace root")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(|package| read_package(package, root)).collect()
}

fn read_package(package: &Value, root: &str) -> Result<Package> {
    let text = |key: &str| package[key].as_str().map(str::to_string);
    let name = text("name").context("cargo metadata lists a package without a name")?;
    let manifest = text("manifest_path").with_context(|| format!("package {name} has no manifest"))?;
    let manifest = manifest.strip_prefix(root).unwrap_or(&manifest).replace('\\', "/");
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(Package {
        name,
        manifest: manifest.trim_start_matches('/').to_string(),
        license: text("license"),
        description: text("description"),
        published: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
        dependencies: dependencies.iter().filter_map(|d| d["name"].as_str()).map(str::to_string).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        let json = r#"{"workspace_root": "/w", "packages": [
            {"name": "a", "manifest_path": "/w/crates/a/Cargo.toml", "license": "MIT", "description": null,
             "publish": null, "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}]},
            {"name": "d", "manifest_path": "/w/d/Cargo.toml", "license": null, "publish": [], "dependencies": []}]}"#;
        let packages = parse(json).expect("it is complete");
        assert_eq!(packages[0].manifest, "crates/a/Cargo.toml");
        assert_eq!(packages[0].dependencies, ["b", "c"]);
        assert_eq!(packages[0].license.as_deref(), Some("MIT"));
        assert!(packages[0].description.is_none() && packages[0].published);
        assert!(packages[1].license.is_none() && !packages[1].published);
    }

    #[test]
    fn other_answers_are_errors() {
        assert!(parse("cargo: not found").is_err());
        assert!(parse("{}").is_err());
        assert!(parse(r#"{"workspace_root": "/w", "packages": [{}]}"#).is_err());
    }
}
