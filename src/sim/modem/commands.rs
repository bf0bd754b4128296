//! Commands that are not about messages.

use super::charset;
use super::line::{Command, Form};
use super::machine::{Final, Machine, Reply};
use super::personality::UssdStyle;
use crate::domain::time::Timestamp;
use crate::sim::carrier::Carrier;

/// Places of the phone book.
const PHONE_BOOK_MAX: usize = 100;

/// International mobile subscriber identity of the SIM: test network 001 01.
const IMSI: &str = "001010000000001";

const ICCID: &str = "8946000000000000001";

/// Name and code of the test network.
const OPERATOR: (&str, &str) = ("Kengele Net", "00101");

impl Machine {
    /// Does one command.
    pub(super) fn command(&mut self, command: &Command, now: Timestamp) -> Reply {
        let Command { name, form } = command;
        if let Some(reply) = self.refuse_without_sim(name) {
            return reply;
        }
        self.basic(name, form)
            .or_else(|| self.identity(name, form))
            .or_else(|| self.state(name, form, now))
            .or_else(|| self.network(name, form, now))
            .or_else(|| self.settings_command(name, form))
            .or_else(|| self.phone_book(name, form))
            .or_else(|| self.message_settings(name, form))
            .or_else(|| self.message_command(name, form, now))
            .or_else(|| self.own(name, form))
            .unwrap_or(Reply::ERROR)
    }

    /// Refuses what needs the SIM while that is locked.
    fn refuse_without_sim(&self, name: &str) -> Option<Reply> {
        if self.session.pin_open {
            return None;
        }
        let locked_out = self.pin_tries == 0;
        if name.starts_with("+CMG") || name.starts_with("+CMS") && name != "+CMSE" {
            return Some(Reply::end(Final::Message(if locked_out { 316 } else { 311 })));
        }
        let wanted =
            ["+CNMI", "+CPMS", "+CSCA", "+CNUM", "+CIMI", "+CCID", "+CUSD", "+COPS", "+CPB"];
        let wants = wanted.iter().any(|wanted| name.starts_with(wanted));
        wants.then(|| Reply::end(Final::Equipment(if locked_out { 12 } else { 11 })))
    }

    fn basic(&mut self, name: &str, form: &Form) -> Option<Reply> {
        match name {
            "E" => self.session.echo = form.number(0) != Some(0),
            "V" => self.session.verbose = form.number(0) != Some(0),
            "Z" | "&F" => {
                self.session.echo = true;
                self.session.verbose = true;
                self.session.error_form = self.traits.error_form;
            }
            "I" => return Some(Reply { lines: lines(self.traits.information), last: Final::Ok }),
            "S" | "Q" | "X" | "H" | "L" | "M" | "&C" | "&D" | "&W" | "&K" | "&S" | "&V" => {}
            _other => return None,
        }
        Some(Reply::OK)
    }

    fn identity(&self, name: &str, form: &Form) -> Option<Reply> {
        let traits = self.traits;
        let line = match name {
            "+CGMI" | "+GMI" => traits.maker.to_owned(),
            "+CGMM" | "+GMM" => traits.model.to_owned(),
            "+CGMR" | "+GMR" => format!("{}{}", traits.revision_prefix, traits.revision),
            "+CGSN" | "+GSN" => traits.imei.to_owned(),
            "+CIMI" => IMSI.to_owned(),
            "+CCID" => ICCID.to_owned(),
            "+QCCID" | "+CICCID" => format!("{name}: {ICCID}"),
            "^ICCID" => format!("^ICCID: {ICCID}"),
            "+GCAP" => format!("+GCAP: {}", traits.capabilities),
            "+CNUM" => {
                let number = charset::encode(&self.settings.own_number, self.session.charset);
                let mut line = b"+CNUM: \"\",\"".to_vec();
                line.extend(number);
                line.extend(b"\",145");
                return Some(Reply::line(line));
            }
            _other => return None,
        };
        Some(if *form == Form::Test { Reply::OK } else { Reply::line(line) })
    }

