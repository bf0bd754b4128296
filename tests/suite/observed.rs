//! Real observations, published by mosquitto's own client into a running gateway, and replayed.
//!
//! The series stay with their owners: `peers::reference` finds them, or fails the test.

use crate::gateway::Site;
use crate::peers::{reference, wait_for};
use kengele::sim::village::Places;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const GATEWAY: &str = r#"
[gateway]
name = "observed"
sender = "Test"
language = "en"
timezone = "UTC"
data = "@FOLDER@/data"
socket = "@FOLDER@/kengele.sock"
[listener]
listen = ["@MQTT@"]
[[listener.credential]]
user = "vituo"
password_file = "@FOLDER@/secrets/vituo"
nodes = ["*"]
[[topic]]
template = "field/{node}/up"
format = "json"
time = "t"
time_unit = "rfc3339"
[topic.field]
level = { quantity = "water_level", unit = "m" }
temperature = { quantity = "air_temperature", unit = "°C" }
humidity = { quantity = "humidity", unit = "%" }
wind = { quantity = "wind_speed", unit = "m/s" }
rain = { quantity = "rain", unit = "mm" }
[area.here]
name = "Here"
[role.warden]
channels = ["sim"]
[role.household]
channels = ["provider"]
[modem.sim]
port = "@MODEM@"
rate = "6000 per min"
[sms_provider.provider]
preset = "sms-gateway-android"
url = "@PROVIDER@"
settings = { username = "sms" }
secret_files = { password = "@FOLDER@/secrets/provider" }
rate = "100 per s"
poll_every = "1 s"
"#;

fn rows(path: &PathBuf) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

async fn site(rules: &str) -> Site {
    let rules = rules.to_owned();
    let mut site = Site::of(move |places: &Places<'_>| {
        let text = format!("{GATEWAY}{rules}")
            .replace("@FOLDER@", &places.folder.display().to_string())
            .replace("@MQTT@", &places.mqtt.to_string())
            .replace("@MODEM@", &places.modem.display().to_string())
            .replace("@PROVIDER@", places.provider);
        let people = "name,number,role,language,areas,consent\n\
                      Warden,+255700000001,warden,en,*,yes\nHome,+255700000004,household,en,*,yes\n";
        vec![
            ("kengele.toml".to_owned(), text),
            ("people.csv".to_owned(), people.to_owned()),
            ("secrets/vituo".to_owned(), kengele::sim::village::NODES_PASSWORD.to_owned()),
            ("secrets/provider".to_owned(), "simulated-only".to_owned()),
        ]
    })
    .await;
    let imported = site.kengele(&["people", "import", &site.file("people.csv")]);
    assert!(imported.contains("2 new"), "{imported}");
    site.start().await;
    wait_for("the modem is registered", || site.log().contains("registered=true")).await;
    site
}

/// What is the same of the alerts of a series whether it took an instant or a month: all but those that say again, in time,
/// what still holds.
fn decisions<'a>(alerts: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    let anew = |alert: &&Value| alert["reason"] != "reissued";
    let words = |alert: &Value| format!("{} {}", text(alert, "reason"), text(alert, "level"));
    alerts.into_iter().filter(anew).map(words).collect()
}

fn replayed(site: &Site, csv: &Path, map: &[&str], missing: &str) -> Value {
    let csv = csv.display().to_string();
    let maps = map.iter().flat_map(|map| ["--map", map]);
    let arguments: Vec<&str> =
        ["replay", "--readings", &csv, "--missing", missing].into_iter().chain(maps).collect();
    site.ask(&arguments)
}

