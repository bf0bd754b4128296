//! The village's weather, river and nodes, from a seed: the same seed tells the same story, byte for byte.

use super::scenario::Scenario;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::f64::consts::TAU;
use std::time::Duration;

/// Every scenario begins on this day at 05:00 UTC, 08:00 in the village: 2026-11-02.
pub const BEGINS_UNIX_S: i64 = 1_793_595_600;
/// Gauges report this often, minutes.
const GAUGE_MIN: u64 = 5;
/// The other nodes report this often, minutes.
const STATION_MIN: u64 = 15;
/// Water that a tip of the rain gauge's bucket holds, mm.
const TIP_MM: f64 = 0.2;
/// The river takes so long from the upper gauge to the middle one, minutes.
const TRAVEL_MIN: f64 = 35.0;
/// What a node's clock is wrong by when it is wrong: about six years, s.
const CLOCK_ERROR_S: i64 = -189_000_000;

/// What a node publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// When, from the beginning of the scenario.
    pub at: Duration,
    /// Name of the node.
    pub node: &'static str,
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: String,
}

/// A village with its weather.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    random: ChaCha8Rng,
    /// How the hazard of this seed differs from that of another: 0 to 1.
    temper: f64,
    rain_total: f64,
    rain_carry: f64,
    soil: f64,
    out: Vec<Publication>,
}

