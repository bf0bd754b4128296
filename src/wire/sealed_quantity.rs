//! The numbers that our radio link gives to quantities: those of `docs/formats/wf1.md`.

use crate::domain::quantity::Quantity;

/// Returns the quantity of a field's number.
#[must_use]
pub fn of(number: u8) -> Option<Quantity> {
    let place = usize::from(number).checked_sub(1)?;
    Quantity::all().nth(place)
}

/// Returns a quantity's number.
#[must_use]
pub fn number(quantity: Quantity) -> u8 {
    let place = Quantity::all().position(|known| known == quantity);
    place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes in the field know these numbers: none may ever change.
    #[test]
    fn the_numbers_are_those_that_nodes_know() {
        for (known, name) in [
            (1, "water_level"),
            (2, "discharge"),
            (3, "rain"),
            (4, "air_temperature"),
            (5, "humidity"),
            (6, "pressure"),
            (7, "wind_speed"),
            (8, "wind_gust"),
            (9, "wind_direction"),
            (10, "solar_radiation"),
            (11, "soil_moisture"),
            (12, "soil_temperature"),
            (13, "water_temperature"),
            (14, "turbidity"),
            (15, "conductivity"),
            (16, "pm2_5"),
            (17, "pm10"),
            (18, "leaf_wetness"),
            (19, "distance"),
            (20, "tilt"),
            (21, "battery_voltage"),
            (22, "battery_level"),
        ] {
            assert_eq!(of(known).map(Quantity::name), Some(name));
            assert_eq!(of(known).map(number), Some(known));
        }
        assert_eq!(of(0), None);
        assert_eq!(of(23), None);
    }
}
