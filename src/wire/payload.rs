//! Payload maps: what is wanted of a payload, and under which name it stands there.

use super::binary::Slot;
use super::javascript::{self, Script};
use super::{cayenne_lpp, json, senml};
use crate::domain::quantity::{Quantity, Unit};
use crate::domain::reading::{Measurement, Stamp};
use thiserror::Error;

/// Most values that one payload may give.
pub const MEASUREMENTS_MAX: usize = 256;
/// Most troubles of one payload that are told one by one.
const TROUBLES_MAX: usize = 8;

/// How the payloads of one kind are read.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadMap {
    /// What a payload is.
    pub format: Format,
    /// What is wanted of it.
    pub fields: Vec<Field>,
    /// Where the node's own time stands.
    pub time: Option<TimeField>,
}

/// What a payload is.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// A JSON array of objects.
    JsonArray,
    /// A SenML pack in JSON (RFC 8428).
    SenmlJson,
    /// A SenML pack in CBOR (RFC 8428).
    SenmlCbor,
    /// A number as text.
    Number,
    /// The state of one entity, as Home Assistant, Tasmota and ESPHome publish it: a number, or a word such as `unavailable`.
    State,
    /// Cayenne LPP.
    CayenneLpp,
    /// Numbers at places of their own: one for each field.
    Binary(Vec<Slot>),
    /// What a script makes of it: an object.
    JavaScript(Script),
}

/// What is known of a payload from around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// What the topic says that it measures.
    pub quantity: Option<&'a str>,
    /// The port on which a radio node sent it.
    pub port: Option<u8>,
    /// When it came, Unix time in milliseconds, if the calendar is set.
    pub unix_ms: Option<i64>,
}

/// One value of a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where it stands.
    pub path: Path,
    /// What it measures.
    pub quantity: Quantity,
    /// The unit it comes in.
    pub unit: Unit,
}

/// Where a value stands: a JSON pointer (RFC 6901) in its parts, a bare key, the name of a SenML record, or, when it
/// is empty, the payload as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<String>);

/// The node's own time in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeField {
    /// Where it stands.
    pub path: Path,
    /// How it is written.
    pub unit: TimeUnit,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since 1970, UTC; may have a fraction.
    Seconds,
    /// Milliseconds since 1970, UTC.
    Millis,
    /// A text in RFC 3339.
    Rfc3339,
}

/// Why a payload could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It is not what it should be.
    #[error("not {expected}: {words}")]
    Syntax {
        /// What it should be.
        expected: &'static str,
        /// What is wrong, and where.
        words: String,
    },
    /// It is in order, but nothing in it is wanted.
    #[error("nothing in it is wanted: {}", list(wanted))]
    Nothing {
        /// What is wanted, and where it was looked for.
        wanted: Vec<String>,
    },
    /// A network server passed bytes on that it has no decoder for, and neither have we.
    #[error("{length} bytes that the network server has not decoded: name a `codec` in the topic")]
    NotDecoded {
        /// How many.
        length: usize,
    },
    /// A script does not read it.
    #[error("{0}")]
    Script(javascript::Fault),
    /// A report of our own link that cannot be read.
    #[error("{words}")]
    Report {
        /// Why not.
        words: String,
    },
    /// What is wanted is there, but not in a form that can be read.
    #[error("{}", list(troubles))]
    Troubles {
        /// What is wrong with each.
        troubles: Vec<String>,
    },
}

impl DecodeError {
    /// Returns the kind of fault in constant words, to count by.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "payload in another form",
            Self::Nothing { .. } => "payload without a wanted value",
            Self::NotDecoded { .. } => "payload that the network server has not decoded",
            Self::Script(fault) => fault.reason(),
            Self::Report { .. } => "report of our own link",
            Self::Troubles { .. } => "payload whose values cannot be read",
        }
    }
}

fn list(words: &[String]) -> String {
    words.join("; ")
}

/// What has been found so far.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) measurements: &'a mut Vec<Measurement>,
    pub(super) troubles: Vec<String>,
}

