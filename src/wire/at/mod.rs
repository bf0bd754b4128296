//! What a modem says: bytes in, events out.
//!
//! A modem talks in lines, but not in turn. Its answer to a command, the echo of that command and news that nobody asked
//! for share one wire, and a modem that browns out adds noise. [`Parser`] is told what was sent, and from that alone tells
//! an answer from news. It never waits, never fails, and holds at most one line.
//!
//! Sources: 3GPP TS 27.005 (texts), 3GPP TS 27.007 (the rest), ITU-T V.250 (lines, echo, result codes).

mod codes;
mod ussd;
mod values;

pub use codes::{Class, ErrorCode};
pub use ussd::{pack_ussd, ussd_text};
pub use values::{
    MessageSettings, Registration, Storage, Ussd, fields, message_settings, operator, registration,
    service_centre, signal_dbm, storage, stored_index,
};

/// Longest line that is kept, in bytes: the longest PDU is 352 digits, the longest USSD text in UCS-2 digits 728.
pub const LINE_BYTES_MAX: usize = 1024;

/// Most lines of one USSD text (a quoted text may hold line ends: 3GPP TS 27.007 §7.15).
const USSD_LINES_MAX: u8 = 24;

/// Cancels a text at the prompt: 3GPP TS 27.005 §3.5.1.
pub const ESCAPE: u8 = 0x1B;
/// Ends a text at the prompt and sends it: 3GPP TS 27.005 §3.5.1.
pub const SEND: u8 = 0x1A;

/// Something that the modem said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The modem waits for a text: `> `.
    Prompt,
    /// The command is over.
    Final(Final),
    /// A line of the answer to the command.
    Line(String),
    /// An entry of the answer that has a PDU: `+CMGL: 1,0,,25`, `+CMGR: 0,,25`.
    Entry {
        /// The line before the PDU.
        header: String,
        /// The PDU, in hexadecimal digits.
        pdu: String,
    },
    /// News that nobody asked for.
    News(News),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Final {
    /// Done.
    Ok,
    /// Refused.
    Error(ErrorCode),
    /// The line is now a data connection, or was: nothing that this gateway asks for.
    Connection(String),
}

/// An unsolicited result code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A text was stored: `+CMTI`. `None`: the modem gave no usable place, as SIM7000 does with `-1`.
    TextStored(Option<u16>),
    /// A status report was stored: `+CDSI: "SR",4`.
    ReportStored {
        /// Where: `SM`, `ME`, or `SR` for modems that keep reports apart.
        memory: String,
        /// Its place there.
        place: Option<u16>,
    },
    /// A text, direct: `+CMT`.
    Text {
        /// The PDU, in hexadecimal digits.
        pdu: String,
    },
    /// A status report, direct: `+CDS`.
    Report {
        /// The PDU, in hexadecimal digits.
        pdu: String,
    },
    /// Registration changed: `+CREG`, `+CGREG`, `+CEREG`.
    Registration(Registration),
    /// A USSD text, or the end of a USSD session: `+CUSD`.
    Ussd(Ussd),
    /// The modem has just started, or is going down; it has forgotten what it was doing.
    Restarted(String),
    /// Anything else of the right form: signal strength, time zone, a ring.
    Other(String),
}

/// What the parser turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes that belong in no line.
    pub bytes: u64,
    /// Lines that are no answer and no news.
    pub lines: u64,
    /// Lines longer than [`LINE_BYTES_MAX`].
    pub overlong: u64,
    /// Echoed lines.
    pub echoes: u64,
}

/// Splits what a modem says into [`Event`]s.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    overlong: bool,
    quoted: bool,
    quoted_lines: u8,
    /// A header whose PDU comes on the next line.
    header: Option<String>,
    command: Option<Command>,
    echo: String,
    restarts: &'static [&'static str],
    dropped: Dropped,
}

#[derive(Debug)]
struct Command {
    /// What the lines of its answer start with: `+CSQ`.
    head: String,
    /// Answers in lines that start with anything: `AT+CGMI`, `ATI`.
    plain: bool,
}

/// Commands that are answered by a bare text: 3GPP TS 27.007 §5.1–5.4, ITU-T V.250 §6.1.3.
const PLAIN: [&str; 5] = ["ATI", "AT+CGMI", "AT+CGMM", "AT+CGMR", "AT+GMM"];

/// Headers that are followed by a PDU on a line of its own.
const WITH_PDU: [&str; 5] = ["+CMT:", "+CDS:", "+CMGL:", "+CMGR:", "+CBM:"];

