//! From whatever state the modem was left in to one that can send and receive.

use super::port::{Answer, Port, Trouble};
use super::quirks::{self, GENERIC};
use super::{Driver, Sim, State};
use crate::wire::at::{self, ErrorCode, News};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

/// Tries that a SIM with an untouched PIN allows: 3GPP TS 51.011 §9.3. With fewer, ours is left alone.
const PIN_TRIES_FULL: u8 = 3;

/// What the SIM says of itself.
enum Lock {
    Open,
    Pin,
    Puk,
    Absent,
    Other(String),
    NotYet,
}

impl Driver {
    /// Brings the modem into its working state.
    pub(super) async fn initialise(&mut self, port: &mut Port) -> Result<(), Trouble> {
        self.show(State::Starting);
        port.wake(&self.settings.bauds).await?;
        port.news.retain(|news| !matches!(news, News::Restarted(_)));
        port.command("ATE0").await?;
        port.command("AT+CMEE=1").await?;
        self.recognise(port).await?;
        let powered = port.ask("AT+CFUN?", "+CFUN:").await?;
        // Flight mode and minimal functionality survive a restart of the gateway.
        if powered
            .line("+CFUN:")
            .is_some_and(|line| at::fields(line).first().is_some_and(|state| *state != "1"))
        {
            port.command("AT+CFUN=1").await?;
        }
        self.unlock(port).await?;
        if self.health.model.is_empty() {
            // A locked modem may keep even its name to itself.
            self.recognise(port).await?;
        }
        for command in self.quirks.commands {
            self.optional(port, command).await?;
        }
        self.set_up_messages(port).await?;
        self.find_service_centre(port).await?;
        for command in ["AT+CREG=1", "AT+CGREG=1", "AT+CEREG=1", "AT+COPS=3,0"] {
            self.optional(port, command).await?;
        }
        info!(modem = %self.settings.name, model = %self.health.model, quirks = self.quirks.name, "modem is set up");
        Ok(())
    }

    /// Asks the modem what it is, and chooses its quirks.
    async fn recognise(&mut self, port: &mut Port) -> Result<(), Trouble> {
        let maker = port.command("AT+CGMI").await?;
        let model = port.command("AT+CGMM").await?;
        let (maker, model) = (clean(&maker), clean(&model));
        format!("{maker} {model}").trim().clone_into(&mut self.health.model);
        self.quirks = match self.settings.model.as_deref() {
            Some(wanted) => quirks::by_name(wanted).unwrap_or_else(|| {
                warn!(modem = %self.settings.name, wanted, "modem model is unknown; the standard's ways are used");
                &GENERIC
            }),
            None => quirks::by_call(&self.health.model),
        };
        self.health.quirks = self.quirks.name;
        port.set_restarts(self.quirks.restarts);
        Ok(())
    }

    /// Runs a command that some modems refuse.
    async fn optional(&mut self, port: &mut Port, command: &str) -> Result<(), Trouble> {
        if let Some(error) = port.command(command).await?.error {
            debug!(modem = %self.settings.name, command, %error, "modem refuses an optional command");
        }
        Ok(())
    }

    /// Waits until the SIM is ready, and gives its PIN at most once in the life of this task.
    async fn unlock(&mut self, port: &mut Port) -> Result<(), Trouble> {
        let until = Instant::now() + self.settings.times.sim;
        loop {
            let (sim, reason) = match lock(&port.ask("AT+CPIN?", "+CPIN:").await?) {
                Lock::Open => {
                    self.health.sim = Sim::Ready;
                    return Ok(());
                }
                Lock::Pin => match self.give_pin(port).await? {
                    None => continue,
                    Some(fault) => fault,
                },
                Lock::Puk => (Sim::PukWanted, "the SIM is locked and wants its PUK".to_owned()),
                Lock::Other(wanted) => (Sim::Unknown, format!("the SIM wants {wanted}")),
                Lock::Absent | Lock::NotYet if Instant::now() < until => {
                    sleep(self.settings.times.poll).await;
                    continue;
                }
                Lock::Absent => (Sim::Absent, "there is no SIM, or it is broken".to_owned()),
                Lock::NotYet => (Sim::Unknown, "the SIM does not become ready".to_owned()),
            };
            self.health.sim = sim;
            return Err(Trouble::Down(reason));
        }
    }

    /// Gives the PIN; returns what is wrong when the SIM is still locked.
    async fn give_pin(&mut self, port: &mut Port) -> Result<Option<(Sim, String)>, Trouble> {
        let refused = "the SIM refused its PIN; it is not tried again, because the third wrong PIN locks the SIM";
        if self.health.sim == Sim::PinRefused {
            return Ok(Some((Sim::PinRefused, refused.to_owned())));
        }
        let Some(pin) = self.settings.pin.clone() else {
            return Ok(Some((
                Sim::PinWanted,
                "the SIM wants a PIN and none is configured".to_owned(),
            )));
        };
        if let Some(left) = self.pin_tries(port).await?
            && left < PIN_TRIES_FULL
        {
            let reason = format!(
                "the SIM allows {left} more tries of its PIN; enter it once in a telephone, then restart"
            );
            return Ok(Some((Sim::PinRefused, reason)));
        }
        // Until the answer is there, the PIN counts as refused: whatever happens, it is not given twice.
        self.health.sim = Sim::PinRefused;
        let answer = port.command(&format!("AT+CPIN=\"{}\"", pin.reveal())).await?;
        if answer.error.is_some() {
            warn!(modem = %self.settings.name, "the SIM refused its PIN");
            return Ok(Some((Sim::PinRefused, refused.to_owned())));
        }
        self.wait_until_open(port).await
    }

