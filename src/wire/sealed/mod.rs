//! WF1, our own radio link: 12 bytes around a payload, and nothing that was forged, replayed or held back gets through.
//!
//! The gateway holds a [`Peer`] for each node, the node a [`Session`]; both are state machines without clock, socket or
//! chance. The gateway commits the state that comes with a frame together with the frame's readings, and only then sends
//! the reply. The node writes a [`Record`] before anything follows from it. `docs/formats/wf1.md` describes every byte.
//!
//! The same files are the link of the nodes' firmware, which has neither heap nor operating system: they name `core`,
//! each other, and the ciphers, nothing else.

mod buffer;
mod key;
mod frame;
mod window;
mod clock;
mod refusal;
mod bits;
mod report;
mod message;
mod orders;
mod state;
mod peer;
mod session;
mod provisioning;
mod planted;

pub use buffer::{Buffer, Full};
pub use clock::{DRIFT_PERCENT, Freshness, LATE_S};
pub use frame::{
    Direction, FRAME_BYTES_MAX, Frame, FrameError, Kind, OVERHEAD_BYTES, PAYLOAD_BYTES_MAX, Parts,
    Payload, TooLong, parse,
};
pub use key::{Address, Epoch, Root};
pub use message::{Boot, Command, Health, OrderAck, Outcome};
pub use orders::{End, Ended, Endings, ORDERS_MAX, Order, OrderError, OrderId, Waiting};
pub use peer::{Accepted, Content, Listens, Now, Peer, Profile, Readings, Reply, Step};
pub use provisioning::{CODE_LETTERS, CodeError, PREFIX, Provisioning};
pub use refusal::Refusal;
pub use report::{
    AGE_S_MAX, FIELDS_MAX, Field, READINGS_MAX, Reading, Report, ReportError, Schema, SchemaError,
    Value,
};
pub use session::{
    Heard, ORDER_LATE_S, RECORD_BYTES_MAX, RESERVE_S, Record, RecordError, SealError, Sealed,
    Session, Told,
};
pub use state::{READINGS_REMEMBERED, STATE_BYTES_MAX, State, StateError, UNSTORED_MAX};
pub use window::WINDOW;

#[cfg(test)]
mod tests;
