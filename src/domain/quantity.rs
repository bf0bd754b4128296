//! What is measured, and the units that people write it in.

use std::fmt;

/// What a reading measures. The list is fixed: rules, texts and exports all speak of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Height of water above the gauge's zero, m.
    WaterLevel,
    /// Volume of water passing per second, m³/s.
    Discharge,
    /// Rain that fell since the last reading, mm.
    Rain,
    /// Air temperature, °C.
    AirTemperature,
    /// Relative humidity of the air, %.
    Humidity,
    /// Air pressure at the station, hPa.
    Pressure,
    /// Wind speed, m/s.
    WindSpeed,
    /// Highest gust since the last reading, m/s.
    WindGust,
    /// Direction that the wind comes from, degrees clockwise from north.
    WindDirection,
    /// Global solar irradiance, W/m².
    SolarRadiation,
    /// Volumetric water content of the soil, %.
    SoilMoisture,
    /// Soil temperature, °C.
    SoilTemperature,
    /// Water temperature, °C.
    WaterTemperature,
    /// Turbidity, NTU.
    Turbidity,
    /// Electrical conductivity, µS/cm.
    Conductivity,
    /// Fine particles up to 2.5 µm, µg/m³.
    Pm25,
    /// Particles up to 10 µm, µg/m³.
    Pm10,
    /// Time for which leaves were wet since the last reading, min.
    LeafWetness,
    /// Distance to a surface, m.
    Distance,
    /// Tilt or displacement angle, degrees.
    Tilt,
    /// Battery voltage of the node, V.
    BatteryVoltage,
    /// Battery charge of the node, %.
    BatteryLevel,
}

/// A unit and how a value in it becomes one in the quantity's own unit: `own = value * factor + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// The spelling that people use.
    pub symbol: &'static str,
    /// Multiplier.
    pub factor: f64,
    /// Added after multiplying, in the quantity's own unit.
    pub offset: f64,
}

const fn unit(symbol: &'static str, factor: f64) -> Unit {
    Unit { symbol, factor, offset: 0.0 }
}

const LENGTH: &[Unit] =
    &[unit("m", 1.0), unit("cm", 0.01), unit("mm", 0.001), unit("ft", 0.3048), unit("in", 0.0254)];
const DEPTH: &[Unit] = &[unit("mm", 1.0), unit("cm", 10.0), unit("m", 1000.0), unit("in", 25.4)];
const FLOW: &[Unit] = &[
    unit("m³/s", 1.0),
    unit("m3/s", 1.0),
    unit("l/s", 0.001),
    unit("L/s", 0.001),
    unit("cfs", 0.028_316_846_592),
];
const TEMPERATURE: &[Unit] = &[
    unit("°C", 1.0),
    unit("C", 1.0),
    unit("Cel", 1.0),
    Unit { symbol: "°F", factor: 5.0 / 9.0, offset: -160.0 / 9.0 },
    Unit { symbol: "F", factor: 5.0 / 9.0, offset: -160.0 / 9.0 },
    Unit { symbol: "K", factor: 1.0, offset: -273.15 },
];
const PERCENT: &[Unit] = &[unit("%", 1.0), unit("%RH", 1.0), unit("/", 100.0)];
const PRESSURE: &[Unit] =
    &[unit("hPa", 1.0), unit("mbar", 1.0), unit("Pa", 0.01), unit("kPa", 10.0)];
const SPEED: &[Unit] = &[
    unit("m/s", 1.0),
    unit("km/h", 1.0 / 3.6),
    unit("kn", 1852.0 / 3600.0),
    unit("mph", 0.447_04),
];
const ANGLE: &[Unit] = &[unit("°", 1.0), unit("deg", 1.0), unit("rad", 57.295_779_513_082_32)];
const IRRADIANCE: &[Unit] = &[unit("W/m²", 1.0), unit("W/m2", 1.0)];
const TURBIDITY: &[Unit] = &[unit("NTU", 1.0)];
const CONDUCTIVITY: &[Unit] =
    &[unit("µS/cm", 1.0), unit("uS/cm", 1.0), unit("mS/cm", 1000.0), unit("S/m", 10_000.0)];
