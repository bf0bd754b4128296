//! What Kengele is about, as pure values and functions: no clock, input, output, randomness or logs.
//!
//! `now` comes in as a [`Timestamp`](time::Timestamp); decisions go out as values. Everything here gives the
//! same answer for the same arguments, on every machine, so that a run can be replayed from its record.

mod table;
pub mod time;
pub mod snapshot;
pub mod radio;
pub mod airtime;
pub mod power;
pub mod survey;
pub mod frame;
pub mod quantity;
pub mod reading;
pub mod node;
pub mod rule;
mod placement;
mod quality;
mod window;
pub mod engine;
pub mod warning;
pub mod siren;
pub mod text;
pub mod recipient;
pub mod plan;
pub mod message;
pub mod outbox;
pub mod planted;
