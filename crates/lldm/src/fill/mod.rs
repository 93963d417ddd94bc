//! Infilling: text is written between text that is kept to the byte.

mod align;
mod filling;
mod layout;
mod text;

pub use filling::{Fill, Filled};
pub use text::FillText;