const CONCENTRATION: &[Unit] = &[unit("µg/m³", 1.0), unit("ug/m3", 1.0)];
const MINUTES: &[Unit] = &[unit("min", 1.0), unit("s", 1.0 / 60.0), unit("h", 60.0)];
const VOLTAGE: &[Unit] = &[unit("V", 1.0), unit("mV", 0.001)];

/// One row of the table of quantities: name, units (its own first), and the range that nature and instruments allow.
struct Row(Quantity, &'static str, &'static [Unit], f64, f64);

const TABLE: &[Row] = &[
    Row(Quantity::WaterLevel, "water_level", LENGTH, -20.0, 100.0),
    Row(Quantity::Discharge, "discharge", FLOW, 0.0, 300_000.0),
    Row(Quantity::Rain, "rain", DEPTH, 0.0, 500.0),
    Row(Quantity::AirTemperature, "air_temperature", TEMPERATURE, -60.0, 60.0),
    Row(Quantity::Humidity, "humidity", PERCENT, 0.0, 105.0),
    Row(Quantity::Pressure, "pressure", PRESSURE, 450.0, 1100.0),
    Row(Quantity::WindSpeed, "wind_speed", SPEED, 0.0, 100.0),
    Row(Quantity::WindGust, "wind_gust", SPEED, 0.0, 120.0),
    Row(Quantity::WindDirection, "wind_direction", ANGLE, 0.0, 360.0),
    Row(Quantity::SolarRadiation, "solar_radiation", IRRADIANCE, -20.0, 2000.0),
    Row(Quantity::SoilMoisture, "soil_moisture", PERCENT, 0.0, 100.0),
    Row(Quantity::SoilTemperature, "soil_temperature", TEMPERATURE, -40.0, 80.0),
    Row(Quantity::WaterTemperature, "water_temperature", TEMPERATURE, -5.0, 60.0),
    Row(Quantity::Turbidity, "turbidity", TURBIDITY, 0.0, 10_000.0),
    Row(Quantity::Conductivity, "conductivity", CONDUCTIVITY, 0.0, 200_000.0),
    Row(Quantity::Pm25, "pm2_5", CONCENTRATION, 0.0, 5000.0),
    Row(Quantity::Pm10, "pm10", CONCENTRATION, 0.0, 10_000.0),
    Row(Quantity::LeafWetness, "leaf_wetness", MINUTES, 0.0, 1440.0),
    Row(Quantity::Distance, "distance", LENGTH, 0.0, 200.0),
    Row(Quantity::Tilt, "tilt", ANGLE, -180.0, 180.0),
    Row(Quantity::BatteryVoltage, "battery_voltage", VOLTAGE, 0.0, 60.0),
    Row(Quantity::BatteryLevel, "battery_level", PERCENT, 0.0, 100.0),
];

impl Quantity {
    /// Returns every quantity, in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.0 == self).expect("every quantity has a row: tested")
    }

    /// Returns the name used in configuration, database and exports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns the quantity of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Returns the units that are understood, its own first.
    #[must_use]
    pub fn units(self) -> &'static [Unit] {
        self.row().2
    }

    /// Returns the symbol of its own unit: what values are kept in.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        self.row().2.first().map_or("", |unit| unit.symbol)
    }

    /// Returns the lowest and highest value that can be true anywhere on Earth with a working instrument.
    #[must_use]
    pub fn plausible(self) -> (f64, f64) {
        let row = self.row();
        (row.3, row.4)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_is_found_by_its_own_name_and_stands_in_its_own_unit() {
        for quantity in Quantity::all() {
            assert_eq!(Quantity::from_name(quantity.name()), Some(quantity));
            let own = quantity.units()[0];
            assert!((own.factor - 1.0).abs() < f64::EPSILON && own.offset.abs() < f64::EPSILON);
            assert!(quantity.plausible().0 < quantity.plausible().1);
        }
        assert_eq!(Quantity::all().count(), Quantity::BatteryLevel as usize + 1);
    }
}
