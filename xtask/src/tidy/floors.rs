//! The floors of the house: a crate may use only crates of lower floors, in its tests as well.

use super::finding::Finding;
use super::tree::Tree;
use super::workspace::Package;

/// Each crate's floor. A new crate is entered here.
const FLOORS: &[(&str, u8)] = &[
    ("lldm-cli", 5),
    ("lldm-train", 4),
    ("lldm-eval", 4),
    ("lldm-serve", 4),
    ("lldm", 3),
    ("lldm-models", 2),
    ("lldm-control", 1),
    ("lldm-diffusion", 0),
    ("lldm-kernels", 0),
    ("lldm-assets", 0),
];
/// Tools of the workspace, which stand outside of the house: nothing may use them.
const OUTSIDE: &[&str] = &["xtask"];

/// Every arrow between two crates of the workspace that does not lead downward, and every crate without a floor.
pub fn check(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| !OUTSIDE.contains(&package.name.as_str())) {
        let Some(own) = floor(&package.name) else {
            let message = format!("crate `{}` has no floor: enter it in xtask/src/tidy/floors.rs", package.name);
            findings.push(Finding::new(&package.manifest, 1, message));
            continue;
        };
        let mut used: Vec<_> = package.dependencies.iter().filter(|name| is_member(packages, name)).collect();
        used.sort();
        used.dedup();
        for name in used {
            let message = match floor(name) {
                Some(other) if other < own => continue,
                Some(other) => format!(
                    "`{}` (floor {own}) uses `{name}` (floor {other}): a crate may use only lower floors, so move what \
                     both need downward",
                    package.name
                ),
                None => {
                    format!("`{}` uses `{name}`, which has no floor: a crate may use only lower floors", package.name)
                }
            };
            findings.push(Finding::new(&package.manifest, line_of(tree, &package.manifest, name), message));
        }
    }
    findings
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor)
}

fn is_member(packages: &[Package], name: &str) -> bool {
    packages.iter().any(|package| package.name == name)
}

/// The line of the manifest that names the dependency.
fn line_of(tree: &Tree, manifest: &str, dependency: &str) -> usize {
    let text = tree.find(manifest).and_then(|file| file.text.as_deref()).unwrap_or_default();
    let names = |line: &str| {
        let key = line.split(['.', '=', ' ']).next().unwrap_or(line);
        key == dependency || line.contains(&format!("package = \"{dependency}\""))
    };
    text.lines().position(names).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_string(),
            manifest: format!("{name}/Cargo.toml"),
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
            ..Package::default()
        }
    }

    fn lines(packages: &[Package]) -> Vec<String> {
        let manifest = "[package]\nname = \"lldm-models\"\n\n[dependencies]\nlldm-diffusion.workspace = true\n\
                        facade = { package = \"lldm\", path = \"../lldm\" }\nlldm-train = \"1\"\n";
        let tree = Tree::of(&[("lldm-models/Cargo.toml", manifest)]);
        check(&tree, packages).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn arrows_downward_pass_and_foreign_crates_do_not_count() {
        let packages = [
            package("lldm-cli", &["lldm", "lldm-train", "lldm-diffusion", "clap"]),
            package("lldm-train", &["lldm", "lldm-models"]),
            package("lldm", &["lldm-models", "lldm-models"]),
            package("lldm-models", &["lldm-diffusion", "serde"]),
            package("lldm-diffusion", &["serde"]),
            package("xtask", &["anyhow"]),
        ];
        assert_eq!(lines(&packages), [""; 0]);
    }

    #[test]
    fn arrows_upward_and_sideways_are_found_at_their_line() {
        let packages = [
            package("lldm-models", &["lldm-diffusion", "lldm", "lldm-train"]),
            package("lldm", &[]),
            package("lldm-train", &["lldm-eval"]),
            package("lldm-eval", &[]),
            package("lldm-diffusion", &[]),
        ];
        let advice = "a crate may use only lower floors, so move what both need downward";
        assert_eq!(
            lines(&packages),
            [
                format!("lldm-models/Cargo.toml:6: `lldm-models` (floor 2) uses `lldm` (floor 3): {advice}"),
                format!("lldm-models/Cargo.toml:7: `lldm-models` (floor 2) uses `lldm-train` (floor 4): {advice}"),
                format!("lldm-train/Cargo.toml:1: `lldm-train` (floor 4) uses `lldm-eval` (floor 4): {advice}"),
            ]
        );
    }

    #[test]
    fn crates_without_a_floor_are_found() {
        let found = lines(&[package("lldm-attic", &[]), package("lldm", &["xtask"]), package("xtask", &["lldm"])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`lldm-attic` has no floor"));
        assert!(found[1].contains("`lldm` uses `xtask`, which has no floor"));
    }
}
