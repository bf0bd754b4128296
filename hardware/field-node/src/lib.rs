//! A field node of Kengele.
//!
//! [`app::App`] is the whole logic, as a state machine that is told events and answers with actions. [`runner`] lets it
//! live on a board; a simulator lets it live in virtual time. The link is `sealed`, the very files of the gateway.

#![no_std]

pub mod plan;
pub mod event;
pub mod app;
pub mod runner;
pub mod radio;
pub mod sensor;
pub mod filter;
pub mod airtime;
pub mod journal;
pub mod flash;
pub mod crc;
pub mod dice;
#[path = "../../../src/wire/sealed/mod.rs"]
pub mod sealed;
