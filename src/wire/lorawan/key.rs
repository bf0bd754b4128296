//! AES-128 keys and what LoRaWAN does with them.

use super::DevAddr;
use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use cmac::{Cmac, Mac};
use std::fmt;

/// Bytes of an AES block.
const BLOCK_BYTES: usize = 16;

/// Which way a data frame goes: `Dir` of LoRaWAN 1.0.3 §4.3.3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// What makes the blocks of one data frame different from those of all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) direction: Direction,
    pub(super) dev_addr: DevAddr,
    pub(super) counter: u32,
}

impl Course {
    /// Returns the block that begins with `kind` and ends with `last`: LoRaWAN 1.0.3 §4.3.3.1 (`A_i`), §4.4 (`B_0`).
    fn block(self, kind: u8, last: u8) -> [u8; BLOCK_BYTES] {
        let direction = match self.direction {
            Direction::Up => 0,
            Direction::Down => 1,
        };
        let (dev_addr, counter) = (self.dev_addr.0.to_le_bytes(), self.counter.to_le_bytes());
        block(&[&[kind, 0, 0, 0, 0, direction], &dev_addr, &counter, &[0, last]])
    }
}

/// Returns a block of these bytes; what they leave is 0.
pub(super) fn block(parts: &[&[u8]]) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    block
}

/// An AES-128 key. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// Returns the key that is these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn cipher(&self) -> Aes128 {
        Aes128::new(&self.0.into())
    }

    pub(super) fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.cipher().encrypt_block(&mut block);
        block.into()
    }

    /// Decrypts whole blocks in place; a rest that is no block stays as it is.
    pub(super) fn decrypt_blocks(&self, bytes: &mut [u8]) {
        let cipher = self.cipher();
        let (blocks, _) = bytes.as_chunks_mut::<BLOCK_BYTES>();
        for block in blocks {
            cipher.decrypt_block(block.into());
        }
    }

    /// Returns the MIC of a join message: LoRaWAN 1.0.3 §6.2.4, §6.2.5.
    pub(super) fn join_mic(&self, message: &[u8]) -> [u8; 4] {
        first_four(self.mac(&[message]))
    }

    /// Returns whether `mic` is that of a join message.
    pub(super) fn verifies_join(&self, message: &[u8], mic: [u8; 4]) -> bool {
        self.mac(&[message]).verify_truncated_left(&mic).is_ok()
    }

    /// Returns the MIC of a data frame: LoRaWAN 1.0.3 §4.4.
    pub(super) fn data_mic(&self, course: Course, message: &[u8]) -> [u8; 4] {
        first_four(self.data_mac(course, message))
    }

    /// Returns whether `mic` is that of a data frame.
    pub(super) fn verifies_data(&self, course: Course, message: &[u8], mic: [u8; 4]) -> bool {
        self.data_mac(course, message).verify_truncated_left(&mic).is_ok()
    }

    fn data_mac(&self, course: Course, message: &[u8]) -> Cmac<Aes128> {
        let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
        self.mac(&[&course.block(0x49, length), message])
    }

    fn mac(&self, parts: &[&[u8]]) -> Cmac<Aes128> {
        let mut mac = Cmac::<Aes128>::new(&self.0.into());
        for part in parts {
            mac.update(part);
        }
        mac
    }

    /// Encrypts or decrypts the payload of a data frame in place: LoRaWAN 1.0.3 §4.3.3.
    pub(super) fn crypt(&self, course: Course, payload: &mut [u8]) {
        let cipher = self.cipher();
        for (number, chunk) in (1_u8..).zip(payload.chunks_mut(BLOCK_BYTES)) {
            let mut block = course.block(0x01, number).into();
            cipher.encrypt_block(&mut block);
            chunk.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

fn first_four(mac: Cmac<Aes128>) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 16] = mac.finalize().into_bytes().into();
    [a, b, c, d]
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}
