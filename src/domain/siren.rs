//! Sirens: what each should be doing, and what its node has yet to be told.
//!
//! A siren has a desired state with a number. Alerts and operators change the state; the order that belongs to it is
//! owed to the node until the node confirms that number, or the state is over. So a lost frame, a lost
//! acknowledgement and a restart are one case: something is still owed. Nothing here says *sound* after the alert that
//! wanted it has expired, and a siren that may be sounding is owed its silence.

use crate::domain::radio::Urgency;
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::time::Timestamp;
use crate::domain::warning::{Alert, Level, MessageType, Reason, WarningId};
use std::time::Duration;

/// Version of the saved form.
const FORMAT: u64 = 1;
/// Wait before an order that is not confirmed is given again, for the first time; it doubles from one to the next.
const REPEAT_MIN: Duration = Duration::from_secs(10);
/// Longest wait between two orders.
const REPEAT_MAX: Duration = Duration::from_mins(5);
/// How often silence or a test is ordered before the siren is given up. To sound is ordered for as long as the danger
/// lasts.
pub const ATTEMPTS_MAX: u32 = 24;
/// How often a node that confirms nothing is given the same order.
pub const UNCONFIRMED_ATTEMPTS: u32 = 3;
/// Numbers of states that are passed over when the gateway's memory has gone back: more than alerts and operators give.
const VERSIONS_PASSED: u32 = 1 << 20;
/// How long an order of an operator to sound waits for the node.
pub const BY_HAND_VALID: Duration = Duration::from_hours(1);
/// How long an order of an operator to test waits for the node.
pub const TEST_VALID: Duration = Duration::from_hours(1);

/// What the operator says of a siren.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Areas whose warnings it tells.
    pub areas: Vec<String>,
    /// Hazards that it tells; empty: every one.
    pub hazards: Vec<String>,
    /// From which level on.
    pub level: Level,
    /// How long it sounds for one alert; then it pauses until the alert is issued anew or a worse one comes.
    pub max_on: Duration,
    /// Whether it sounds in exercises.
    pub exercises: Exercises,
    /// Whether its node confirms.
    pub confirms: Confirms,
}

/// Whether a siren sounds in exercises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exercises {
    /// It stays silent.
    #[default]
    Silent,
    /// It sounds as it would in earnest.
    Sound,
}

/// Whether a node says that it has an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirms {
    /// It does.
    #[default]
    Yes,
    /// It does not: the order is given [`UNCONFIRMED_ATTEMPTS`] times.
    No,
}

/// Whether an alert is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Actual,
    /// People practise.
    Exercise,
}

/// What an operator may want of a siren.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sound, for as long as for an alert.
    Sound,
    /// Be silent until the next alert.
    Silence,
    /// Sound for a moment.
    Test,
}

/// Why an operator's command is not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A test would end what the siren is there for.
    #[error("the siren is needed: it is not tested now")]
    Needed,
}

/// What a siren should be doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Desired {
    /// Nothing.
    #[default]
    Off,
    /// Sound.
    On,
    /// Sound for a moment, and end by itself.
    Test,
}

impl Desired {
    /// Returns the word used in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Test => "test",
        }
    }
}

/// What a node has yet to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Number of the desired state: what the node confirms.
    pub version: u32,
    /// What it is told.
    pub order: Desired,
    /// Whether people are in danger.
    pub urgency: Urgency,
    /// When it is given, where the gateway chooses the moment.
    pub due: Timestamp,
    /// When it is no longer true.
    pub until: Option<Timestamp>,
}

/// One reason to sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cause {
    /// Which warning; `None` is the operator.
    warning: Option<WarningId>,
    level: Level,
    expires: Timestamp,
    /// Whether it still wants to be heard: not since the siren has sounded for it, or was silenced.
    sounds: bool,
}

