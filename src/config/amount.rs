//! Values as people write them: `"2.4 m"`, `"15 min"`, `"10 per min"`, `"64 KiB"`.

use super::settings::Rate;
use crate::domain::quantity::{Quantity, Unit};
use std::fmt::Write as _;
use std::time::Duration;

/// Why a value cannot be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) help: String,
}

/// Says what is wrong, and what to do.
pub(super) fn complain<T>(
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, Complaint> {
    Err(Complaint { message: message.into(), help: help.into() })
}

/// Longest duration that can be written: a hundred years, so that no sum of durations overflows.
const DURATION_MAX: Duration = Duration::from_hours(100 * 366 * 24);

/// Units of durations, with their seconds.
const DURATION_UNITS: [(&str, f64); 6] =
    [("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// What people write instead of those.
const DURATION_WORDS: [(&str, &[&str]); 5] = [
    ("s", &["sec", "secs", "second", "seconds"]),
    ("min", &["m", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("d", &["day", "days"]),
    ("w", &["week", "weeks"]),
];

const DURATION_HELP: &str = "write a number and ms, s, min, h, d or w, such as \"15 min\"";

/// Splits a number from what follows it, spaces between them dropped. `None` when no number comes first.
pub(super) fn split_number(written: &str) -> Option<(f64, &str)> {
    let written = written.trim();
    let end = written
        .char_indices()
        .find(|(i, c)| {
            !(c.is_ascii_digit() || *c == '.' || *i == 0 && matches!(c, '+' | '-' | '−'))
        })
        .map_or(written.len(), |(i, _)| i);
    let (number, rest) = written.split_at_checked(end)?;
    let value = number.replace('−', "-").parse::<f64>().ok()?;
    Some((value, rest.trim_start()))
}

/// Reads `"15 min"` or `"1 h 30 min"`.
pub(super) fn duration(written: &str) -> Result<Duration, Complaint> {
    let mut rest = written.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return complain("a duration is missing", DURATION_HELP);
    }
    while !rest.is_empty() {
        let Some((number, tail)) = split_number(rest) else {
            return complain(format!("\"{written}\" is no duration"), DURATION_HELP);
        };
        if number < 0.0 || rest.starts_with(['-', '−']) {
            return complain(format!("\"{written}\" is less than nothing"), DURATION_HELP);
        }
        let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let Some((unit, tail)) = tail.split_at_checked(end) else {
            return complain(format!("\"{written}\" is no duration"), DURATION_HELP);
        };
        seconds += number * duration_unit(written, unit)?;
        rest = tail.trim_start();
    }
    match Duration::try_from_secs_f64(seconds) {
        // Whole milliseconds: the engine's own grain.
        Ok(duration) if duration <= DURATION_MAX => {
            Ok(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
        }
        Ok(_) | Err(_) => {
            complain(format!("\"{written}\" is too long"), "write at most a hundred years")
        }
    }
}

/// Reads a duration that stands on the command line, as the configuration's are written.
///
/// # Errors
///
/// Says what is wrong, and what to write.
pub fn span_as_written(written: &str) -> Result<Duration, String> {
    duration(written).map_err(|complaint| format!("{}; {}", complaint.message, complaint.help))
}

fn duration_unit(written: &str, unit: &str) -> Result<f64, Complaint> {
    if let Some((_, seconds)) = DURATION_UNITS.iter().find(|(symbol, _)| *symbol == unit) {
        return Ok(*seconds);
    }
    if unit.is_empty() {
        return complain(format!("\"{written}\" has no unit of time"), DURATION_HELP);
    }
    match DURATION_WORDS.iter().find(|(_, words)| words.contains(&&*unit.to_lowercase())) {
        Some((symbol, _)) => {
            complain(format!("unknown unit of time \"{unit}\""), format!("write \"{symbol}\""))
        }
        None => complain(format!("unknown unit of time \"{unit}\""), DURATION_HELP),
    }
}

/// Writes a duration as people would, such as `1 h 30 min`.
pub(super) fn duration_text(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (symbol, unit) in
        [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)]
    {
        if rest >= unit {
            let gap = if text.is_empty() { "" } else { " " };
            write!(text, "{gap}{} {symbol}", rest / unit).expect("a String takes all");
            rest %= unit;
        }
    }
    if text.is_empty() { "0 s".to_owned() } else { text }
}

/// Reads `"10 per min"` or `"1 per 6 s"`.
pub(super) fn rate(written: &str) -> Result<Rate, Complaint> {
    let help = "write how many in what time, such as \"10 per min\" or \"1 per 6 s\"";
    let Some((count, per)) = written.split_once(" per ") else {
        return complain(format!("\"{written}\" is no rate"), help);
    };
    let Ok(count @ 1..) = count.trim().parse::<u32>() else {
        return complain(format!("\"{}\" is no whole number from 1", count.trim()), help);
    };
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        duration(per)?
    } else {
        Duration::from_secs_f64(duration_unit(per, per)?)
    };
    if per.is_zero() {
        return complain(format!("\"{written}\" leaves no time"), help);
    }
    Ok(Rate { count, per })
}

/// Units of sizes, with their bytes.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `"64 KiB"` into bytes.
pub(super) fn size(written: &str) -> Result<u64, Complaint> {
    let help = "write a whole number and B, kB, MB, GB, KiB, MiB or GiB, such as \"64 KiB\"";
    let digits = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
    let read = written.split_at_checked(digits).and_then(|(number, unit)| {
        let (_, factor) = SIZE_UNITS.iter().find(|(symbol, _)| *symbol == unit.trim())?;
        number.parse::<u64>().ok()?.checked_mul(*factor)
    });
    match read {
        Some(bytes) => Ok(bytes),
        None => complain(format!("\"{written}\" is no size"), help),
    }
}

/// What a number with a unit stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A value of the quantity: 41 °F is 5 °C.
    Value,
    /// A difference between two values: 9 °F is 5 °C.
    Difference,
    /// A difference per hour, such as `"0.2 m/h"`.
    PerHour,
}

/// Returns the unit of `quantity` that is spelled so.
pub(super) fn unit(spelled: &str, quantity: Quantity) -> Result<Unit, Complaint> {
    // U+03BC and U+00B5 look alike: keyboards give either.
    let spelled = spelled.replace('\u{3bc}', "\u{b5}");
    if let Some(unit) = quantity.units().iter().find(|unit| unit.symbol == spelled) {
        return Ok(*unit);
    }
    let mut help = format!("{quantity} is written in {}", units_text(quantity));
    let others: Vec<&str> = Quantity::all()
        .filter(|other| other.units().iter().any(|unit| unit.symbol == spelled))
        .map(Quantity::name)
        .collect();
    if others.is_empty() {
        let symbols = quantity.units().iter().map(|unit| unit.symbol);
        if let Some(near) = nearest(&spelled, symbols) {
            help = format!("did you mean \"{near}\"? {help}");
        }
        complain(format!("unknown unit \"{spelled}\""), help)
    } else {
        complain(
            format!("\"{spelled}\" is no unit of {quantity}"),
            format!("{help}; \"{spelled}\" is a unit of {}", others.join(", ")),
        )
    }
}

fn units_text(quantity: Quantity) -> String {
    let symbols: Vec<&str> = quantity.units().iter().map(|unit| unit.symbol).collect();
    list_text(&symbols, "or")
}

/// Joins words as a sentence does: `a, b or c`.
pub(super) fn list_text<S: AsRef<str>>(words: &[S], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., end] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} {last} {}", first.join(", "), end.as_ref())
        }
    }
}

