//! The modem's task: sessions with a plugged-in modem, and the waits between them.

use super::port::{Port, Trouble};
use super::watchdog::Stage;
use super::{Driver, Modem, Refused, Request, State};
use crate::domain::message::Submitted;
use crate::supervise::Stop;
use crate::wire::at::{self, Event, News};
use rand_core::RngCore;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Speed when the settings name none.
const BAUD: u32 = 115_200;

/// Why a modem's task ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other end of the line is gone.
    #[error("nobody asks the modem for anything any longer")]
    Closed,
}

/// Why nobody can be served just now.
#[derive(Clone, Copy)]
enum Absence<'a> {
    /// It will pass by itself, within this time.
    Passing(&'a str, Duration),
    /// Something or somebody has to mend it.
    Lasting(&'a str),
}

/// Why a session ended.
enum End {
    Stopped,
    Closed,
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Modem {
    /// Runs the modem until `stop` is given. A text whose bytes are on their way is waited for first.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the other end of the line is gone.
    pub async fn run(self, mut stop: Stop) -> Result<(), Error> {
        let Self { mut requests, mut driver } = self;
        let end = loop {
            let (port, end) = match driver.open() {
                Err(trouble) => (None, End::Trouble(trouble)),
                Ok(mut port) => {
                    let end = driver.session(&mut port, &mut requests, &mut stop).await;
                    (Some(port), end)
                }
            };
            let trouble = match end {
                End::Trouble(trouble) => trouble,
                End::Stopped => break Ok(()),
                End::Closed => break Err(Error::Closed),
            };
            match driver.mend(port, trouble, &mut requests, &mut stop).await {
                None => {}
                Some(End::Closed) => break Err(Error::Closed),
                Some(End::Stopped | End::Trouble(_)) => break Ok(()),
            }
        };
        requests.close();
        while let Ok(request) = requests.try_recv() {
            turn_away(request, Absence::Passing("the gateway is stopping", Duration::ZERO));
        }
        end
    }
}

impl Driver {
    fn open(&self) -> Result<Port, Trouble> {
        let times = &self.settings.times;
        let baud = self.settings.bauds.first().copied().unwrap_or(BAUD);
        Port::open(&self.settings.port, baud, times).map_err(Trouble::Unplugged)
    }

    /// Does what helps against `trouble` and waits; meanwhile tells whoever asks what is wrong.
    async fn mend(
        &mut self,
        port: Option<Port>,
        trouble: Trouble,
        requests: &mut mpsc::Receiver<Request>,
        stop: &mut Stop,
    ) -> Option<End> {
        if matches!(self.health.state, State::Ready | State::Searching) {
            self.backoff = self.settings.times.reopen_min;
        }
        // An unplugged port is closed before it is opened again: its name may be wanted.
        let port = port.filter(|_| !matches!(trouble, Trouble::Unplugged(_)));
        let reason = trouble.to_string();
        let backoff = self.jitter();
        let boot = self.settings.times.boot;
        let mended = async {
            let wait = self.recover(port, &trouble).await.max(backoff);
            sleep(wait).await;
        };
        let absence = match trouble {
            Trouble::Restarted | Trouble::PowerCut => Absence::Passing(&reason, boot),
            Trouble::Unplugged(_) | Trouble::Silent | Trouble::Unregistered | Trouble::Down(_) => {
                Absence::Lasting(&reason)
            }
        };
        aside(mended, absence, requests, stop).await.err()
    }

    /// Returns between a half and the whole of the wait before the port is opened again, which doubles.
    fn jitter(&mut self) -> Duration {
        let wait = self.backoff;
        self.backoff = (wait * 2).min(self.settings.times.reopen_max);
        wait.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX) / 2.0 + 0.5)
    }

    /// Serves requests and news until something ends it.
    async fn session(
        &mut self,
        port: &mut Port,
        requests: &mut mpsc::Receiver<Request>,
        stop: &mut Stop,
    ) -> End {
        let poll = self.settings.times.poll;
        let absence = Absence::Passing("the modem is being set up", poll);
        match aside(self.initialise(port), absence, requests, stop).await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => return trouble.into(),
            Err(end) => return end,
        }
        self.inbox.sweep_now();
        self.show(State::Searching);
        let mut look_due = Instant::now();
        loop {
            if let Err(trouble) = self.attend(port, &mut look_due).await {
                return trouble.into();
            }
            let paced = self.next_text;
            let until =
                if port.news.is_empty() { self.next_deadline(look_due) } else { Instant::now() };
            let done = tokio::select! {
                biased;
                () = stop.wait() => return End::Stopped,
                () = self.events.closed() => return End::Closed,
                settled = self.inbox.settled() => self.settle(port, settled).await,
                event = port.next(until) => match event {
                    Ok(Some(event)) => hear(port, event).await,
                    Ok(None) => Ok(()),
                    Err(trouble) => Err(trouble),
                },
                request = requests.recv(), if paced <= Instant::now() => match request {
                    Some(request) => self.serve(port, request).await,
                    None => return End::Closed,
                },
            };
            self.count_port(port);
            if let Err(trouble) = done {
                return trouble.into();
            }
        }
    }

    /// Returns when something is due that nobody announces.
    fn next_deadline(&self, look_due: Instant) -> Instant {
        let own = self.self_test.as_ref().map(|test| test.until);
        let paced = Some(self.next_text).filter(|paced| *paced > Instant::now());
        [own, paced].into_iter().flatten().fold(look_due.min(self.inbox.sweep_due), Instant::min)
    }

    fn count_port(&mut self, port: &mut Port) {
        let counts = &mut self.health.counts;
        counts.late_answers =
            counts.late_answers.saturating_add(std::mem::take(&mut port.late_answers));
        counts.news_dropped =
            counts.news_dropped.saturating_add(std::mem::take(&mut port.news_dropped));
        counts.noise_lines = counts.noise_lines.max(port.dropped().lines);
        self.publish();
    }

    /// Works off the news, and what is due.
    async fn attend(&mut self, port: &mut Port, look_due: &mut Instant) -> Result<(), Trouble> {
        if port.news_dropped > 0 {
            self.inbox.sweep_now();
        }
        while let Some(news) = port.news.pop_front() {
            match news {
                News::ReportStored { memory, place: Some(place) }
                    if memory != self.quirks.storage =>
                {
                    self.read_elsewhere(port, &memory, place).await?;
                }
                News::TextStored(_) | News::ReportStored { .. } => self.inbox.sweep_now(),
                News::Text { pdu } | News::Report { pdu } => self.take_direct(port, &pdu).await?,
                News::Registration(_) => *look_due = Instant::now(),
                News::Restarted(_) => return Err(Trouble::Restarted),
                // The SIM was taken out: everything is asked anew.
                News::Other(line) if line.starts_with("+CPIN: NOT") => {
                    return Err(Trouble::Restarted);
                }
                News::Ussd(_) | News::Other(_) => {}
            }
        }
        self.expire_self_test();
        if *look_due <= Instant::now() {
            self.look(port).await?;
            let times = &self.settings.times;
            *look_due =
                Instant::now() + if self.health.registered { times.sweep } else { times.poll };
        }
        if self.inbox.sweep_due <= Instant::now() {
            self.sweep(port).await?;
        }
        Ok(())
    }

    /// Looks at registration, signal and operator.
    async fn look(&mut self, port: &mut Port) -> Result<(), Trouble> {
        let mut best: Option<at::Registration> = None;
        for (command, head) in
            [("AT+CREG?", "+CREG:"), ("AT+CGREG?", "+CGREG:"), ("AT+CEREG?", "+CEREG:")]
        {
            let seen = port.ask(command, head).await?.line(head).and_then(at::registration);
            best = best.filter(|best| best.is_registered()).or(seen).or(best);
        }
        let registered = best.is_some_and(at::Registration::is_registered);
        self.health.registration = best.map_or("registration unknown", at::Registration::words);
        self.health.signal_dbm =
            port.ask("AT+CSQ", "+CSQ:").await?.line("+CSQ:").and_then(at::signal_dbm);
        let operator = port.ask("AT+COPS?", "+COPS:").await?;
        let operator = operator.line("+COPS:").and_then(at::operator);
        (self.health.operator, self.health.technology) = operator.unwrap_or_default();
        if registered != self.health.registered {
            info!(modem = %self.settings.name, registered, registration = self.health.registration, "registration changed");
        }
        self.health.registered = registered;
        if registered {
            self.astray = None;
            self.stage = Stage::Fine;
            self.told = None;
            self.show(State::Ready);
            return Ok(());
        }
        self.show(State::Searching);
        let since = *self.astray.get_or_insert_with(Instant::now);
        if since.elapsed() < self.settings.times.registration {
            Ok(())
        } else {
            Err(Trouble::Unregistered)
        }
    }

    async fn serve(&mut self, port: &mut Port, request: Request) -> Result<(), Trouble> {
        match request {
            Request::Submit { reply, .. } if !self.health.registered => {
                let reason = format!("no network: {}", self.health.registration);
                answer(reply, Submitted::Retry { reason, after: Some(self.settings.times.poll) });
                Ok(())
            }
            Request::Submit { submission, reply } => {
                let (submitted, trouble) = self.submit(port, &submission).await;
                if let Submitted::ChannelDown { reason } = &submitted {
                    warn!(modem = %self.settings.name, reason, "modem cannot send");
                }
                // What is wrong with the SIM or the settings is found, and told, by setting the modem up anew.
                let broken = matches!(submitted, Submitted::ChannelDown { .. });
                answer(reply, submitted);
                trouble.or_else(|| broken.then_some(Trouble::Restarted)).map_or(Ok(()), Err)
            }
            Request::Ussd { code, reply } => {
                let text = self.dial(port, &code).await;
                pass_on(reply, text)
            }
            Request::Balance { reply } => {
                let amount = self.ask_balance(port).await;
                pass_on(reply, amount)
            }
            Request::Stored { reply } => {
                self.inbox.sweep_now();
                let swept = self.sweep(port).await;
                let unknown =
                    || Refused("the modem does not say how full its storage is".to_owned());
                pass_on(reply, swept.map(|()| self.health.storage.ok_or_else(unknown)))
            }
            Request::DeleteStored { reply } => {
                // 3GPP TS 27.005 §3.5.4: flag 4 ignores the place and deletes everything.
                let deleted = port.command("AT+CMGD=1,4").await;
                let refusal =
                    |error: at::ErrorCode| Refused(format!("the modem does not delete: {error}"));
                pass_on(
                    reply,
                    deleted.map(|done| done.error.map_or(Ok(()), |error| Err(refusal(error)))),
                )
            }
            Request::PowerCycle { reply } => {
                let done = self.cut_power().await;
                let cut = done.is_ok();
                answer(reply, done);
                if cut { Err(Trouble::PowerCut) } else { Ok(()) }
            }
            Request::SelfTest { reply } if !self.health.registered => {
                answer(reply, Err(Refused(format!("no network: {}", self.health.registration))));
                Ok(())
            }
            Request::SelfTest { reply } => self.start_self_test(port, reply).await,
        }
    }
}

