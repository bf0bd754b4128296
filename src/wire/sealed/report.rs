//! Readings in few bytes: a schema that both sides have, and integers of as many bits as each field needs.

use super::bits::{BitReader, BitWriter};
use super::frame::Payload;
use core::fmt;

/// Fields of a schema.
pub const FIELDS_MAX: usize = 12;
/// Readings of a frame.
pub const READINGS_MAX: usize = 8;
/// Codes at the top of each field that are no value: missing, above, below, faulty.
const SPECIAL: u32 = 4;
/// The greatest age of a reading, s: 48 days.
pub const AGE_S_MAX: u32 = (1 << 22) - 1;

/// One quantity of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What is measured: its code in `docs/formats/wf1.md`.
    pub quantity: u8,
    /// The lowest value, thousandths of the quantity's own unit.
    pub min_milli: i32,
    /// Between two values, thousandths; at least 1.
    pub step_milli: u32,
    /// 3 to 24. Of its 2^bits codes the last four are no value.
    pub bits: u8,
}

/// Why fields make no schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaError {
    /// None, or more than [`FIELDS_MAX`].
    Fields(usize),
    /// The field of this place has a step of 0, or bits beyond 3 to 24.
    Field(usize),
    /// The field of this place has values beyond what 32 bits hold.
    Range(usize),
}

/// What a node's reports hold, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    fields: [Field; FIELDS_MAX],
    used: usize,
}

/// What a field of a reading says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// So much, thousandths of the quantity's own unit.
    Milli(i32),
    /// Nothing was measured.
    #[default]
    Missing,
    /// More than the field can say.
    Above,
    /// Less than the field can say.
    Below,
    /// The sensor answered, with what it cannot have measured.
    Faulty,
}

/// One set of values, all of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The node's second when it was taken. No two readings of a node have the same: it is the reading's name, too.
    pub id: u32,
    /// Whether the node began again since, so that the age in its own seconds is not the true age.
    pub before_restart: bool,
    /// In the schema's order; behind its fields, missing.
    pub values: [Value; FIELDS_MAX],
}

/// What a frame of type telemetry or alarm says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The node runs for at least `2^n - 1` minutes and less than `2^(n+1) - 1`; 0 to 31.
    pub uptime_log2_min: u8,
    readings: [Reading; READINGS_MAX],
    used: usize,
}

/// Why a report cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// It holds no reading.
    Empty,
    /// It holds more readings than a frame may.
    TooMany,
    /// A reading is younger than its frame, or older than [`AGE_S_MAX`].
    Age,
    /// It does not fit a frame.
    TooLong,
    /// It follows another schema, by its digest.
    Schema {
        /// Ours.
        ours: u8,
        /// The node's.
        theirs: u8,
    },
    /// It has another length than its schema and its number of readings give, or padding that is not 0.
    Shape,
}

impl Schema {
    /// Returns the schema of these fields.
    ///
    /// # Errors
    ///
    /// Says which field cannot be.
    pub const fn new(fields: &[Field]) -> Result<Self, SchemaError> {
        if fields.is_empty() || fields.len() > FIELDS_MAX {
            return Err(SchemaError::Fields(fields.len()));
        }
        let mut all = [Field { quantity: 0, min_milli: 0, step_milli: 1, bits: 3 }; FIELDS_MAX];
        let (mut from, mut to, mut place) = (fields, all.as_mut_slice(), 0);
        while let ([field, from_rest @ ..], [slot, to_rest @ ..]) = (from, to) {
            if field.step_milli == 0 || field.bits < 3 || field.bits > 24 {
                return Err(SchemaError::Field(place));
            }
            if field.max_milli().is_none() {
                return Err(SchemaError::Range(place));
            }
            *slot = *field;
            (from, to, place) = (from_rest, to_rest, place + 1);
        }
        Ok(Self { fields: all, used: fields.len() })
    }

    /// Returns the fields.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        self.fields.get(..self.used).unwrap_or_default()
    }

    /// Returns a check over all fields, so that a report of another schema is refused and not misread: CRC-8 (polynomial
    /// `0x07`, first 0) over quantity, minimum, step (big-endian) and bits of each field.
    #[must_use]
    pub fn digest(&self) -> u8 {
        self.fields().iter().fold(0, |crc, field| {
            let crc = crc8(crc, &[field.quantity]);
            let crc = crc8(crc, &field.min_milli.to_be_bytes());
            let crc = crc8(crc, &field.step_milli.to_be_bytes());
            crc8(crc, &[field.bits])
        })
    }

    /// Returns how many bytes a report has: `young` readings of at most 127 s, and `old` ones.
    #[must_use]
    pub fn report_bytes(&self, young: usize, old: usize) -> usize {
        let fields: usize = self.fields().iter().map(|field| usize::from(field.bits)).sum();
        (HEADER_BITS + young * (YOUNG_BITS + fields) + old * (OLD_BITS + fields)).div_ceil(8)
    }
}

/// Digest, number of readings, uptime.
const HEADER_BITS: usize = 8 + 3 + 5;
/// An age up to 127 s.
const YOUNG_BITS: usize = 1 + 7;
/// A greater age, or one over a restart.
const OLD_BITS: usize = 1 + 1 + 22;

fn crc8(crc: u8, bytes: &[u8]) -> u8 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 7 })
    })
}

impl Field {
    const fn codes(&self) -> u32 {
        1 << self.bits
    }