/// Lines that any modem may say when it starts or stops; a model's own are in its quirks.
const RESTARTS: [&str; 3] = ["RDY", "^SYSSTART", "NORMAL POWER DOWN"];

impl Parser {
    /// Makes lines that start with one of `restarts` count as a restart of the modem, besides the common ones.
    pub fn set_restarts(&mut self, restarts: &'static [&'static str]) {
        self.restarts = restarts;
    }

    /// Tells that `command` is being sent: its echo is dropped, and lines that answer it are told from news.
    pub fn sent(&mut self, command: &str) {
        let name = command.get(2..).unwrap_or_default();
        let end = name.find(['=', '?', ';', '\r']).unwrap_or(name.len());
        let head = name.get(..end).unwrap_or_default().to_owned();
        self.command = Some(Command { head, plain: PLAIN.contains(&command.trim_end()) });
        command.trim_end().clone_into(&mut self.echo);
    }

    /// Tells that `pdu` is being sent at the prompt, so that its echo is dropped.
    pub fn sent_pdu(&mut self, pdu: &str) {
        pdu.clone_into(&mut self.echo);
    }

    /// Tells that nobody waits for the command any longer: a late answer to it is not an answer to the next.
    pub fn give_up(&mut self) {
        self.command = None;
        self.echo.clear();
        self.header = None;
    }

    /// Forgets everything but the counts: the port was opened anew.
    pub fn reset(&mut self) {
        *self = Self { dropped: self.dropped, restarts: self.restarts, ..Self::default() };
    }

    /// Returns what was turned away since the parser was made.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Takes `bytes` as they came and appends what they say to `events`.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        for &byte in bytes {
            match byte {
                b'\r' | b'\n' => self.end_line(events),
                SEND | ESCAPE => {}
                b'>' if self.line.is_empty() && !self.overlong => events.push(Event::Prompt),
                b' ' if self.line.is_empty() => {}
                0x20..=0x7E => self.keep(byte),
                _ if self.quoted => self.keep(byte),
                _ => self.dropped.bytes = self.dropped.bytes.saturating_add(1),
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.line.len() >= LINE_BYTES_MAX {
            self.overlong = true;
            return;
        }
        self.quoted ^= byte == b'"';
        self.line.push(byte);
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        if self.continues() {
            self.quoted_lines = self.quoted_lines.saturating_add(1);
            if self.line.last() != Some(&b'\n') {
                self.line.push(b'\n');
            }
            return;
        }
        let bytes = std::mem::take(&mut self.line);
        self.quoted = false;
        self.quoted_lines = 0;
        if std::mem::take(&mut self.overlong) {
            self.dropped.overlong = self.dropped.overlong.saturating_add(1);
            return;
        }
        if bytes.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&bytes);
        let (line, rest) = split_swallowed(line.trim_end());
        self.take_line(line, events);
        if let Some(rest) = rest {
            self.take_line(rest, events);
        }
    }

    /// Returns whether the line end belongs to a quoted USSD text.
    fn continues(&self) -> bool {
        self.quoted
            && !self.overlong
            && self.line.starts_with(b"+CUSD:")
            && self.line.len() < LINE_BYTES_MAX
            && self.quoted_lines < USSD_LINES_MAX
            && !ends_with_result(&self.line)
    }

    fn take_line(&mut self, line: &str, events: &mut Vec<Event>) {
        if let Some(header) = self.header.take_if(|_| is_hex(line)) {
            events.push(with_pdu(header, line.to_owned()));
        } else if self.take_echo(line) {
            self.dropped.echoes = self.dropped.echoes.saturating_add(1);
        } else if let Some(end) = self.parse_final(line) {
            self.header = None;
            self.command = None;
            self.echo.clear();
            events.push(Event::Final(end));
        } else if WITH_PDU.iter().any(|head| line.starts_with(head)) {
            self.header = Some(line.to_owned());
        } else if self.answers(line) {
            events.push(Event::Line(line.to_owned()));
        } else if let Some(news) = self.parse_news(line) {
            events.push(Event::News(news));
        } else {
            self.dropped.lines = self.dropped.lines.saturating_add(1);
        }
    }

    /// Returns whether the line is the echo of what was sent, or its beginning when news broke it in two.
    fn take_echo(&mut self, line: &str) -> bool {
        let Some(rest) = self.echo.strip_prefix(line) else { return false };
        self.echo = rest.to_owned();
        true
    }

    fn parse_final(&self, line: &str) -> Option<Final> {
        let code = |text: &str| text.trim().parse::<u16>().ok();
        if line == "OK" {
            Some(Final::Ok)
        } else if let Some(text) = line.strip_prefix("+CMS ERROR:") {
            Some(Final::Error(
                code(text).map_or_else(|| ErrorCode::from_cms_words(text), ErrorCode::Cms),
            ))
        } else if let Some(text) = line.strip_prefix("+CME ERROR:") {
            Some(Final::Error(
                code(text).map_or_else(|| ErrorCode::from_cme_words(text), ErrorCode::Cme),
            ))
        } else if matches!(
            line,
            "ERROR" | "ABORTED" | "COMMAND NOT SUPPORT" | "TOO MANY PARAMETERS"
        ) {
            Some(Final::Error(ErrorCode::Plain))
        } else if self.command.is_some() && is_connection(line) {
            Some(Final::Connection(line.to_owned()))
        } else {
            None
        }
    }

    fn answers(&self, line: &str) -> bool {
        let Some(command) = &self.command else { return false };
        if command.plain {
            let bare = !line.starts_with(['+', '^', '*'])
                || line.starts_with(&format!("{}:", command.head));
            return bare && !is_restart(line, self.restarts) && !is_word(line);
        }
        let Some(rest) = line.strip_prefix(command.head.as_str()) else { return false };
        // `+CREG: 0,1` answers; `+CREG: 1` and `+CREG: 1,"00C3","12A4"` are news, even just now.
        rest.starts_with(':')
            && !command.head.is_empty()
            && (registration(line).is_none_or(|seen| seen.is_answer) && !line.starts_with("+CUSD:"))
    }

    fn parse_news(&self, line: &str) -> Option<News> {
        let place = || stored_index(line);
        if line.starts_with("+CMTI:") {
            Some(News::TextStored(place()))
        } else if line.starts_with("+CDSI:") {
            let memory = fields(line)
                .first()
                .map_or_else(String::new, |memory| memory.chars().take(4).collect());
            Some(News::ReportStored { memory, place: place() })
        } else if let Some(registration) = registration(line) {
            Some(News::Registration(registration))
        } else if let Some(ussd) = Ussd::parse(line) {
            Some(News::Ussd(ussd))
        } else if is_restart(line, self.restarts) {
            Some(News::Restarted(line.to_owned()))
        } else if line.starts_with(['+', '^', '*', '%', '#', '$']) && line.contains(':')
            || is_word(line)
        {
            Some(News::Other(line.to_owned()))
        } else {
            None
        }
    }
}

