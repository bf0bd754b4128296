//! SenML packs in JSON and CBOR (RFC 8428).

use super::json::syntax;
use super::payload::{DecodeError, Found, PayloadMap};
use crate::domain::quantity::Unit;
use crate::domain::reading::Stamp;
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as CborError};

/// Times below this are relative to now: RFC 8428 §4.5.3.
const ABSOLUTE_FROM_S: f64 = 268_435_456.0;
/// Versions above this are not understood: RFC 8428 §4.4.
const VERSION_MAX: f64 = 10.0;
/// Most records of one pack.
const RECORDS_MAX: usize = 256;

/// One record as it is written; what is not wanted of it is left out.
#[derive(Clone, Debug, Default, PartialEq)]
struct Record {
    base_name: Option<String>,
    base_time: Option<f64>,
    base_unit: Option<String>,
    base_value: Option<f64>,
    base_version: Option<f64>,
    name: Option<String>,
    unit: Option<String>,
    value: Option<f64>,
    time: Option<f64>,
}

/// What a label holds.
enum Held {
    Number(f64),
    Text(String),
    Other,
}

/// Reads a pack in JSON.
pub(super) fn from_json(
    map: &PayloadMap,
    payload: &[u8],
    found: &mut Found<'_>,
) -> Result<(), DecodeError> {
    let records: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(payload).map_err(|error| syntax(&error))?;
    let mut pack = Vec::new();
    for entries in records.iter().take(RECORDS_MAX) {
        let mut record = Record::default();
        for (label, value) in entries {
            let held = match value {
                serde_json::Value::Number(number) => {
                    number.as_f64().map_or(Held::Other, Held::Number)
                }
                serde_json::Value::String(text) => Held::Text(text.clone()),
                serde_json::Value::Null
                | serde_json::Value::Bool(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_) => Held::Other,
            };
            record.put(label, held)?;
        }
        pack.push(record);
    }
    resolve(&pack, map, found)
}

/// Reads a pack in CBOR. Labels are numbers (RFC 8428 §6, table 4) or, for extensions, texts.
pub(super) fn from_cbor(
    map: &PayloadMap,
    payload: &[u8],
    found: &mut Found<'_>,
) -> Result<(), DecodeError> {
    let mut decoder = Decoder::new(payload);
    let pack = cbor_pack(&mut decoder).map_err(|error| DecodeError::Syntax {
        expected: "CBOR",
        words: format!("{error} at byte {}", decoder.position()),
    })?;
    let records = pack
        .into_iter()
        .map(|entries| {
            let mut record = Record::default();
            for (label, held) in entries {
                record.put(&label, held)?;
            }
            Ok(record)
        })
        .collect::<Result<Vec<_>, _>>()?;
    resolve(&records, map, found)
}

type Entries = Vec<(String, Held)>;

fn cbor_pack(decoder: &mut Decoder<'_>) -> Result<Vec<Entries>, CborError> {
    let mut pack = Vec::new();
    let length = decoder.array()?;
    while !at_end(decoder, length, pack.len())? {
        if pack.len() == RECORDS_MAX {
            return Err(CborError::message("too many records"));
        }
        let mut entries = Vec::new();
        let length = decoder.map()?;
        while !at_end(decoder, length, entries.len())? {
            let label = cbor_label(decoder)?;
            entries.push((label, cbor_held(decoder)?));
        }
        pack.push(entries);
    }
    if decoder.position() != decoder.input().len() {
        return Err(CborError::message("something follows the pack"));
    }
    Ok(pack)
}

/// Returns whether an array or map that has given `given` items is at its end; of indefinite ones, takes the break.
fn at_end(decoder: &mut Decoder<'_>, length: Option<u64>, given: usize) -> Result<bool, CborError> {
    if let Some(length) = length {
        return Ok(given as u64 >= length);
    }
    if decoder.datatype()? != Type::Break {
        return Ok(false);
    }
    decoder.skip()?;
    Ok(true)
}

fn cbor_label(decoder: &mut Decoder<'_>) -> Result<String, CborError> {
    if decoder.datatype()? == Type::String {
        return decoder.str().map(str::to_owned);
    }
    let number = decoder.i32()?;
    let known = [
        (-1, "bver"),
        (-2, "bn"),
        (-3, "bt"),
        (-4, "bu"),
        (-5, "bv"),
        (-6, "bs"),
        (0, "n"),
        (1, "u"),
        (2, "v"),
        (3, "vs"),
        (4, "vb"),
        (5, "s"),
        (6, "t"),
        (7, "ut"),
        (8, "vd"),
    ];
    let label = known.iter().find(|(n, _)| *n == number).map(|(_, label)| (*label).to_owned());
    Ok(label.unwrap_or_else(|| number.to_string()))
}

