//! LoRaWAN 1.0.2 to 1.0.4 for devices of class A and C, as one gateway without a network server sees it.
//!
//! [`parse`] reads what a gateway heard. [`Device`] judges it by one device's keys and counters, and answers with the
//! device's next [`State`] and with what is to be sent back; nothing here has a clock, a socket or chance. The caller
//! commits the state together with the reading, and only then sends.
//!
//! Sources: LoRaWAN 1.0.3 and 1.0.4 specifications; regional parameters RP002-1.0.4.

mod answer;
mod device;
mod frame;
mod join;
mod key;
mod mac;
mod region;
mod state;

pub use crate::domain::radio::{Modulation, Window};
pub use answer::{Acknowledgement, Left, Network, Order, Reply};
pub use device::{
    Accepted, Activation, CounterReset, Device, Heard, Payload, Profile, Refusal, Version,
};
pub use frame::{DataUp, FrameError, JoinRequest, PHY_BYTES_MAX, Uplink, parse};
pub use join::{Joined, NONCES_MAX};
pub use key::Key;
pub use mac::{Battery, MacAnswer};
pub use region::{Plan, Region};
pub use state::{State, StateError};

use std::fmt;

/// A 64-bit identifier: `DevEUI`, `JoinEUI` (called `AppEUI` before 1.0.4), or that of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Eui(pub u64);

impl Eui {
    /// Returns the identifier that 16 hexadecimal digits write.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Eui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The address of a device in data frames. Several devices may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevAddr(pub u32);

impl DevAddr {
    /// Returns the address that 8 hexadecimal digits write.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let plain = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u32::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for DevAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests;