/// One siren: what it should be doing, why, and what its node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Siren {
    version: u32,
    /// Number of the state that the node was told last.
    told: u32,
    desired: Desired,
    /// One for each open warning that concerns it, and one for the operator.
    causes: Vec<Cause>,
    test_until: Option<Timestamp>,
    /// When it has sounded for long enough, once the node has confirmed that it sounds.
    sounding_until: Option<Timestamp>,
    /// It was told to sound, and has not confirmed to be silent since.
    may_sound: bool,
    confirmed: bool,
    attempts: u32,
    due: Timestamp,
}

impl Siren {
    /// Hears of an alert.
    pub fn alerted(
        &mut self,
        alert: &Alert,
        standing: Standing,
        settings: &Settings,
        now: Timestamp,
    ) {
        self.advance(now);
        let place = self.causes.iter().position(|cause| cause.warning == Some(alert.warning));
        let ends = alert.message_type == MessageType::Cancel
            || alert.level < settings.level
            || alert.expires <= now;
        if ends {
            if let Some(place) = place {
                self.causes.swap_remove(place);
            }
            self.settle(now, Heed::Changes);
            return;
        }
        let meant = match (standing, settings.exercises) {
            (Standing::Actual, _) | (Standing::Exercise, Exercises::Sound) => true,
            (Standing::Exercise, Exercises::Silent) => false,
        };
        let concerns = settings.areas.contains(&alert.area)
            && (settings.hazards.is_empty() || settings.hazards.contains(&alert.hazard));
        if !meant || !concerns {
            return;
        }
        let (level, expires) = (alert.level, alert.expires);
        let known = place.and_then(|place| self.causes.get_mut(place));
        let calls = match alert.reason {
            Reason::Raised | Reason::Upgraded | Reason::Reissued => true,
            // It gets better: who has heard it need not hear it again.
            Reason::Downgraded | Reason::Cleared | Reason::Withdrawn => known.is_none(),
        };
        if let Some(cause) = known {
            *cause = Cause { level, expires, sounds: cause.sounds || calls, ..*cause };
        } else {
            self.causes.push(Cause { warning: Some(alert.warning), level, expires, sounds: calls });
        }
        self.settle(now, if calls { Heed::Call } else { Heed::Changes });
    }

    /// Obeys an operator.
    ///
    /// # Errors
    ///
    /// [`Refused::Needed`] for a test while it sounds, or should.
    pub fn command(&mut self, command: Command, now: Timestamp) -> Result<(), Refused> {
        self.advance(now);
        match command {
            Command::Sound => {
                self.causes.retain(|cause| cause.warning.is_some());
                let expires = now + BY_HAND_VALID;
                self.causes.push(Cause {
                    warning: None,
                    level: Level::Danger,
                    expires,
                    sounds: true,
                });
                self.settle(now, Heed::Call);
            }
            Command::Silence => {
                self.causes.iter_mut().for_each(|cause| cause.sounds = false);
                self.test_until = None;
                self.settle(now, Heed::Changes);
                // Whoever asks for silence hears the siren, whatever it has confirmed.
                if self.desired == Desired::Off && self.may_sound {
                    (self.attempts, self.due) = (0, now);
                }
            }
            Command::Test => {
                if self.desired == Desired::On {
                    return Err(Refused::Needed);
                }
                self.test_until = Some(now + TEST_VALID);
                self.settle(now, Heed::Call);
            }
        }
        Ok(())
    }

    /// Lives through what has run out by `now`.
    pub fn advance(&mut self, now: Timestamp) {
        self.settle(now, Heed::Changes);
    }

    /// Returns what the node has yet to be told at `now`. Nothing that is over is ever among it.
    #[must_use]
    pub fn owed(&self, now: Timestamp) -> Option<Owed> {
        if self.confirmed {
            return None;
        }
        let given_up = self.attempts >= ATTEMPTS_MAX;
        let (order, urgency, until) = match self.desired {
            Desired::On => {
                let calling =
                    self.causes.iter().filter(|cause| cause.sounds && cause.expires > now);
                let level = calling.clone().map(|cause| cause.level).max()?;
                let urgency = match level {
                    Level::Danger => Urgency::Danger,
                    Level::Warning | Level::Advisory => Urgency::Ordinary,
                };
                (Desired::On, urgency, calling.map(|cause| cause.expires).max())
            }
            Desired::Off if self.may_sound && !given_up => (Desired::Off, Urgency::Ordinary, None),
            Desired::Off => return None,
            Desired::Test => {
                let until = self.test_until.filter(|until| *until > now && !given_up)?;
                (Desired::Test, Urgency::Ordinary, Some(until))
            }
        };
        Some(Owed { version: self.version, order, urgency, due: self.due, until })
    }

