//! What Kengele is about, as pure values and functions: no clock, input, output, randomness or logs.
//!
//! `now` comes in as a [`Timestamp`](time::Timestamp); decisions go out as values. Everything here gives the
//! same answer for the same arguments, on every machine, so that a run can be replayed from its record.

pub mod frame;
pub mod message;
pub mod node;
pub mod outbox;
pub mod planted;
pub mod quantity;
pub mod reading;
pub mod recipient;
pub mod rule;
pub mod text;
pub mod time;
pub mod warning;
