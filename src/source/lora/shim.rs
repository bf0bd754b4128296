//! What is wrong with lora-phy 3.0.1, mended between it and the bus, so that the crate stays as it is.
//!
//! SX126x: a frame whose checksum is wrong is handed on as a good one; and where a preamble and a timeout are read
//! together, it waits for ever. Both are decided by what `GetIrqStatus` says, so that answer is told the driver as it
//! should take it, and `ClrIrqStatus` is completed by what the driver did not see.
//!
//! SX127x: a wrong checksum is not looked at either; and symbols of just 16 ms (SF11 at 125 kHz) are not marked as slow,
//! which every other end does.

use embedded_hal::spi::{ErrorType, Operation};
use embedded_hal_async::spi::SpiDevice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// SX126x, `GetIrqStatus` and `ClrIrqStatus`.
const GET_IRQ: u8 = 0x12;
const CLEAR_IRQ: u8 = 0x02;
/// Bits of its interrupts (SX1261/2 data sheet, table 13-29).
const RX_DONE: u16 = 1 << 1;
const PREAMBLE: u16 = 1 << 2;
const HEADER_VALID: u16 = 1 << 4;
const HEADER_WRONG: u16 = 1 << 5;
const CRC_WRONG: u16 = 1 << 6;
const TIMEOUT: u16 = 1 << 9;

/// SX127x, `RegIrqFlags` for reading, and its bits (SX1276 data sheet §6.4).
const IRQ_FLAGS: u8 = 0x12;
const X127_RX_DONE: u8 = 1 << 6;
const X127_CRC_WRONG: u8 = 1 << 5;
/// `RegModemConfig3` for writing, and its bit for slow symbols.
const MODEM_CONFIG_3: u8 = 0x26 | 0x80;
const SLOW_SYMBOLS: u8 = 1 << 3;

/// What is seen on the bus.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Frames with a wrong checksum or header.
    damaged: AtomicU64,
    /// A frame is coming in.
    receiving: AtomicBool,
}

impl Seen {
    /// Returns how many frames were damaged since this was asked last.
    pub(super) fn take_damaged(&self) -> u64 {
        self.damaged.swap(0, Ordering::Relaxed)
    }

    /// Returns whether a frame is coming in, as far as the chip has said.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::Relaxed)
    }

    /// Forgets a frame that never came to its end.
    pub(super) fn expect_nothing(&self) {
        self.receiving.store(false, Ordering::Relaxed);
    }
}

/// Which family of chips is on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// It takes commands.
    Sx126x,
    /// It has registers; symbols of its channel are slow.
    Sx127x { slow_symbols: bool },
}

/// A bus whose answers the driver takes as it should.
pub(super) struct Shim<S> {
    inner: S,
    family: Family,
    seen: Arc<Seen>,
    /// Interrupts that the driver did not see, to be cleared with those that it did.
    owed: u16,
}

impl<S> Shim<S> {
    pub(super) fn new(inner: S, family: Family, seen: Arc<Seen>) -> Self {
        Self { inner, family, seen, owed: 0 }
    }
}

impl<S: ErrorType> ErrorType for Shim<S> {
    type Error = S::Error;
}

impl<S: SpiDevice<u8>> SpiDevice<u8> for Shim<S> {
    async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), S::Error> {
        match self.family {
            Family::Sx126x => self.commands(operations).await,
            Family::Sx127x { slow_symbols } => self.registers(operations, slow_symbols).await,
        }
    }
}

impl<S: SpiDevice<u8>> Shim<S> {
    async fn commands(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), S::Error> {
        let command = first(operations);
        if let ([Operation::Write([CLEAR_IRQ, high, low])], true) = (&*operations, self.owed != 0) {
            let flags = u16::from_be_bytes([*high, *low]) | std::mem::take(&mut self.owed);
            let [high, low] = flags.to_be_bytes();
            let whole = [CLEAR_IRQ, high, low];
            return self.inner.transaction(&mut [Operation::Write(&whole)]).await;
        }
        self.inner.transaction(operations).await?;
        if command != Some(GET_IRQ) {
            return Ok(());
        }
        let Some(Operation::Read(answer)) = operations.last_mut() else { return Ok(()) };
        let [high, low] = &mut **answer else { return Ok(()) };
        let raw = u16::from_be_bytes([*high, *low]);
        let told = self.judge(raw);
        [*high, *low] = told.to_be_bytes();
        Ok(())
    }

    /// Returns what the driver is told of the interrupts.
    fn judge(&mut self, raw: u16) -> u16 {
        let mut told = raw;
        let receiving = &self.seen.receiving;
        if raw & (PREAMBLE | HEADER_VALID) != 0 {
            receiving.store(true, Ordering::Relaxed);
        }
        if raw & (RX_DONE | TIMEOUT | HEADER_WRONG) != 0 {
            receiving.store(false, Ordering::Relaxed);
        }
        if raw & HEADER_WRONG != 0 || raw & (RX_DONE | CRC_WRONG) == RX_DONE | CRC_WRONG {
            self.seen.damaged.fetch_add(1, Ordering::Relaxed);
        }
        if raw & (RX_DONE | CRC_WRONG) == RX_DONE | CRC_WRONG {
            told &= !(RX_DONE | HEADER_VALID | PREAMBLE);
        }
        if told & TIMEOUT != 0 {
            told &= !(PREAMBLE | HEADER_VALID);
        }
        // The driver clears nothing where it sees nothing.
        if told == 0 && raw != 0 {
            told = raw & (CRC_WRONG | HEADER_WRONG);
        }
        self.owed = raw & !told;
        told
    }