    /// Takes note that the order of that number is on its way. To be stored before it leaves: what may have been said
    /// must be taken back one day.
    pub fn told(&mut self, version: u32, settings: &Settings, now: Timestamp) {
        if version != self.version || self.confirmed {
            return;
        }
        self.told = version;
        self.may_sound |= self.desired == Desired::On;
        self.due = now + repeat_after(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        if settings.confirms == Confirms::No && self.attempts >= UNCONFIRMED_ATTEMPTS {
            self.confirmed(version, settings, now);
        }
    }

    /// Puts an order off that could not be given now: nobody knows where the node is.
    pub fn put_off(&mut self, now: Timestamp) {
        self.due = now + REPEAT_MIN;
    }

    /// Hears that the node did not get its last order: it is given again soon.
    pub fn missed(&mut self, now: Timestamp) {
        self.due = self.due.min(now + REPEAT_MIN);
    }

    /// Hears that the node has the order of that number. An older one says nothing of now.
    pub fn confirmed(&mut self, version: u32, settings: &Settings, now: Timestamp) {
        if version != self.version || self.confirmed {
            return;
        }
        self.confirmed = true;
        match self.desired {
            Desired::Off => self.may_sound = false,
            Desired::On => {
                self.may_sound = true;
                self.sounding_until = Some(now + settings.max_on);
            }
            Desired::Test => self.test_until = None,
        }
        self.advance(now);
    }

    /// Returns when the desired state changes by itself.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        let expiries = self.causes.iter().map(|cause| cause.expires);
        expiries.chain(self.sounding_until).chain(self.test_until).min()
    }

    /// Returns the siren after the gateway's memory went back to this one: no number of a state is given again, so that no
    /// late word of the node about another is taken for its word about a new one.
    #[must_use]
    pub fn after_rollback(self) -> Self {
        let confirmed = self.is_confirmed();
        let version = self.version.saturating_add(VERSIONS_PASSED);
        Self { version, told: 0, confirmed, ..self }
    }

    /// Returns the siren with nothing that it should sound for: what was is too old. One that may be sounding is owed its
    /// silence.
    #[must_use]
    pub fn with_causes_forgotten(self) -> Self {
        Self { causes: Vec::new(), test_until: None, ..self }
    }

    /// Returns the siren with a number of its state that is above `version`.
    #[must_use]
    pub fn with_version_above(self, version: u32) -> Self {
        if self.version > version {
            return self;
        }
        let confirmed = self.is_confirmed();
        Self { version: version.saturating_add(1), told: 0, confirmed, ..self }
    }

    /// Returns what it should be doing.
    #[must_use]
    pub const fn desired(&self) -> Desired {
        self.desired
    }

    /// Returns the number of the desired state.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Returns the number of the state that the node was told last; 0 before the first.
    #[must_use]
    pub const fn told_version(&self) -> u32 {
        self.told
    }

