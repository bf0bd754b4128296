//! `[[topic]]`: how publications become readings.

use super::amount;
use super::document::{Faults, Place};
use super::keys::{ENCODINGS, FORMATS};
use super::link::{LinkNode, Report};
use super::measure::quantity_at;
use super::pattern::TopicTemplate;
use super::people::unknown;
use super::section::Section;
use super::settings::{Codec, Encoding, Field, Format, TimeField, TimeUnit, Topic};
use crate::domain::node::Node;
use crate::domain::quantity::{Quantity, Unit};
use std::collections::BTreeMap;

/// Formats in the order of [`FORMATS`].
const FORMAT_ORDER: [Format; 11] = [
    Format::Json,
    Format::JsonArray,
    Format::SenmlJson,
    Format::SenmlCbor,
    Format::Number,
    Format::State,
    Format::Codec,
    Format::ChirpStack,
    Format::TheThingsStack,
    Format::Helium,
    Format::Meshtastic,
];

/// Reads `[[topic]]`; `links` are the names by which it can say where it holds.
pub(super) fn topics(
    root: &Section<'_>,
    links: &[String],
    codecs: &[Codec],
    faults: &Faults<'_>,
) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    let links: Vec<&str> = links.iter().map(String::as_str).collect();
    for section in root.tables("topic") {
        let written: String = section.get("template");
        let place = section.place_of("template");
        let template = TopicTemplate::parse(&written);
        let from = section.list::<String>("from");
        for (link, place) in from.iter().filter(|(link, _)| !links.contains(&link.as_str())) {
            unknown(faults, *place, "broker", link, &links);
        }
        let from: Vec<String> = from.into_iter().map(|(link, _)| link).collect();
        let names_quantity = match &template {
            Ok(template) => {
                overlaps(template, &from, &topics, place, faults);
                template.names_quantity()
            }
            Err(complaint) if !written.is_empty() => {
                faults.error(place, complaint.message.clone(), complaint.help.clone());
                continue;
            }
            Err(_) => continue,
        };
        let Some(format) = format(&section) else { continue };
        let one_value = matches!(format, Format::Number | Format::State);
        if names_quantity && !one_value {
            let help = "use format \"number\" or \"state\", or remove {quantity}";
            faults.error(place, "a payload of several values names them itself", help);
        }
        let codec = codec(&section, format, codecs, faults);
        let fields = if one_value && !names_quantity {
            whole_payload(&section, faults).into_iter().collect()
        } else {
            let may_be_none = names_quantity || format == Format::Codec || codec.is_some();
            fields(&section, format, may_be_none, faults)
        };
        let time = time(&section, format, faults);
        let encoding = encoding(&section, format, faults);
        topics.push(Topic { template: written, format, fields, time, from, codec, encoding });
    }
    topics
}

fn format(section: &Section<'_>) -> Option<Format> {
    let word: String = section.opt("format")?;
    let at = FORMATS.iter().position(|known| *known == word)?;
    FORMAT_ORDER.get(at).copied()
}

/// Reads which codec is meant.
fn codec(
    section: &Section<'_>,
    format: Format,
    codecs: &[Codec],
    faults: &Faults<'_>,
) -> Option<String> {
    let Some(name) = section.opt::<String>("codec") else {
        if format == Format::Codec {
            let help = "add `codec = \"NAME\"`, and a [codec.NAME]";
            faults.missing(section.place, "the topic does not say how its bytes are read", help);
        }
        return None;
    };
    if format == Format::Codec && section.written("field").is_some() {
        let help = "write them in the [codec.NAME]";
        faults.error(section.key_place("field"), "the codec says which values there are", help);
    }
    if !matches!(
        format,
        Format::Codec | Format::ChirpStack | Format::TheThingsStack | Format::Helium
    ) {
        let help = "use format \"codec\", or remove it";
        faults.error(section.key_place("codec"), "payloads of this format need no codec", help);
    }
    let known: Vec<&str> = codecs.iter().map(|codec| codec.name.as_str()).collect();
    if !known.contains(&name.as_str()) {
        unknown(faults, section.place_of("codec"), "codec", &name, &known);
    }
    Some(name)
}

