//! Foreign formats: bytes to types and back. Pure, and safe on hostile bytes: no panic, bounded memory.

pub mod at;
pub mod gsm7;
pub mod http1;
pub mod json;
pub mod segment;
pub mod senml;
pub mod tpdu;