/// Keeps news that comes while nothing is asked. An answer to nobody is counted, a prompt is left.
async fn hear(port: &mut Port, event: Event) -> Result<(), Trouble> {
    match event {
        Event::News(news) => port.keep_news(news),
        Event::Prompt => port.cancel_prompt().await?,
        Event::Final(_) | Event::Line(_) | Event::Entry { .. } => {
            port.late_answers = port.late_answers.saturating_add(1);
        }
    }
    Ok(())
}

/// Answers a request; whoever asked may have gone.
fn answer<T>(reply: oneshot::Sender<T>, word: T) {
    let _asker_gone = reply.send(word).is_err();
}

/// Answers a request with the word of the network or with the trouble, which also ends the session.
fn pass_on<T>(
    reply: oneshot::Sender<Result<T, Refused>>,
    word: Result<Result<T, Refused>, Trouble>,
) -> Result<(), Trouble> {
    match word {
        Ok(word) => {
            answer(reply, word);
            Ok(())
        }
        Err(trouble) => {
            answer(reply, Err(Refused(trouble.to_string())));
            Err(trouble)
        }
    }
}

/// Runs `work`; meanwhile tells whoever asks that there is no modem, and why.
async fn aside<T>(
    work: impl Future<Output = T>,
    absence: Absence<'_>,
    requests: &mut mpsc::Receiver<Request>,
    stop: &mut Stop,
) -> Result<T, End> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return Err(End::Stopped),
            done = &mut work => return Ok(done),
            request = requests.recv() => match request {
                Some(request) => turn_away(request, absence),
                None => return Err(End::Closed),
            },
        }
    }
}

/// Answers a request that finds no modem. Nothing went out.
fn turn_away(request: Request, absence: Absence<'_>) {
    let (Absence::Passing(reason, _) | Absence::Lasting(reason)) = absence;
    let reason = reason.to_owned();
    let refused = Refused(reason.clone());
    match (request, absence) {
        (Request::Submit { reply, .. }, Absence::Passing(_, after)) => {
            answer(reply, Submitted::Retry { reason, after: Some(after) });
        }
        (Request::Submit { reply, .. }, Absence::Lasting(_)) => {
            answer(reply, Submitted::ChannelDown { reason });
        }
        (Request::Ussd { reply, .. } | Request::Balance { reply }, _) => {
            answer(reply, Err(refused));
        }
        (Request::Stored { reply }, _) => answer(reply, Err(refused)),
        (Request::DeleteStored { reply } | Request::PowerCycle { reply }, _) => {
            answer(reply, Err(refused));
        }
        (Request::SelfTest { reply }, _) => answer(reply, Err(refused)),
    }
}