impl Path {
    /// Reads a path as it is written in a configuration: `/a/b`, `a`, or nothing.
    #[must_use]
    pub fn parse(written: &str) -> Self {
        if written.is_empty() {
            return Self::default();
        }
        let Some(pointer) = written.strip_prefix('/') else {
            return Self(vec![written.to_owned()]);
        };
        Self(pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
    }

    pub(super) fn part(&self, depth: usize) -> Option<&str> {
        self.0.get(depth).map(String::as_str)
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Returns it as a JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> String {
        let escaped = |part: &String| part.replace('~', "~0").replace('/', "~1");
        self.0.iter().flat_map(|part| ["/".to_owned(), escaped(part)]).collect()
    }
}

impl Found<'_> {
    pub(super) fn trouble(&mut self, words: String) {
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(words);
        }
    }

    pub(super) fn value(
        &mut self,
        quantity: Quantity,
        unit: Unit,
        value: f64,
        stamp: Option<Stamp>,
    ) {
        if self.measurements.len() >= MEASUREMENTS_MAX {
            self.trouble(format!("more than {MEASUREMENTS_MAX} values in one payload"));
            return;
        }
        let value = value.mul_add(unit.factor, unit.offset);
        self.measurements.push(Measurement { quantity, value, stamp });
    }
}

impl PayloadMap {
    /// Reads a payload, and appends what is wanted of it. Returns what is wrong with the values that could not be read
    /// beside those that could.
    ///
    /// # Errors
    ///
    /// When it gives no value at all; then nothing is appended.
    pub fn decode(
        &self,
        payload: &[u8],
        about: About<'_>,
        measurements: &mut Vec<Measurement>,
    ) -> Result<Vec<String>, DecodeError> {
        let before = measurements.len();
        let mut found = Found { measurements, troubles: Vec::new() };
        let read = match &self.format {
            Format::Json => json::object(self, payload, &mut found),
            Format::JsonArray => json::array(self, payload, &mut found),
            Format::SenmlJson => senml::from_json(self, payload, &mut found),
            Format::SenmlCbor => senml::from_cbor(self, payload, &mut found),
            Format::Number | Format::State => self.number(payload, about.quantity, &mut found),
            Format::CayenneLpp => {
                self.cayenne_lpp(payload, &mut found);
                Ok(())
            }
            Format::Binary(slots) => {
                self.binary(slots, payload, about.port, &mut found);
                Ok(())
            }
            Format::JavaScript(script) => self.javascript(script, payload, about, &mut found),
        };
        let troubles = found.troubles;
        if let Err(error) = read {
            measurements.truncate(before);
            return Err(error);
        }
        // Where every value may be missing, a payload may hold none.
        let may_be_empty = matches!(self.format, Format::Binary(_)) && troubles.is_empty();
        if measurements.len() > before || may_be_empty {
            return Ok(troubles);
        }
        if troubles.is_empty() {
            Err(self.nothing())
        } else {
            Err(DecodeError::Troubles { troubles })
        }
    }

    fn number(
        &self,
        payload: &[u8],
        quantity: Option<&str>,
        found: &mut Found<'_>,
    ) -> Result<(), DecodeError> {
        let Some((quantity, unit)) = self.field_of(quantity) else { return Err(self.nothing()) };
        let text = std::str::from_utf8(payload).map_err(|error| DecodeError::Syntax {
            expected: "a number",
            words: format!("not UTF-8 from byte {}", error.valid_up_to()),
        })?;
        let text = text.trim();
        match parse_number(text) {
            Some(value) => found.value(quantity, unit, value, None),
            None if self.format == Format::State => {
                found.trouble(format!("the state is {:?}, not a number", shortened(text)));
            }
            None => {
                let words = format!("{:?}", shortened(text));
                return Err(DecodeError::Syntax { expected: "a number", words });
            }
        }
        Ok(())
    }

    fn cayenne_lpp(&self, payload: &[u8], found: &mut Found<'_>) {
        let read = cayenne_lpp::read(payload, |item| {
            let name = item.to_string();
            for (part, value) in item.values() {
                let wanted = self.fields.iter().find(|field| {
                    let inner = field.path.part(1).unwrap_or_default();
                    field.path.part(0) == Some(&name) && inner == part && field.path.depth() <= 2
                });
                if let Some(field) = wanted {
                    found.value(field.quantity, field.unit, value, None);
                }
            }
        });
        if let Err(error) = read {
            found.trouble(error.to_string());
        }
    }

