//! What goes to the journal: settings, readings, and the link's record.

use super::{App, Due};
use crate::event::Measured;
use crate::filter::{Gather, is_change};
use crate::flash::{Flash, FlashFault};
use crate::journal::{Journal, Note, REPORT_MAX};
use crate::sealed::{FIELDS_MAX, Provisioning, Reading, Record, SealError, Session, Value};

/// What a node was told, and how often it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The interval that it was told, s; 0 before it was told one.
    pub(super) interval_s: u16,
    pub(super) boots: u16,
}

impl Settings {
    pub(super) fn read(bytes: &[u8]) -> Self {
        match bytes {
            [a, b, c, d] => Self {
                interval_s: u16::from_le_bytes([*a, *b]),
                boots: u16::from_le_bytes([*c, *d]),
            },
            _ => Self { interval_s: 0, boots: 0 },
        }
    }

    pub(super) fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.interval_s.to_le_bytes(), self.boots.to_le_bytes());
        [a, b, c, d]
    }
}

pub(super) fn provision<F: Flash>(
    mut flash: F,
    provisioning: &Provisioning,
) -> Result<F, FlashFault> {
    for page in 0..flash.pages() {
        flash.erase(page)?;
    }
    let mut journal = Journal::open(flash)?;
    let session = Session::provisioned(provisioning.address, provisioning.epoch);
    let record = session.prepare(0).ok_or(FlashFault)?;
    journal.put(Note::Link, &record.to_bytes())?;
    Ok(journal.into_flash())
}

/// A reading in the journal: its name, then four bytes a field.
const READING_BYTES: usize = 4 + 4 * FIELDS_MAX;
/// Numbers that are no values, in the journal.
const MISSING: i32 = i32::MIN;
const ABOVE: i32 = i32::MIN + 1;
const BELOW: i32 = i32::MIN + 2;
const FAULTY: i32 = i32::MIN + 3;

fn write_reading(reading: &Reading) -> [u8; READING_BYTES] {
    let mut bytes = [0; READING_BYTES];
    let numbers = reading.values.iter().map(|value| match value {
        Value::Milli(milli) => (*milli).max(FAULTY + 1),
        Value::Missing => MISSING,
        Value::Above => ABOVE,
        Value::Below => BELOW,
        Value::Faulty => FAULTY,
    });
    let words = core::iter::once(reading.id.to_le_bytes()).chain(numbers.map(i32::to_le_bytes));
    for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word);
    }
    bytes
}

pub(super) fn read_reading(bytes: &[u8]) -> Option<Reading> {
    let (id, rest) = bytes.split_first_chunk::<4>()?;
    let mut reading = Reading { id: u32::from_le_bytes(*id), ..Reading::default() };
    for (value, word) in reading.values.iter_mut().zip(rest.as_chunks::<4>().0) {
        *value = match i32::from_le_bytes(*word) {
            MISSING => Value::Missing,
            ABOVE => Value::Above,
            BELOW => Value::Below,
            FAULTY => Value::Faulty,
            milli => Value::Milli(milli),
        };
    }
    Some(reading)
}

const _: () = assert!(READING_BYTES <= REPORT_MAX);

impl<F: Flash> App<'_, F> {
    /// Writes a record, then lets the link go on with it. Returns whether it is written.
    pub(super) fn write_record(&mut self, record: &Record) -> bool {
        let written = self.journal.put(Note::Link, &record.to_bytes()).is_ok();
        if !written {
            self.counters.flash_failures += 1;
            return false;
        }
        self.session.written(record)
    }

    /// Reserves counters in time.
    pub(super) fn reserve(&mut self, now_ms: u64) {
        if let Some(record) = self.session.prepare(Self::uptime_s(now_ms)) {
            // Where it cannot be written, what was reserved before is used up; then nothing is sealed.
            let _written = self.write_record(&record);
        }
    }

    pub(super) fn write_settings(&mut self) {
        if self.journal.put(Note::Settings, &self.settings.bytes()).is_err() {
            self.counters.flash_failures += 1;
        }
    }

    /// Judges what was measured: a reading that is due or that is news is kept and will be sent.
    pub(super) fn take_sample(&mut self, measured: &Measured, now_ms: u64) {
        self.battery_mv = measured.battery_mv;
        let mut values = [Value::Missing; FIELDS_MAX];
        let mut is_news = false;
        let measured = self.plan.filters.iter().zip(&measured.fields);
        let kept = self.reported.iter().zip(&mut self.sums);
        for ((value, (sent, sum)), (filter, samples)) in values.iter_mut().zip(kept).zip(measured) {
            *value = match (filter.gather, samples.value(filter)) {
                (Gather::Sum, Value::Milli(milli)) => {
                    *sum = sum.saturating_add(milli);
                    Value::Milli(*sum)
                }
                // What fell before the sensor failed is told.
                (Gather::Sum, _) if *sum > 0 => Value::Milli(*sum),
                (Gather::Last | Gather::Sum, value) => value,
            };
            is_news |= self.reported_at_ms.is_some() && is_change(filter, *sent, *value);
        }
        let interval_ms = u64::from(self.interval_s()) * 1000;
        // Half a measurement early is on time: jitter must not skip every other report.
        let slack_ms = u64::from(self.sample_s()) * 500;
        let is_due = self
            .reported_at_ms
            .is_none_or(|last| now_ms.saturating_add(slack_ms) >= last.saturating_add(interval_ms));
        if is_news || is_due {
            self.keep(values, is_news, now_ms);
        }
    }

    fn keep(&mut self, values: [Value; FIELDS_MAX], is_news: bool, now_ms: u64) {
        self.reserve(now_ms);
        let id = match self.session.name_reading(Self::uptime_s(now_ms)) {
            Ok(id) => id,
            // Without a counter it could not be sent either.
            Err(
                SealError::NotReserved
                | SealError::TooLong(_)
                | SealError::WrongWay(_)
                | SealError::Report(_)
                | SealError::CountersExhausted,
            ) => return,
        };
        let reading = Reading { id, before_restart: false, values };
        self.reported_at_ms = Some(now_ms);
        self.reported = values;
        self.sums = [0; FIELDS_MAX];
        let place = self.journal.push(&write_reading(&reading)).ok();
        self.counters.flash_failures += u32::from(place.is_none());
        self.fresh = Some((place, reading));
        let alarm = is_news || (self.due.alarm && self.due.at_ms.is_some());
        // A routine report waits a moment of its own, so that nodes that began together do not speak together.
        let spread_ms = u32::from(self.sample_s()) * 100;
        let wait_ms = if alarm { 0 } else { u64::from(self.dice.below(spread_ms.min(15_000))) };
        self.due = Due { at_ms: Some(now_ms + wait_ms), alarm, tries: 0 };
    }
}