    /// Returns the highest value that it can say, thousandths.
    #[must_use]
    pub const fn max_milli(&self) -> Option<i32> {
        let steps = self.codes() as i64 - SPECIAL as i64 - 1;
        let max = self.min_milli as i64 + steps * self.step_milli as i64;
        if max > i32::MAX as i64 {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "it is between the minimum and i32::MAX"
        )]
        Some(max as i32)
    }

    /// Returns the code of a value: that of the nearest step, or a special one.
    fn encode(&self, value: Value) -> u32 {
        let top = self.codes() - 1;
        match value {
            Value::Missing => top,
            Value::Above => top - 1,
            Value::Below => top - 2,
            Value::Faulty => top - 3,
            Value::Milli(milli) => {
                let step = i64::from(self.step_milli);
                let above = i64::from(milli) - i64::from(self.min_milli);
                let code = (above + step / 2).div_euclid(step);
                match u32::try_from(code) {
                    Ok(code) if code < self.codes() - SPECIAL => code,
                    Err(_) if code < 0 => top - 2,
                    Ok(_) | Err(_) => top - 1,
                }
            }
        }
    }

    fn decode(&self, code: u32) -> Value {
        match (self.codes() - 1).checked_sub(code) {
            Some(0) | None => Value::Missing,
            Some(1) => Value::Above,
            Some(2) => Value::Below,
            Some(3) => Value::Faulty,
            Some(_) => {
                let milli =
                    i64::from(self.min_milli) + i64::from(code) * i64::from(self.step_milli);
                i32::try_from(milli).map_or(Value::Above, Value::Milli)
            }
        }
    }
}

impl Report {
    /// Returns a report without readings, of a node that runs for so long.
    #[must_use]
    pub fn new(uptime_s: u32) -> Self {
        let minutes = u64::from(uptime_s / 60) + 1;
        let uptime_log2_min = u8::try_from(minutes.ilog2()).unwrap_or(31);
        Self { uptime_log2_min, ..Self::default() }
    }

    /// Adds a reading.
    ///
    /// # Errors
    ///
    /// There are [`READINGS_MAX`].
    pub fn push(&mut self, reading: Reading) -> Result<(), ReportError> {
        *self.readings.get_mut(self.used).ok_or(ReportError::TooMany)? = reading;
        self.used += 1;
        Ok(())
    }

    /// Returns the readings.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        self.readings.get(..self.used).unwrap_or_default()
    }

    /// Writes the payload of the frame of this counter.
    ///
    /// # Errors
    ///
    /// Says what does not fit.
    pub fn write(&self, schema: &Schema, counter: u32) -> Result<Payload, ReportError> {
        let count = u32::try_from(self.used).unwrap_or(u32::MAX);
        let count = count.checked_sub(1).ok_or(ReportError::Empty)?;
        let mut out = BitWriter::new();
        let mut put = |value, bits| out.put(value, bits).map_err(|_| ReportError::TooLong);
        put(u32::from(schema.digest()), 8)?;
        put(count, 3)?;
        put(u32::from(self.uptime_log2_min.min(31)), 5)?;
        for reading in self.readings() {
            let age = counter.checked_sub(reading.id).ok_or(ReportError::Age)?;
            if age < 128 && !reading.before_restart {
                put(age, 8)?;
            } else if age <= AGE_S_MAX {
                put(2 | u32::from(reading.before_restart), 2)?;
                put(age, 22)?;
            } else {
                return Err(ReportError::Age);
            }
            for (field, value) in schema.fields().iter().zip(reading.values) {
                put(field.encode(value), u32::from(field.bits))?;
            }
        }
        out.finish().map_err(|_| ReportError::TooLong)
    }

    /// Reads the payload of the frame of this counter.
    ///
    /// # Errors
    ///
    /// Says why it is no report of this schema.
    pub fn read(schema: &Schema, counter: u32, bytes: &[u8]) -> Result<Self, ReportError> {
        let mut from = BitReader::new(bytes);
        let mut get = |bits| from.get(bits).ok_or(ReportError::Shape);
        let [theirs, ..] = get(8)?.to_le_bytes();
        let ours = schema.digest();
        if theirs != ours {
            return Err(ReportError::Schema { ours, theirs });
        }
        let count = get(3)?;
        let [uptime_log2_min, ..] = get(5)?.to_le_bytes();
        let mut report = Self { uptime_log2_min, ..Self::default() };
        for _ in 0..=count {
            let (age, before_restart) = if get(1)? == 0 {
                (get(7)?, false)
            } else {
                let before_restart = get(1)? == 1;
                (get(22)?, before_restart)
            };
            let id = counter.checked_sub(age).ok_or(ReportError::Age)?;
            let mut reading = Reading { id, before_restart, ..Reading::default() };
            for (field, value) in schema.fields().iter().zip(&mut reading.values) {
                *value = field.decode(get(u32::from(field.bits))?);
            }
            report.push(reading)?;
        }
        if from.is_padding() { Ok(report) } else { Err(ReportError::Shape) }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(count) => write!(f, "schema has {count} fields, not 1 to {FIELDS_MAX}"),
            Self::Field(place) => {
                write!(f, "field {place} of the schema needs a step above 0 and 3 to 24 bits")
            }
            Self::Range(place) => {
                write!(f, "field {place} of the schema has values beyond 2,147,483.647")
            }
        }
    }
}

impl core::error::Error for SchemaError {}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("report holds no reading"),
            Self::TooMany => write!(f, "report holds more than {READINGS_MAX} readings"),
            Self::Age => f.write_str("report holds a reading of an age that cannot be"),
            Self::TooLong => f.write_str("report does not fit a frame"),
            Self::Schema { ours, theirs } => write!(
                f,
                "report follows schema {theirs:#04x}, the node is declared with {ours:#04x}; \
                 give node and gateway the same fields"
            ),
            Self::Shape => f.write_str("report is longer or shorter than its schema says"),
        }
    }
}

impl core::error::Error for ReportError {}