fn cbor_held(decoder: &mut Decoder<'_>) -> Result<Held, CborError> {
    Ok(match decoder.datatype()? {
        Type::F16 | Type::F32 | Type::F64 => Held::Number(decoder.f64()?),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int => {
            // Integers of up to 64 bits and a sign; 53 bits of them are exact, and no sensor has more.
            Held::Number(i128::from(decoder.int()?) as f64)
        }
        Type::String => Held::Text(decoder.str()?.to_owned()),
        Type::Tag => cbor_decimal(decoder)?,
        Type::Bool
        | Type::Null
        | Type::Undefined
        | Type::Simple
        | Type::Bytes
        | Type::BytesIndef
        | Type::StringIndef
        | Type::Array
        | Type::ArrayIndef
        | Type::Map
        | Type::MapIndef
        | Type::Break
        | Type::Unknown(_) => {
            decoder.skip()?;
            Held::Other
        }
    })
}

/// Reads a decimal fraction (tag 4: `[exponent, mantissa]`, RFC 8949 §3.4.4), which RFC 8428 §6 lets stand for a
/// number; skips what another tag marks.
fn cbor_decimal(decoder: &mut Decoder<'_>) -> Result<Held, CborError> {
    if decoder.tag()?.as_u64() != 4 {
        decoder.skip()?;
        return Ok(Held::Other);
    }
    if decoder.array()? != Some(2) {
        return Err(CborError::message("a decimal fraction has two parts"));
    }
    let (exponent, mantissa) = (decoder.i32()?, decoder.i64()?);
    let written = format!("{mantissa}e{exponent}");
    Ok(written.parse().map_or(Held::Other, Held::Number))
}

impl Record {
    fn put(&mut self, label: &str, held: Held) -> Result<(), DecodeError> {
        match (label, held) {
            ("bn", Held::Text(text)) => self.base_name = Some(text),
            ("bu", Held::Text(text)) => self.base_unit = Some(text),
            ("n", Held::Text(text)) => self.name = Some(text),
            ("u", Held::Text(text)) => self.unit = Some(text),
            ("bt", Held::Number(number)) => self.base_time = Some(number),
            ("bv", Held::Number(number)) => self.base_value = Some(number),
            ("bver", Held::Number(number)) => self.base_version = Some(number),
            ("v", Held::Number(number)) => self.value = Some(number),
            ("t", Held::Number(number)) => self.time = Some(number),
            (label, _) if label.ends_with('_') => {
                return Err(wrong(format!("label {label:?} must be understood, and is not")));
            }
            ("bn" | "bu" | "n" | "u" | "bt" | "bv" | "bver" | "v" | "t", _) => {
                return Err(wrong(format!("label {label:?} holds what it cannot hold")));
            }
            _ => {}
        }
        Ok(())
    }
}

fn wrong(words: String) -> DecodeError {
    DecodeError::Syntax { expected: "SenML", words }
}

/// Carries base values forward (RFC 8428 §4.1) and picks out what is wanted.
fn resolve(pack: &[Record], map: &PayloadMap, found: &mut Found<'_>) -> Result<(), DecodeError> {
    let mut base = Record::default();
    for record in pack {
        base.base_name = record.base_name.clone().or(base.base_name);
        base.base_unit = record.base_unit.clone().or(base.base_unit);
        base.base_time = record.base_time.or(base.base_time);
        base.base_value = record.base_value.or(base.base_value);
        base.base_version = record.base_version.or(base.base_version);
        if base.base_version.is_some_and(|version| version > VERSION_MAX) {
            return Err(wrong("its version is newer than 10".to_owned()));
        }
        let name = format!(
            "{}{}",
            base.base_name.as_deref().unwrap_or_default(),
            record.name.as_deref().unwrap_or_default()
        );
        // A record without a value of its own is 0 above the base value: RFC 8428 §4.5.2.
        let Some(value) = record.value.or_else(|| base.base_value.map(|_| 0.0)) else { continue };
        let value = value + base.base_value.unwrap_or(0.0);
        let time = base.base_time.unwrap_or(0.0) + record.time.unwrap_or(0.0);
        let unit = record.unit.as_deref().or(base.base_unit.as_deref());
        pick(&name, value, unit, stamp(time), map, found);
    }
    Ok(())
}