/// Reads a number with a unit of `quantity` into the quantity's own unit.
pub(super) fn amount(
    written: &str,
    quantity: Quantity,
    meaning: Meaning,
) -> Result<f64, Complaint> {
    let own = match meaning {
        Meaning::Value | Meaning::Difference => quantity.symbol().to_owned(),
        Meaning::PerHour => format!("{}/h", quantity.symbol()),
    };
    let Some((number, spelled)) = split_number(written) else {
        return complain(
            format!("\"{written}\" is no number with a unit"),
            format!("write it such as \"2.5 {own}\""),
        );
    };
    if spelled.is_empty() {
        return complain(
            format!("\"{written}\" has no unit"),
            format!("write \"{number} {own}\"; {quantity} is written in {}", units_text(quantity)),
        );
    }
    if spelled.starts_with(',') {
        return complain(
            format!("\"{written}\" has a comma"),
            "write a point before the decimals, such as \"2.5 m\"",
        );
    }
    match meaning {
        Meaning::Value => unit(spelled, quantity).map(|u| number * u.factor + u.offset),
        Meaning::Difference => unit(spelled, quantity).map(|u| number * u.factor),
        Meaning::PerHour => {
            let split = spelled.rsplit_once('/').and_then(|(unit, time)| {
                let (_, seconds) =
                    DURATION_UNITS.iter().find(|(symbol, _)| *symbol == time.trim())?;
                Some((unit.trim(), *seconds))
            });
            match split {
                Some((spelled, seconds)) => {
                    unit(spelled, quantity).map(|u| number * u.factor * 3600.0 / seconds)
                }
                None => complain(
                    format!("\"{written}\" is no rate of change"),
                    format!("write a unit per time, such as \"{number} {own}\""),
                ),
            }
        }
    }
}

