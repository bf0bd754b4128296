//! Cayenne Low Power Payload: a list of items, each a channel, a type, and the value in the bytes of that type.
//!
//! The types up to 136 are those of myDevices' specification. The others are extensions that devices in the field send, with
//! the sizes and scales of the reference decoders; they are read, and nobody should write them.

use std::fmt;
use thiserror::Error;

/// Most items of one payload: the longest LoRaWAN payload, 242 bytes, holds 80 of the shortest.
pub const ITEMS_MAX: usize = 128;

/// One item of a payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    /// Number that the device gives to the sensor.
    pub channel: u8,
    /// What kind of value it is.
    pub kind: Kind,
    values: [f64; 3],
}

/// A type of value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// Its number on the wire.
    pub number: u8,
    /// Its name, as decoders of network servers write it.
    pub name: &'static str,
    /// What each of its parts is called; a type of one value has one without a name.
    parts: &'static [Part],
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    name: &'static str,
    bytes: usize,
    signed: bool,
    /// The value of one step.
    step: f64,
}

const fn one(number: u8, name: &'static str, parts: &'static [Part; 1]) -> Kind {
    Kind { number, name, parts }
}

const fn part(name: &'static str, bytes: usize, signed: bool, step: f64) -> Part {
    Part { name, bytes, signed, step }
}

/// Types by number. Steps are fractions whose reciprocal is exact where the specification gives one.
const KINDS: &[Kind] = &[
    one(0, "digital_in", &[part("", 1, false, 1.0)]),
    one(1, "digital_out", &[part("", 1, false, 1.0)]),
    one(2, "analog_in", &[part("", 2, true, 0.01)]),
    one(3, "analog_out", &[part("", 2, true, 0.01)]),
    one(100, "generic", &[part("", 4, false, 1.0)]),
    one(101, "luminosity", &[part("", 2, false, 1.0)]),
    one(102, "presence", &[part("", 1, false, 1.0)]),
    one(103, "temperature", &[part("", 2, true, 0.1)]),
    one(104, "relative_humidity", &[part("", 1, false, 0.5)]),
    Kind { number: 113, name: "accelerometer", parts: &XYZ_0_001 },
    one(115, "barometric_pressure", &[part("", 2, false, 0.1)]),
    one(116, "voltage", &[part("", 2, false, 0.01)]),
    one(117, "current", &[part("", 2, false, 0.001)]),
    one(118, "frequency", &[part("", 4, false, 1.0)]),
    one(120, "percentage", &[part("", 1, false, 1.0)]),
    one(121, "altitude", &[part("", 2, true, 1.0)]),
    one(122, "load", &[part("", 3, true, 0.001)]),
    one(125, "concentration", &[part("", 2, false, 1.0)]),
    one(128, "power", &[part("", 2, false, 1.0)]),
    one(130, "distance", &[part("", 4, false, 0.001)]),
    one(131, "energy", &[part("", 4, false, 0.001)]),
    one(132, "direction", &[part("", 2, false, 1.0)]),
    one(133, "unix_time", &[part("", 4, false, 1.0)]),
    Kind { number: 134, name: "gyrometer", parts: &XYZ_0_01 },
    Kind {
        number: 135,
        name: "colour",
        parts: &[part("r", 1, false, 1.0), part("g", 1, false, 1.0), part("b", 1, false, 1.0)],
    },
    Kind {
        number: 136,
        name: "gps",
        parts: &[
            part("latitude", 3, true, 0.0001),
            part("longitude", 3, true, 0.0001),
            part("altitude", 3, true, 0.01),
        ],
    },
    one(142, "switch", &[part("", 1, false, 1.0)]),
];

const XYZ_0_001: [Part; 3] =
    [part("x", 2, true, 0.001), part("y", 2, true, 0.001), part("z", 2, true, 0.001)];
const XYZ_0_01: [Part; 3] =
    [part("x", 2, true, 0.01), part("y", 2, true, 0.01), part("z", 2, true, 0.01)];

/// Why a payload could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// What follows cannot be read, because nobody knows how long it is.
    #[error("byte {at}: there is no type {number}")]
    Type {
        /// Where the number stands.
        at: usize,
        /// The number.
        number: u8,
    },
    /// It ends within an item.
    #[error("byte {at}: the payload ends within a {name}, which takes {wanted} bytes")]
    Cut {
        /// Where the item begins.
        at: usize,
        /// Its type.
        name: &'static str,
        /// Bytes of its value.
        wanted: usize,
    },
    /// It ends after a channel.
    #[error("byte {at}: the payload ends where a type should stand")]
    NoType {
        /// Where it ends.
        at: usize,
    },
    /// There are more items than any device sends.
    #[error("more than {ITEMS_MAX} items")]
    TooMany,
}

impl Item {
    /// Returns its values, each with the name of its part, which is empty when it has one only.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.kind.parts.iter().map(|part| part.name).zip(self.values)
    }
}

/// The name under which a configuration speaks of it, such as `temperature_3`.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.kind.name, self.channel)
    }
}

