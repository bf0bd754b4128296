//! Alerts in 16 to 24 bytes.
//!
//! Names and signals are places in the [`Book`]; whoever has that gets back the same [`Alert`], value by value and
//! millisecond by millisecond. What a dictionary does not have is told in words, which takes more bytes and none.

use super::bytes::{Reader, TEXT_BYTES_MAX, Unreadable, Writer, span};
use super::{Book, BookId, EncodeError, book};
use crate::domain::time::Timestamp;
use crate::domain::warning::{Alert, Level, MessageType, Observed, Reason, WarningId};

/// The moment of an alert has 40 bits: 34 years of the time line.
const SENT_BYTES: usize = 5;
const SENT_MS_MAX: i64 = (1 << (8 * SENT_BYTES)) - 1;

// In the order of their numbers, of which the first byte is made: docs/formats/uplink.md.
const MESSAGE_TYPES: [MessageType; 3] =
    [MessageType::Alert, MessageType::Update, MessageType::Cancel];
const REASONS: [Reason; 6] = [
    Reason::Raised,
    Reason::Upgraded,
    Reason::Downgraded,
    Reason::Reissued,
    Reason::Cleared,
    Reason::Withdrawn,
];

/// An alert as it travels: all but the names is there before the dictionary is.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortAlert {
    /// Which warning.
    pub warning: WarningId,
    /// Counts the alerts of that warning from one.
    pub number: u32,
    /// What it does to those before it.
    pub message_type: MessageType,
    /// Why it was made.
    pub reason: Reason,
    /// The level now; for an all-clear, the level that has ended.
    pub level: Level,
    /// The highest level that the warning has had.
    pub level_max: Level,
    /// When it was decided.
    pub sent: Timestamp,
    /// When it stops being true of itself.
    pub expires: Timestamp,
    /// What it is about.
    pub about: About,
}

/// What an alert is about, and what was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// By a dictionary.
    Places {
        /// Which dictionary.
        book: BookId,
        /// The rule's place in it.
        rule: u32,
        /// Places of signals in it, and their values.
        observed: Vec<(u32, f64)>,
    },
    /// Without one.
    Words {
        /// Version of the rule book.
        rule_version: String,
        /// Name of the rule.
        rule: String,
        /// What threatens.
        hazard: String,
        /// Where.
        area: String,
        /// What was seen.
        observed: Vec<Observed>,
    },
}

/// Why an alert cannot be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// It needs a dictionary that is not at hand.
    #[error("the alert needs dictionary {0}")]
    Book(BookId),
    /// The dictionary has no such rule or signal: the alert is damaged.
    #[error("the alert names a rule or signal that its dictionary does not have")]
    Place,
}

impl ShortAlert {
    /// Returns an alert in the shortest form that gives it back: by the dictionary of its rule book where that has all
    /// that it names, else in words.
    #[must_use]
    pub fn of(alert: &Alert, book: Option<&Book>) -> Self {
        let words = || About::Words {
            rule_version: alert.rule_version.clone(),
            rule: alert.rule.clone(),
            hazard: alert.hazard.clone(),
            area: alert.area.clone(),
            observed: alert.observed.clone(),
        };
        Self {
            warning: alert.warning,
            number: alert.number,
            message_type: alert.message_type,
            reason: alert.reason,
            level: alert.level,
            level_max: alert.level_max,
            sent: alert.sent,
            expires: alert.expires,
            about: book.and_then(|book| places(alert, book)).unwrap_or_else(words),
        }
    }

    /// Returns the dictionary that [`ShortAlert::expand`] needs; `None` where it needs none.
    #[must_use]
    pub const fn book(&self) -> Option<BookId> {
        match self.about {
            About::Places { book, .. } => Some(book),
            About::Words { .. } => None,
        }
    }

    /// Returns the alert that this one is short for.
    ///
    /// # Errors
    ///
    /// [`ExpandError::Book`] without the dictionary that it needs, [`ExpandError::Place`] for what no gateway writes.
    pub fn expand(&self, book: Option<&Book>) -> Result<Alert, ExpandError> {
        let mut alert = Alert {
            warning: self.warning,
            number: self.number,
            message_type: self.message_type,
            reason: self.reason,
            level: self.level,
            level_max: self.level_max,
            hazard: String::new(),
            area: String::new(),
            rule: String::new(),
            rule_version: String::new(),
            sent: self.sent,
            expires: self.expires,
            observed: Vec::new(),
        };
        match &self.about {
            About::Words { rule_version, rule, hazard, area, observed } => {
                alert.hazard.clone_from(hazard);
                alert.area.clone_from(area);
                alert.rule.clone_from(rule);
                alert.rule_version.clone_from(rule_version);
                alert.observed.clone_from(observed);
            }
            About::Places { book: id, rule, observed } => {
                let book = book.filter(|book| book.id() == *id).ok_or(ExpandError::Book(*id))?;
                let rule = book.rules().get(*rule as usize).ok_or(ExpandError::Place)?;
                alert.hazard = rule.hazard.to_string();
                alert.area = rule.area.to_string();
                alert.rule = rule.name.to_string();
                book.version().clone_into(&mut alert.rule_version);
                for (place, value) in observed {
                    let known = book.signals().get(*place as usize).ok_or(ExpandError::Place)?;
                    alert.observed.push(Observed { signal: known.signal, value: *value });
                }
            }
        }
        Ok(alert)
    }

