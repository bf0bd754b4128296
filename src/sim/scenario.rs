//! What can happen to the village.

use std::time::Duration;

/// A story that the village lives through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// A cloudburst on the hill: the river rises three metres in two hours.
    FlashFlood,
    /// Days of rain: the river rises slowly, and stays.
    SlowFlood,
    /// A week of heat; the soil dries out.
    Drought,
    /// A clear, cold night.
    FrostNight,
    /// Broken sensors, a dead battery, a clock that is wrong by years: nobody but the technician must hear of it.
    SensorFaults,
    /// Nothing happens.
    QuietDay,
}

/// What a gateway that works does about a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Hazards that must be warned of, each with the lowest highest level that will do; of nothing else.
    pub hazards: &'static [(&'static str, &'static str)],
    /// Whether the technician must hear of a fault.
    pub faults: bool,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 6] = [
        Self::FlashFlood,
        Self::SlowFlood,
        Self::Drought,
        Self::FrostNight,
        Self::SensorFaults,
        Self::QuietDay,
    ];

    /// Returns the word that names it on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlashFlood => "flash-flood",
            Self::SlowFlood => "slow-flood",
            Self::Drought => "drought",
            Self::FrostNight => "frost-night",
            Self::SensorFaults => "sensor-faults",
            Self::QuietDay => "quiet-day",
        }
    }

    /// Returns the scenario that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.as_str() == word)
    }

    /// Returns it in one sentence.
    #[must_use]
    pub const fn story(self) -> &'static str {
        match self {
            Self::FlashFlood => {
                "A cloudburst on the hill: the river rises three metres in two hours."
            }
            Self::SlowFlood => "Days of rain: the river rises slowly, and stays.",
            Self::Drought => "Days of heat; the soil dries out.",
            Self::FrostNight => "A clear, cold night.",
            Self::SensorFaults => {
                "Broken sensors and a clock that is wrong by years: only the technician must hear of it."
            }
            Self::QuietDay => "Nothing happens.",
        }
    }

    /// Returns how long it takes.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::FlashFlood => Duration::from_hours(12),
            Self::SlowFlood => Duration::from_hours(60),
            Self::Drought => Duration::from_hours(96),
            Self::FrostNight => Duration::from_hours(18),
            Self::SensorFaults | Self::QuietDay => Duration::from_hours(24),
        }
    }

    /// Returns the factor at which a demonstration takes about half a minute.
    #[must_use]
    pub fn speed(self) -> f64 {
        self.length().as_secs_f64() / 25.0
    }

    /// Returns what a gateway that works does about it.
    #[must_use]
    pub const fn expected(self) -> Expectation {
        match self {
            Self::FlashFlood => Expectation { hazards: &[("flood", "danger")], faults: false },
            Self::SlowFlood => Expectation { hazards: &[("flood", "warning")], faults: false },
            Self::Drought => Expectation {
                hazards: &[("heat", "warning"), ("drought", "advisory")],
                faults: false,
            },
            Self::FrostNight => Expectation { hazards: &[("frost", "warning")], faults: false },
            Self::SensorFaults => Expectation { hazards: &[], faults: true },
            Self::QuietDay => Expectation { hazards: &[], faults: false },
        }
    }
}
