//! The parsers under test, taken straight from the program's source, without the program around them.

#[path = "../../src/domain/mod.rs"]
pub mod domain;
pub mod wire;
