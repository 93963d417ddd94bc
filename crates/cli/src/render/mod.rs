//! How results look: the live canvas, pictures, tables, JSON.

pub(crate) mod canvas;
pub(crate) mod json;
pub(crate) mod plain;
pub(crate) mod screen;
pub(crate) mod svg;
mod timeline;
pub(crate) mod wrap;
