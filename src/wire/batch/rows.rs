//! The walk over a block's rows, the same for writing and reading: what a row is found to be is written, or what is
//! read is put there. What is learned on the way is what the next block may begin with.

use super::coder::Code;
use super::grid::{Cell, Grid};
use super::model::Bit;
use super::track::Track;
use super::{DecodeError, NAME_BYTES_MAX, READINGS_MAX, SIGNALS_MAX};
use crate::domain::quantity::Quantity;
use crate::domain::reading::{NodeName, Quality, Stamp};
use crate::domain::time::{ClockQuality, WallClock};
use crate::wire::sealed_quantity;
use std::sync::Arc;

/// What times are multiples of, ms.
const TICKS: [i64; 8] = [1, 10, 100, 1_000, 10_000, 60_000, 600_000, 3_600_000];
const TICK_NUMBERS: u32 = 8;
/// Letters of a name that cost little; one more number ends it, and one says that a byte follows.
const LETTERS: &[u8; 38] = b"abcdefghijklmnopqrstuvwxyz0123456789-_";
const LETTER_NUMBERS: u32 = 40;
const NAME_ENDS: u32 = 38;
const BYTE_FOLLOWS: u32 = 39;
/// The first of January 2024, in Unix time.
const EPOCH_MS: i64 = 1_704_067_200_000;
const QUANTITY_NUMBERS: u32 = 64;
const QUALITY_NUMBERS: u32 = 7;
const ROWS_MAX: u64 = READINGS_MAX as u64;
const NO_SIGNAL: DecodeError = DecodeError::Corrupt("a reading of no signal");

/// One quantity of one node.
pub(super) type Signal = (NodeName, Quantity);

/// A reading, its signal by number and its value on its signal's grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) column: usize,
    pub(super) sequence: u64,
    pub(super) at: i64,
    pub(super) clock: WallClock,
    pub(super) stamp: Option<Stamp>,
    pub(super) quality: Quality,
    pub(super) cell: Cell,
}

const NO_LINE: Line = Line {
    column: 0,
    sequence: 0,
    at: 0,
    clock: WallClock { offset_ms: 0, quality: ClockQuality::Unset },
    stamp: None,
    quality: Quality::Good,
    cell: Cell::Whole(0),
};

/// What a block holds, to be written; empty, to be read.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) lines: Vec<Line>,
    /// Signals that the state does not know yet, in the order in which they come up.
    pub(super) signals: Vec<Signal>,
    /// The grid of each column, known ones first.
    pub(super) grids: Vec<Grid>,
}

/// The last three distances between numbers that go on.
#[derive(Clone, Copy, Debug, Default)]
struct Steps([Option<i64>; 3]);

impl Steps {
    fn push(&mut self, step: i64) {
        let [a, b, _] = self.0;
        self.0 = [Some(step), a, b];
    }

    /// Returns the middle of the three, the last where there are fewer.
    fn usual(self, first: i64) -> i64 {
        match self.0 {
            [Some(a), Some(b), Some(d)] => a.max(b).min(a.min(b).max(d)),
            [a, _, _] => a.unwrap_or(first),
        }
    }
}

/// What is known of a signal.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) signal: Signal,
    pub(super) grid: Grid,
    values: Track,
    /// Which column came after this one.
    after: usize,
    /// The next row is as expected.
    usual: Bit,
    /// Its last row had another time than the row before it.
    moves: bool,
    at: Option<i64>,
    steps: Steps,
    sequence_steps: Steps,
    /// What kind of stamp its last row had, and by how many ticks it was off.
    stamp: (StampKind, i64),
    quality: Quality,
    in_block: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StampKind {
    None,
    Unix,
    Age,
}

/// What both ends of a stream know after a block.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) columns: Vec<Column>,
    now: usize,
    rows: u64,
    /// From where the block's times are counted, ms.
    origin: i64,
    tick: usize,
    stamp_tick: usize,
    sequence: u64,
    at: i64,
    clock: WallClock,
    step: i64,
    follows: Bit,
    sequence_next: Bit,
    moves: [Bit; 2],
    clock_same: Bit,
    stamp_same: Bit,
    quality_same: Bit,
    grid_same: Bit,
    block_same: [Bit; 3],
    sequence_off: Track,
    time_off: Track,
    stamp_off: Track,
}