fn encoding(section: &Section<'_>, format: Format, faults: &Faults<'_>) -> Encoding {
    if format != Format::Codec && section.written("encoding").is_some() {
        let help = "remove it: only format \"codec\" has it";
        faults.error(
            section.key_place("encoding"),
            "this format says itself how it is written",
            help,
        );
    }
    let word: String = section.get("encoding");
    let order = [Encoding::Raw, Encoding::Hex, Encoding::Base64];
    let at = ENCODINGS.iter().position(|known| *known == word);
    at.and_then(|at| order.get(at).copied()).unwrap_or_default()
}

/// Reports templates before this one that would take its publications too.
fn overlaps(
    template: &TopicTemplate<'_>,
    from: &[String],
    others: &[Topic],
    place: Place,
    faults: &Faults<'_>,
) {
    for other in others {
        let apart = !from.is_empty()
            && !other.from.is_empty()
            && !from.iter().any(|link| other.from.contains(link));
        if apart {
            continue;
        }
        let both = TopicTemplate::parse(&other.template).ok().and_then(|o| o.overlap(template));
        if let Some(topic) = both {
            faults.error(
                place,
                format!("\"{topic}\" fits the template \"{}\" too", other.template),
                "make one of them more special, or tell them apart with `from`",
            );
        }
    }
}

/// Reads what a payload measures that is one value.
fn whole_payload(section: &Section<'_>, faults: &Faults<'_>) -> Option<Field> {
    if section.written("field").is_some() {
        let help = "write `quantity` and `unit` in the topic itself";
        faults.error(section.key_place("field"), "a payload of one value has no fields", help);
    }
    if section.written("quantity").is_none() {
        let help = "add `quantity`, or {quantity} to the template";
        faults.missing(section.place, "the topic does not say what its payload measures", help);
    }
    let quantity = quantity_at(section, "quantity", faults)?;
    Some(Field { path: String::new(), quantity, unit: unit_at(section, quantity, faults)? })
}

fn unit_at(section: &Section<'_>, quantity: Quantity, faults: &Faults<'_>) -> Option<Unit> {
    let Some(spelled) = section.opt::<String>("unit") else {
        return quantity.units().first().copied();
    };
    let read = amount::unit(&spelled, quantity);
    let place = section.place_of("unit");
    read.map_err(|complaint| faults.error(place, complaint.message, complaint.help)).ok()
}

/// Reads the fields of a payload of several values, or of topics that say what is measured.
fn fields(
    section: &Section<'_>,
    format: Format,
    may_be_none: bool,
    faults: &Faults<'_>,
) -> Vec<Field> {
    for key in ["quantity", "unit"] {
        if section.written(key).is_some() {
            let help = "write it in a `[topic.field]`";
            faults.error(section.key_place(key), "there are several values", help);
        }
    }
    let pointers = matches!(format, Format::Json | Format::JsonArray) || format.is_event();
    let written = section.named("field");
    if written.is_empty() && !may_be_none {
        let help =
            "add such as [topic.field] level = { quantity = \"water_level\", unit = \"cm\" }";
        faults.missing(section.place, "the topic has no fields", help);
    }
    written
        .iter()
        .filter_map(|field| {
            let path = if pointers { pointer(field, faults) } else { field.name.to_owned() };
            let (quantity, unit) = quantity_and_unit(field, faults)?;
            Some(Field { path, quantity, unit })
        })
        .collect()
}

/// Reads what a field measures.
pub(super) fn quantity_and_unit(
    field: &Section<'_>,
    faults: &Faults<'_>,
) -> Option<(Quantity, Unit)> {
    let quantity = quantity_at(field, "quantity", faults)?;
    Some((quantity, unit_at(field, quantity, faults)?))
}

