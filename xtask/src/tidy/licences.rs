//! Every package states the licence of the workspace, and the texts of the licences are there.

use super::finding::Finding;
use super::tree::Tree;
use super::workspace::Package;

const LICENSE: &str = "MIT OR Apache-2.0";
const TEXTS: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE"];

/// Packages without the licence or, where they are published, without a description, and missing licence texts.
pub fn check(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let found = match package.license.as_deref() {
            Some(LICENSE) => None,
            Some(other) => Some(format!("the licence is `{other}`, not `{LICENSE}`")),
            None => Some("the licence is missing".to_string()),
        };
        if let Some(found) = found {
            let message = format!("{found}: write `license.workspace = true` under [package]");
            findings.push(Finding::new(&package.manifest, 1, message));
        }
        if package.published && package.description.is_none() {
            let message = "the description is missing, without which no registry takes the crate: write one line";
            findings.push(Finding::new(&package.manifest, 1, message));
        }
    }
    for path in TEXTS.iter().filter(|path| tree.find(path).is_none()) {
        findings.push(Finding::new(path, 1, "is missing: put the full text of the licence there"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(license: Option<&str>, description: Option<&str>, published: bool) -> Package {
        Package {
            manifest: "Cargo.toml".to_string(),
            license: license.map(str::to_string),
            description: description.map(str::to_string),
            published,
            ..Package::default()
        }
    }

    #[test]
    fn complete_packages_pass() {
        let tree = Tree::of(&[("LICENSE-APACHE", ""), ("LICENSE-MIT", "")]);
        let packages = [package(Some(LICENSE), Some("A crate."), true), package(Some(LICENSE), None, false)];
        assert!(check(&tree, &packages).is_empty());
    }

    #[test]
    fn gaps_are_found() {
        let packages = [package(None, None, true), package(Some("GPL-3.0"), None, false)];
        let found: Vec<_> =
            check(&Tree::of(&[("LICENSE-MIT", "")]), &packages).iter().map(ToString::to_string).collect();
        let advice = "write `license.workspace = true` under [package]";
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], format!("Cargo.toml:1: the licence is missing: {advice}"));
        assert!(found[1].contains("the description is missing"));
        assert_eq!(found[2], format!("Cargo.toml:1: the licence is `GPL-3.0`, not `{LICENSE}`: {advice}"));
        assert!(found[3].starts_with("LICENSE-APACHE:1: is missing"));
    }
}
