//! Signals as written: `mto-juu/water_level`, `mto-*/rain sum 24 h`.

use super::amount::{self, complain, nearest};
use super::document::{Faults, Written};
use super::measure::unknown_quantity;
use super::pattern;
use super::people::unknown;
use crate::domain::node::{Node, Sensor};
use crate::domain::quantity::Quantity;
use crate::domain::rule::{Function, NodeIndex, Signal};
use std::ops::Range;
use std::time::Duration;

/// What a signal as written can mean: one, or one for each node that a pattern fits.
pub(super) struct Meant<'n> {
    /// The signals with whom they look at.
    pub(super) signals: Vec<(Signal, &'n Node, &'n Sensor)>,
    /// What is measured.
    pub(super) quantity: Quantity,
    /// What is made of it.
    pub(super) function: Function,
    /// A `*` stands in the node's place.
    pub(super) pattern: bool,
}

/// Makes a function of its window.
type OverWindow = fn(Duration) -> Function;

/// Words of the functions over a window.
const FUNCTIONS: [(&str, OverWindow); 7] = [
    ("min", Function::Min),
    ("max", Function::Max),
    ("mean", Function::Mean),
    ("sum", Function::Sum),
    ("count", Function::Count),
    ("change", Function::Change),
    ("rate", Function::Rate),
];

/// Quantities of which a reading tells what was added since the one before, so that a sum means something.
const ADDED_UP: [Quantity; 2] = [Quantity::Rain, Quantity::LeafWetness];

/// Reads a signal; reports every part that is wrong.
pub(super) fn signal<'n>(
    written: &Written<'_>,
    nodes: &'n [Node],
    faults: &Faults<'_>,
) -> Option<Meant<'n>> {
    let text = written.text()?;
    let Some((head, tail)) = words(text) else {
        let help = "write NODE/QUANTITY, such as \"mto-juu/water_level\"";
        faults.error(written.place, format!("\"{text}\" is no signal"), help);
        return None;
    };
    let function = function(text, tail, written, faults);
    let (slash, name) = text.get(head.clone()).and_then(|head| head.split_once('/'))?;
    let node_span = head.start..head.start + slash.len();
    let quantity_place = faults.inside(written.place, node_span.end + 1..head.end);
    let quantity = Quantity::from_name(name);
    if quantity.is_none() {
        unknown_quantity(name, quantity_place, faults);
    }
    let node_place = faults.inside(written.place, node_span);
    let found = find_nodes(slash, nodes);
    if found.is_empty() {
        let names: Vec<&str> = nodes.iter().map(|node| &*node.name.0).collect();
        unknown(faults, node_place, "node", slash, &names);
    }
    let (quantity, function) = (quantity?, function?);
    let signals: Vec<_> = found
        .iter()
        .filter_map(|(index, node)| {
            let sensor = node.sensors.iter().find(|sensor| sensor.quantity == quantity)?;
            Some((Signal { node: *index, quantity, function }, *node, sensor))
        })
        .collect();
    if signals.is_empty() && !found.is_empty() {
        let measured: Vec<&str> = found
            .iter()
            .flat_map(|(_, node)| node.sensors.iter().map(|sensor| sensor.quantity.name()))
            .collect();
        let help = format!("it measures {}", amount::list_text(&measured, "and"));
        faults.missing(quantity_place, format!("\"{slash}\" does not measure {quantity}"), help);
    }
    if matches!(function, Function::Sum(_)) && !ADDED_UP.contains(&quantity) {
        let help = "use `mean`, `max` or `change`; rain and leaf wetness add up";
        faults.error(written.place, format!("a sum of {quantity} means nothing"), help);
    }
    if quantity == Quantity::WindDirection
        && matches!(function, Function::Mean(_) | Function::Change(_) | Function::Rate(_))
    {
        let help =
            "359° and 1° are neighbours: look at the newest value, `inside` or `outside` a band";
        faults.error(written.place, "a direction has no mean and no change", help);
    }
    (!signals.is_empty()).then(|| Meant {
        signals,
        quantity,
        function,
        pattern: slash.contains('*'),
    })
}

/// Returns the nodes that a name or pattern means.
pub(super) fn find_nodes<'n>(written: &str, nodes: &'n [Node]) -> Vec<(NodeIndex, &'n Node)> {
    (0..).map(NodeIndex).zip(nodes).filter(|(_, n)| pattern::matches(written, &n.name.0)).collect()
}

/// Returns where `NODE/QUANTITY` stands, and where the function starts.
fn words(text: &str) -> Option<(Range<usize>, usize)> {
    let start = text.len() - text.trim_start().len();
    let rest = text.get(start..)?;
    let end = start + rest.find(char::is_whitespace).unwrap_or(rest.len());
    text.get(start..end)?.contains('/').then_some((start..end, end))
}

/// Reads the function and its window from byte `from` on.
fn function(
    text: &str,
    from: usize,
    written: &Written<'_>,
    faults: &Faults<'_>,
) -> Option<Function> {
    let rest = text.get(from..)?;
    let start = from + rest.len() - rest.trim_start().len();
    let rest = rest.trim();
    if rest.is_empty() {
        return Some(Function::Last);
    }
    let (word, window) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let names = FUNCTIONS.map(|(name, _)| name);
    let read = match FUNCTIONS.iter().find(|(name, _)| *name == word) {
        Some(_) if window.trim().is_empty() => complain(
            format!("`{word}` has no window"),
            format!("write it with a time, such as \"{word} 1 h\""),
        ),
        Some((_, make)) => match amount::duration(window) {
            Ok(window) if window.is_zero() => {
                complain("a window of no time holds nothing", "write such as \"1 h\"")
            }
            read => read.map(make),
        },
        None => complain(
            format!("unknown function \"{word}\""),
            match nearest(word, names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the functions are {}", amount::list_text(&names, "and")),
            },
        ),
    };
    let place = faults.inside(written.place, start..start + rest.len());
    read.map_err(|complaint| faults.error(place, complaint.message, complaint.help)).ok()
}
