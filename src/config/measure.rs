//! Amounts whose unit depends on the quantity: read where the quantity is known.

use super::amount::{self, Complaint, Meaning, complain};
use super::document::{Faults, Written};
use super::section::Section;
use crate::domain::quantity::Quantity;
use std::time::Duration;
use toml::de::DeValue;

/// Reads an amount; reports what is wrong with it.
pub(super) fn amount_of(
    written: &Written<'_>,
    quantity: Quantity,
    meaning: Meaning,
    faults: &Faults<'_>,
) -> Option<f64> {
    let read = match written.value {
        DeValue::String(text) => amount::amount(text, quantity, meaning),
        // A bare number has no unit: the same words say so.
        DeValue::Integer(number) => amount::amount(&number.to_string(), quantity, meaning),
        DeValue::Float(number) => amount::amount(&number.to_string(), quantity, meaning),
        // Reported when the section was made.
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            return None;
        }
    };
    report(read, written, faults)
}

fn report<T>(read: Result<T, Complaint>, written: &Written<'_>, faults: &Faults<'_>) -> Option<T> {
    read.map_err(|complaint| faults.error(written.place, complaint.message, complaint.help)).ok()
}

/// Reads the two ends of a band, the lower first.
pub(super) fn band_of(
    written: &Written<'_>,
    faults: &Faults<'_>,
    mut end: impl FnMut(&Written<'_>) -> Option<f64>,
) -> Option<(f64, f64)> {
    let ends: Vec<Option<f64>> = written.elements().map(|element| end(&element)).collect();
    let [Some(low), Some(high)] = ends[..] else { return None };
    if low >= high {
        let help = "write the lower end first";
        faults.error(written.place, "the band has no inside", help);
        return None;
    }
    Some((low, high))
}

/// Reads `"0.3 m in 15 min"`; both parts are more than nothing.
pub(super) fn change_of(
    section: &Section<'_>,
    key: &str,
    quantity: Quantity,
    faults: &Faults<'_>,
) -> Option<(f64, Duration)> {
    let written = section.written(key)?;
    let text = written.text()?;
    let read = || {
        let Some((change, within)) = text.split_once(" in ") else {
            return complain(
                format!("\"{text}\" does not say in what time"),
                format!("write such as \"0.3 {} in 15 min\"", quantity.symbol()),
            );
        };
        let change = amount::amount(change, quantity, Meaning::Difference)?;
        let within = amount::duration(within)?;
        if change <= 0.0 || within.is_zero() {
            return complain(
                format!("\"{text}\" is no change"),
                "write a change and a time that are both more than nothing",
            );
        }
        Ok((change, within))
    };
    report(read(), &written, faults)
}

/// Reads an amount at `key` that is more than nothing.
pub(super) fn positive(
    section: &Section<'_>,
    key: &str,
    quantity: Quantity,
    faults: &Faults<'_>,
) -> Option<f64> {
    let written = section.written(key)?;
    let value = amount_of(&written, quantity, Meaning::Difference, faults)?;
    if value <= 0.0 {
        faults.error(written.place, "this must be more than nothing", "write a value above zero");
        return None;
    }
    Some(value)
}

/// Reads the name of a quantity at `key`; reports one that does not exist.
pub(super) fn quantity_at(
    section: &Section<'_>,
    key: &str,
    faults: &Faults<'_>,
) -> Option<Quantity> {
    let written = section.written(key)?;
    let name = written.text()?;
    let quantity = Quantity::from_name(name);
    if quantity.is_none() {
        unknown_quantity(name, written.place, faults);
    }
    quantity
}

/// Reports a quantity that does not exist.
pub(super) fn unknown_quantity(name: &str, at: super::document::Place, faults: &Faults<'_>) {
    let known: Vec<&str> = Quantity::all().map(Quantity::name).collect();
    let help = match amount::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the quantities are {}", amount::list_text(&known, "and")),
    };
    faults.error(at, format!("unknown quantity \"{name}\""), help);
}

/// Writes a value without digits that only come from computing.
pub(super) fn number_text(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}
