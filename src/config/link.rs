//! `[report.NAME]` and `[node.NAME.wf1]`: nodes of our own radio link.

use super::amount::Meaning;
use super::document::Faults;
use super::measure::{amount_of, number_text, positive, quantity_at};
use super::people::{checked_name, unknown};
use super::section::Section;
use super::settings::LorawanNode;
use crate::domain::node::Node;
use crate::domain::quantity::Quantity;

/// Fields of a report (`docs/formats/wf1.md`).
const FIELDS_MAX: usize = 12;
/// Codes of a field that are no value.
const SPECIAL_CODES: i64 = 4;

/// `[report.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Its values, in order.
    pub fields: Vec<ReportField>,
}

/// `[[report.NAME.field]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportField {
    /// What is measured.
    pub quantity: Quantity,
    /// The lowest value, thousandths of the quantity's own unit.
    pub min_milli: i32,
    /// Between two values, thousandths.
    pub step_milli: u32,
    /// 3 to 24.
    pub bits: u8,
}

/// `[node.NAME.wf1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkNode {
    /// Place of the node in the rule book.
    pub place: usize,
    /// Name of its report.
    pub report: String,
    /// When it can be told something.
    pub listens: LinkListens,
}

/// When a node of our own link can be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkListens {
    /// Never.
    Never,
    /// Behind each of its own frames.
    AfterItsFrames,
    /// At any time.
    Always,
}

/// Reads every `[report.NAME]`.
pub(super) fn reports(root: &Section<'_>, faults: &Faults<'_>) -> Vec<Report> {
    root.named("report").iter().map(|section| report(section, faults)).collect()
}

fn report(section: &Section<'_>, faults: &Faults<'_>) -> Report {
    let name = checked_name(section, faults);
    let written = section.tables("field");
    if written.is_empty() || written.len() > FIELDS_MAX {
        let message = format!("a report has 1 to {FIELDS_MAX} fields, not {}", written.len());
        let help = "write a [[report.NAME.field]] for each value";
        faults.error(section.place, message, help);
    }
    let mut fields: Vec<ReportField> = Vec::new();
    for section in &written {
        let Some(field) = field(section, faults) else { continue };
        if fields.iter().any(|other| other.quantity == field.quantity) {
            let help = "a node says each quantity once";
            let message = format!("{} stands in this report already", field.quantity);
            faults.error(section.place_of("quantity"), message, help);
        }
        fields.push(field);
    }
    Report { name, fields }
}

fn field(section: &Section<'_>, faults: &Faults<'_>) -> Option<ReportField> {
    let quantity = quantity_at(section, "quantity", faults);
    let bits = section.small("bits");
    let quantity = quantity?;
    let min = section.written("min")?;
    let min = amount_of(&min, quantity, Meaning::Value, faults)?;
    let step = positive(section, "step", quantity, faults)?;
    let min_milli = thousandths(section, "min", min, faults)?;
    let step_milli = thousandths(section, "step", step, faults)?;
    let steps = (1_i64 << bits.clamp(3, 24)) - SPECIAL_CODES - 1;
    let max_milli = min_milli + steps * step_milli;
    if i32::try_from(max_milli).is_err() {
        #[expect(clippy::cast_precision_loss, reason = "far from 2^53")]
        let max = number_text(max_milli as f64 / 1000.0);
        let message = format!("the field would reach up to {max} {}", quantity.symbol());
        faults.error(section.place_of("bits"), message, "take fewer bits, or a smaller step");
        return None;
    }
    let (min_milli, step_milli) = (i32::try_from(min_milli).ok()?, u32::try_from(step_milli).ok()?);
    Some(ReportField { quantity, min_milli, step_milli, bits })
}

/// Returns a value in thousandths, which it must be a whole number of.
fn thousandths(section: &Section<'_>, key: &str, value: f64, faults: &Faults<'_>) -> Option<i64> {
    let milli = (value * 1000.0).round();
    let is_whole = (value * 1000.0 - milli).abs() < 1e-6;
    if !is_whole || milli.abs() > f64::from(i32::MAX) {
        let message = format!("`{key}` is no whole number of thousandths");
        let help = "a report counts in thousandths of the quantity's own unit: write such as \"5 mm\" or \"0.1 °C\"";
        faults.error(section.place_of(key), message, help);
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 32 bits")]
    Some(milli as i64)
}

/// Reads `[node.NAME.wf1]` of every node, the node by its place.
pub(super) fn nodes(
    root: &Section<'_>,
    declared: &[Node],
    reports: &[Report],
    lorawan: &[LorawanNode],
    faults: &Faults<'_>,
) -> Vec<LinkNode> {
    let mut nodes = Vec::new();
    for (place, node) in root.named("node").iter().enumerate() {
        let Some(section) = node.child("wf1") else { continue };
        if lorawan.iter().any(|other| other.place == place) {
            let help = "remove one of them";
            faults.error(section.place, "the node speaks LoRaWAN already", help);
        }
        let listens = match section.get::<String>("listens").as_str() {
            "never" => LinkListens::Never,
            "always" => LinkListens::Always,
            _ => LinkListens::AfterItsFrames,
        };
        let report: String = section.get("report");
        match reports.iter().find(|known| known.name == report) {
            Some(known) => undeclared(&section, place, declared, known, faults),
            None if report.is_empty() => {}
            None => {
                let known: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
                unknown(faults, section.place_of("report"), "report", &report, &known);
            }
        }
        nodes.push(LinkNode { place, report, listens });
    }
    nodes
}

/// Warns of what a node would say that it is not declared to measure.
fn undeclared(
    section: &Section<'_>,
    place: usize,
    declared: &[Node],
    report: &Report,
    faults: &Faults<'_>,
) {
    let Some(node) = declared.get(place) else { return };
    for field in &report.fields {
        if !node.sensors.iter().any(|sensor| sensor.quantity == field.quantity) {
            let quantity = field.quantity;
            let message = format!("node \"{}\" is not declared to measure {quantity}", node.name);
            let help = format!(
                "add [node.{}.sensor.{}], or its values are not kept",
                node.name,
                quantity.name()
            );
            faults.warn(section.place_of("report"), message, help);
        }
    }
}
