//! Runs every check on a workspace.

use std::path::Path;

use anyhow::Result;

use super::finding::Finding;
use super::tree::Tree;
use super::{file_length, floors, licences, markers, mod_file, names, outside_paths, where_is, white_space, workspace};

/// What the checks say.
#[derive(Debug, Default)]
pub struct Report {
    /// How many files were looked at.
    pub files: usize,
    /// What has to be mended, in the order of the files.
    pub findings: Vec<Finding>,
    /// What is only worth knowing.
    pub notes: Vec<String>,
}

/// Checks the workspace at `root`.
pub fn inspect(root: &Path) -> Result<Report> {
    let tree = Tree::read(root)?;
    let packages = workspace::read(root)?;
    let (mut findings, mut notes) = file_length::check(&tree);
    findings.extend(names::check(&tree));
    findings.extend(mod_file::check(&tree));
    findings.extend(markers::check(&tree));
    findings.extend(white_space::check(&tree));
    findings.extend(outside_paths::check(&tree));
    findings.extend(where_is::check(&tree));
    findings.extend(floors::check(&tree, &packages));
    findings.extend(licences::check(&tree, &packages));
    findings.sort();
    if !tree.from_git {
        notes.push("git cannot be asked which files belong here, so every file under the root was checked".to_string());
    }
    Ok(Report { files: tree.files.len(), findings, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
    }

    #[test]
    fn every_arrow_of_this_workspace_leads_downward() {
        let tree = Tree::read(root()).expect("the workspace can be read");
        let packages = workspace::read(root()).expect("cargo knows the workspace");
        assert!(packages.len() > 1);
        assert_eq!(floors::check(&tree, &packages), []);
    }

    #[test]
    fn every_path_of_the_architecture_page_exists() {
        let tree = Tree::read(root()).expect("the workspace can be read");
        assert_eq!(where_is::check(&tree), []);
    }
}
