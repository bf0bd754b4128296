//! Foreign formats: bytes to types and back. Pure, and safe on hostile bytes: no panic, bounded memory.

pub mod at;
pub mod gsm7;
pub mod json;
pub mod payload;
pub mod segment;
pub mod senml;
pub mod topic;
pub mod tpdu;
