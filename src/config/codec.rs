//! `[codec.NAME]`: how the bytes of a kind of device become values.

use super::document::Faults;
use super::people::checked_name;
use super::section::Section;
use super::settings::{Codec, CodecKind, Field, Number, Slot};
use super::topic;
use std::path::PathBuf;

/// Keys of a field that only numbers at places of their own have.
const BINARY_KEYS: [&str; 11] = [
    "byte",
    "bit",
    "bits",
    "number",
    "order",
    "scale",
    "add",
    "missing",
    "port",
    "when_byte",
    "when_is",
];

/// Reads every `[codec.NAME]`.
pub(super) fn codecs(root: &Section<'_>, faults: &Faults<'_>) -> Vec<Codec> {
    root.named("codec").iter().map(|section| codec(section, faults)).collect()
}

fn codec(section: &Section<'_>, faults: &Faults<'_>) -> Codec {
    let kind = section.get::<String>("kind");
    let is_binary = kind == "binary";
    let script: Option<PathBuf> = section.opt("script");
    if kind == "javascript" && section.written("script").is_none() {
        let help = "add `script`, a file with decodeUplink(input)";
        faults.missing(section.place, "nothing says which script", help);
    }
    if let Some(script) = section.written("script").filter(|_| kind != "javascript") {
        faults.error(script.place, "only kind \"javascript\" has a script", "remove it");
    }
    let written = section.named("field");
    if written.is_empty() && section.written("field").is_some() {
        let help =
            "add such as [codec.NAME.field] temperature_1 = { quantity = \"air_temperature\" }";
        faults.error(section.place_of("field"), "the codec has no fields", help);
    }
    let (mut fields, mut slots) = (Vec::new(), Vec::new());
    for field in &written {
        let path = if is_binary { field.name.to_owned() } else { topic::pointer(field, faults) };
        let Some((quantity, unit)) = topic::quantity_and_unit(field, faults) else { continue };
        if is_binary {
            slots.extend(slot(field, faults));
        } else {
            for key in BINARY_KEYS.iter().filter(|key| field.written(key).is_some()) {
                let help = "remove it: only kind \"binary\" has it";
                let message = match kind.as_str() {
                    "javascript" => "the script says itself where values stand",
                    _ => "Cayenne LPP says itself where values stand",
                };
                faults.error(field.key_place(key), message, help);
            }
        }
        fields.push(Field { path, quantity, unit });
    }
    let kind = match (kind.as_str(), script) {
        ("binary", _) => CodecKind::Binary(slots),
        ("javascript", script) => {
            let script = script.unwrap_or_default();
            CodecKind::JavaScript { script, source: String::new() }
        }
        (_, _) => CodecKind::CayenneLpp,
    };
    Codec { name: checked_name(section, faults), kind, fields }
}

fn slot(field: &Section<'_>, faults: &Faults<'_>) -> Option<Slot> {
    for key in ["byte", "bits"] {
        if field.written(key).is_none() {
            let help = "add such as `byte = 0, bits = 16`";
            faults.missing(field.place, format!("`{key}` is missing"), help);
        }
    }
    let byte: u32 = field.opt("byte")?;
    let bits: u32 = field.opt("bits")?;
    let bit: u32 = field.get("bit");
    let number = match field.get::<String>("number").as_str() {
        "signed" => Number::Signed,
        "float" => Number::Float,
        _ => Number::Unsigned,
    };
    let little = field.get::<String>("order") == "little";
    let is_whole = bit == 0 && bits.is_multiple_of(8);
    if number == Number::Float && !(bit == 0 && matches!(bits, 32 | 64)) {
        let help = "a float begins at a byte, and has `bits = 32` or `bits = 64`";
        faults.error(field.place_of("bits"), "no float is written like this", help);
    } else if little && !is_whole {
        let help = "use order \"big\", or whole bytes";
        faults.error(field.place_of("order"), "only whole bytes have an order", help);
    }
    let when_byte: Option<u32> = field.opt("when_byte");
    let when_is = field.written("when_is").map(|_| field.small("when_is"));
    if when_byte.is_some() != when_is.is_some() {
        let help = "write both, or neither";
        faults.error(field.place, "`when_byte` and `when_is` belong together", help);
    }
    let port = field.written("port").map(|_| field.small("port"));
    Some(Slot {
        bit: byte * 8 + bit,
        bits,
        number,
        little,
        scale: field.get("scale"),
        add: field.get("add"),
        missing: field.opt("missing"),
        port,
        when: when_byte.zip(when_is),
    })
}
