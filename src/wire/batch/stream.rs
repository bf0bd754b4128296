//! A stream of blocks: what its two ends know, and how a block is sealed and opened with that.

use super::coder::{Decoder, Encoder};
use super::grid::{Cell, Grid};
use super::rows::{Line, Plan, Signal, State};
use super::{
    DecodeError, EncodeError, Link, NAME_BYTES_MAX, READINGS_MAX, Reading, SIGNALS_MAX, Sealed,
};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;

/// The first half byte of a block that stands alone; the rest of the byte is zero.
const ALONE: u8 = 0x10;
/// The first half byte of a block that continues another.
const CONTINUES: u8 = 0x20;
const KIND: u8 = 0xF0;

/// So many blocks at most continue one that stands alone, each the one before: what must be read again to know the
/// stream's state after a restart.
pub const CONTINUED_MAX: u32 = 63;

/// One end of a stream of blocks, writing or reading.
#[derive(Clone, Debug)]
pub struct Stream {
    link: Link,
    state: State,
    /// Blocks since the last that stands alone; none where the next must.
    continued: Option<u32>,
}

impl Stream {
    /// Begins, or goes on, after a block of which only the link is known: the next block stands alone.
    #[must_use]
    pub const fn after(link: Link) -> Self {
        Self { link, state: State::NEW, continued: None }
    }

    /// Returns the link of the last block.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Takes the writer's word for how the link of the last block begins: for a reader who has not seen every block since
    /// the first, and so cannot make the link itself. [`Stream::link`] is none of the chain's afterwards.
    pub fn trust(&mut self, begins: [u8; 8]) {
        let mut link = [0; 32];
        link.iter_mut().zip(begins).for_each(|(byte, known)| *byte = known);
        self.link = Link(link);
    }

    /// Has the next block stand alone: for a reader who may lack those before.
    pub const fn stand_alone(&mut self) {
        self.continued = None;
    }

    /// Makes readings into the next block. Any order of them is kept, that of their sequence costs least. On an error
    /// the stream is as it was.
    ///
    /// # Errors
    ///
    /// Where there are more readings or signals than a block may have, or a name that none may have.
    pub fn seal(&mut self, readings: &[Reading]) -> Result<Sealed, EncodeError> {
        let known = self.continued.filter(|continued| *continued < CONTINUED_MAX);
        let planned = known.map(|_| self.state.clone()).and_then(|state| {
            let plan = plan(&state, readings).ok()?;
            Some((state, plan))
        });
        let continues = planned.is_some();
        let (mut state, mut plan) = match planned {
            Some(planned) => planned,
            None => (State::NEW, plan(&State::NEW, readings)?),
        };
        let mut coder = Encoder::after(if continues {
            let [high, low] = self.link.begins().to_be_bytes();
            vec![CONTINUES | high, low]
        } else {
            vec![ALONE]
        });
        // A writing coder does not fail.
        state.walk(&mut coder, &mut plan).ok();
        let bytes = coder.finish();
        let previous = self.link;
        let link = previous.next(&bytes);
        let blocks = if continues { known.map(|n| n + 1) } else { Some(0) };
        *self = Self { link, state, continued: blocks };
        Ok(Sealed { bytes, previous, link })
    }

    /// Reads the next block. Takes memory for [`READINGS_MAX`] readings and [`SIGNALS_MAX`] signals at most, whatever
    /// the bytes say. On an error the stream is as it was.
    ///
    /// # Errors
    ///
    /// Where the bytes are not one whole block, or continue another than the last. Damage is not always seen: compare
    /// [`Stream::link`] with what the writer says.
    pub fn open(&mut self, bytes: &[u8]) -> Result<Vec<Reading>, DecodeError> {
        let (mut state, rest, continued) = match bytes {
            [ALONE, rest @ ..] => (State::NEW, rest, 0),
            [first, second, rest @ ..] if first & KIND == CONTINUES => {
                let begins = u16::from_be_bytes([first & !KIND, *second]);
                match self.continued {
                    Some(continued) if begins == self.link.begins() => {
                        (self.state.clone(), rest, continued.saturating_add(1))
                    }
                    Some(_) | None => return Err(DecodeError::Predecessor(begins)),
                }
            }
            _ => return Err(DecodeError::Version),
        };
        let mut plan = Plan::default();
        let mut coder = Decoder::new(rest);
        state.walk(&mut coder, &mut plan)?;
        coder.finish()?;
        let readings = readings(&state, &plan)?;
        *self = Self { link: self.link.next(bytes), state, continued: Some(continued) };
        Ok(readings)
    }
}

