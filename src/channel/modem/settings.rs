//! What a modem is told at start.

use crate::wire::gsm7::Language;
use crate::wire::segment::Transliteration;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The SIM's PIN. It shows in no log and no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(String);

impl Pin {
    /// Returns the PIN of `digits`: 4 to 8 of them (3GPP TS 51.011 §9.3); `None` for anything else.
    #[must_use]
    pub fn new(digits: &str) -> Option<Self> {
        let digits = digits.trim();
        ((4..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| Self(digits.to_owned()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// How wide the number is that the segments of one text share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferenceWidth {
    /// 8 bits: an octet more for the text, understood by every telephone.
    #[default]
    Narrow,
    /// 16 bits: two texts in flight to one telephone are not mixed up.
    Wide,
}

/// How to ask for the balance and where it stands in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What to dial, such as `*144#`.
    pub code: String,
    /// What stands before the amount; empty: the first number is the amount.
    pub before: String,
    /// What stands after the amount; empty: anything.
    pub after: String,
}

impl Balance {
    /// Returns the amount in `answer`: the first number that follows `before` and is followed by `after`, as it is
    /// written there, without spaces.
    #[must_use]
    pub fn amount(&self, answer: &str) -> Option<String> {
        let (_, mut rest) = answer.split_once(self.before.as_str())?;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let from = rest.get(start..)?;
            let (number, behind) = from.split_at_checked(number_bytes(from))?;
            if behind.trim_start().starts_with(self.after.trim()) {
                return Some(number.chars().filter(|c| !c.is_whitespace()).collect());
            }
            rest = behind;
        }
        None
    }
}

/// Returns the bytes of the number that `text` starts with: digits, and single marks between them that group digits
/// somewhere: `1 234,50`, `1.234`, `1'234`.
fn number_bytes(text: &str) -> usize {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if c.is_ascii_digit() {
            end = at + 1;
        } else if at != end || !matches!(c, '.' | ',' | '\'' | ' ' | '\u{a0}' | '\u{202f}') {
            break;
        }
    }
    end
}

/// Everything that a modem's task has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name in logs and on screens.
    pub name: String,
    /// The serial port; best a path of `/dev/serial/by-id`, which survives replugging.
    pub port: PathBuf,
    /// Speeds to try, in order, in baud. USB modems take any.
    pub bauds: Vec<u32>,
    /// The SIM's PIN, when it wants one.
    pub pin: Option<Pin>,
    /// Name of the quirks to use; else they are found by what the modem calls itself.
    pub model: Option<String>,
    /// Number of the service centre, for SIMs that know none.
    pub service_centre: Option<String>,
    /// The SIM's own number, E.164, for the self-test.
    pub own_number: Option<String>,
    /// Program and arguments that cut the modem's power and restore it; empty when there is none.
    pub power_cycle: Vec<String>,
    /// Texts (segments) a minute; at least 1. Operators block SIMs that send in bursts.
    pub texts_per_minute: u32,
    /// How wide the number is that the segments of one text share.
    pub reference: ReferenceWidth,
    /// Languages whose shift tables may be used.
    pub national: Vec<Language>,
    /// Replacements that may be made when they save a text from UCS-2.
    pub transliteration: Option<Transliteration>,
    /// How to ask for the balance.
    pub balance: Option<Balance>,
    /// How long everything takes.
    pub times: Times,
    /// Seed of the jitter and of the self-test's words.
    pub seed: u64,
}

impl Settings {
    /// Returns settings for the modem at `port`: no PIN, 115200 then 9600 baud, ten texts a minute.
    #[must_use]
    pub fn new(name: &str, port: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            port,
            bauds: vec![115_200, 9_600],
            pin: None,
            model: None,
            service_centre: None,
            own_number: None,
            power_cycle: Vec::new(),
            texts_per_minute: 10,
            reference: ReferenceWidth::default(),
            national: Vec::new(),
            transliteration: None,
            balance: None,
            times: Times::default(),
            seed: 0,
        }
    }
}

