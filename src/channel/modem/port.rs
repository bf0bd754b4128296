//! The serial port: one command at a time, answers told from news, and the way back into step.

use super::settings::Times;
use crate::wire::at::{self, ErrorCode, Event, Final, News, Parser};
use serial2_tokio::SerialPort;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// News that waits for its turn; the stored kinds are found by the next sweep when it overflows.
const NEWS_MAX: usize = 128;
/// Lines and entries that are kept of one answer: a SIM holds at most 255 messages.
const ANSWER_LINES_MAX: usize = 256;
/// Tries of the exchange that brings the two sides into step.
const PROBES_MAX: u8 = 3;

/// Why a modem cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the modem is unplugged")]
    Unplugged(#[source] io::Error),
    #[error("the modem does not answer")]
    Silent,
    #[error("the modem has restarted")]
    Restarted,
    #[error("the modem's power was cut")]
    PowerCut,
    #[error("the modem finds no network")]
    Unregistered,
    /// Somebody has to mend it.
    #[error("{0}")]
    Down(String),
}

/// The answer to a command.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) lines: Vec<String>,
    /// Header and PDU.
    pub(super) entries: Vec<(String, String)>,
    /// `None`: done.
    pub(super) error: Option<ErrorCode>,
}

impl Answer {
    /// Returns the first line that starts with `head`.
    pub(super) fn line(&self, head: &str) -> Option<&str> {
        self.lines.iter().find(|line| line.starts_with(head)).map(String::as_str)
    }
}

pub(super) struct Port {
    serial: SerialPort,
    parser: Parser,
    heard: VecDeque<Event>,
    pub(super) news: VecDeque<News>,
    pub(super) news_dropped: u64,
    /// Answers that came when nobody waited for them.
    pub(super) late_answers: u64,
    /// An answer is outstanding: the next result may be its own.
    out_of_step: bool,
    times: Times,
}

impl Port {
    pub(super) fn open(path: &Path, baud: u32, times: &Times) -> io::Result<Self> {
        let serial = SerialPort::open(path, baud)?;
        // Modems take DTR as "somebody is there"; ports without modem lines refuse it, which is no harm.
        let _without_lines = serial.set_dtr(true).is_err();
        Ok(Self {
            serial,
            parser: Parser::default(),
            heard: VecDeque::new(),
            news: VecDeque::new(),
            news_dropped: 0,
            late_answers: 0,
            out_of_step: true,
            times: times.clone(),
        })
    }

    pub(super) fn set_baud(&mut self, baud: u32) -> Result<(), Trouble> {
        let mut settings = self.serial.get_configuration().map_err(Trouble::Unplugged)?;
        settings.set_baud_rate(baud).map_err(Trouble::Unplugged)?;
        self.serial.set_configuration(&settings).map_err(Trouble::Unplugged)?;
        self.parser.reset();
        Ok(())
    }