/// Makes readings into a block that stands alone, after the block with link `previous`.
///
/// # Errors
///
/// As [`Stream::seal`].
pub fn seal(readings: &[Reading], previous: Link) -> Result<Sealed, EncodeError> {
    Stream::after(previous).seal(readings)
}

/// Reads a block that stands alone.
///
/// # Errors
///
/// As [`Stream::open`]; [`DecodeError::Predecessor`] where it does not stand alone.
pub fn open(bytes: &[u8]) -> Result<Vec<Reading>, DecodeError> {
    Stream::after(Link::START).open(bytes)
}

/// Returns whether a block needs no other to be read, as far as its first byte says.
#[must_use]
pub const fn stands_alone(bytes: &[u8]) -> bool {
    matches!(bytes, [ALONE, ..])
}

/// Lays out readings: numbers their signals, and finds the grid of each signal's values.
fn plan(state: &State, readings: &[Reading]) -> Result<Plan, EncodeError> {
    if readings.len() > READINGS_MAX {
        return Err(EncodeError::Readings(readings.len()));
    }
    let (columns, signals) = number(state, readings)?;
    let mut values = vec![Vec::new(); state.columns.len() + signals.len()];
    for (reading, column) in readings.iter().zip(&columns) {
        if let Some(values) = values.get_mut(*column) {
            values.push(reading.value);
        }
    }
    let known = state.columns.iter().map(|column| (column.signal.1, Some(column.grid)));
    let new = signals.iter().map(|signal| (signal.1, None));
    let grids = known.chain(new).zip(&values);
    let grids: Vec<Grid> = grids.map(|((of, known), values)| Grid::of(of, values, known)).collect();
    let line = |(reading, column): (&Reading, &usize)| Line {
        column: *column,
        sequence: reading.sequence,
        at: reading.at.as_millis(),
        clock: reading.clock,
        stamp: reading.stamp,
        quality: reading.quality,
        cell: grids.get(*column).map_or(Cell::Whole(0), |grid| grid.cell(reading.value)),
    };
    let lines = readings.iter().zip(&columns).map(line).collect();
    Ok(Plan { lines, signals, grids })
}

/// Returns the number of each reading's signal, and the signals that are new.
fn number(state: &State, readings: &[Reading]) -> Result<(Vec<usize>, Vec<Signal>), EncodeError> {
    let known = state.columns.iter().map(|column| (&column.signal.0, column.signal.1));
    let mut numbers: BTreeMap<_, usize> = known.zip(0..).collect();
    let mut columns: Vec<usize> = Vec::with_capacity(readings.len());
    let mut signals = Vec::new();
    for (place, reading) in readings.iter().enumerate() {
        let next = numbers.len();
        let column = *numbers.entry((&reading.node, reading.quantity)).or_insert(next);
        columns.push(column);
        if column == next {
            if !(1..=NAME_BYTES_MAX).contains(&reading.node.0.len()) {
                return Err(EncodeError::Name(place));
            }
            signals.push((reading.node.clone(), reading.quantity));
        }
    }
    if numbers.len() > SIGNALS_MAX {
        return Err(EncodeError::Signals(numbers.len()));
    }
    Ok((columns, signals))
}

/// Returns the readings that were read.
fn readings(state: &State, plan: &Plan) -> Result<Vec<Reading>, DecodeError> {
    let reading = |line: &Line| {
        let column = state.columns.get(line.column);
        let column = column.ok_or(DecodeError::Corrupt("a reading of no signal"))?;
        let (node, quantity) = &column.signal;
        Ok(Reading {
            node: node.clone(),
            quantity: *quantity,
            sequence: line.sequence,
            at: Timestamp::from_millis(line.at),
            clock: line.clock,
            stamp: line.stamp,
            value: column.grid.undo(line.cell),
            quality: line.quality,
        })
    };
    plan.lines.iter().map(reading).collect()
}