/// How long everything takes. The defaults are for real modems; a test or a demonstration scales them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// For the answer to an ordinary command.
    pub answer: Duration,
    /// For the answer to the first `AT`, per try.
    pub wake: Duration,
    /// Silence that tells that nothing more comes.
    pub quiet: Duration,
    /// Silence around `+++`: ITU-T V.250's S12 is 1 s.
    pub escape_guard: Duration,
    /// For the prompt after `AT+CMGS`.
    pub prompt: Duration,
    /// For the result of a text after its last byte.
    pub result: Duration,
    /// More patience with a result that is late, before the outcome is called unknown and the exchange started afresh.
    pub late: Duration,
    /// For a result after signs of a restart.
    pub restart_grace: Duration,
    /// Before a refused later segment is tried again.
    pub segment_retry: Duration,
    /// For the SIM to become ready.
    pub sim: Duration,
    /// Between questions while something is awaited: SIM, network.
    pub poll: Duration,
    /// Between looks at signal, registration and messages that were stored unannounced.
    pub sweep: Duration,
    /// For the other segments of an inbound text.
    pub segments_wait: Duration,
    /// Unregistered or unplugged for so long, the modem is restarted, then its power is cut.
    pub registration: Duration,
    /// After a restart, before the modem is spoken to.
    pub boot: Duration,
    /// For the power-cycle program.
    pub power_cycle: Duration,
    /// First wait before the port is opened again; doubles, with jitter.
    pub reopen_min: Duration,
    /// Longest wait before the port is opened again.
    pub reopen_max: Duration,
    /// After everything was tried, before it is tried anew.
    pub down_retry: Duration,
    /// For the network's answer to a USSD code.
    pub ussd: Duration,
    /// For the self-test's text to come back.
    pub self_test: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            answer: secs(10),
            wake: secs(1),
            quiet: Duration::from_millis(300),
            escape_guard: Duration::from_millis(1_100),
            prompt: secs(15),
            result: secs(180),
            late: secs(20),
            restart_grace: secs(15),
            segment_retry: secs(5),
            sim: secs(40),
            poll: secs(5),
            sweep: secs(180),
            segments_wait: secs(900),
            registration: secs(300),
            boot: secs(15),
            power_cycle: secs(60),
            reopen_min: Duration::from_millis(500),
            reopen_max: secs(60),
            down_retry: secs(600),
            ussd: secs(30),
            self_test: secs(180),
        }
    }
}

impl Times {
    /// Returns the same times on a clock that runs `factor` times as fast.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |time: Duration| {
            Duration::try_from_secs_f64(time.as_secs_f64() / factor).unwrap_or(time)
        };
        Self {
            answer: scale(self.answer),
            wake: scale(self.wake),
            quiet: scale(self.quiet),
            escape_guard: scale(self.escape_guard),
            prompt: scale(self.prompt),
            result: scale(self.result),
            late: scale(self.late),
            restart_grace: scale(self.restart_grace),
            segment_retry: scale(self.segment_retry),
            sim: scale(self.sim),
            poll: scale(self.poll),
            sweep: scale(self.sweep),
            segments_wait: scale(self.segments_wait),
            registration: scale(self.registration),
            boot: scale(self.boot),
            power_cycle: scale(self.power_cycle),
            reopen_min: scale(self.reopen_min),
            reopen_max: scale(self.reopen_max),
            down_retry: scale(self.down_retry),
            ussd: scale(self.ussd),
            self_test: scale(self.self_test),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(before: &str, after: &str, answer: &str) -> Option<String> {
        Balance { code: "*100#".to_owned(), before: before.to_owned(), after: after.to_owned() }
            .amount(answer)
    }

    #[test]
    fn the_amount_is_found_between_its_neighbours() {
        assert_eq!(amount("", "", "Your balance is 12.50."), Some("12.50".to_owned()));
        assert_eq!(
            amount("Solde ", " F", "Le 3 mai. Solde 1 234,50 F, 20 Mo"),
            Some("1234,50".to_owned())
        );
        assert_eq!(amount("", "KES", "2 SMS, 45 MB, KSH 7, 88.10KES"), Some("88.10".to_owned()));
        assert_eq!(amount("Solde", "F", "no such words"), None);
        assert_eq!(amount("", "F", "12 KES"), None);
        assert_eq!(amount("", "", "none"), None);
    }

    #[test]
    fn a_pin_is_four_to_eight_digits_and_shows_nowhere() {
        let pin = Pin::new("1234\n").expect("four digits");
        assert_eq!(format!("{pin:?}"), "Pin");
        for wrong in ["", "123", "123456789", "12a4", "1234\";+CFUN=0"] {
            assert!(Pin::new(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_faster_clock_scales_every_time() {
        let scaled = Times::default().scaled(100.0);
        assert_eq!(scaled.result, Duration::from_millis(1_800));
        assert_eq!(scaled.scaled(0.01), Times::default());
    }
}
