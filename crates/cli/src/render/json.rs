//! Results as JSON: one object, one line.

use anyhow::Result;
use serde::Serialize;

use super::plain;

/// Writes a value to stdout.
pub(crate) fn say(value: &impl Serialize) -> Result<()> {
    Ok(plain::say(&serde_json::to_string(value)?)?)
}