impl State {
    pub(super) const NEW: Self = Self {
        columns: Vec::new(),
        now: 0,
        rows: 0,
        origin: 0,
        tick: TICKS.len() - 1,
        stamp_tick: TICKS.len() - 1,
        sequence: 0,
        at: 0,
        clock: WallClock { offset_ms: 0, quality: ClockQuality::Synchronised },
        step: 0,
        follows: Bit::LIKELY,
        sequence_next: Bit::LIKELY,
        moves: [Bit::LIKELY; 2],
        clock_same: Bit::LIKELY,
        stamp_same: Bit::LIKELY,
        quality_same: Bit::LIKELY,
        grid_same: Bit::LIKELY,
        block_same: [Bit::LIKELY; 3],
        sequence_off: Track::ABOUT_ZERO,
        time_off: Track::ABOUT_ZERO,
        stamp_off: Track::ABOUT_ZERO,
    };

    /// Codes a block's rows: what `plan` has, or what is read into it.
    pub(super) fn walk(&mut self, c: &mut impl Code, plan: &mut Plan) -> Result<(), DecodeError> {
        let rows = self.block(c, plan)?;
        for column in &mut self.columns {
            column.in_block = false;
        }
        let known = self.columns.len();
        for number in 0..rows {
            let line = plan.lines.get(number).copied().unwrap_or(NO_LINE);
            let line = self.line(c, line, &plan.signals, &plan.grids, known)?;
            match plan.lines.get_mut(number) {
                Some(place) => *place = line,
                None => plan.lines.push(line),
            }
        }
        Ok(())
    }

    /// Codes what all rows have in common, and returns how many there are.
    fn block(&mut self, c: &mut impl Code, plan: &Plan) -> Result<usize, DecodeError> {
        let alone = self.columns.is_empty();
        if alone {
            let first = plan.lines.first().unwrap_or(&NO_LINE);
            self.at = moment(c, first.at)?;
            self.sequence = c.sized(first.sequence)?.wrapping_sub(1);
            let unix = first.at.wrapping_add(first.clock.offset_ms);
            let unix = moment(c, unix.wrapping_sub(EPOCH_MS))?.wrapping_add(EPOCH_MS);
            self.clock.offset_ms = unix.wrapping_sub(self.at);
            self.clock.quality = clock_quality(c, first.clock.quality)?;
        }
        self.origin = self.at;
        let origin = self.origin;
        let times = plan.lines.iter().map(|line| line.at.wrapping_sub(origin));
        let stamps = plan.lines.iter().filter_map(|line| line.stamp).map(stamp_ms);
        let rows = plan.lines.len() as u64;
        let known = |tick| (!alone).then_some(tick);
        let tick = tick_of(&times, known(self.tick));
        let stamp_tick = tick_of(&stamps, known(self.stamp_tick));
        let [rows_same, tick_same, stamp_tick_same] = &mut self.block_same;
        if !c.bit(rows_same, rows == self.rows)? {
            self.rows = c.sized(rows)?;
            if self.rows > ROWS_MAX {
                return Err(DecodeError::Corrupt("more readings than a block may hold"));
            }
        }
        if !c.bit(tick_same, tick == self.tick)? {
            self.tick = tick_number(c, tick)?;
        }
        if !c.bit(stamp_tick_same, stamp_tick == self.stamp_tick)? {
            self.stamp_tick = tick_number(c, stamp_tick)?;
        }
        usize::try_from(self.rows).map_err(|_| DecodeError::Corrupt("too many readings"))
    }

    fn line(
        &mut self,
        c: &mut impl Code,
        line: Line,
        signals: &[Signal],
        grids: &[Grid],
        known: usize,
    ) -> Result<Line, DecodeError> {
        let expected = self.expected();
        let usual = match (self.columns.get_mut(self.now), expected) {
            (Some(column), Some(expected)) => {
                c.bit(&mut column.usual, expected.fits(&line))?.then_some(expected)
            }
            (Some(_) | None, _) => None,
        };
        let mut line = match usual {
            Some(expected) => Line { cell: line.cell, ..expected },
            None => self.unusual(c, line, expected, signals, known)?,
        };
        self.remember(&line);
        let grid_same = &mut self.grid_same;
        let Some(column) = self.columns.get_mut(line.column) else { return Err(NO_SIGNAL) };
        if !column.in_block {
            column.in_block = true;
            let grid = grids.get(line.column).copied().unwrap_or(column.grid);
            if !c.bit(grid_same, grid == column.grid)? {
                column.grid = grid.code(c)?;
                column.values = Track::NEW;
            }
        }
        line.cell = column.values.code(c, line.cell)?;
        Ok(line)
    }

