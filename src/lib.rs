//! Kengele: a warning gateway for places with little bandwidth, dirty power and no second chance.
//!
//! The modules stand in the order in which a reading travels. A frame comes in by a [`source`], the
//! pipeline decodes it with [`wire`], the engine in [`domain`] judges it, [`store`] commits the turn,
//! and only then is the frame acknowledged; what people must be told leaves by a [`channel`], and what was
//! read is sealed and kept by [`archive`].
//! `domain` and `wire` are pure: no clock, no input or output, no randomness, no logs.

pub mod supervise;
pub mod backoff;
pub mod telemetry;
pub mod domain;
pub mod wire;
pub mod config;
pub mod source;
pub mod pipeline;
pub mod store;
pub mod archive;
pub mod uplink;
pub mod dispatch;
pub mod channel;
pub mod hub;
pub mod app;
pub mod sim;