    fn state(&mut self, name: &str, form: &Form, now: Timestamp) -> Option<Reply> {
        let reply = match (name, form) {
            ("+CPIN", Form::Read) => match (self.session.pin_open, self.pin_tries) {
                (true, _) => Reply::line("+CPIN: READY"),
                (false, 0) => Reply::line("+CPIN: SIM PUK"),
                (false, _) => Reply::line("+CPIN: SIM PIN"),
            },
            ("+CPIN", Form::Set(_)) => self.enter_pin(form),
            ("+CFUN", Form::Read) => Reply::line(format!("+CFUN: {}", self.session.functionality)),
            ("+CFUN", Form::Test) => Reply::line("+CFUN: (0,1,4),(0-1)"),
            ("+CFUN", Form::Set(_)) => match (form.number::<u8>(0), form.number::<u8>(1)) {
                (Some(1), Some(1)) => Reply::end(Final::Restart),
                (Some(level @ (0 | 1 | 4)), _) => {
                    self.session.functionality = level;
                    Reply::OK
                }
                (Some(_) | None, _) => Reply::end(Final::Equipment(50)),
            },
            ("+CPAS", Form::Run) => Reply::line("+CPAS: 0"),
            ("+CLCC", Form::Run) => Reply::OK,
            ("+CBC", Form::Run) => Reply::line("+CBC: 0,98,4100"),
            ("+CCLK", Form::Read) => Reply::line(format!("+CCLK: \"{}\"", calendar(now))),
            ("+CCLK" | "+CSCS" | "+CMEE" | "+IPR", _) => return None,
            (_, Form::Run | Form::Read) if name == self.traits.pin_tries.0 => {
                let (_, head, tail) = self.traits.pin_tries;
                Reply::line(format!("{head}{}{tail}", self.pin_tries))
            }
            _other => return None,
        };
        Some(reply)
    }

    fn enter_pin(&mut self, form: &Form) -> Reply {
        if self.session.pin_open {
            return Reply::end(Final::Equipment(3));
        }
        if self.pin_tries == 0 {
            return Reply::end(Final::Equipment(12));
        }
        if form.text(0) == self.settings.pin.as_deref() {
            (self.session.pin_open, self.pin_tries) = (true, 3);
            Reply::OK
        } else {
            self.pin_tries -= 1;
            Reply::end(Final::Equipment(16))
        }
    }

    fn is_attached(&self) -> bool {
        self.registered && self.session.functionality == 1 && self.session.pin_open
    }

    fn network(&mut self, name: &str, form: &Form, now: Timestamp) -> Option<Reply> {
        let reply = match (name, form) {
            ("+CREG", _) => self.registration("+CREG", 0, form)?,
            ("+CGREG", _) => self.registration("+CGREG", 1, form)?,
            ("+CEREG", _) => self.registration("+CEREG", 2, form)?,
            ("+CSQ", Form::Run) => {
                let signal = if self.is_attached() { self.settings.signal } else { 99 };
                Reply::line(format!("+CSQ: {signal},{}", if signal == 99 { 99 } else { 0 }))
            }
            ("+CSQ", Form::Test) => Reply::line("+CSQ: (0-31,99),(0-7,99)"),
            ("+COPS", Form::Read) => {
                let (long, code) = OPERATOR;
                let technology = self.traits.registration.technology;
                let technology = technology.map_or_else(String::new, |number| format!(",{number}"));
                let form = self.session.operator_form;
                let name = if form == 2 { code } else { long };
                Reply::line(if self.is_attached() {
                    format!("+COPS: 0,{form},\"{name}\"{technology}")
                } else {
                    "+COPS: 0".to_owned()
                })
            }
            ("+COPS", Form::Test) => {
                let (long, code) = OPERATOR;
                Reply::line(format!("+COPS: (2,\"{long}\",\"KNet\",\"{code}\",0),,(0-4),(0-2)"))
            }
            ("+COPS", Form::Set(_)) => {
                if let Some(wanted) = form.number(1) {
                    self.session.operator_form = wanted;
                }
                Reply::OK
            }
            ("+CGATT", Form::Read) => {
                Reply::line(format!("+CGATT: {}", u8::from(self.is_attached())))
            }
            (
                "+CGATT" | "+CGDCONT" | "+CLIP" | "+CRC" | "+CCWA" | "+CSSN" | "+CTZU" | "+CTZR",
                Form::Set(_) | Form::Test,
            ) => Reply::OK,
            ("+CUSD", _) => self.ussd(form, now),
            ("^USSDMODE", _) if self.traits.ussd == UssdStyle::Packed => self.ussd_mode(form),
            ("^SYSINFO", Form::Run) if self.traits.maker == "huawei" => Reply::line(format!(
                "^SYSINFO:{},3,0,17,1,,7",
                if self.is_attached() { 2 } else { 0 }
            )),
            _other => return None,
        };
        Some(reply)
    }