/// Returns the name of a field as a JSON pointer.
pub(super) fn pointer(field: &Section<'_>, faults: &Faults<'_>) -> String {
    let path = if field.name.starts_with('/') {
        field.name.to_owned()
    } else {
        // RFC 6901 §3: `~` and `/` are escaped in a pointer.
        format!("/{}", field.name.replace('~', "~0").replace('/', "~1"))
    };
    check_pointer(&path, field.place, faults);
    path
}

/// Reports `~` that stands for nothing: RFC 6901 §3.
fn check_pointer(path: &str, at: Place, faults: &Faults<'_>) {
    let sound = path.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !(path.starts_with('/') && sound) {
        let help = "write such as \"/data/level\"; ~0 is ~ and ~1 is /";
        faults.error(at, format!("\"{path}\" is no JSON pointer"), help);
    }
}

fn time(section: &Section<'_>, format: Format, faults: &Faults<'_>) -> Option<TimeField> {
    let path: String = section.opt("time")?;
    let place = section.place_of("time");
    if !matches!(format, Format::Json | Format::JsonArray) {
        let help =
            "remove it: SenML and network servers say the time themselves, a number alone has none";
        faults.error(section.key_place("time"), "this format has no member for the time", help);
        return None;
    }
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    check_pointer(&path, place, faults);
    let word: String = section.get("time_unit");
    let unit = match word.as_str() {
        "ms" => TimeUnit::Millis,
        "rfc3339" => TimeUnit::Rfc3339,
        _ => TimeUnit::Seconds,
    };
    Some(TimeField { path, unit })
}

/// Warns of sensors whose readings no topic can bring.
pub(super) fn unheard(
    root: &Section<'_>,
    topics: &[Topic],
    codecs: &[Codec],
    link: (&[LinkNode], &[Report]),
    nodes: &[Node],
    faults: &Faults<'_>,
) {
    // A topic that names the quantity can name any.
    if topics.iter().any(|topic| topic.template.contains("{quantity}")) {
        return;
    }
    let brought = |quantity| {
        let of_codecs = codecs.iter().flat_map(|codec| &codec.fields);
        let mut fields = topics.iter().flat_map(|topic| &topic.fields).chain(of_codecs);
        // Network servers say how the battery is.
        fields.any(|field| field.quantity == quantity)
            || quantity == Quantity::BatteryLevel
                && topics.iter().any(|topic| topic.format.is_event())
    };
    let places: BTreeMap<&str, Place> = root.named_places("node").into_iter().collect();
    for (place, node) in nodes.iter().enumerate() {
        let of_link = link.0.iter().find(|of_link| of_link.place == place);
        let report = of_link.and_then(|of| link.1.iter().find(|report| report.name == of.report));
        let reported = |quantity| {
            // Nodes of our link say how their battery is without being asked.
            report.is_some_and(|report| {
                quantity == Quantity::BatteryVoltage
                    || report.fields.iter().any(|field| field.quantity == quantity)
            })
        };
        let lost: Vec<&str> = node
            .sensors
            .iter()
            .filter(|sensor| !brought(sensor.quantity) && !reported(sensor.quantity))
            .map(|sensor| sensor.quantity.name())
            .collect();
        if let Some(place) = places.get(&*node.name.0)
            && !lost.is_empty()
        {
            let (lost, name) = (lost.join(", "), &node.name);
            let (message, help) = match of_link {
                Some(of) => (
                    format!("the report of \"{name}\" brings no {lost}"),
                    format!("add a field to [report.{}], or remove the sensor", of.report),
                ),
                None => (
                    format!("no topic brings {lost} of \"{name}\""),
                    "add a field to a [[topic]], or remove the sensor".to_owned(),
                ),
            };
            faults.warn(*place, message, help);
        }
    }
}
