//! Foreign formats: those that are fuzzed, and what they need.

#[path = "../../src/wire/gsm7/mod.rs"]
pub mod gsm7;
#[path = "../../src/wire/tpdu/mod.rs"]
pub mod tpdu;
#[path = "../../src/wire/lorawan/mod.rs"]
pub mod lorawan;
#[path = "../../src/wire/sealed/mod.rs"]
pub mod sealed;
#[path = "../../src/wire/sealed_quantity.rs"]
pub mod sealed_quantity;
#[path = "../../src/wire/batch/mod.rs"]
pub mod batch;
#[path = "../../src/wire/uplink/mod.rs"]
pub mod uplink;
