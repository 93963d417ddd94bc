//! The recipes that come with the program. A new recipe adds its file and one line here.

use std::path::Path;

use anyhow::{Result, anyhow};
use lldm_diffusion::registry::nearest;
use lldm_train::Recipe;

/// Every recipe, in the order in which they are listed.
pub(crate) const ALL: &[Bundled] = &[
    Bundled { name: "default", text: include_str!("../recipes/default.toml") },
    Bundled { name: "default-autoregressive", text: include_str!("../recipes/default-autoregressive.toml") },
    Bundled { name: "smoke", text: include_str!("../recipes/smoke.toml") },
];

/// A recipe in the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundled {
    /// The name, as users write it.
    pub(crate) name: &'static str,
    /// The file. Its first line, a comment, says what it is for.
    pub(crate) text: &'static str,
}

impl Bundled {
    /// What it is for, in one line.
    pub(crate) fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}

/// The recipe of that name.
pub(crate) fn find(name: &str) -> Result<&'static Bundled> {
    ALL.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|recipe| recipe.name).collect();
        let hint = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}; a recipe of your own is named by its file", names.join(", ")),
        };
        anyhow!("there is no recipe `{name}`: {hint}")
    })
}

/// A recipe by its file or by its name: a file if there is one, or if the name looks like one, else one of the program.
pub(crate) fn recipe(name: &str, overrides: &[String]) -> Result<Recipe> {
    let path = Path::new(name);
    if path.is_file() || path.components().count() > 1 || path.extension().is_some_and(|end| end == "toml") {
        if !path.is_file() {
            return Err(anyhow!("there is no recipe {}: `lldm recipes ls` lists those of the program", path.display()));
        }
        return Ok(Recipe::read(path, overrides)?);
    }
    let bundled = find(name)?;
    Ok(Recipe::parse(bundled.text, bundled.name, overrides)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_whole_and_bears_its_name() {
        for bundled in ALL {
            let recipe = lldm_train::Recipe::parse(bundled.text, bundled.name, &[]).expect("a recipe");
            assert_eq!(recipe.name, bundled.name);
            assert!(bundled.text.starts_with("# ") && !bundled.summary().is_empty());
        }
    }
}
