//! The product on tile registers (Intel AMX): bf16 with f32 sums, int8 with i32 sums.
//!
//! Both factors lie in memory as the tiles want them, in strips of 32 rows or columns; a block of 32 rows × 32 columns holds
//! four tiles of sums, two of the left factor and two of the right, so that every product of tiles needs one load of a tile. The
//! code is written against [`Tiles`]: [`Instructions`] is the unit itself, and in tests `Emulation` is the same semantics in plain
//! Rust, on which packing, blocking and edges are tested on every machine. Quantised weights have a block of their own on the same
//! trait, `quant/tiles.rs`.
//!
//! **Not run on real units:** no CPU with AMX was at hand when this was written. `instructions.rs`, the request in
//! `tile_permission.rs` and the tile loops of `peak.rs` have run on a simulated Sapphire Rapids under Linux alone (Bochs, with
//! corrections where it parted from the manual), where the tests passed; no rate is known, and the sizes in `plan.rs` follow from
//! the published sizes and rates of that CPU. On one with AMX, `cargo test --release -p lldm-kernels amx` compares the instructions
//! with the emulation bit by bit (elsewhere those tests say that they were skipped), and `lldm bench kernels` measures.

mod block;
#[cfg(test)]
mod emulation;
#[cfg(target_arch = "x86_64")]
mod instructions;
mod numbers;
mod plan;
mod product;
mod strips;
#[cfg(test)]
pub(crate) mod tests;
mod tile;

#[cfg(test)]
pub(crate) use emulation::Emulation;
#[cfg(target_arch = "x86_64")]
pub(crate) use instructions::Instructions;
#[cfg(target_arch = "x86_64")]
pub(crate) use numbers::Numbers;
pub(crate) use numbers::{Bf16, Int8};
pub(crate) use product::{pack_bytes, product, product_packed};
pub(crate) use tile::{SIDE, Shape, Tile, Tiles};
