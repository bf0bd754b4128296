//! Keys: one random root for each node and epoch, and what is derived from it.
//!
//! NIST SP 800-108r1 in counter mode with AES-128-CMAC: `K = CMAC(root, 01 | label | 00 | context | 00 80)`. The counter
//! has one byte, the length two, in bits; one block is always enough.

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};
use core::fmt;

/// Who speaks: a network and one of its nodes. The network is not on the air; it goes into keys and nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The gateway's network, drawn at random when the gateway is set up.
    pub net: u32,
    /// The node in it.
    pub node: u16,
}

impl Address {
    const fn bytes(self) -> [u8; 6] {
        let ([n0, n1, n2, n3], [d0, d1]) = (self.net.to_be_bytes(), self.node.to_be_bytes());
        [n0, n1, n2, n3, d0, d1]
    }
}

/// The secret that a node and its gateway share in one epoch. Its `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Root([u8; 16]);

/// A key of one direction. Its `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkKey([u8; 16]);

impl Root {
    /// Returns the root that is these bytes: 16 random ones.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes: for the provisioning blob and for stores that may hold secrets.
    #[must_use]
    pub const fn secret_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn derive(&self, label: &[u8], context: &[&[u8]]) -> [u8; 16] {
        let mut mac = Cmac::<Aes128>::new(&self.0.into());
        mac.update(&[1]);
        mac.update(label);
        mac.update(&[0]);
        for part in context {
            mac.update(part);
        }
        mac.update(&128_u16.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// One epoch of a node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number; its lowest bit is on the air as the key phase.
    pub number: u16,
    /// Its root.
    pub root: Root,
}

impl Epoch {
    /// Returns the epoch behind this one that both sides make of 16 fresh random bytes; none behind the last.
    #[must_use]
    pub fn next(&self, address: Address, random: &[u8; 16]) -> Option<Self> {
        let number = self.number.checked_add(1)?;
        let context = [&address.bytes()[..], &number.to_be_bytes(), random];
        Some(Self { number, root: Root(self.root.derive(b"WF1 rk", &context)) })
    }

    pub(super) fn keys(&self, address: Address) -> Keys {
        let context = [&address.bytes()[..], &self.number.to_be_bytes()];
        let derive = |label| LinkKey(self.root.derive(label, &context));
        Keys { address, epoch: self.number, up: derive(b"WF1 up"), down: derive(b"WF1 dn") }
    }

    pub(super) const fn is_odd(&self) -> bool {
        self.number & 1 == 1
    }
}

/// Both directions' keys of one epoch, and what they are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) address: Address,
    pub(super) epoch: u16,
    pub(super) up: LinkKey,
    pub(super) down: LinkKey,
}

impl LinkKey {
    pub(super) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root(..)")
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(..)")
    }
}
