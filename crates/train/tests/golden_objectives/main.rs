//! Losses, weights, rates and gradients against the published code of GIDD, SEDD, UDLM and Duo (`golden/objectives`).
//!
//! Every size, setting and case comes from the files; `LLDM_GOLDEN` names another folder of the same form. Each stored number
//! is compared with the float32 run of the reference, and with its float64 run where there is one, to 2e-5 of it (to 5e-4
//! where the folder's README says so): what float32 leaves in the reference is below 5e-6 of the largest entry.
//!
//! Not compared: samplers (other tests), how Duo's curriculum draws x_t and tabulates its alpha, and independent draws of t.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod duo;
mod files;
mod gidd;
mod guidance;
mod sedd;
