//! The state of each hazard in each area, retained on `kengele/warnings/AREA/HAZARD` for who follows it: displays, sirens
//! on the local network.
//!
//! It is the same before and after a restart: what an alert or the end of a warning makes of it, or what the store
//! remembers of the last warning there.

use crate::domain::time::WallClock;
use crate::domain::warning::{Alert, Level, MessageType, WarningId};
use crate::pipeline::Shown;
use crate::source::broker;
use crate::store::WarningRow;
use crate::telemetry::Clock;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use tokio::sync::mpsc;

/// How a warning stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    Clear,
    Expired,
}

/// What is shown of one hazard in one area. Areas and hazards are those of the rules, so there are no more of these.
#[derive(Clone, Debug, PartialEq)]
struct State {
    warning: WarningId,
    number: i64,
    status: Status,
    level: Option<Level>,
    message_type: String,
    sent_unix_ms: i64,
    expires_unix_ms: i64,
    clock: &'static str,
}

/// Shows states.
#[derive(Debug)]
pub(super) struct Display {
    listener: Option<broker::Handle>,
    clock: Clock,
    /// By area and hazard.
    states: BTreeMap<(String, String), State>,
}

impl Display {
    /// Shows the last warning of each hazard and area that is on record.
    #[must_use]
    pub(super) fn new(
        listener: Option<broker::Handle>,
        clock: Clock,
        recorded: &[WarningRow],
    ) -> Self {
        let mut display = Self { listener, clock, states: BTreeMap::new() };
        for warning in recorded {
            if let Some(state) = State::recorded(warning) {
                display.show(&warning.area, &warning.hazard, state);
            }
        }
        display
    }

    /// Follows what changes until nothing can change any more.
    ///
    /// # Errors
    ///
    /// None.
    pub(super) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Shown>,
    ) -> Result<(), Infallible> {
        while let Some(change) = changes.recv().await {
            self.change(&change);
        }
        Ok(())
    }

    fn change(&mut self, change: &Shown) {
        let wall = self.clock.wall();
        match change {
            Shown::Alert(alert) => {
                self.show(&alert.area, &alert.hazard, State::told(alert, wall));
            }
            Shown::Expired(warning) => {
                let found = self.states.iter().find(|(_, state)| state.warning == *warning);
                let Some(((area, hazard), state)) = found else { return };
                let state = State { status: Status::Expired, level: None, ..state.clone() };
                self.show(&area.clone(), &hazard.clone(), state);
            }
        }
    }

    fn show(&mut self, area: &str, hazard: &str, state: State) {
        if let Some(listener) = &self.listener {
            let topic = format!("kengele/warnings/{area}/{hazard}");
            listener.publish(&topic, state.json(area, hazard).as_bytes(), true);
        }
        self.states.insert((area.to_owned(), hazard.to_owned()), state);
    }
}

impl State {
    fn told(alert: &Alert, wall: WallClock) -> Self {
        let over = alert.message_type == MessageType::Cancel;
        Self {
            warning: alert.warning,
            number: i64::from(alert.number),
            status: if over { Status::Clear } else { Status::Open },
            level: (!over).then_some(alert.level),
            message_type: alert.message_type.as_str().to_owned(),
            sent_unix_ms: wall.unix_ms(alert.sent),
            expires_unix_ms: wall.unix_ms(alert.expires),
            clock: wall.quality.as_str(),
        }
    }

    fn recorded(warning: &WarningRow) -> Option<Self> {
        let last = warning.alerts.last()?;
        let status = match warning.ended.as_ref().map(|(_, how)| how.as_str()) {
            None => Status::Open,
            Some("expired") => Status::Expired,
            Some(_) => Status::Clear,
        };
        let level = Level::from_word(&last.level).filter(|_| status == Status::Open);
        Some(Self {
            warning: WarningId(warning.id.cast_unsigned()),
            number: last.number,
            status,
            level,
            message_type: last.message_type.clone(),
            sent_unix_ms: last.sent_unix_ms,
            expires_unix_ms: last.expires_unix_ms,
            clock: last.clock.as_str(),
        })
    }

    fn json(&self, area: &str, hazard: &str) -> String {
        json!({
            "warning": self.warning.0,
            "number": self.number,
            "status": match self.status {
                Status::Open => "open",
                Status::Clear => "clear",
                Status::Expired => "expired",
            },
            "level": self.level.map_or("none", Level::as_str),
            "hazard": hazard,
            "area": area,
            "message_type": self.message_type,
            "severity": self.level.map_or("Minor", Level::severity),
            "sent_unix_ms": self.sent_unix_ms,
            "expires_unix_ms": self.expires_unix_ms,
            "clock": self.clock,
        })
        .to_string()
    }
}
