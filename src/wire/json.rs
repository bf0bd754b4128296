//! JSON payloads: wanted values are picked out while the text is read; nothing else is kept.

use super::payload::{DecodeError, Found, PayloadMap, parse_number, shortened};
use crate::domain::reading::Stamp;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Most fields that one map can want: each is a bit of a word.
const FIELDS_MAX: usize = 63;

/// Reads an object.
pub(super) fn object(
    map: &PayloadMap,
    payload: &[u8],
    found: &mut Found<'_>,
) -> Result<(), DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let read = Object { map, found }.deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| syntax(&error))
}

/// Reads an array of objects.
pub(super) fn array(
    map: &PayloadMap,
    payload: &[u8],
    found: &mut Found<'_>,
) -> Result<(), DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let read = Array { map, found }.deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|error| syntax(&error))
}

pub(super) fn syntax(error: &serde_json::Error) -> DecodeError {
    DecodeError::Syntax { expected: "JSON", words: error.to_string() }
}

struct Array<'a, 'f> {
    map: &'a PayloadMap,
    found: &'a mut Found<'f>,
}

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Object { map: self.map, found: self.found })?.is_some() {}
        Ok(())
    }
}

/// One object: its values get the time that stands in it, wherever in it that is.
struct Object<'a, 'f> {
    map: &'a PayloadMap,
    found: &'a mut Found<'f>,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let first = self.found.measurements.len();
        let wanted = (1u64 << self.map.fields.len().min(FIELDS_MAX)) - 1;
        let with_time = if self.map.time.is_some() { wanted | TIME } else { wanted };
        let mut picked = Picked { map: self.map, found: self.found, stamp: None };
        Place { picked: &mut picked, depth: 0, wanted: with_time }.deserialize(deserializer)?;
        let stamp = picked.stamp;
        for measurement in self.found.measurements.iter_mut().skip(first) {
            measurement.stamp = stamp;
        }
        Ok(())
    }
}

/// The bit of the time among the wanted fields.
const TIME: u64 = 1 << FIELDS_MAX;

struct Picked<'a, 'f> {
    map: &'a PayloadMap,
    found: &'a mut Found<'f>,
    stamp: Option<Stamp>,
}

/// A place in the text, `depth` parts below the object, where the `wanted` fields may stand or go on.
struct Place<'p, 'a, 'f> {
    picked: &'p mut Picked<'a, 'f>,
    depth: usize,
    wanted: u64,
}

impl Picked<'_, '_> {
    fn path(&self, bit: usize) -> Option<&super::payload::Path> {
        if bit == FIELDS_MAX {
            self.map.time.as_ref().map(|time| &time.path)
        } else {
            self.map.fields.get(bit).map(|field| &field.path)
        }
    }

    /// Returns those of `wanted` that go on with `part`.
    fn that_go_on(&self, wanted: u64, depth: usize, part: &str) -> u64 {
        bits(wanted)
            .filter(|bit| self.path(*bit).is_some_and(|path| path.part(depth) == Some(part)))
            .fold(0, |mask, bit| mask | 1 << bit)
    }

    fn put(&mut self, wanted: u64, depth: usize, value: &Scalar<'_>) {
        for bit in bits(wanted) {
            let ends_here = self.path(bit).is_some_and(|path| path.depth() == depth);
            if !ends_here {
                continue;
            }
            if bit == FIELDS_MAX {
                self.put_time(value);
            } else {
                self.put_value(bit, value);
            }
        }
    }

    fn put_value(&mut self, bit: usize, value: &Scalar<'_>) {
        let Some(field) = self.map.fields.get(bit) else { return };
        let number = match value {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => parse_number(text.trim()),
            Scalar::Null => return,
            Scalar::Other(_) => None,
        };
        match number {
            Some(number) => self.found.value(field.quantity, field.unit, number, None),
            None => {
                self.found.trouble(format!("{} is {value}, not a number", field.path.pointer()));
            }
        }
    }

    fn put_time(&mut self, value: &Scalar<'_>) {
        let Some(time) = &self.map.time else { return };
        self.stamp = match value {
            Scalar::Number(number) => time.unit.stamp(*number),
            Scalar::Text(text) => time.unit.stamp_of_text(text.trim()),
            Scalar::Null => return,
            Scalar::Other(_) => None,
        };
        if self.stamp.is_none() {
            self.found.trouble(format!("{} is {value}, not a time", time.path.pointer()));
        }
    }
}

fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..64usize).filter(move |bit| mask & (1 << bit) != 0)
}

enum Scalar<'a> {
    Number(f64),
    Text(&'a str),
    Null,
    Other(&'static str),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{:?}", shortened(text)),
            Self::Null => f.write_str("null"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Place<'_, '_, '_> {
    #[expect(clippy::unnecessary_wraps, reason = "it is what a visitor returns")]
    fn scalar<E>(self, value: &Scalar<'_>) -> Result<(), E> {
        self.picked.put(self.wanted, self.depth, value);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Place<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.scalar(&Scalar::Other("true or false"))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(&Scalar::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(&Scalar::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(&Scalar::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(&Scalar::Text(value))
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(&Scalar::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { picked, depth, wanted } = self;
        picked.put(wanted, depth, &Scalar::Other("an object"));
        while let Some(on) = entries.next_key_seed(Key { picked, depth, wanted })? {
            if on == 0 {
                entries.next_value::<IgnoredAny>()?;
            } else {
                entries.next_value_seed(Place { picked, depth: depth + 1, wanted: on })?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { picked, depth, wanted } = self;
        picked.put(wanted, depth, &Scalar::Other("an array"));
        for number in 0usize.. {
            let on = picked.that_go_on(wanted, depth, &number.to_string());
            let more = if on == 0 {
                items.next_element::<IgnoredAny>()?.is_some()
            } else {
                items.next_element_seed(Place { picked, depth: depth + 1, wanted: on })?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// A key, read without keeping it: which of the wanted fields go on there.
struct Key<'p, 'a, 'f> {
    picked: &'p Picked<'a, 'f>,
    depth: usize,
    wanted: u64,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_, '_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_, '_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<u64, E> {
        Ok(self.picked.that_go_on(self.wanted, self.depth, key))
    }
}
