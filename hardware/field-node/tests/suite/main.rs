//! The node, on this computer: its store, its logic against the gateway's end of the link, its sensors, its runner.

#![allow(missing_docs, unreachable_pub, reason = "tests are read by their names")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what must hold fails the test where it does not"
)]

mod journal;
mod node;
mod runner;
mod sensors;
mod world;