/// Reads the items of a payload into `take`, from the first to the last that can be read.
///
/// # Errors
///
/// Says where and why the rest cannot be read; the items before that were taken.
pub fn read(payload: &[u8], mut take: impl FnMut(Item)) -> Result<(), Error> {
    let mut rest = payload;
    for _ in 0..ITEMS_MAX {
        let at = payload.len() - rest.len();
        let (channel, number) = match rest {
            [] => return Ok(()),
            [_] => return Err(Error::NoType { at: at + 1 }),
            [channel, number, after @ ..] => {
                rest = after;
                (*channel, *number)
            }
        };
        let kind = KINDS.iter().find(|kind| kind.number == number);
        let Some(kind) = kind else { return Err(Error::Type { at: at + 1, number }) };
        let mut values = [0.0; 3];
        for (value, part) in values.iter_mut().zip(kind.parts) {
            let Some((bytes, after)) = rest.split_at_checked(part.bytes) else {
                let wanted = kind.parts.iter().map(|part| part.bytes).sum();
                return Err(Error::Cut { at, name: kind.name, wanted });
            };
            rest = after;
            *value = part.value(bytes);
        }
        take(Item { channel, kind: *kind, values });
    }
    if rest.is_empty() { Ok(()) } else { Err(Error::TooMany) }
}

impl Part {
    fn value(self, bytes: &[u8]) -> f64 {
        let raw = bytes.iter().fold(0_i64, |raw, byte| raw << 8 | i64::from(*byte));
        let bits = 8 * bytes.len();
        let is_negative = self.signed && raw >> (bits - 1) & 1 == 1;
        let raw = if is_negative { raw - (1 << bits) } else { raw };
        // Division by the whole number gives the nearest to the decimal: 272 / 10 is 27.2, 272 * 0.1 is not.
        raw as f64 / (1.0 / self.step).round()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::Encoding;
    use proptest::prelude::*;

    /// Channel, type and values of each item, as text.
    fn items(hex: &str) -> String {
        let bytes = crate::wire::text::decode(Encoding::Hex, hex.as_bytes()).unwrap();
        let mut items = Vec::new();
        read(&bytes, |item| {
            let values: Vec<f64> = item.values().map(|(_, value)| value).collect();
            items.push(format!("{} {} {values:?}", item.channel, item.kind.number));
        })
        .unwrap();
        items.join(", ")
    }

    /// Encoded and decoded with `PyPI` pycayennelpp 2.4.0; the first two, the accelerometer and the position are
    /// myDevices' own examples.
    #[test]
    fn published_payloads_are_read() {
        let expected = [
            ("03670110056700ff", "3 103 [27.2], 5 103 [25.5]"),
            ("0167ffd7", "1 103 [-4.1]"),
            ("02687b", "2 104 [61.5]"),
            ("04732794", "4 115 [1013.2]"),
            ("0602fb2e", "6 2 [-12.34]"),
            ("01000102660103659c40", "1 0 [1.0], 2 102 [1.0], 3 101 [40000.0]"),
            ("018806765ff2960a0003e8", "1 136 [42.3519, -87.9094, 10.0]"),
            ("067104d2fb2e0000", "6 113 [1.234, -1.234, 0.0]"),
            (
                "0167013a02689d0373270304020156",
                "1 103 [31.4], 2 104 [78.5], 3 115 [998.7], 4 2 [3.42]",
            ),
        ];
        for (hex, expected) in expected {
            assert_eq!(items(hex), expected, "{hex}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place_and_costs_nothing_before_it() {
        let mut count = 0;
        let cut = read(&[3, 103, 1, 16, 5, 103, 0], |_| count += 1);
        assert_eq!(cut, Err(Error::Cut { at: 4, name: "temperature", wanted: 2 }));
        assert_eq!(count, 1);
        assert_eq!(read(&[3, 99, 1], |_| {}), Err(Error::Type { at: 1, number: 99 }));
        assert_eq!(read(&[3], |_| {}), Err(Error::NoType { at: 1 }));
        assert_eq!(read(&[0, 0, 0].repeat(ITEMS_MAX + 1), |_| {}), Err(Error::TooMany));
    }

    #[test]
    fn types_stand_in_the_order_of_their_numbers_once_each() {
        assert!(KINDS.is_sorted_by(|one, next| one.number < next.number));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_no_value_is_beyond_its_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut count = 0;
            let _either = read(&bytes, |item| {
                for (part, (_, value)) in item.kind.parts.iter().zip(item.values()) {
                    let steps = 2_f64.powi(8 * i32::try_from(part.bytes).unwrap());
                    let (low, high) = if part.signed { (-steps / 2.0, steps / 2.0) } else { (0.0, steps) };
                    let range = low * part.step..high * part.step;
                    assert!(range.contains(&value), "{} {value}", item.kind.name);
                }
                count += 1;
            });
            prop_assert!(count <= ITEMS_MAX);
        }
    }
}