impl World {
    /// Makes the village of a seed.
    #[must_use]
    pub fn seeded(seed: u64, scenario: Scenario) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let temper = unit(&mut random);
        Self {
            scenario,
            random,
            temper,
            rain_total: 812.4,
            rain_carry: 0.0,
            soil: 24.0,
            out: Vec::new(),
        }
    }

    /// Returns everything that its nodes publish, in order: through the scenario, and for a third of its length after it,
    /// because nodes do not fall silent when a story ends.
    #[must_use]
    pub fn publications(mut self) -> Vec<Publication> {
        let minutes = self.scenario.length().as_secs() / 45;
        for minute in 0..minutes {
            self.weather(minute as f64);
            if minute.is_multiple_of(GAUGE_MIN) {
                self.upper_gauge(minute);
                self.middle_gauge(minute);
            }
            if minute.is_multiple_of(STATION_MIN) {
                self.rain_gauge(minute);
                self.farm(minute);
            }
        }
        self.out.sort_by_key(|publication| publication.at);
        self.out
    }

    fn noise(&mut self, scale: f64) -> f64 {
        (unit(&mut self.random) + unit(&mut self.random) - 1.0) * scale
    }

    fn publish(
        &mut self,
        minute: u64,
        second: u64,
        node: &'static str,
        topic: &str,
        payload: String,
    ) {
        let at = Duration::from_secs(minute * 60 + second);
        self.out.push(Publication { at, node, topic: topic.to_owned(), payload });
    }

    /// Rain on the hill, mm/h.
    fn rain_rate(&self, minute: f64) -> f64 {
        let cloud = |middle: f64, width: f64, most: f64| {
            most * (-((minute - middle) / width).powi(2)).exp()
        };
        match self.scenario {
            Scenario::FlashFlood => {
                cloud(110.0 + 20.0 * self.temper, 28.0, 62.0 + 10.0 * self.temper)
            }
            Scenario::SlowFlood => cloud(1500.0, 700.0, 5.5 + 0.8 * self.temper),
            Scenario::QuietDay => cloud(600.0, 40.0, 2.0 * self.temper),
            Scenario::Drought | Scenario::FrostNight | Scenario::SensorFaults => 0.0,
        }
    }

    fn weather(&mut self, minute: f64) {
        let rain = self.rain_rate(minute) / 60.0;
        self.rain_carry += rain;
        while self.rain_carry >= TIP_MM {
            self.rain_carry -= TIP_MM;
            self.rain_total += TIP_MM;
        }
        let drying = if self.scenario == Scenario::Drought { 0.0045 } else { 0.0008 };
        self.soil = (self.soil + rain * 0.3 - drying * (self.soil - 5.0) / 15.0).clamp(4.0, 45.0);
    }

    /// Height of the river at the upper gauge, m.
    fn river(&self, minute: f64) -> f64 {
        let wave = |start: f64, rise: f64, fall: f64, most: f64| {
            let since = minute - start;
            if since <= 0.0 {
                0.0
            } else {
                most * (1.0 - (-since / rise).exp()).powi(2) * (-since / fall).exp() * 1.6
            }
        };
        let base = 0.82 + 0.03 * (minute / 700.0).sin();
        base + match self.scenario {
            Scenario::FlashFlood => {
                wave(105.0 + 20.0 * self.temper, 45.0, 130.0, 5.0 + 0.4 * self.temper)
            }
            Scenario::SlowFlood => wave(600.0, 900.0, 2600.0, 2.9 + 0.25 * self.temper),
            Scenario::Drought
            | Scenario::FrostNight
            | Scenario::SensorFaults
            | Scenario::QuietDay => 0.0,
        }
    }

    /// Returns the height of the river at the lower bridge, m: an hour below the middle gauge, where the valley is wide.
    #[must_use]
    pub fn lower_level(&self, at: Duration) -> f64 {
        (self.river(at.as_secs_f64() / 60.0 - 2.7 * TRAVEL_MIN) * 0.8).max(0.0)
    }

    fn upper_gauge(&mut self, minute: u64) {
        let level = self.river(minute as f64) + self.noise(0.008);
        let mut stamp = BEGINS_UNIX_S + i64::try_from(minute * 60).unwrap_or(0);
        let mut shown = format!("{:.0}", level * 100.0);
        if self.scenario == Scenario::SensorFaults {
            match minute {
                // A branch drifts through the beam: two readings.
                300 | 305 => "352".clone_into(&mut shown),
                // The wire is loose.
                420..=440 => "null".clone_into(&mut shown),
                460 => "\"nan\"".clone_into(&mut shown),
                // Out of range: the ultrasonic sensor hears its own wall.
                520..=540 => "999".clone_into(&mut shown),
                // The node has lost its clock.
                700.. => stamp += CLOCK_ERROR_S,
                _ => {}
            }
        }
        let battery = 3.91 - minute as f64 * 2e-6 + self.noise(0.01);
        let payload = format!(r#"{{"level":{shown},"battery":{battery:.2},"ts":{stamp}}}"#);
        self.publish(minute, 4, "mto-juu", "field/mto-juu/up", payload);
    }

    fn middle_gauge(&mut self, minute: u64) {
        let level = (self.river(minute as f64 - TRAVEL_MIN) - 0.12) * 0.97 + self.noise(0.01);
        if self.scenario == Scenario::SensorFaults && (600..840).contains(&minute) {
            // Its battery is empty; it comes back with what it kept, all at once.
            if minute == 835 {
                let kept: Vec<String> = (600..835)
                    .step_by(5)
                    .map(|m| format!(r#"{{"n":"level","v":{:.2},"t":{}}}"#, 0.70, (m - 835) * 60))
                    .collect();
                let payload = format!(
                    r#"[{{"bn":"urn:dev:mac:0024befffe804ff1:","bu":"m"}},{}]"#,
                    kept.join(",")
                );
                self.publish(minute, 9, "mto-kati", "senml/mto-kati", payload);
            }
            return;
        }
        let payload = format!(
            r#"[{{"bn":"urn:dev:mac:0024befffe804ff1:","n":"level","u":"m","v":{level:.2}}}]"#
        );
        self.publish(minute, 9, "mto-kati", "senml/mto-kati", payload);
    }

    fn rain_gauge(&mut self, minute: u64) {
        if self.scenario == Scenario::SensorFaults && minute == 900 {
            // It starts again from nothing.
            self.rain_total = 0.0;
        }
        let payload = format!(r#"{{"Rain":{{"Total":{:.1},"Battery":3.7}}}}"#, self.rain_total);
        self.publish(minute, 15, "mvua-kilimani", "tele/mvua-kilimani/SENSOR", payload.clone());
        if self.scenario == Scenario::SensorFaults && minute.is_multiple_of(60) {
            self.publish(minute, 17, "mvua-kilimani", "tele/mvua-kilimani/SENSOR", payload);
        }
    }

    fn farm(&mut self, minute: u64) {
        // 08:00 at the beginning; warmest at 15:00.
        let hour = 8.0 + minute as f64 / 60.0;
        let day = ((hour - 9.0) / 24.0 * TAU).sin();
        let (mean, swing) = match self.scenario {
            Scenario::Drought => (35.0 + 0.4 * self.temper, 7.5),
            Scenario::FrostNight => (10.0, 11.0 + self.temper),
            Scenario::FlashFlood
            | Scenario::SlowFlood
            | Scenario::SensorFaults
            | Scenario::QuietDay => (24.0, 5.0),
        };
        let air = mean + swing * day + self.noise(0.15);
        let humidity = (68.0 - 2.2 * swing * day + self.noise(1.5)).clamp(8.0, 100.0);
        let soil = self.soil + self.noise(0.2);
        let stuck = self.scenario == Scenario::SensorFaults;
        let soil = if stuck { "21.3".to_owned() } else { format!("{soil:.1}") };
        for (second, quantity, value) in [
            (21, "air_temperature", format!("{air:.1}")),
            (22, "humidity", format!("{humidity:.0}")),
            (23, "soil_moisture", soil),
        ] {
            self.publish(
                minute,
                second,
                "shamba",
                &format!("shamba/sensor/{quantity}/state"),
                value,
            );
        }
    }
}

/// Returns a number from 0 to 1.
fn unit(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story_and_another_a_different_one() {
        for scenario in Scenario::ALL {
            let story = |seed| World::seeded(seed, scenario).publications();
            assert_eq!(story(7), story(7));
            assert_ne!(story(7), story(8));
            assert!(story(7).is_sorted_by_key(|publication| publication.at));
        }
    }
}
