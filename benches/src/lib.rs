//! What benches share.

pub mod families;