    /// Returns the row that would be no surprise, but for its value.
    fn expected(&self) -> Option<Line> {
        let before = self.columns.get(self.now)?;
        let column = self.columns.get(before.after)?;
        let at = if column.moves { self.at(self.expected_ticks(column)) } else { self.at };
        Some(Line {
            column: before.after,
            sequence: self.expected_sequence(column),
            at,
            clock: self.clock,
            stamp: self.stamp(column.stamp, at, self.clock),
            quality: column.quality,
            cell: Cell::Whole(0),
        })
    }

    fn expected_sequence(&self, column: &Column) -> u64 {
        self.sequence.wrapping_add_signed(column.sequence_steps.usual(1))
    }

    /// Returns when a signal that moves on is expected, in ticks from the origin.
    fn expected_ticks(&self, column: &Column) -> i64 {
        let from = column.at.unwrap_or(self.at);
        let at = from.wrapping_add(column.steps.usual(self.step));
        at.wrapping_sub(self.origin) / tick_ms(self.tick)
    }

    fn at(&self, ticks: i64) -> i64 {
        self.origin.wrapping_add(ticks.wrapping_mul(tick_ms(self.tick)))
    }

    /// Returns the stamp that is `off` ticks before the time of its arrival, or so many old.
    fn stamp(&self, (kind, off): (StampKind, i64), at: i64, clock: WallClock) -> Option<Stamp> {
        let tick = tick_ms(self.stamp_tick);
        match kind {
            StampKind::None => None,
            StampKind::Age => Some(Stamp::Age(off.wrapping_mul(tick))),
            StampKind::Unix => {
                let ticks = at.wrapping_add(clock.offset_ms).div_euclid(tick);
                Some(Stamp::Unix(ticks.wrapping_sub(off).wrapping_mul(tick)))
            }
        }
    }

    fn unusual(
        &mut self,
        c: &mut impl Code,
        line: Line,
        expected: Option<Line>,
        signals: &[Signal],
        known: usize,
    ) -> Result<Line, DecodeError> {
        let mut found = line;
        let new = line.column.checked_sub(known).and_then(|new| signals.get(new));
        found.column = self.column(c, line.column, expected.map(|line| line.column), new)?;
        let Some(column) = self.columns.get(found.column) else { return Err(NO_SIGNAL) };
        let sequence = self.expected_sequence(column);
        let ticks = self.expected_ticks(column);
        let (moves, stamp, quality) = (column.moves, column.stamp, column.quality);
        found.sequence = if c.bit(&mut self.sequence_next, line.sequence == sequence)? {
            sequence
        } else {
            let off = line.sequence.wrapping_sub(sequence).cast_signed();
            sequence.wrapping_add_signed(self.sequence_off.whole(c, off)?)
        };
        let [rests, goes_on] = &mut self.moves;
        found.at = self.at;
        if c.bit(if moves { goes_on } else { rests }, line.at != self.at)? {
            let off = (line.at.wrapping_sub(self.origin) / tick_ms(self.tick)).wrapping_sub(ticks);
            let off = self.time_off.whole(c, off)?;
            found.at = self.at(ticks.wrapping_add(off));
        }
        found.clock = self.clock;
        if !c.bit(&mut self.clock_same, line.clock == self.clock)? {
            found.clock = clock(c, line.clock, self.clock)?;
        }
        let same = self.stamp(stamp, found.at, found.clock);
        found.stamp = same;
        if !c.bit(&mut self.stamp_same, line.stamp == same)? {
            found.stamp = self.other_stamp(c, &Line { stamp: line.stamp, ..found }, stamp.1)?;
        }
        found.quality = quality;
        if !c.bit(&mut self.quality_same, line.quality == quality)? {
            let code = c.uniform(line.quality.code().into(), QUALITY_NUMBERS)?;
            let quality = u8::try_from(code).ok().and_then(Quality::from_code);
            found.quality = quality.ok_or(DecodeError::Corrupt("a quality without a name"))?;
        }
        Ok(found)
    }