    fn registration(&mut self, name: &str, place: usize, form: &Form) -> Option<Reply> {
        if place == 2 && self.traits.registration.lte.is_none() {
            return None;
        }
        let chosen = self.session.registration.get_mut(place)?;
        match form {
            Form::Set(_) => match form.number::<u8>(0) {
                Some(wanted @ 0..=2) => {
                    *chosen = wanted;
                    Some(Reply::OK)
                }
                Some(_) | None => Some(Reply::end(Final::Equipment(50))),
            },
            Form::Test => Some(Reply::line(format!("{name}: (0-2)"))),
            Form::Read => {
                let chosen = *chosen;
                Some(Reply::line(format!(
                    "{name}: {chosen},{}",
                    self.registration_state(place, chosen)
                )))
            }
            Form::Run => None,
        }
    }

    fn registration_state(&self, place: usize, form: u8) -> String {
        let told = self.traits.registration;
        let state = match place {
            0 => told.circuit,
            1 => told.packet,
            _lte => told.lte.unwrap_or_default(),
        };
        let state =
            match (self.is_attached(), self.session.pin_open && self.session.functionality == 1) {
                (true, _) => state,
                (false, true) => 2,
                (false, false) => 0,
            };
        let registered = matches!(state, 1 | 5);
        match (form == 2 && registered, told.technology) {
            (false, _) => state.to_string(),
            (true, None) => format!("{state},\"00C3\",\"1F2A\""),
            (true, Some(technology)) => format!("{state},\"00C3\",\"01AC0B15\",{technology}"),
        }
    }

    /// Tells a change of the registration where that is wanted.
    pub(super) fn announce_registration(&mut self) {
        for (place, name) in ["+CREG", "+CGREG", "+CEREG"].into_iter().enumerate() {
            let chosen = self.session.registration.get(place).copied().unwrap_or_default();
            if chosen > 0 {
                self.news(format!("{name}: {}", self.registration_state(place, chosen)));
            }
        }
    }

    fn settings_command(&mut self, name: &str, form: &Form) -> Option<Reply> {
        let charsets = self.traits.charsets;
        let reply = match (name, form) {
            ("+CMEE", Form::Read) => Reply::line(format!("+CMEE: {}", self.session.error_form)),
            ("+CMEE", Form::Test) => Reply::line("+CMEE: (0-2)"),
            ("+CMEE", Form::Set(_)) => {
                let wanted = form.number(0).filter(|form| *form <= 2);
                self.session.error_form = wanted.unwrap_or(self.session.error_form);
                Reply::done(wanted.is_some())
            }
            ("+CSCS", Form::Read) => Reply::line(format!("+CSCS: \"{}\"", self.session.charset)),
            ("+CSCS", Form::Test) => {
                let quoted: Vec<_> = charsets.iter().map(|one| format!("\"{one}\"")).collect();
                Reply::line(format!("+CSCS: ({})", quoted.join(",")))
            }
            ("+CSCS", Form::Set(_)) => {
                let wanted = charsets.iter().find(|known| form.text(0) == Some(**known));
                self.session.charset = wanted.copied().unwrap_or(self.session.charset);
                Reply::done(wanted.is_some())
            }
            ("+CCLK" | "+IPR" | "+ICF" | "+IFC" | "+CTZU", Form::Set(_)) => Reply::OK,
            ("+IPR", Form::Read) => Reply::line("+IPR: 115200"),
            ("+IPR", Form::Test) => Reply::line("+IPR: (0,9600,19200,38400,57600,115200)"),
            _other => return None,
        };
        Some(reply)
    }