    pub(super) const fn is_in_words(&self) -> bool {
        matches!(self.about, About::Words { .. })
    }

    fn first_byte(&self) -> u8 {
        let kind = self.message_type as u8 * 6 + self.reason as u8;
        (kind * 3 + self.level as u8) * 3 + self.level_max as u8
    }

    pub(super) fn write(&self, to: &mut Writer) -> Result<(), EncodeError> {
        to.byte(self.first_byte());
        match &self.about {
            About::Places { book, rule, observed } => {
                to.bytes(&book.0);
                to.number(self.warning.0);
                to.number(self.number.into());
                to.number((*rule).into());
                let (sent, span) = self.moments().ok_or(EncodeError::Time)?;
                to.bytes(&sent);
                to.number(span);
                for (place, value) in observed {
                    to.number((*place).into());
                    to.value(*value);
                }
            }
            About::Words { rule_version, rule, hazard, area, observed } => {
                to.number(self.warning.0);
                to.number(self.number.into());
                to.signed(self.sent.as_millis());
                to.signed(self.expires.as_millis());
                for text in [rule_version, rule, hazard, area] {
                    to.text(text, TEXT_BYTES_MAX)?;
                }
                for seen in observed {
                    book::write_signal(seen.signal, to)?;
                    to.value(seen.value);
                }
            }
        }
        Ok(())
    }

    /// Returns when it was sent, and the span for which it holds; `None` where the short form has no room for that.
    fn moments(&self) -> Option<([u8; SENT_BYTES], u64)> {
        moments(self.sent, self.expires)
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let head = Head::read(from)?;
        let book = BookId(from.array()?);
        let (warning, number) = (WarningId(from.number()?), from.small()?);
        let rule = from.small()?;
        let sent =
            (from.array::<SENT_BYTES>()?.iter()).fold(0, |ms, byte| ms << 8 | i64::from(*byte));
        let expires = sent.checked_add_unsigned(from.span()?).ok_or(Unreadable)?;
        let mut observed = Vec::new();
        while !from.is_empty() {
            observed.push((from.small()?, from.value()?));
        }
        let about = About::Places { book, rule, observed };
        Ok(head.alert(warning, number, (sent, expires), about))
    }

    pub(super) fn read_in_words(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let head = Head::read(from)?;
        let (warning, number) = (WarningId(from.number()?), from.small()?);
        let moments = (from.signed()?, from.signed()?);
        let mut text = || from.text(TEXT_BYTES_MAX).map(str::to_owned);
        let (rule_version, rule, hazard, area) = (text()?, text()?, text()?, text()?);
        let mut observed = Vec::new();
        while !from.is_empty() {
            let signal = book::read_signal(from)?;
            observed.push(Observed { signal, value: from.value()? });
        }
        let about = About::Words { rule_version, rule, hazard, area, observed };
        Ok(head.alert(warning, number, moments, about))
    }
}

fn moments(sent: Timestamp, expires: Timestamp) -> Option<([u8; SENT_BYTES], u64)> {
    let sent_ms = sent.as_millis();
    if !(0..=SENT_MS_MAX).contains(&sent_ms) {
        return None;
    }
    let valid_ms = u64::try_from(expires.as_millis().checked_sub(sent_ms)?).ok()?;
    let [_, _, _, bytes @ ..] = sent_ms.to_be_bytes();
    span(valid_ms).map(|span| (bytes, span))
}

/// Returns an alert's places in a dictionary, where that has them all.
fn places(alert: &Alert, book: &Book) -> Option<About> {
    moments(alert.sent, alert.expires)?;
    if alert.rule_version != book.version() {
        return None;
    }
    let rule = book.rules().iter().position(|rule| {
        *rule.name == *alert.rule && *rule.hazard == *alert.hazard && *rule.area == *alert.area
    });
    let observed = alert.observed.iter().map(|seen| {
        let place = book.signals().iter().position(|known| known.signal == seen.signal)?;
        Some((u32::try_from(place).ok()?, seen.value))
    });
    let observed: Vec<(u32, f64)> = observed.collect::<Option<_>>()?;
    Some(About::Places { book: book.id(), rule: u32::try_from(rule?).ok()?, observed })
}

/// What the first byte says.
struct Head {
    message_type: MessageType,
    reason: Reason,
    level: Level,
    level_max: Level,
}

impl Head {
    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let byte = usize::from(from.byte()?);
        let level = |number: usize| Level::ALL.get(number % 3).copied().ok_or(Unreadable);
        Ok(Self {
            message_type: *MESSAGE_TYPES.get(byte / 54).ok_or(Unreadable)?,
            reason: *REASONS.get(byte / 9 % 6).ok_or(Unreadable)?,
            level: level(byte / 3)?,
            level_max: level(byte)?,
        })
    }

    fn alert(
        self,
        warning: WarningId,
        number: u32,
        (sent, expires): (i64, i64),
        about: About,
    ) -> ShortAlert {
        let Self { message_type, reason, level, level_max } = self;
        let (sent, expires) = (Timestamp::from_millis(sent), Timestamp::from_millis(expires));
        ShortAlert { warning, number, message_type, reason, level, level_max, sent, expires, about }
    }
}