    /// Codes which signal a row is of, and makes it known where it is new.
    fn column(
        &mut self,
        c: &mut impl Code,
        column: usize,
        expected: Option<usize>,
        new: Option<&Signal>,
    ) -> Result<usize, DecodeError> {
        if let Some(expected) = expected
            && c.bit(&mut self.follows, column == expected)?
        {
            return Ok(expected);
        }
        let count = self.columns.len();
        let all = u32::try_from(count + 1).map_err(|_| NO_SIGNAL)?;
        let number = c.uniform(u32::try_from(column).unwrap_or(0).min(all - 1), all)?;
        let number = usize::try_from(number).map_err(|_| NO_SIGNAL)?;
        if number < count {
            return Ok(number);
        }
        if count >= SIGNALS_MAX {
            return Err(DecodeError::Corrupt("more signals than a block may hold"));
        }
        let before = self.columns.get(self.now);
        let signal = signal(c, new, before.map(|column| &column.signal))?;
        self.columns.push(Column {
            grid: Grid::usual(signal.1),
            signal,
            values: Track::NEW,
            after: 0,
            usual: Bit::LIKELY,
            moves: count == 0,
            at: None,
            steps: Steps::default(),
            sequence_steps: Steps::default(),
            stamp: before.map_or((StampKind::None, 0), |column| column.stamp),
            quality: Quality::Good,
            in_block: false,
        });
        Ok(count)
    }

    /// Codes a stamp that is not as its column's last.
    fn other_stamp(
        &mut self,
        c: &mut impl Code,
        line: &Line,
        last_off: i64,
    ) -> Result<Option<Stamp>, DecodeError> {
        let kind = match stamp_kind(line.stamp) {
            StampKind::None => 0,
            StampKind::Unix => 1,
            StampKind::Age => 2,
        };
        let kind = match c.uniform(kind, 3)? {
            0 => return Ok(None),
            1 => StampKind::Unix,
            _ => StampKind::Age,
        };
        let off = self.stamp_off_of(line).wrapping_sub(last_off);
        let off = last_off.wrapping_add(self.stamp_off.whole(c, off)?);
        Ok(self.stamp((kind, off), line.at, line.clock))
    }

    /// Returns by how many ticks a row's stamp is before its arrival, or how old it is.
    fn stamp_off_of(&self, line: &Line) -> i64 {
        let tick = tick_ms(self.stamp_tick);
        match line.stamp {
            None => 0,
            Some(Stamp::Age(ms)) => ms.div_euclid(tick),
            Some(Stamp::Unix(ms)) => {
                let arrived = line.at.wrapping_add(line.clock.offset_ms).div_euclid(tick);
                arrived.wrapping_sub(ms.div_euclid(tick))
            }
        }
    }

    /// Learns from a row, but for its value.
    fn remember(&mut self, line: &Line) {
        let off = self.stamp_off_of(line);
        if let Some(before) = self.columns.get_mut(self.now) {
            before.after = line.column;
        }
        if let Some(column) = self.columns.get_mut(line.column) {
            column.moves = line.at != self.at || column.at.is_none() && column.moves;
            if let Some(at) = column.at.replace(line.at) {
                self.step = line.at.wrapping_sub(at);
                column.steps.push(self.step);
                let step = line.sequence.wrapping_sub(self.sequence).cast_signed();
                column.sequence_steps.push(step);
            }
            column.stamp = (stamp_kind(line.stamp), line.stamp.map_or(column.stamp.1, |_| off));
            column.quality = line.quality;
        }
        (self.now, self.sequence, self.at) = (line.column, line.sequence, line.at);
        self.clock = line.clock;
    }
}

impl Line {
    /// Returns whether another row is the same but for its value.
    fn fits(&self, line: &Self) -> bool {
        (self.column, self.sequence, self.at, self.clock, self.stamp, self.quality)
            == (line.column, line.sequence, line.at, line.clock, line.stamp, line.quality)
    }
}

/// Returns the coarsest tick that all times are multiples of; a known one as long as it serves.
fn tick_of(times: &(impl Iterator<Item = i64> + Clone), known: Option<usize>) -> usize {
    let fits = |tick: &i64| times.clone().all(|time| time % tick == 0);
    let known = known.filter(|known| TICKS.get(*known).is_some_and(fits));
    known.unwrap_or_else(|| TICKS.iter().rposition(fits).unwrap_or(0))
}