    /// After a PIN was taken, `AT+CPIN?` says so within seconds.
    async fn wait_until_open(&mut self, port: &mut Port) -> Result<Option<(Sim, String)>, Trouble> {
        let until = Instant::now() + self.settings.times.sim;
        while Instant::now() < until {
            if matches!(lock(&port.ask("AT+CPIN?", "+CPIN:").await?), Lock::Open) {
                self.health.sim = Sim::Ready;
                return Ok(None);
            }
            sleep(self.settings.times.poll.min(Duration::from_secs(1))).await;
        }
        Ok(Some((Sim::PinRefused, "the SIM took its PIN and stays locked".to_owned())))
    }

    async fn pin_tries(&mut self, port: &mut Port) -> Result<Option<u8>, Trouble> {
        let Some(command) = self.quirks.pin_tries else { return Ok(None) };
        let answer = port.command(command).await?;
        let numbers = |line: &String| {
            at::fields(line)
                .into_iter()
                .filter_map(|field| field.parse::<u8>().ok())
                .collect::<Vec<_>>()
        };
        let numbers = answer.lines.first().map(numbers).unwrap_or_default();
        // `^CPIN: READY,,10,3,10,3`: PUK tries, PIN tries; `+SPIC: 3,10,0,10` and `+QPINC: "SC",3,10`: PIN tries first.
        let place = usize::from(command.starts_with("AT^"));
        Ok(numbers.get(place).copied())
    }

    /// Texts in PDU mode, announced as the quirks prefer and the modem offers.
    pub(super) async fn set_up_messages(&mut self, port: &mut Port) -> Result<(), Trouble> {
        if let Some(error) = port.command("AT+CMGF=0").await?.error {
            return Err(Trouble::Down(format!(
                "the modem does not take texts in PDU mode: {error}"
            )));
        }
        let service = format!("AT+CSMS={}", self.quirks.message_service);
        let acknowledged = port.command(&service).await?.error.is_none();
        self.inbox.acknowledges = acknowledged && self.quirks.message_service == 1;
        let storage = self.quirks.storage;
        let stored =
            port.command(&format!("AT+CPMS=\"{storage}\",\"{storage}\",\"{storage}\"")).await?;
        self.health.storage = stored.line("+CPMS:").and_then(at::storage);
        let offered = port.ask("AT+CNMI=?", "+CNMI:").await?;
        let offered = offered.line("+CNMI:").and_then(at::message_settings).unwrap_or_default();
        for [mode, mt, bm, ds, bfr] in
            self.quirks.message_settings.iter().chain(GENERIC.message_settings)
        {
            if !offered.offers([*mode, *mt, *bm, *ds, *bfr]) {
                continue;
            }
            self.inbox.announce = format!("AT+CNMI={mode},{mt},{bm},{ds},{bfr}");
            if port.command(&self.inbox.announce).await?.error.is_none() {
                return Ok(());
            }
        }
        self.inbox.announce.clear();
        warn!(modem = %self.settings.name, "modem announces nothing; stored messages are looked for from time to time");
        Ok(())
    }

    async fn find_service_centre(&mut self, port: &mut Port) -> Result<(), Trouble> {
        let mut answer = port.ask("AT+CSCA?", "+CSCA:").await?;
        let mut known = answer.line("+CSCA:").and_then(at::service_centre);
        if let (None, Some(number)) = (&known, self.settings.service_centre.clone()) {
            let kind = if number.starts_with('+') { 145 } else { 129 };
            port.command(&format!("AT+CSCA=\"{number}\",{kind}")).await?;
            answer = port.ask("AT+CSCA?", "+CSCA:").await?;
            known = answer.line("+CSCA:").and_then(at::service_centre);
        }
        let Some(number) = known else {
            return Err(Trouble::Down(
                "the SIM knows no service centre; set one with service_centre".to_owned(),
            ));
        };
        self.health.service_centre = number;
        Ok(())
    }
}

/// Returns the modem's name without the command's own head and quotes.
fn clean(answer: &Answer) -> String {
    let line = answer.lines.first().map_or("", String::as_str);
    let name = line.split_once(':').map_or(line, |(_, name)| name);
    name.trim().trim_matches('"').chars().take(40).collect()
}

fn lock(answer: &Answer) -> Lock {
    match &answer.error {
        Some(ErrorCode::Cme(10 | 13 | 15) | ErrorCode::Cms(310 | 313 | 315)) => {
            return Lock::Absent;
        }
        Some(ErrorCode::Cme(11) | ErrorCode::Cms(311)) => return Lock::Pin,
        Some(ErrorCode::Cme(12) | ErrorCode::Cms(316)) => return Lock::Puk,
        Some(ErrorCode::Cme(_) | ErrorCode::Cms(_) | ErrorCode::Plain | ErrorCode::Words(_)) => {
            return Lock::NotYet;
        }
        None => {}
    }
    match answer
        .line("+CPIN:")
        .and_then(|line| at::fields(line).first().map(|word| (*word).to_owned()))
        .as_deref()
    {
        Some("READY") => Lock::Open,
        Some("SIM PIN") => Lock::Pin,
        Some("SIM PUK") => Lock::Puk,
        Some("NOT INSERTED") => Lock::Absent,
        Some("NOT READY") | None => Lock::NotYet,
        Some(other) => Lock::Other(other.chars().take(20).collect()),
    }
}