    fn javascript(
        &self,
        script: &Script,
        payload: &[u8],
        about: About<'_>,
        found: &mut Found<'_>,
    ) -> Result<(), DecodeError> {
        let decoded = script.decode(payload, about.port, about.unix_ms);
        let decoded = decoded.map_err(DecodeError::Script)?;
        for warning in decoded.warnings {
            found.trouble(warning);
        }
        json::object(self, decoded.data.as_bytes(), found)
    }

    fn binary(&self, slots: &[Slot], payload: &[u8], port: Option<u8>, found: &mut Found<'_>) {
        for (field, slot) in self.fields.iter().zip(slots) {
            match slot.read(payload, port) {
                Ok(Some(value)) => found.value(field.quantity, field.unit, value, None),
                Ok(None) => {}
                Err(error) => {
                    let name = field.path.part(0).unwrap_or_default();
                    found.trouble(format!("{name} {error}"));
                }
            }
        }
    }

    /// Returns what a payload that is one number measures: what the topic names, or the only thing it can be.
    fn field_of(&self, quantity: Option<&str>) -> Option<(Quantity, Unit)> {
        let Some(name) = quantity else { return self.fields.first().map(|f| (f.quantity, f.unit)) };
        let named = self.fields.iter().find(|f| f.path.part(0) == Some(name));
        named.map(|f| (f.quantity, f.unit)).or_else(|| {
            let quantity = Quantity::from_name(name)?;
            Some((quantity, *quantity.units().first()?))
        })
    }

    fn nothing(&self) -> DecodeError {
        let wanted =
            self.fields.iter().map(|f| format!("{} at {:?}", f.quantity, f.path.pointer()));
        DecodeError::Nothing { wanted: wanted.collect() }
    }
}

/// Reads a number as people and programs write it, with a point or a comma; `nan` in any case is not a number.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E' | b','));
    if !plain {
        return text.eq_ignore_ascii_case("nan").then_some(f64::NAN);
    }
    text.parse().ok().or_else(|| {
        let one_comma = text.matches(',').count() == 1 && !text.contains('.');
        if one_comma { text.replace(',', ".").parse().ok() } else { None }
    })
}

/// Returns the beginning of a text, for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

impl TimeUnit {
    /// Returns a number as a stamp.
    pub(super) fn stamp(self, value: f64) -> Option<Stamp> {
        let ms = match self {
            Self::Seconds => value * 1000.0,
            Self::Millis => value,
            Self::Rfc3339 => return None,
        };
        // Up to the year 9999; the cast of what is in range is exact.
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
        (0.0..253_402_300_800_000.0).contains(&ms).then(|| Stamp::Unix(ms.round() as i64))
    }