    /// Returns whether the node has confirmed the desired state, or never knew another.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.confirmed || (self.version == 0)
    }

    /// Returns how often the order was given.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns whether the node has not confirmed for so long that it is not asked any more.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let bounded = match self.desired {
            Desired::Off | Desired::Test => true,
            Desired::On => false,
        };
        bounded && !self.confirmed && self.attempts >= ATTEMPTS_MAX
    }

    /// Works out what it should be doing.
    fn settle(&mut self, now: Timestamp, heed: Heed) {
        self.causes.retain(|cause| cause.expires > now);
        if self.sounding_until.is_some_and(|until| until <= now) {
            self.sounding_until = None;
            self.causes.iter_mut().for_each(|cause| cause.sounds = false);
        }
        self.test_until = self.test_until.filter(|until| *until > now);
        let wanted = if self.causes.iter().any(|cause| cause.sounds) {
            Desired::On
        } else if self.test_until.is_some() {
            Desired::Test
        } else {
            Desired::Off
        };
        let called = heed == Heed::Call && wanted != Desired::Off;
        if wanted != self.desired || (called && self.confirmed) {
            self.version = self.version.wrapping_add(1).max(1);
            self.desired = wanted;
            // Silence is news only to who may be sounding.
            self.confirmed = wanted == Desired::Off && !self.may_sound;
            // Its time to sound begins anew when it confirms that.
            self.sounding_until = None;
            (self.attempts, self.due) = (0, now);
        } else if called {
            self.due = now;
        }
    }

    /// Returns the bytes that [`Siren::from_bytes`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let moment = |writer: &mut Writer, at: Timestamp| writer.signed(at.as_millis());
        let mut writer = Writer::default();
        writer.unsigned(FORMAT);
        writer.unsigned(u64::from(self.version));
        writer.unsigned(u64::from(self.told));
        writer.unsigned(match self.desired {
            Desired::Off => 0,
            Desired::On => 1,
            Desired::Test => 2,
        });
        writer.count(self.causes.len());
        for cause in &self.causes {
            writer.option(cause.warning, |writer, id| writer.unsigned(id.0));
            let level = Level::ALL.iter().position(|level| *level == cause.level);
            writer.count(level.unwrap_or(0));
            moment(&mut writer, cause.expires);
            writer.flag(cause.sounds);
        }
        writer.option(self.test_until, moment);
        writer.option(self.sounding_until, moment);
        writer.flag(self.may_sound);
        writer.flag(self.confirmed);
        writer.unsigned(u64::from(self.attempts));
        moment(&mut writer, self.due);
        writer.finish()
    }

    /// Returns the siren that these bytes hold.
    ///
    /// # Errors
    ///
    /// Says that another version of the program wrote them, or that they are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let moment = |reader: &mut Reader<'_>| reader.signed().map(Timestamp::from_millis);
        let small = |reader: &mut Reader<'_>| {
            u32::try_from(reader.unsigned()?).map_err(|_| SnapshotError::Damaged)
        };
        let mut reader = Reader::new(bytes);
        if reader.unsigned()? != FORMAT {
            return Err(SnapshotError::Foreign);
        }
        let (version, told) = (small(&mut reader)?, small(&mut reader)?);
        let desired = match reader.unsigned()? {
            0 => Desired::Off,
            1 => Desired::On,
            2 => Desired::Test,
            3.. => return Err(SnapshotError::Damaged),
        };
        let mut causes = Vec::new();
        for _ in 0..reader.count()? {
            let warning = reader.option(|reader| reader.unsigned().map(WarningId))?;
            let level = usize::try_from(reader.unsigned()?).ok();
            let level = level.and_then(|place| Level::ALL.get(place));
            let level = *level.ok_or(SnapshotError::Damaged)?;
            causes.push(Cause {
                warning,
                level,
                expires: moment(&mut reader)?,
                sounds: reader.flag()?,
            });
        }
        let siren = Self {
            version,
            told,
            desired,
            causes,
            test_until: reader.option(moment)?,
            sounding_until: reader.option(moment)?,
            may_sound: reader.flag()?,
            confirmed: reader.flag()?,
            attempts: small(&mut reader)?,
            due: moment(&mut reader)?,
        };
        reader.end()?;
        Ok(siren)
    }
}

/// What a new look at the causes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heed {
    /// A changed state is a new order.
    Changes,
    /// The same state is a new order too: people are to hear it again.
    Call,
}

/// Returns how long to wait after so many orders that were not confirmed.
fn repeat_after(attempts: u32) -> Duration {
    REPEAT_MIN.saturating_mul(2_u32.saturating_pow(attempts)).min(REPEAT_MAX)
}

#[cfg(test)]
mod tests;