    fn phone_book(&mut self, name: &str, form: &Form) -> Option<Reply> {
        let reply = match (name, form) {
            ("+CPBS", Form::Test) => Reply::line("+CPBS: (\"SM\",\"ON\")"),
            ("+CPBS", Form::Read) => {
                Reply::line(format!("+CPBS: \"SM\",{},{PHONE_BOOK_MAX}", self.phone_book.len()))
            }
            ("+CPBS", Form::Set(_)) => Reply::done(matches!(form.text(0), Some("SM" | "ON"))),
            ("+CPBR", Form::Test) => Reply::line(format!("+CPBR: (1-{PHONE_BOOK_MAX}),40,20")),
            ("+CPBR", Form::Set(_)) => {
                let Some(first) = form.number::<usize>(0) else { return Some(Reply::ERROR) };
                let last = form.number(1).unwrap_or(first);
                self.entries(|place, _| (first..=last).contains(&place), "+CPBR")
            }
            ("+CPBF", Form::Test) => Reply::line("+CPBF: 40,20"),
            ("+CPBF", Form::Set(_)) => {
                let wanted = form.text(0).unwrap_or_default();
                let bytes: Vec<u8> = wanted.bytes().collect();
                let wanted = charset::decode(&bytes, self.session.charset).unwrap_or_default();
                self.entries(|_, name| name.starts_with(&wanted), "+CPBF")
            }
            ("+CPBW", Form::Test) => {
                Reply::line(format!("+CPBW: (1-{PHONE_BOOK_MAX}),40,(129,145),20"))
            }
            ("+CPBW", Form::Set(_)) => self.write_entry(form),
            _other => return None,
        };
        Some(reply)
    }

    fn entries(&self, wanted: impl Fn(usize, &str) -> bool, head: &str) -> Reply {
        let chosen = self.phone_book.iter().filter(|(place, (_, name))| wanted(**place, name));
        let lines = chosen.map(|(place, (number, name))| {
            let kind = if number.starts_with('+') { 145 } else { 129 };
            let mut line = format!("{head}: {place},\"{number}\",{kind},\"").into_bytes();
            line.extend(charset::encode(name, self.session.charset));
            line.push(b'"');
            line
        });
        Reply { lines: lines.collect(), last: Final::Ok }
    }

    fn write_entry(&mut self, form: &Form) -> Reply {
        let free = (1..=PHONE_BOOK_MAX).find(|place| !self.phone_book.contains_key(place));
        let place = form.number(0).or(free).filter(|place| (1..=PHONE_BOOK_MAX).contains(place));
        let Some(place) = place else { return Reply::end(Final::Equipment(20)) };
        match form.text(1) {
            None => drop(self.phone_book.remove(&place)),
            Some(number) => {
                let bytes: Vec<u8> = form.text(3).unwrap_or_default().bytes().collect();
                let name = charset::decode(&bytes, self.session.charset).unwrap_or_default();
                self.phone_book.insert(place, (number.to_owned(), name));
            }
        }
        Reply::OK
    }

    /// Answers the model's own commands.
    fn own(&mut self, name: &str, form: &Form) -> Option<Reply> {
        if self.traits.noise_switch.is_some_and(|(switch, _)| switch == name) {
            match form {
                Form::Set(values) => {
                    let value = values.last().map(String::as_str);
                    self.session.chatty = value != Some("0");
                }
                Form::Read => {
                    return Some(Reply::line(format!("{name}: {}", u8::from(self.session.chatty))));
                }
                Form::Run | Form::Test => {}
            }
        }
        self.traits.own.contains(&name).then_some(Reply::OK)
    }
}

fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

/// Returns the network's time as `yy/MM/dd,hh:mm:ss+zz` (3GPP TS 27.007 §8.15).
pub(super) fn calendar(at: Timestamp) -> String {
    let seconds = Carrier::service_time(at).map_or(0, crate::wire::tpdu::ServiceTime::unix_seconds);
    service_words(seconds)
}

/// Returns Unix seconds in the form of AT commands, in UTC.
pub(super) fn service_words(unix_seconds: i64) -> String {
    let then = jiff::Timestamp::from_second(unix_seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    then.to_zoned(jiff::tz::TimeZone::UTC).strftime("%y/%m/%d,%H:%M:%S+00").to_string()
}
