//! Foreign formats: bytes to types and back. Pure, and safe on hostile bytes: no panic, bounded memory.

pub mod topic;
pub mod payload;
pub mod json;
pub mod senml;
pub mod cayenne_lpp;
pub mod binary;
pub mod javascript;
pub mod text;
pub mod network_server;
pub mod gsm7;
pub mod tpdu;
pub mod segment;
pub mod at;
pub mod http1;
pub mod lorawan;
pub mod sealed;
pub mod sealed_quantity;
pub mod batch;
pub mod uplink;
pub mod semtech_udp;
pub mod chip_link;