fn tick_number(c: &mut impl Code, tick: usize) -> Result<usize, DecodeError> {
    let tick = c.uniform(u32::try_from(tick).unwrap_or(0), TICK_NUMBERS)?;
    Ok(usize::try_from(tick).unwrap_or(0))
}

fn tick_ms(tick: usize) -> i64 {
    TICKS.get(tick).copied().unwrap_or(1)
}

const fn stamp_ms(stamp: Stamp) -> i64 {
    match stamp {
        Stamp::Unix(ms) | Stamp::Age(ms) => ms,
    }
}

const fn stamp_kind(stamp: Option<Stamp>) -> StampKind {
    match stamp {
        None => StampKind::None,
        Some(Stamp::Unix(_)) => StampKind::Unix,
        Some(Stamp::Age(_)) => StampKind::Age,
    }
}

/// Codes a time as a multiple of the coarsest tick that it is one of.
fn moment(c: &mut impl Code, ms: i64) -> Result<i64, DecodeError> {
    let tick = tick_ms(tick_number(c, tick_of(&std::iter::once(ms), None))?);
    Ok(c.signed(ms / tick)?.wrapping_mul(tick))
}

/// Codes a clock by how far it is from the one before.
fn clock(c: &mut impl Code, clock: WallClock, before: WallClock) -> Result<WallClock, DecodeError> {
    let quality = clock_quality(c, clock.quality)?;
    let off = c.signed(clock.offset_ms.wrapping_sub(before.offset_ms))?;
    Ok(WallClock { offset_ms: before.offset_ms.wrapping_add(off), quality })
}

fn clock_quality(c: &mut impl Code, quality: ClockQuality) -> Result<ClockQuality, DecodeError> {
    let quality = match quality {
        ClockQuality::Unset => 0,
        ClockQuality::Estimated => 1,
        ClockQuality::Synchronised => 2,
    };
    Ok(match c.uniform(quality, 3)? {
        0 => ClockQuality::Unset,
        1 => ClockQuality::Estimated,
        _ => ClockQuality::Synchronised,
    })
}

/// Codes a signal: its quantity, and its node where that is not the one before.
fn signal(
    c: &mut impl Code,
    signal: Option<&Signal>,
    before: Option<&Signal>,
) -> Result<Signal, DecodeError> {
    let quantity = signal.map_or(0, |(_, quantity)| sealed_quantity::number(*quantity).into());
    let quantity = u8::try_from(c.uniform(quantity, QUANTITY_NUMBERS)?).unwrap_or(0);
    let quantity = sealed_quantity::of(quantity);
    let quantity = quantity.ok_or(DecodeError::Corrupt("a quantity without a name"))?;
    if let Some((node, _)) = before {
        let same = signal.is_some_and(|(known, _)| known == node);
        if c.uniform(u32::from(same), 2)? == 1 {
            return Ok((node.clone(), quantity));
        }
    }
    let known = signal.map(|(node, _)| node.0.as_bytes()).unwrap_or_default();
    Ok((name(c, known)?, quantity))
}

fn name(c: &mut impl Code, known: &[u8]) -> Result<NodeName, DecodeError> {
    let mut bytes = Vec::new();
    loop {
        let byte = known.get(bytes.len()).copied();
        let letter = byte.map(|byte| LETTERS.iter().position(|letter| *letter == byte));
        let letter = match letter {
            None => NAME_ENDS,
            Some(letter) => letter.and_then(|n| u32::try_from(n).ok()).unwrap_or(BYTE_FOLLOWS),
        };
        let letter = c.uniform(letter, LETTER_NUMBERS)?;
        let byte = match LETTERS.get(usize::try_from(letter).unwrap_or(0)) {
            Some(letter) => *letter,
            None if letter == NAME_ENDS => break,
            None => u8::try_from(c.uniform(byte.unwrap_or(0).into(), 256)?).unwrap_or(0),
        };
        if bytes.len() == NAME_BYTES_MAX {
            return Err(DecodeError::Corrupt("a name that is too long"));
        }
        bytes.push(byte);
    }
    let name = String::from_utf8(bytes).ok().filter(|name| !name.is_empty());
    let name = name.ok_or(DecodeError::Corrupt("a name that is empty or no UTF-8"))?;
    Ok(NodeName(Arc::from(name)))
}
