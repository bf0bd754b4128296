//! Newest readings, told before the blocks that hold them.

use super::EncodeError;
use super::bytes::{NamesReader, NamesWriter, Reader, Unreadable, Writer};
use crate::domain::quantity::Quantity;
use crate::domain::reading::{NodeName, Quality};
use crate::domain::time::Timestamp;
use crate::wire::sealed_quantity;

/// The newest reading of a quantity of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The node: a name of at most [`TEXT_BYTES_MAX`](super::TEXT_BYTES_MAX) bytes.
    pub node: NodeName,
    /// What was measured.
    pub quantity: Quantity,
    /// When it was judged, on the gateway's time line.
    pub at: Timestamp,
    /// The value, in the quantity's own unit.
    pub value: f64,
    /// How far it can be believed.
    pub quality: Quality,
}

/// Bit beside a quantity's number: the quality follows.
const DOUBTED: u64 = 1;

pub(super) fn write(readings: &[Latest], to: &mut Writer) -> Result<(), EncodeError> {
    let (mut names, mut before) = (NamesWriter::default(), 0);
    for reading in readings {
        names.write(to, &reading.node.0)?;
        let doubted = if reading.quality.is_good() { 0 } else { DOUBTED };
        to.number(u64::from(sealed_quantity::number(reading.quantity)) << 1 | doubted);
        if doubted != 0 {
            to.byte(reading.quality.code());
        }
        to.signed(reading.at.as_millis().wrapping_sub(before));
        before = reading.at.as_millis();
        to.value(reading.value);
    }
    Ok(())
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<Vec<Latest>, Unreadable> {
    let (mut names, mut before) = (NamesReader::default(), 0i64);
    let mut readings = Vec::new();
    while !from.is_empty() {
        let node = NodeName(names.read(from)?);
        let number = from.number()?;
        let quantity = quantity(number >> 1)?;
        let doubted = number & DOUBTED != 0;
        let code = if doubted { from.byte()? } else { Quality::Good.code() };
        let quality = Quality::from_code(code).ok_or(Unreadable)?;
        before = before.wrapping_add(from.signed()?);
        let (at, value) = (Timestamp::from_millis(before), from.value()?);
        readings.push(Latest { node, quantity, at, value, quality });
    }
    Ok(readings)
}

pub(super) fn quantity(number: u64) -> Result<Quantity, Unreadable> {
    u8::try_from(number).ok().and_then(sealed_quantity::of).ok_or(Unreadable)
}