    pub(super) fn set_restarts(&mut self, restarts: &'static [&'static str]) {
        self.parser.set_restarts(restarts);
    }

    pub(super) fn dropped(&self) -> at::Dropped {
        self.parser.dropped()
    }

    /// The next command is preceded by the exchange that brings both sides into step.
    pub(super) fn doubt(&mut self) {
        self.out_of_step = true;
        self.parser.give_up();
    }

    /// Returns what the modem says next; `None` when it says nothing until `until`.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was read is lost when the future is dropped.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Event>, Trouble> {
        let mut buffer = [0; 1024];
        let mut events = Vec::new();
        loop {
            if let Some(event) = self.heard.pop_front() {
                return Ok(Some(event));
            }
            let Ok(read) = timeout_at(until, self.serial.read(&mut buffer)).await else {
                return Ok(None);
            };
            let count = read.map_err(Trouble::Unplugged)?;
            if count == 0 {
                return Err(Trouble::Unplugged(io::ErrorKind::UnexpectedEof.into()));
            }
            self.parser.push(buffer.get(..count).unwrap_or_default(), &mut events);
            self.heard.extend(events.drain(..));
        }
    }

    /// Writes all of `bytes`, or finds that the port takes no more.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        match timeout(self.times.answer, self.serial.write_all(bytes)).await {
            Ok(written) => written.map_err(Trouble::Unplugged),
            Err(_elapsed) => {
                let _gone = self.serial.discard_output_buffer().is_err();
                self.doubt();
                Err(Trouble::Silent)
            }
        }
    }

    /// Sends the line of a command; the caller reads the answer.
    pub(super) async fn start(&mut self, command: &str) -> Result<(), Trouble> {
        self.in_step().await?;
        self.send_line(command).await
    }

    async fn send_line(&mut self, command: &str) -> Result<(), Trouble> {
        self.parser.sent(command);
        self.write(format!("{command}\r").as_bytes()).await
    }

    /// Writes a PDU at the prompt and not yet what sends it.
    pub(super) async fn write_pdu(&mut self, digits: &str) -> Result<(), Trouble> {
        self.parser.sent_pdu(digits);
        self.write(digits.as_bytes()).await
    }

    /// Leaves the prompt without sending.
    pub(super) async fn cancel_prompt(&mut self) -> Result<(), Trouble> {
        self.doubt();
        self.write(&[at::ESCAPE]).await
    }

    /// Runs a command that is answered by a result alone, or by lines that may be absent.
    pub(super) async fn command(&mut self, command: &str) -> Result<Answer, Trouble> {
        self.start(command).await?;
        self.answer(None, self.times.answer).await
    }

    /// Runs a command that is answered by a line that starts with `head`.
    ///
    /// A result without it is taken for an older command's. When nothing follows, the modem has no such line, or the two
    /// sides are out of step: the answer is empty, and the next command makes sure. Some modems forget the `OK` after a
    /// line (Wavecom after `+CPIN`): that is waited for no longer than a silent modem's first word.
    pub(super) async fn ask(&mut self, command: &str, head: &str) -> Result<Answer, Trouble> {
        self.start(command).await?;
        self.answer(Some(head), self.times.answer).await
    }

    async fn answer(&mut self, head: Option<&str>, within: Duration) -> Result<Answer, Trouble> {
        let mut until = Instant::now() + within;
        let mut answer = Answer::default();
        let mut bare = false;
        while let Some(event) = self.next(until).await? {
            match event {
                Event::Line(line) => {
                    if head.is_some_and(|head| line.starts_with(head)) {
                        until = until.min(Instant::now() + self.times.wake);
                    }
                    keep(&mut answer.lines, line);
                }
                Event::Entry { header, pdu } => keep(&mut answer.entries, (header, pdu)),
                // A stray result took the parser's command away; the line is still ours.
                Event::News(News::Other(line))
                    if head.is_some_and(|head| line.starts_with(head)) =>
                {
                    keep(&mut answer.lines, line);
                }
                Event::News(news) => self.keep_news(news),
                Event::Prompt => {}
                Event::Final(Final::Ok) => {
                    if head.is_none_or(|head| answer.line(head).is_some()) {
                        return Ok(answer);
                    }
                    self.late_answers = self.late_answers.saturating_add(1);
                    until = until.min(Instant::now() + self.times.wake);
                    bare = true;
                }
                Event::Final(Final::Error(code)) => {
                    answer.error = Some(code);
                    return Ok(answer);
                }
                Event::Final(Final::Connection(_)) => {
                    answer.error = Some(ErrorCode::Plain);
                    return Ok(answer);
                }
            }
        }
        self.doubt();
        let told = head.is_some_and(|head| answer.line(head).is_some());
        if bare || told { Ok(answer) } else { Err(Trouble::Silent) }
    }

    pub(super) fn keep_news(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        } else {
            self.news_dropped = self.news_dropped.saturating_add(1);
        }
    }

    /// Brings both sides into step when an answer is outstanding.
    ///
    /// A late `OK` must never pass for the answer to the next command. So: leave a prompt that may be open (ESC sends
    /// nothing, Ctrl-Z would), let everything that is under way arrive, then ask a question whose answer says more than `OK`.
    /// A modem works its commands off in order: whatever it still owed comes before that answer.
    pub(super) async fn in_step(&mut self) -> Result<(), Trouble> {
        if !self.out_of_step {
            return Ok(());
        }
        self.write(&[at::ESCAPE]).await?;
        self.drain(self.times.quiet, self.times.answer).await?;
        let mut refused = 0_u8;
        for _ in 0..PROBES_MAX {
            self.send_line("AT+CSQ").await?;
            match self.answer(Some("+CSQ:"), self.times.wake).await {
                Ok(answer) if answer.line("+CSQ:").is_some() => {
                    self.out_of_step = false;
                    return Ok(());
                }
                Ok(answer) if answer.error.is_none() => {}
                // The first refusal may be an older command's; two in a row are the question's own.
                Ok(_) if refused > 0 => {
                    self.out_of_step = false;
                    return Ok(());
                }
                Ok(_) => refused += 1,
                Err(Trouble::Silent) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::Silent)
    }

    /// Reads until the modem is silent for `quiet`, at most for `within`. Results are counted, news is kept.
    pub(super) async fn drain(&mut self, quiet: Duration, within: Duration) -> Result<(), Trouble> {
        let end = Instant::now() + within;
        while let Some(event) = self.next((Instant::now() + quiet).min(end)).await? {
            match event {
                Event::News(news) => self.keep_news(news),
                Event::Final(_) | Event::Line(_) | Event::Entry { .. } => {
                    self.late_answers = self.late_answers.saturating_add(1);
                }
                Event::Prompt => self.write(&[at::ESCAPE]).await?,
            }
            if Instant::now() >= end {
                break;
            }
        }
        Ok(())
    }

    /// Finds the modem whatever state it was left in: another speed, a text half written, a data connection.
    pub(super) async fn wake(&mut self, bauds: &[u32]) -> Result<(), Trouble> {
        for baud in bauds {
            self.set_baud(*baud)?;
            if self.try_wake().await? {
                return Ok(());
            }
        }
        if let Some(first) = bauds.first() {
            self.set_baud(*first)?;
        }
        // ITU-T V.250 §5.7: silence, three plus signs, silence; then hang up.
        self.drain(self.times.escape_guard, 2 * self.times.escape_guard).await?;
        self.write(b"+++").await?;
        self.drain(self.times.escape_guard, 2 * self.times.escape_guard).await?;
        self.send_line("ATH").await?;
        if self.try_wake().await? { Ok(()) } else { Err(Trouble::Silent) }
    }

    /// Returns whether the modem answers at this speed. The first `AT`s set an automatic speed and rouse a sleeper.
    async fn try_wake(&mut self) -> Result<bool, Trouble> {
        self.doubt();
        for _ in 0..PROBES_MAX {
            self.write(&[at::ESCAPE]).await?;
            self.send_line("AT").await?;
            match self.answer(None, self.times.wake).await {
                Ok(_) => {
                    self.doubt();
                    return match self.in_step().await {
                        Ok(()) => Ok(true),
                        Err(Trouble::Silent) => Ok(false),
                        Err(trouble) => Err(trouble),
                    };
                }
                Err(Trouble::Silent) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(false)
    }
}

fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() < ANSWER_LINES_MAX {
        kept.push(one);
    }
}
