//! `[node.NAME]` and its sensors.

use super::amount::Meaning;
use super::document::{Faults, Written};
use super::measure::{amount_of, band_of, change_of, number_text, positive, unknown_quantity};
use super::people::checked_name;
use super::section::Section;
use crate::domain::node::{Counter, Node, Sensor, Step};
use crate::domain::quantity::Quantity;
use crate::domain::reading::NodeName;
use std::collections::BTreeMap;
use std::time::Duration;

/// Intervals after which a node that says nothing else is silent: two lost reports are no news.
const SILENT_INTERVALS: u32 = 3;

/// Reads `[node.NAME]`.
pub(super) fn nodes(root: &Section<'_>, faults: &Faults<'_>) -> Vec<Node> {
    let sections = root.named("node");
    names_twice(&sections, faults);
    sections.iter().map(|section| node(section, faults)).collect()
}

/// Reports other names of a node that are those of another.
fn names_twice(sections: &[Section<'_>], faults: &Faults<'_>) {
    let mut owners: BTreeMap<String, &str> =
        sections.iter().map(|section| (section.name.to_owned(), section.name)).collect();
    for section in sections {
        for (name, place) in section.list::<String>("heard_as") {
            if let Some(owner) = owners.insert(as_heard(&name), section.name) {
                let help = "each name belongs to one node";
                let whose = if owner == name {
                    format!("\"{name}\" is the name of a node")
                } else {
                    format!("\"{name}\" is how \"{owner}\" is heard")
                };
                faults.error(place, whose, help);
            }
        }
    }
}

fn heard_as(section: &Section<'_>) -> Box<[String]> {
    section.list::<String>("heard_as").iter().map(|(name, _)| as_heard(name)).collect()
}

/// Returns a name as sources give it: a DevEUI in small letters.
fn as_heard(name: &str) -> String {
    let is_eui = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_eui { name.to_ascii_lowercase() } else { name.to_owned() }
}

fn node(section: &Section<'_>, faults: &Faults<'_>) -> Node {
    let name = checked_name(section, faults);
    let interval: Duration = section.get("interval");
    let silent_after =
        section.opt("silent_after").unwrap_or_else(|| interval.saturating_mul(SILENT_INTERVALS));
    if silent_after < interval {
        faults.error(
            section.place_of("silent_after"),
            "a node that keeps its interval would be silent between two reports",
            "make it longer than `interval`; three intervals are usual",
        );
    }
    let sensors = section.named("sensor");
    if sensors.is_empty() && section.written("sensor").is_some() {
        let help = "add such as [node.NAME.sensor.water_level]";
        faults.error(section.place_of("sensor"), "the node measures nothing", help);
    }
    let mut sensors: Vec<Sensor> =
        sensors.iter().filter_map(|section| sensor(section, interval, faults)).collect();
    // There are many nodes, of few sensors each.
    sensors.shrink_to_fit();
    Node {
        place: section.opt("place").unwrap_or_else(|| name.clone()),
        name: NodeName(name.into()),
        heard_as: heard_as(section),
        interval,
        silent_after,
        late_after: section.opt("late_after").unwrap_or(silent_after),
        sensors,
    }
}

fn sensor(section: &Section<'_>, interval: Duration, faults: &Faults<'_>) -> Option<Sensor> {
    let Some(quantity) = Quantity::from_name(section.name) else {
        unknown_quantity(section.name, section.place, faults);
        return None;
    };
    let range = range(section, quantity, faults);
    let step = change_of(section, "step", quantity, faults)
        .map(|(change, within)| Step { change, within });
    let stuck_after: Option<Duration> = section.opt("stuck_after");
    if stuck_after.is_some_and(|after| after <= interval) {
        let help = "make it many intervals long: still water stays the same for hours";
        faults.error(section.place_of("stuck_after"), "every second reading would be stuck", help);
    }
    let counter = section.child("counter").and_then(|counter| {
        let increment_max = positive(&counter, "increment_max", quantity, faults);
        let wraps_at = positive(&counter, "wraps_at", quantity, faults);
        let increment_max = increment_max?;
        if wraps_at.is_some_and(|wraps_at| wraps_at <= increment_max) {
            let help = "a total that wraps within one increment cannot be followed";
            faults.error(
                counter.place_of("increment_max"),
                "the increment is longer than the total",
                help,
            );
        }
        Some(Counter { wraps_at, increment_max })
    });
    let decimals = if matches!(quantity.symbol(), "m" | "m³/s") { 2 } else { 1 };
    Some(Sensor {
        quantity,
        range,
        step,
        spike: positive(section, "spike", quantity, faults),
        stuck_after,
        counter,
        decimals: section.written("decimals").map_or(decimals, |_| section.small("decimals")),
    })
}

fn range(section: &Section<'_>, quantity: Quantity, faults: &Faults<'_>) -> (f64, f64) {
    let possible = quantity.plausible();
    let Some(written) = section.written("range") else { return possible };
    let end = |end: &Written<'_>| amount_of(end, quantity, Meaning::Value, faults);
    let Some((low, high)) = band_of(&written, faults, end) else { return possible };
    if low < possible.0 || high > possible.1 {
        faults.warn(
            written.place,
            format!("no {quantity} on Earth has this range"),
            format!(
                "it stays between {} and {} {}",
                number_text(possible.0),
                number_text(possible.1),
                quantity.symbol()
            ),
        );
    }
    (low, high)
}