/// Returns the word among `words` that `written` was probably meant to be.
pub(super) fn nearest<'w>(
    written: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    let lower = written.to_lowercase();
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= (word.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_taken_as_people_write_them() {
        for (written, seconds) in
            [("15 min", 900.0), ("90s", 90.0), ("1 h 30 min", 5400.0), ("0.5 h", 1800.0)]
        {
            assert_eq!(duration(written), Ok(Duration::from_secs_f64(seconds)), "{written}");
        }
        assert_eq!(duration("2 w").map(duration_text), Ok("14 d".to_owned()));
        assert_eq!(duration_text(Duration::from_millis(5_400_001)), "1 h 30 min 1 ms");
        assert_eq!(duration_text(Duration::ZERO), "0 s");
    }

    #[test]
    fn a_duration_that_is_none_is_refused_with_what_to_write() {
        assert_eq!(duration("15 minutes").unwrap_err().help, "write \"min\"");
        for written in
            ["", " ", "min", "15", "-5 min", "5 parsec", "1 h -3 min", "1e9 d", "9999 w 9"]
        {
            assert!(duration(written).is_err(), "{written}");
        }
        assert!(duration("99999999999999999999 d").unwrap_err().message.contains("too long"));
    }

    #[test]
    fn rates_and_sizes_carry_their_units() {
        assert_eq!(rate("10 per min"), Ok(Rate { count: 10, per: Duration::from_mins(1) }));
        assert_eq!(rate("1 per 6 s").map(Rate::interval), Ok(Duration::from_secs(6)));
        for written in ["10", "0 per min", "ten per min", "1 per 0 s", "1 per fortnight"] {
            assert!(rate(written).is_err(), "{written}");
        }
        assert_eq!(size("64 KiB"), Ok(65_536));
        assert!(size("64").is_err() && size("18446744073709551615 GB").is_err());
    }

    #[test]
    fn amounts_end_in_the_quantitys_own_unit() {
        let close = |written, quantity, meaning, expected: f64| {
            let value = amount(written, quantity, meaning).unwrap();
            assert!((value - expected).abs() < 1e-9, "{written} is {value}");
        };
        close("240 cm", Quantity::WaterLevel, Meaning::Value, 2.4);
        close("2.4m", Quantity::WaterLevel, Meaning::Value, 2.4);
        close("−2 °C", Quantity::AirTemperature, Meaning::Value, -2.0);
        close("41 °F", Quantity::AirTemperature, Meaning::Value, 5.0);
        close("9 °F", Quantity::AirTemperature, Meaning::Difference, 5.0);
        close("1 cm/min", Quantity::WaterLevel, Meaning::PerHour, 0.6);
        close("3.6 km/h/h", Quantity::WindSpeed, Meaning::PerHour, 1.0);
        close("5 \u{3bc}g/m³", Quantity::Pm25, Meaning::Value, 5.0);
    }

    #[test]
    fn a_wrong_unit_is_told_from_a_missing_and_an_unknown_one() {
        let complaint =
            |written| amount(written, Quantity::WaterLevel, Meaning::Value).unwrap_err();
        assert!(complaint("2.4").help.starts_with("write \"2.4 m\""));
        assert!(complaint("2.4 °C").help.contains("unit of air_temperature"));
        assert!(complaint("2.4 cms").help.starts_with("did you mean \"cm\"?"));
        assert!(complaint("2,4 m").message.contains("comma"));
        assert!(complaint("high").message.contains("no number"));
    }

    #[test]
    fn a_word_is_suggested_only_when_it_is_near() {
        assert_eq!(nearest("intervall", ["interval", "place"]), Some("interval"));
        assert_eq!(nearest("colour", ["interval", "place"]), None);
    }
}
