//! How long a field node lives on its cell.

use super::Failure;
use super::print::{self, Style};
use kengele::config::span_as_written;
use kengele::domain::power::{Budget, CELLS, Cell, Load, Sensor, budget};
use kengele::domain::radio::Modulation;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) const HELP: &str = "\
Examples:
  kengele node battery                                   a level node on one 18650, every 10 minutes
  kengele node battery --interval \"15 min\" --spreading-factor 12 --cell er34615
  kengele node battery --sensor climate,soil --cell 2xaa-lithium --celsius -5
  kengele node battery --listening --cell 2x18650        a siren without sun: days, not years

Reckoned from data sheets, not measured; src/domain/power.rs names the source of each current.";

#[derive(Debug, clap::Args)]
pub(crate) struct Battery {
    /// Reports so often
    #[arg(long, value_name = "SPAN", default_value = "10 min", value_parser = span)]
    interval: Duration,
    /// Measures so often [default: 2 min, or at each report]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    sample: Option<Duration>,
    /// LoRa's spreading factor
    #[arg(long, value_name = "7..12", default_value_t = 9, value_parser = clap::value_parser!(u8).range(7..=12))]
    spreading_factor: u8,
    /// Bandwidth, kHz
    #[arg(long, value_name = "KHZ", default_value = "125", value_parser = ["125", "250", "500"])]
    bandwidth: String,
    /// Power of the radio, dBm
    #[arg(long, value_name = "DBM", default_value_t = 14, allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-9..=22))]
    power: i8,
    /// Payload of a report, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 11, value_parser = clap::value_parser!(u8).range(1..=243))]
    payload: u8,
    /// Its cell: 18650, 2x18650, lfp-32700, 2xaa-lithium, 3xaa-alkaline, er34615
    #[arg(long, default_value = "18650", value_parser = cell)]
    cell: Cell,
    /// Temperature of the cell, °C
    #[arg(long, value_name = "DEGREES", default_value_t = 25.0, allow_negative_numbers = true, value_parser = celsius)]
    celsius: f64,
    /// Its sensors: ultrasonic, echo, climate, bucket, soil
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "ultrasonic,climate,bucket", value_parser = sensor)]
    sensor: Vec<Sensor>,
    /// Frames and acknowledgements that are lost, of a hundred
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=99))]
    loss: u8,
    /// It listens all the time, as a siren does
    #[arg(long)]
    listening: bool,
}

fn span(written: &str) -> Result<Duration, String> {
    let span = span_as_written(written)?;
    if span < Duration::from_secs(1) {
        return Err("less than a second; write at least \"1 s\"".to_owned());
    }
    Ok(span)
}

fn cell(written: &str) -> Result<Cell, String> {
    Cell::named(written).ok_or_else(|| {
        let names: Vec<&str> = CELLS.iter().map(|cell| cell.name).collect();
        format!("unknown cell; write one of {}", names.join(", "))
    })
}

fn sensor(written: &str) -> Result<Sensor, String> {
    Sensor::ALL.into_iter().find(|sensor| sensor.name() == written).ok_or_else(|| {
        let names: Vec<&str> = Sensor::ALL.iter().map(|sensor| sensor.name()).collect();
        format!("unknown sensor; write one of {}", names.join(", "))
    })
}

fn celsius(written: &str) -> Result<f64, String> {
    let degrees: f64 = written.parse().map_err(|_| "no number of degrees".to_owned())?;
    if (-40.0..=70.0).contains(&degrees) {
        Ok(degrees)
    } else {
        Err("write -40 to 70: beyond that no such cell works".to_owned())
    }
}

pub(crate) fn run(asked: &Battery, style: Style) -> Result<(), Failure> {
    let sample = asked.sample.unwrap_or(Duration::from_mins(2).min(asked.interval));
    if sample > asked.interval {
        let words = "--sample is longer than --interval; a node measures at least once a report";
        return Err(Failure::Usage(words.to_owned()));
    }
    let bandwidth_hz = asked.bandwidth.parse::<u32>().map_or(125_000, |khz| khz * 1000);
    let load = Load {
        interval: asked.interval,
        sample,
        modulation: Modulation::Lora { spreading_factor: asked.spreading_factor, bandwidth_hz },
        power_dbm: asked.power,
        payload_bytes: usize::from(asked.payload),
        sensors: asked.sensor.clone(),
        loss_percent: f64::from(asked.loss),
        listens_always: asked.listening,
    };
    let budget = budget(&load, &asked.cell, asked.celsius);
    if style.json {
        print::json(&as_json(&budget, asked));
    } else {
        show(&budget, asked);
    }
    Ok(())
}

fn as_json(budget: &Budget, asked: &Battery) -> Value {
    let parts: Vec<Value> = budget
        .parts
        .iter()
        .map(|part| {
            json!({
                "part": part.name,
                "average_ua": part.average_ma * 1000.0,
                "mah_a_day": budget.mah_a_day(part),
            })
        })
        .collect();
    json!({
        "cell": asked.cell.name,
        "celsius": asked.celsius,
        "parts": parts,
        "average_ua": budget.average_ma * 1000.0,
        "self_discharge_ua": budget.self_discharge_ma * 1000.0,
        "usable_mah": budget.usable_mah,
        "days": budget.days,
        "replaced_by_age": budget.is_old_first,
        "time_on_air_ms": budget.time_on_air.as_secs_f64() * 1000.0,
        "frames_a_report": budget.frames_a_report,
        "airtime_percent": budget.airtime_percent,
    })
}

fn show(budget: &Budget, asked: &Battery) {
    let all_ma = budget.average_ma + budget.self_discharge_ma;
    let row = |name: &str, average_ma: f64| {
        vec![
            name.to_owned(),
            format!("{:.1} µA", average_ma * 1000.0),
            format!("{:.3} mAh", average_ma * 24.0),
            format!("{:.0} %", average_ma / all_ma * 100.0),
        ]
    };
    let drawing = budget.parts.iter().filter(|part| part.average_ma > 0.0);
    let mut rows: Vec<Vec<String>> = drawing.map(|part| row(part.name, part.average_ma)).collect();
    rows.push(row("together", budget.average_ma));
    rows.push(row("the cell by itself", budget.self_discharge_ma));
    print::table(&["what", "average", "a day", "share"], &rows);
    print::line("");
    print::line(&format!(
        "Report: {:.0} ms on the air, {:.2} frames each, {:.3} % of the time",
        budget.time_on_air.as_secs_f64() * 1000.0,
        budget.frames_a_report,
        budget.airtime_percent
    ));
    if budget.airtime_percent > 1.0 {
        print::line(
            "  more than the 1 % that Europe's plans and others allow: the node would hold reports back",
        );
    }
    print::line(&format!(
        "Cell: {} ({}), {:.0} of {:.0} mAh at {} °C",
        asked.cell.name,
        asked.cell.about,
        budget.usable_mah,
        asked.cell.capacity_mah,
        asked.celsius
    ));
    print::line(&format!("Lasts: {}", lasts(budget)));
}

fn lasts(budget: &Budget) -> String {
    let span = if budget.days >= 730.0 {
        format!("{:.1} years", budget.days / 365.25)
    } else if budget.days >= 60.0 {
        format!("{:.0} months", budget.days / 30.44)
    } else {
        format!("{:.0} days", budget.days)
    };
    if budget.is_old_first { format!("{span}, then it is old, not empty") } else { span }
}