    async fn registers(
        &mut self,
        operations: &mut [Operation<'_, u8>],
        slow_symbols: bool,
    ) -> Result<(), S::Error> {
        if let ([Operation::Write([MODEM_CONFIG_3, value])], true) = (&*operations, slow_symbols) {
            let marked = [MODEM_CONFIG_3, value | SLOW_SYMBOLS];
            return self.inner.transaction(&mut [Operation::Write(&marked)]).await;
        }
        let register = first(operations);
        self.inner.transaction(operations).await?;
        if register != Some(IRQ_FLAGS) {
            return Ok(());
        }
        let Some(Operation::Read(answer)) = operations.last_mut() else { return Ok(()) };
        let [flags] = &mut **answer else { return Ok(()) };
        if *flags & (X127_RX_DONE | X127_CRC_WRONG) == X127_RX_DONE | X127_CRC_WRONG {
            self.seen.damaged.fetch_add(1, Ordering::Relaxed);
            *flags &= !X127_RX_DONE;
        }
        Ok(())
    }
}

fn first(operations: &[Operation<'_, u8>]) -> Option<u8> {
    match operations.first() {
        Some(Operation::Write(bytes)) => bytes.first().copied(),
        Some(
            Operation::Read(_)
            | Operation::Transfer(..)
            | Operation::TransferInPlace(_)
            | Operation::DelayNs(_),
        )
        | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// A bus that keeps what was written, and answers with what it is given.
    #[derive(Default)]
    struct Bus {
        written: Vec<Vec<u8>>,
        answer: Vec<u8>,
    }

    impl ErrorType for Bus {
        type Error = Infallible;
    }

    impl SpiDevice<u8> for Bus {
        async fn transaction(
            &mut self,
            operations: &mut [Operation<'_, u8>],
        ) -> Result<(), Infallible> {
            let mut written = Vec::new();
            for operation in operations {
                match operation {
                    Operation::Write(bytes) => written.extend_from_slice(bytes),
                    Operation::Read(bytes) if bytes.len() == self.answer.len() => {
                        bytes.copy_from_slice(&self.answer);
                    }
                    Operation::Read(_)
                    | Operation::Transfer(..)
                    | Operation::TransferInPlace(_)
                    | Operation::DelayNs(_) => {}
                }
            }
            self.written.push(written);
            Ok(())
        }
    }

    /// Reads the interrupts as the driver does, and returns what it is told, and what it clears in the end.
    async fn told(shim: &mut Shim<Bus>, raw: u16) -> (u16, u16) {
        shim.inner.answer = raw.to_be_bytes().to_vec();
        let (mut status, mut flags) = ([0], [0, 0]);
        let mut asks = [
            Operation::Write(&[GET_IRQ]),
            Operation::Read(&mut status),
            Operation::Read(&mut flags),
        ];
        shim.transaction(&mut asks).await.unwrap();
        let told = u16::from_be_bytes(flags);
        if told != 0 {
            let clear = [CLEAR_IRQ, flags[0], flags[1]];
            shim.transaction(&mut [Operation::Write(&clear)]).await.unwrap();
        }
        let cleared = shim.inner.written.last().unwrap();
        let cleared =
            if cleared[0] == CLEAR_IRQ { u16::from_be_bytes([cleared[1], cleared[2]]) } else { 0 };
        (told, cleared)
    }

    #[tokio::test]
    async fn a_damaged_frame_is_no_frame_and_everything_is_cleared() {
        let seen = Arc::new(Seen::default());
        let mut shim = Shim::new(Bus::default(), Family::Sx126x, Arc::clone(&seen));
        let raw = RX_DONE | CRC_WRONG | HEADER_VALID | PREAMBLE;
        let (said, cleared) = told(&mut shim, raw).await;
        assert_eq!((said & RX_DONE, cleared), (0, raw));
        assert_eq!((seen.take_damaged(), seen.take_damaged()), (1, 0));
        let good = RX_DONE | HEADER_VALID | PREAMBLE;
        assert_eq!(told(&mut shim, good).await, (good, good));
        let (said, cleared) = told(&mut shim, TIMEOUT | PREAMBLE).await;
        assert_eq!((said, cleared), (TIMEOUT, TIMEOUT | PREAMBLE));
        assert_eq!(told(&mut shim, HEADER_WRONG).await, (HEADER_WRONG, HEADER_WRONG));
        assert_eq!(seen.take_damaged(), 1);
    }

    #[tokio::test]
    async fn a_frame_that_is_coming_in_is_known_until_it_ends() {
        let seen = Arc::new(Seen::default());
        let mut shim = Shim::new(Bus::default(), Family::Sx126x, Arc::clone(&seen));
        for (raw, receiving) in [
            (PREAMBLE, true),
            (HEADER_VALID, true),
            (RX_DONE, false),
            (PREAMBLE, true),
            (TIMEOUT, false),
        ] {
            told(&mut shim, raw).await;
            assert_eq!(seen.is_receiving(), receiving, "{raw:#06x}");
        }
    }

    #[tokio::test]
    async fn registers_are_mended_as_well() {
        let seen = Arc::new(Seen::default());
        let family = Family::Sx127x { slow_symbols: true };
        let mut shim = Shim::new(Bus::default(), family, Arc::clone(&seen));
        shim.inner.answer = vec![X127_RX_DONE | X127_CRC_WRONG];
        let mut flags = [0];
        let mut asks = [Operation::Write(&[IRQ_FLAGS]), Operation::Read(&mut flags)];
        shim.transaction(&mut asks).await.unwrap();
        assert_eq!((flags[0] & X127_RX_DONE, seen.take_damaged()), (0, 1));
        shim.transaction(&mut [Operation::Write(&[MODEM_CONFIG_3, 0x04])]).await.unwrap();
        assert_eq!(shim.inner.written.last().unwrap(), &[MODEM_CONFIG_3, 0x0C]);
    }
}