fn with_pdu(header: String, pdu: String) -> Event {
    if header.starts_with("+CMT:") {
        Event::News(News::Text { pdu })
    } else if header.starts_with("+CDS:") {
        Event::News(News::Report { pdu })
    } else if header.starts_with("+CBM:") {
        Event::News(News::Other(header))
    } else {
        Event::Entry { header, pdu }
    }
}

/// Returns the USSD text that lost its closing quote, and the result code that it swallowed.
fn split_swallowed(line: &str) -> (&str, Option<&str>) {
    match line.rsplit_once('\n') {
        Some((text, last)) if line.starts_with("+CUSD:") && is_result(last) => (text, Some(last)),
        Some(_) | None => (line, None),
    }
}

fn ends_with_result(line: &[u8]) -> bool {
    let last = line.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    std::str::from_utf8(last).is_ok_and(is_result)
}

fn is_result(line: &str) -> bool {
    line == "OK"
        || line == "ERROR"
        || line.starts_with("+CMS ERROR:")
        || line.starts_with("+CME ERROR:")
}

fn is_connection(line: &str) -> bool {
    matches!(line, "NO CARRIER" | "BUSY" | "NO ANSWER" | "NO DIALTONE" | "NO DIAL TONE")
        || line.starts_with("CONNECT")
}

fn is_restart(line: &str, more: &[&str]) -> bool {
    RESTARTS.iter().chain(more).any(|start| line.starts_with(start))
}

/// Lines of capital letters and spaces that modems say unasked; `Call Ready` and its like are in the quirks.
fn is_word(line: &str) -> bool {
    matches!(
        line,
        "RING" | "NO CARRIER" | "BUSY" | "Call Ready" | "SMS Ready" | "PB DONE" | "SMS DONE"
    )
}

/// A PDU has at least a service centre's length, a first octet and a reference.
fn is_hex(line: &str) -> bool {
    line.len() >= 6
        && line.len().is_multiple_of(2)
        && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