fn alerts_of(warnings: &Value) -> Vec<String> {
    let oldest_first = warnings.as_array().unwrap().iter().rev();
    decisions(oldest_first.flat_map(|w| w["alerts"].as_array().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storm_of_drogden_warns_and_its_isolated_spike_does_not() {
    let csv = reference("obs_drogden_sealevel_30min.csv");
    let site = site(
        r#"
[node.drogden]
place = "Drogden"
interval = "30 min"
silent_after = "4 h"
[node.drogden.sensor.water_level]
range = ["-3 m", "3 m"]
spike = "0.4 m"
decimals = 2
[rule.surge]
hazard = "surge"
area = "here"
cool_down = "0 s"
[[rule.surge.level]]
level = "warning"
signal = "drogden/water_level"
above = "0.9 m"
hysteresis = "0.2 m"
audience = ["warden", "household"]
text.en = "SURGE {value} at {place}. {tag}"
[rule.surge.all_clear]
en = "OVER {tag}"
"#,
    )
    .await;
    let rows = rows(&csv);
    let mut lines = String::new();
    for row in &rows {
        writeln!(lines, r#"{{"t":"{}","level":{}}}"#, row[0], row[1]).unwrap();
    }
    assert!(site.mosquitto("field/drogden/up", &lines, 60), "all are acknowledged");
    wait_for("all are stored", || site.stored() == rows.len()).await;

    // The spike: 1.26 m and 1.51 m, higher than the storm, and 1.12 m beside them, between lower readings.
    let above = |row: &&Vec<String>| row[1].parse::<f64>().unwrap() >= 0.9;
    let spike = rows.iter().filter(above).filter(|row| row[0].starts_with("2022-01-21")).count();
    assert!(spike >= 2, "{spike} readings of 21 January are above the threshold");

    let replay = replayed(&site, &csv, &["level_m=drogden/water_level"], "none");
    let alerts = replay["alerts"].as_array().unwrap();
    let raised: Vec<&str> = alerts
        .iter()
        .filter(|alert| alert["reason"] == "raised")
        .map(|alert| alert["time"].as_str().unwrap())
        .collect();
    assert!(raised.iter().any(|at| at.starts_with("2022-01-30")), "{raised:?}");
    assert!(raised.iter().all(|at| !at.starts_with("2022-01-21")), "{raised:?}");

    // What was judged live is what the replay of the same series judges.
    let live = alerts_of(&site.ask(&["warnings"]));
    assert_eq!(live, decisions(alerts));
    for number in ["+255700000001", "+255700000004"] {
        wait_for("the texts arrive", || {
            site.texts_of(number).iter().any(|text| text.starts_with("SURGE 0.9"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winters_day_of_minutes_at_alamosa_is_judged_as_by_hand() {
    let csv = reference("obs_surfrad_alamosa_1min.csv");
    let site = site(
        r#"
[node.alamosa]
place = "Alamosa"
interval = "1 min"
[node.alamosa.sensor.air_temperature]
range = ["-40 °C", "50 °C"]
decimals = 1
[node.alamosa.sensor.humidity]
[node.alamosa.sensor.wind_speed]
[rule.frost]
hazard = "frost"
area = "here"
[[rule.frost.level]]
level = "warning"
signal = "alamosa/air_temperature"
below = "-20 °C"
hold = "30 min"
hysteresis = "2 °C"
audience = ["warden"]
text.en = "FROST {value} {tag}"
[rule.frost.all_clear]
en = "OVER {tag}"
"#,
    )
    .await;
    let rows = rows(&csv);
    let mut lines = String::new();
    let mut values = 0;
    for row in &rows {
        let (time, temperature, humidity, wind) = (&row[0], &row[2], &row[3], &row[4]);
        values += 3;
        writeln!(
            lines,
            r#"{{"t":"{time}","temperature":{temperature},"humidity":{humidity},"wind":{wind}}}"#
        )
        .unwrap();
    }
    assert!(site.mosquitto("field/alamosa/up", &lines, 60), "all are acknowledged");
    wait_for("all are stored", || site.stored() == values).await;

    // By hand: cold from -20 °C on until it is warmer than -18 °C; the first minute that is half an hour into it.
    let (mut since, mut expected) = (None, None);
    for (minute, row) in rows.iter().enumerate() {
        let celsius: f64 = row[2].parse().unwrap();
        let goes_on = if since.is_some() { celsius <= -18.0 } else { celsius <= -20.0 };
        since = goes_on.then(|| since.unwrap_or(minute));
        if expected.is_none() && since.is_some_and(|since| minute >= since + 30) {
            expected = Some(minute);
        }
    }
    let replay = replayed(
        &site,
        &csv,
        &[
            "temp_c=alamosa/air_temperature",
            "rh_pct=alamosa/humidity",
            "wind_ms=alamosa/wind_speed",
        ],
        "-9999.9",
    );
    let alerts = replay["alerts"].as_array().unwrap();
    assert_eq!(alerts[0]["time"].as_str().unwrap(), rows[expected.unwrap()][0], "{alerts:?}");
    assert_eq!(alerts_of(&site.ask(&["warnings"])), decisions(alerts));
    wait_for("the text arrives", || {
        site.texts_of("+255700000001").iter().any(|text| text.starts_with("FROST -20."))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rain_of_three_days_in_seattle_is_summed_as_by_hand() {
    let csv = reference("obs_seattle_daily.csv");
    let site = site(
        r#"
[node.seattle]
place = "Seattle"
interval = "1 d"
silent_after = "5 d"
late_after = "10 d"
[node.seattle.sensor.rain]
range = ["0 mm", "500 mm"]
decimals = 1
[rule.landslide]
hazard = "landslide"
area = "here"
cool_down = "0 s"
valid = "30 d"
[[rule.landslide.level]]
level = "warning"
signal = "seattle/rain sum 72 h"
above = "70 mm"
hysteresis = "30 mm"
clear_hold = "0 s"
audience = ["household"]
text.en = "SOAKED {value} {tag}"
[rule.landslide.all_clear]
en = "OVER {tag}"
"#,
    )
    .await;
    let rows = rows(&csv);
    let mut lines = String::new();
    for row in &rows {
        let day = row[0].replace('/', "-");
        writeln!(lines, r#"{{"t":"{day}T00:00:00Z","rain":{}}}"#, row[1]).unwrap();
    }
    assert!(site.mosquitto("field/seattle/up", &lines, 60), "all are acknowledged");
    wait_for("all are stored", || site.stored() == rows.len()).await;

    // By hand: sums of three days, raised at 70 mm, ended at 40 mm or less. Whole tenths: no rounding.
    let tenths: Vec<i64> =
        rows.iter().map(|row| row[1].replace('.', "").parse::<i64>().unwrap()).collect();
    assert!(rows.iter().all(|row| row[1].split('.').nth(1).is_some_and(|t| t.len() == 1)));
    let (mut expected, mut open) = (Vec::new(), false);
    for (day, row) in rows.iter().enumerate() {
        let sum: i64 = tenths[day.saturating_sub(2)..=day].iter().sum();
        if !open && sum >= 700 {
            expected.push(row[0].replace('/', "-"));
        }
        open = if open { sum > 400 } else { sum >= 700 };
    }
    assert!(expected.len() >= 3, "{expected:?}");
    let replay = replayed(&site, &csv, &["precipitation=seattle/rain"], "none");
    let raised: Vec<&str> = replay["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|alert| alert["reason"] == "raised")
        .map(|alert| alert["time"].as_str().unwrap().split('T').next().unwrap())
        .collect();
    assert_eq!(raised, expected);
    let live = alerts_of(&site.ask(&["warnings"]));
    assert_eq!(live, decisions(replay["alerts"].as_array().unwrap()));
}
