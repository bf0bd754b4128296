//! Soil sensors on the farms around the village, as many as wanted, each by radio.

use super::super::air::Position;
use super::super::field::FieldNode;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Most farms.
pub const FARMS_MAX: u16 = 999;
/// Channel of a village with farms, Hz: EU868's widest allowance, a tenth of each hour, so that hundreds can be answered.
pub const RADIO_HZ: u32 = 869_525_000;
/// Spreading factor of a village with farms: a frame lasts a third of one at 9, and a chip hears 2.5 km in this country.
pub const SPREADING_FACTOR: u8 = 7;
/// Farms lie within so many metres of the gateway.
const RADIUS_M: f64 = 2_300.0;

/// How many farms have a sensor, and how often each reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farms {
    /// 0 to [`FARMS_MAX`].
    pub count: u16,
    /// Each reports so often.
    pub interval: Duration,
}

impl Default for Farms {
    fn default() -> Self {
        Self { count: 0, interval: Duration::from_mins(15) }
    }
}

impl Farms {
    /// Returns the names of the sensors: `shamba-001`, `shamba-002`, …
    pub fn names(self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|number| format!("shamba-{number:03}"))
    }

    /// Returns what a gateway's configuration says of them: one report, and a table for each.
    #[must_use]
    pub fn toml(self, listens: &str) -> String {
        let mut toml = String::new();
        if self.count == 0 {
            return toml;
        }
        toml.push_str(include_str!("farms.toml"));
        let interval = self.interval.as_secs();
        for (number, name) in (1..).zip(self.names()) {
            write!(
                toml,
                "\n[node.{name}]\nplace = \"Shamba {number}\"\ninterval = \"{interval} s\"\n\
                 [node.{name}.sensor.soil_moisture]\nrange = [\"0 %\", \"60 %\"]\n\
                 [node.{name}.sensor.battery_voltage]\nrange = [\"2 V\", \"5 V\"]\n\
                 [node.{name}.wf1]\nreport = \"udongo\"\nlistens = \"{listens}\"\n"
            )
            .expect("a String takes all that is written");
        }
        toml
    }

    /// Returns the sensor of that name with its code, if there is such a farm. Where it stands and when within its interval
    /// it is switched on is drawn by the seed.
    #[must_use]
    pub fn node(self, name: &str, code: &str, seed: u64, confirms: bool) -> Option<FieldNode> {
        let place = self.names().position(|known| known == name)?;
        let number = u64::try_from(place).ok()? + 1;
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (number << 32));
        let mut unit = || f64::from(random.next_u32()) / f64::from(u32::MAX);
        // The root spreads them evenly over the disc.
        let (far_m, turn) = (RADIUS_M * unit().sqrt(), unit() * TAU);
        Some(FieldNode {
            name: name.to_owned(),
            code: code.to_owned(),
            position: Position::new(far_m * turn.cos(), far_m * turn.sin()),
            // Soil moisture, battery voltage.
            report: vec![(11, 0, 500, 7), (21, 2_000, 20, 7)],
            sensors: Arc::new(move |field, at| {
                Some(if field == 0 { soil_moisture(number, at) } else { 3.78 })
            }),
            interval: self.interval,
            confirms,
            always_listens: false,
            has_siren: false,
            frequency_hz: RADIO_HZ,
            spreading_factor: SPREADING_FACTOR,
            seed: seed ^ (number << 16),
            switched_on_after: self.interval.mul_f64(unit()),
        })
    }
}

/// Returns how moist the soil of a farm is, %: each farm has its own soil, and a day goes through it.
fn soil_moisture(number: u64, at: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "below 40")]
    let soil = (number % 40) as f64;
    10.0 + soil - (at.as_secs_f64() / 86_400.0 * TAU).sin()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FARMS: Farms = Farms { count: 300, interval: Duration::from_mins(15) };

    fn nodes(seed: u64) -> Vec<FieldNode> {
        FARMS.names().map(|name| FARMS.node(&name, "WF1", seed, true).unwrap()).collect()
    }

    #[test]
    fn the_same_seed_puts_farms_in_the_same_places_and_another_elsewhere() {
        let places = |seed| nodes(seed).iter().map(|node| node.position).collect::<Vec<_>>();
        assert_eq!(places(3), places(3));
        assert_ne!(places(3), places(4));
    }

    #[test]
    fn farms_lie_apart_and_within_reach_and_begin_at_their_own_moments() {
        let nodes = nodes(1);
        assert_eq!(nodes.len(), 300);
        let middle = Position::new(0.0, 0.0);
        assert!(nodes.iter().all(|node| node.position.distance_m(middle) <= RADIUS_M));
        let far = nodes.iter().filter(|node| node.position.distance_m(middle) > 1_200.0).count();
        assert!((150..270).contains(&far), "{far}");
        let late = nodes.iter().filter(|node| node.switched_on_after > FARMS.interval / 2).count();
        assert!((110..190).contains(&late), "{late}");
        let mut seeds: Vec<u64> = nodes.iter().map(|node| node.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 300);
    }

    #[test]
    fn there_is_no_farm_that_was_not_asked_for() {
        assert!(FARMS.node("shamba-301", "WF1", 1, true).is_none());
        assert!(FARMS.node("shamba-1", "WF1", 1, true).is_none());
        assert_eq!(Farms { count: 0, ..FARMS }.toml("never"), "");
    }
}