    /// Returns a text as a stamp.
    pub(super) fn stamp_of_text(self, text: &str) -> Option<Stamp> {
        match self {
            Self::Seconds | Self::Millis => self.stamp(parse_number(text)?),
            Self::Rfc3339 => {
                let moment: jiff::Timestamp = text.parse().ok()?;
                Some(Stamp::Unix(moment.as_millisecond()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::binary::{Number, Order};
    use proptest::prelude::*;

    fn field(path: &str, quantity: Quantity, unit: &str) -> Field {
        let unit = *quantity.units().iter().find(|u| u.symbol == unit).unwrap();
        Field { path: Path::parse(path), quantity, unit }
    }

    fn map(format: Format) -> PayloadMap {
        PayloadMap {
            format,
            fields: vec![
                field("level", Quantity::WaterLevel, "cm"),
                field("/env/t", Quantity::AirTemperature, "°F"),
                field("/list/1", Quantity::Rain, "mm"),
            ],
            time: Some(TimeField { path: Path::parse("/ts"), unit: TimeUnit::Seconds }),
        }
    }

    fn called(name: &str) -> About<'_> {
        About { quantity: Some(name), ..About::default() }
    }

    fn read(
        map: &PayloadMap,
        payload: &str,
    ) -> (Vec<Measurement>, Result<Vec<String>, DecodeError>) {
        let mut measurements = Vec::new();
        let result = map.decode(payload.as_bytes(), About::default(), &mut measurements);
        (measurements, result)
    }

    #[test]
    fn values_are_found_by_key_and_pointer_and_come_out_in_the_quantitys_own_unit() {
        let payload =
            r#"{"env":{"t":212,"x":[1,{"y":2}]},"level":"241,5","list":[9,0.4],"ts":1700000000.5}"#;
        let (found, troubles) = read(&map(Format::Json), payload);
        assert_eq!(troubles, Ok(vec![]));
        let stamp = Some(Stamp::Unix(1_700_000_000_500));
        let by_quantity = |q| found.iter().find(|m| m.quantity == q).unwrap();
        assert!((by_quantity(Quantity::WaterLevel).value - 2.415).abs() < 1e-9);
        assert!((by_quantity(Quantity::AirTemperature).value - 100.0).abs() < 1e-9);
        assert!((by_quantity(Quantity::Rain).value - 0.4).abs() < 1e-9);
        assert!(found.iter().all(|m| m.stamp == stamp));
    }

    #[test]
    fn one_bad_value_does_not_cost_the_others_and_is_named() {
        let (found, troubles) =
            read(&map(Format::Json), r#"{"level":true,"env":{"t":50},"list":null}"#);
        assert_eq!(found.len(), 1);
        assert_eq!(troubles.unwrap(), ["/level is true or false, not a number"]);
        let (found, troubles) =
            read(&map(Format::Json), r#"{"level":{"cm":4},"env":{"t":"warm"}}"#);
        assert!(found.is_empty());
        let Err(DecodeError::Troubles { troubles }) = troubles else { panic!("{troubles:?}") };
        assert_eq!(
            troubles,
            ["/level is an object, not a number", "/env/t is \"warm\", not a number"]
        );
    }

    #[test]
    fn a_payload_without_anything_wanted_says_what_was_looked_for() {
        let (_, error) = read(&map(Format::Json), r#"{"Level":1}"#);
        assert!(error.unwrap_err().to_string().contains("water_level at \"/level\""));
        let (_, error) = read(&map(Format::Json), r#"{"level":1"#);
        assert!(matches!(error, Err(DecodeError::Syntax { expected: "JSON", .. })));
    }

    #[test]
    fn an_array_of_objects_gives_each_its_own_time() {
        let (found, _) = read(
            &map(Format::JsonArray),
            r#"[{"level":1,"ts":10},{"ts":20,"level":2},{"level":3}]"#,
        );
        let stamps: Vec<_> = found.iter().map(|m| m.stamp).collect();
        assert_eq!(stamps, [Some(Stamp::Unix(10_000)), Some(Stamp::Unix(20_000)), None]);
    }

    #[test]
    fn a_plain_number_is_what_the_topic_says_or_the_only_thing_it_can_be() {
        let mut number = map(Format::Number);
        let mut found = Vec::new();
        number.decode(b" 240\n", About::default(), &mut found).unwrap();
        assert!((found[0].value - 2.4).abs() < 1e-9);
        number.decode(b"7", called("rain"), &mut found).unwrap();
        assert_eq!(found[1].quantity, Quantity::Rain);
        assert!(number.decode(b"7", called("colour"), &mut found).is_err());
        assert!(number.decode(b"inf", About::default(), &mut found).is_err());
        number.decode(b"NaN", About::default(), &mut found).unwrap();
        assert!(found[2].value.is_nan());
        number.format = Format::State;
        assert!(matches!(
            number.decode(b"unavailable", About::default(), &mut found),
            Err(DecodeError::Troubles { .. })
        ));
    }

    #[test]
    fn a_time_may_be_rfc_3339_or_milliseconds() {
        let mut json = map(Format::Json);
        json.time = Some(TimeField { path: Path::parse("ts"), unit: TimeUnit::Rfc3339 });
        let (found, _) = read(&json, r#"{"ts":"2022-01-29T12:30:00Z","level":1}"#);
        assert_eq!(found[0].stamp, Some(Stamp::Unix(1_643_459_400_000)));
        json.time = Some(TimeField { path: Path::parse("ts"), unit: TimeUnit::Millis });
        let (found, _) = read(&json, r#"{"ts":1643459400000,"level":1}"#);
        assert_eq!(found[0].stamp, Some(Stamp::Unix(1_643_459_400_000)));
    }

    /// Cayenne LPP, a map, and a script that reads the same places as the map.
    fn of_bytes() -> (PayloadMap, PayloadMap, PayloadMap) {
        let of = |format, fields| PayloadMap { format, fields, time: None };
        let climate = vec![
            field("temperature_1", Quantity::AirTemperature, "°C"),
            field("relative_humidity_2", Quantity::Humidity, "%"),
        ];
        let slot = |bit, bits, number, scale| Slot {
            bit,
            bits,
            number,
            order: Order::Big,
            scale,
            add: 0.0,
            missing: None,
            port: None,
            when: None,
        };
        let slots = vec![
            slot(4, 12, Number::Unsigned, 1.0),
            Slot { port: Some(2), missing: Some(0x8000), ..slot(16, 16, Number::Signed, 0.125) },
        ];
        let places = || {
            let temperature = field("t", Quantity::AirTemperature, "°C");
            vec![field("level", Quantity::WaterLevel, "mm"), temperature]
        };
        let script = "function decodeUplink(input) {
            var b = input.bytes, data = {}, raw = b[2] << 8 | b[3];
            if (b.length > 1) data.level = (b[0] & 15) << 8 | b[1];
            if (b.length > 3 && input.fPort === 2 && raw !== 0x8000) data.t = (raw > 0x7fff ? raw - 0x10000 : raw) * 0.125;
            return { data: data };
        }";
        let script = Format::JavaScript(Script::new("level.js", script));
        (of(Format::CayenneLpp, climate), of(Format::Binary(slots), places()), of(script, places()))
    }

    /// Items of Cayenne LPP that may be cut, or any bytes.
    fn items_or_any() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![3 => Just(103_u8), 3 => Just(104), 1 => any::<u8>()];
        let item = (0_u8..4, kind, any::<[u8; 2]>()).prop_map(|(channel, kind, [high, low])| {
            if kind == 104 { vec![channel, kind, high] } else { vec![channel, kind, high, low] }
        });
        let items = prop::collection::vec(item, 0..40).prop_map(|items| items.concat());
        prop_oneof![items, prop::collection::vec(any::<u8>(), 0..260)]
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_are_bounded(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
            for format in [Format::Json, Format::JsonArray, Format::SenmlJson, Format::SenmlCbor, Format::Number, Format::State] {
                let map = map(format);
                let mut found = Vec::new();
                for payload in [&bytes[..], text.as_bytes()] {
                    let _either = map.decode(payload, called("rain"), &mut found).is_ok();
                    prop_assert!(found.len() <= 2 * MEASUREMENTS_MAX);
                }
            }
        }

        /// What a script makes of the bytes is what a map finds at the same places.
        #[test]
        fn hostile_bytes_of_radio_nodes_give_values_in_range_or_a_reason(bytes in items_or_any(), port in prop_oneof![Just(Some(2_u8)), any::<Option<u8>>()]) {
            let (lpp, binary, script) = of_bytes();
            let about = About { port, ..About::default() };
            let mut by_each = Vec::new();
            // 16 bits with a sign, in steps of 0.1 °C and of 0.125 °C.
            for (map, widest) in [(&lpp, 3_276.8), (&binary, 4_096.0), (&script, 4_096.0)] {
                let mut found = Vec::new();
                match map.decode(&bytes, about, &mut found) {
                    Ok(troubles) => prop_assert!(troubles.len() <= TROUBLES_MAX),
                    Err(error) => prop_assert!(found.is_empty() && !error.reason().is_empty(), "{error}"),
                }
                prop_assert!(found.len() <= MEASUREMENTS_MAX);
                for Measurement { quantity, value, stamp } in &found {
                    let (low, high) = if *quantity == Quantity::WaterLevel {
                        (0.0, 4.095)
                    } else if *quantity == Quantity::AirTemperature {
                        (-widest, widest)
                    } else {
                        prop_assert_eq!(*quantity, Quantity::Humidity);
                        (0.0, 127.5)
                    };
                    prop_assert!((low..=high).contains(value) && stamp.is_none(), "{quantity} {value}");
                }
                by_each.push(found);
            }
            prop_assert_eq!(&by_each[1], &by_each[2]);
        }
    }
}