fn pick(
    name: &str,
    value: f64,
    unit: Option<&str>,
    stamp: Option<Stamp>,
    map: &PayloadMap,
    found: &mut Found<'_>,
) {
    let last = name.rsplit([':', '/', '.']).next().unwrap_or(name);
    let wanted = map
        .fields
        .iter()
        .find(|field| field.path.part(0).is_some_and(|own| own == name || own == last));
    let Some(field) = wanted else { return };
    let known = |symbol: &str| field.quantity.units().iter().find(|u| u.symbol == symbol).copied();
    let unit: Unit = match unit.map(|symbol| (symbol, known(symbol))) {
        None => field.unit,
        Some((_, Some(unit))) => unit,
        Some((symbol, None)) => {
            found.trouble(format!(
                "{last} comes in {symbol:?}, which is no unit of {}",
                field.quantity
            ));
            return;
        }
    };
    found.value(field.quantity, unit, value, stamp);
}

fn stamp(time_s: f64) -> Option<Stamp> {
    let ms = (time_s * 1000.0).round();
    if !ms.is_finite() || ms.abs() > 253_402_300_800_000.0 || ms == 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked above")]
    let ms = ms as i64;
    if time_s >= ABSOLUTE_FROM_S { Some(Stamp::Unix(ms)) } else { Some(Stamp::Age((-ms).max(0))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quantity::Quantity;
    use crate::domain::reading::Measurement;
    use crate::wire::payload::{About, Field, Format, Path};

    fn map(format: Format, fields: &[(&str, Quantity)]) -> PayloadMap {
        let field = |(name, quantity): &(&str, Quantity)| Field {
            path: Path::parse(name),
            quantity: *quantity,
            unit: quantity.units()[0],
        };
        PayloadMap { format, fields: fields.iter().map(field).collect(), time: None }
    }

    fn read(map: &PayloadMap, payload: &[u8]) -> Vec<Measurement> {
        let mut found = Vec::new();
        map.decode(payload, About::default(), &mut found).unwrap();
        found
    }

    fn hex(text: &str) -> Vec<u8> {
        crate::wire::tpdu::from_hex(text).unwrap()
    }

    #[test]
    fn example_5_1_1_of_rfc_8428_reads_the_same_in_json_and_cbor() {
        let json = br#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#;
        let cbor = hex(
            "81a300781b75726e3a6465763a6f773a31306532303733613031303830303633016343656c02fb403719999999999a",
        );
        let fields = [("10e2073a01080063", Quantity::AirTemperature)];
        let expected =
            [Measurement { quantity: Quantity::AirTemperature, value: 23.1, stamp: None }];
        assert_eq!(read(&map(Format::SenmlJson, &fields), json), expected);
        assert_eq!(read(&map(Format::SenmlCbor, &fields), &cbor), expected);
    }

    #[test]
    fn base_values_are_carried_forward_as_in_example_5_1_2_of_rfc_8428() {
        let json = br#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"V","bver":5,"n":"voltage","v":12.1},
            {"n":"charge","u":"%","t":-5,"v":80},{"n":"charge","u":"%","t":-4,"v":81},{"n":"voltage","v":12.2}]"#;
        let fields = [("voltage", Quantity::BatteryVoltage), ("charge", Quantity::BatteryLevel)];
        let found = read(&map(Format::SenmlJson, &fields), json);
        let stamps: Vec<_> = found.iter().map(|m| m.stamp).collect();
        let at = |ms| Some(Stamp::Unix(ms));
        assert_eq!(
            stamps,
            [
                at(1_276_020_076_001),
                at(1_276_020_071_001),
                at(1_276_020_072_001),
                at(1_276_020_076_001)
            ]
        );
        assert_eq!(found[3].quantity, Quantity::BatteryVoltage);
    }

    #[test]
    fn a_relative_time_is_an_age_and_units_are_converted() {
        let json = br#"[{"n":"p","u":"Pa","v":101325,"t":-60},{"n":"p","u":"Pa","v":101300}]"#;
        let found = read(&map(Format::SenmlJson, &[("p", Quantity::Pressure)]), json);
        assert!((found[0].value - 1013.25).abs() < 1e-9);
        assert_eq!((found[0].stamp, found[1].stamp), (Some(Stamp::Age(60_000)), None));
    }

    #[test]
    fn a_label_that_must_be_understood_and_is_not_costs_the_pack() {
        let map = map(Format::SenmlJson, &[("p", Quantity::Pressure)]);
        let error = map
            .decode(br#"[{"n":"p","v":1,"x_":2}]"#, About::default(), &mut Vec::new())
            .unwrap_err();
        assert!(error.to_string().contains("\"x_\""), "{error}");
    }

    #[test]
    fn a_decimal_fraction_is_a_number() {
        // [{0: "p", 2: 4([-1, 10132])}]
        let found = read(
            &map(Format::SenmlCbor, &[("p", Quantity::Pressure)]),
            &hex("81a200617002c4822019 2794".replace(' ', "").as_str()),
        );
        assert!((found[0].value - 1013.2).abs() < 1e-9, "{found:?}");
    }
}
