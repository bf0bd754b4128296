//! Commands about messages: 3GPP TS 27.005.

use super::Truth;
use super::charset;
use super::commands::service_words;
use super::fault::{Fault, Point};
use super::line::Form;
use super::machine::{Final, Machine, Reply, Timer};
use super::memory::{Mark, Stored};
use crate::domain::time::Timestamp;
use crate::sim::carrier::{Fate, Terms};
use crate::wire::tpdu::{
    Address, Body, Deliver, Error, Incoming, StatusReport, Submit, UserData, Validity, from_hex,
    split_smsc, to_hex, with_smsc,
};
use std::time::Duration;

/// What the prompt collects.
#[derive(Debug)]
pub(super) struct Draft {
    purpose: Purpose,
    form: DraftForm,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Purpose {
    Send,
    Store(Mark),
}

#[derive(Debug)]
enum DraftForm {
    /// A TPDU of so many octets.
    Pdu(usize),
    Text(Option<Address>),
}

impl Draft {
    pub(super) const fn is_text(&self) -> bool {
        matches!(self.form, DraftForm::Text(_))
    }
}

/// Status report wanted, in the first octet of `+CSMP`: 3GPP TS 23.040 §9.2.3.5.
const RECEIPT_BIT: u8 = 0x20;

impl Machine {
    pub(super) fn message_settings(&mut self, name: &str, form: &Form) -> Option<Reply> {
        let session = &mut self.session;
        let reply = match (name, form) {
            ("+CMGF", Form::Read) => Reply::line(format!("+CMGF: {}", u8::from(session.text_mode))),
            ("+CMGF", Form::Test) => Reply::line("+CMGF: (0,1)"),
            ("+CMGF", Form::Set(_) | Form::Run) => match form.number::<u8>(0).unwrap_or(0) {
                mode @ (0 | 1) => {
                    session.text_mode = mode == 1;
                    Reply::OK
                }
                _unknown => Reply::end(Final::Equipment(50)),
            },
            ("+CSMS", Form::Read) => Reply::line(format!("+CSMS: {},1,1,1", session.service)),
            ("+CSMS", Form::Test) => Reply::line("+CSMS: (0,1)"),
            ("+CSMS", Form::Set(_)) => match form.number::<u8>(0) {
                Some(service @ (0 | 1)) => {
                    session.service = service;
                    Reply::line("+CSMS: 1,1,1")
                }
                Some(_) | None => Reply::end(Final::Equipment(50)),
            },
            ("+CSDH", Form::Set(_)) => {
                session.show_details = form.number(0) == Some(1);
                Reply::OK
            }
            ("+CSDH", Form::Read) => {
                Reply::line(format!("+CSDH: {}", u8::from(session.show_details)))
            }
            ("+CSMP", Form::Read) => {
                let [first, validity, protocol, coding] = session.text_parameters;
                Reply::line(format!("+CSMP: {first},{validity},{protocol},{coding}"))
            }
            ("+CSMP", Form::Set(_)) => {
                for (place, value) in session.text_parameters.iter_mut().enumerate() {
                    *value = form.number(place).unwrap_or(*value);
                }
                Reply::OK
            }
            ("+CSMP" | "+CSDH" | "+CSCB" | "+CSCA", Form::Test) => Reply::OK,
            ("+CSCB" | "+CMMS" | "+CSAS" | "+CRES" | "+CGSMS", Form::Set(_) | Form::Run) => {
                Reply::OK
            }
            ("+CSCA", Form::Read) => {
                let kind = if self.service_centre.starts_with('+') { 145 } else { 129 };
                Reply::line(format!("+CSCA: \"{}\",{kind}", self.service_centre))
            }
            ("+CSCA", Form::Set(_)) => {
                let number = self.te_text(form.text(0).unwrap_or_default());
                let plus = form.number(1) == Some(145_u16) && !number.starts_with('+');
                self.service_centre = if plus { format!("+{number}") } else { number };
                Reply::OK
            }
            ("+CPMS", _) => self.choose_memories(form),
            ("+CNMI", _) => self.choose_announcements(form),
            _other => return None,
        };
        Some(reply)
    }

    pub(super) fn message_command(
        &mut self,
        name: &str,
        form: &Form,
        now: Timestamp,
    ) -> Option<Reply> {
        Some(match (name, form) {
            ("+CMGS" | "+CMGR" | "+CMGW" | "+CMSS" | "+CNMA", Form::Test) => Reply::OK,
            ("+CMGL", Form::Test) if self.session.text_mode => Reply::line(
                "+CMGL: (\"REC UNREAD\",\"REC READ\",\"STO UNSENT\",\"STO SENT\",\"ALL\")",
            ),
            ("+CMGL", Form::Test) => Reply::line("+CMGL: (0-4)"),
            ("+CMGD", Form::Test) => {
                let [memory, ..] = self.session.memories;
                let places: Vec<_> =
                    self.memories.list(memory).map(|(place, _)| place.to_string()).collect();
                Reply::line(format!("+CMGD: ({}),(0-4)", places.join(",")))
            }
            ("+CMGS", Form::Set(_)) => self.prompt(Purpose::Send, form),
            ("+CMGW", Form::Set(_) | Form::Run) => self.prompt_to_store(form),
            ("+CMSS", Form::Set(_)) => self.send_stored(form, now),
            ("+CMGR", Form::Set(_)) => self.read(form),
            ("+CMGL", Form::Set(_) | Form::Run) => self.list(form),
            ("+CMGD", Form::Set(_)) => self.delete(form),
            ("+CNMA", Form::Set(_) | Form::Run) => self.acknowledge(),
            _other => return None,
        })
    }

    /// Reads a number that the client wrote, in the chosen character set or, as many do, as it is.
    fn te_text(&self, text: &str) -> String {
        let charset = self.session.charset;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        // A number in UCS-2 begins with 00, which one in plain digits may do too, but not with a multiple of four.
        let encoded = match charset {
            "UCS2" => text.starts_with("00") && text.len().is_multiple_of(4),
            "HEX" => !digits && !text.starts_with('+'),
            _plain => false,
        };
        let decoded = if encoded { charset::decode(text.as_bytes(), charset) } else { None };
        decoded.unwrap_or_else(|| text.to_owned())
    }

    fn choose_memories(&mut self, form: &Form) -> Reply {
        match form {
            Form::Test => {
                let names: Vec<_> =
                    self.memories.names().map(|name| format!("\"{name}\"")).collect();
                let names = names.join(",");
                Reply::line(format!("+CPMS: ({names}),({names}),({names})"))
            }
            Form::Read => {
                let fill = self.session.memories.map(|name| {
                    let (used, all) = self.memories.fill(name);
                    format!("\"{name}\",{used},{all}")
                });
                Reply::line(format!("+CPMS: {}", fill.join(",")))
            }
            Form::Set(_) => {
                let mut chosen = self.session.memories;
                for (place, memory) in chosen.iter_mut().enumerate() {
                    let Some(wanted) = form.text(place) else { continue };
                    let Some(known) = self.memories.named(wanted) else {
                        return Reply::end(Final::Message(302));
                    };
                    *memory = known;
                }
                self.session.memories = chosen;
                let fill = chosen.map(|name| {
                    let (used, all) = self.memories.fill(name);
                    format!("{used},{all}")
                });
                Reply::line(format!("+CPMS: {}", fill.join(",")))
            }
            Form::Run => Reply::ERROR,
        }
    }

    fn choose_announcements(&mut self, form: &Form) -> Reply {
        let offered = self.traits.announcements;
        match form {
            Form::Test => {
                let lists = offered.map(|values| {
                    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                    format!("({})", values.join(","))
                });
                Reply::line(format!("+CNMI: {}", lists.join(",")))
            }
            Form::Read => {
                let chosen = self.session.announcements.map(|value| value.to_string());
                Reply::line(format!("+CNMI: {}", chosen.join(",")))
            }
            Form::Set(_) | Form::Run => {
                let mut chosen = self.session.announcements;
                for ((place, value), offered) in chosen.iter_mut().enumerate().zip(offered) {
                    let wanted = form.number(place).unwrap_or(*value);
                    if !offered.contains(&wanted) {
                        return Reply::end(Final::Message(302));
                    }
                    *value = wanted;
                }
                self.session.announcements = chosen;
                let [mode, .., clear] = chosen;
                if mode > 0 {
                    let kept = std::mem::take(&mut self.kept_back);
                    for line in kept.into_iter().filter(|_| clear == 0) {
                        self.news(line);
                    }
                }
                Reply::OK
            }
        }
    }

    fn prompt(&mut self, purpose: Purpose, form: &Form) -> Reply {
        let draft_form = if self.session.text_mode {
            let number = self.te_text(form.text(0).unwrap_or_default());
            let plus = form.number(1) == Some(145_u16) && !number.starts_with('+');
            let number = if plus { format!("+{number}") } else { number };
            match (Address::parse(&number), purpose) {
                (Ok(address), _) => DraftForm::Text(Some(address)),
                (Err(_), Purpose::Store(_)) => DraftForm::Text(None),
                (Err(_), Purpose::Send) => return Reply::end(Final::Message(305)),
            }
        } else {
            match form.number(0) {
                Some(octets) => DraftForm::Pdu(octets),
                None => return Reply::end(Final::Message(304)),
            }
        };
        self.draft = Some(Draft { purpose, form: draft_form, bytes: Vec::new() });
        Reply::end(Final::Prompt)
    }

    fn prompt_to_store(&mut self, form: &Form) -> Reply {
        let marks = Mark::ALL;
        let mark =
            match (self.session.text_mode, form.text(if self.session.text_mode { 2 } else { 1 })) {
                (_, None) => Some(Mark::Unsent),
                (true, Some(words)) => marks.into_iter().find(|mark| mark.words() == words),
                (false, Some(number)) => {
                    marks.into_iter().find(|mark| mark.number().to_string() == number)
                }
            };
        match mark {
            Some(mark) => self.prompt(Purpose::Store(mark), form),
            None => Reply::end(Final::Message(302)),
        }
    }

    /// The prompt's text is complete.
    pub(super) fn finish(&mut self, draft: &Draft, now: Timestamp) {
        let Some(pdu) = self.pdu_of(draft) else {
            let code = if draft.is_text() { 305 } else { 304 };
            self.answer(&Reply::end(Final::Message(code)), None, Duration::ZERO, now);
            return;
        };
        match draft.purpose {
            Purpose::Send => {
                let reply = self.send(&pdu, "+CMGS", now);
                self.answer(&reply, None, self.settings.send_delay, now);
            }
            Purpose::Store(mark) => {
                let [_, memory, _] = self.session.memories;
                let reply = match self.memories.store(memory, Stored { mark, pdu }) {
                    Some(place) => Reply::line(format!("+CMGW: {place}")),
                    None => Reply::end(Final::Message(322)),
                };
                self.answer(&reply, None, Duration::ZERO, now);
            }
        }
    }

    /// Returns the PDU, behind the service centre's address; `None` where the draft is none.
    fn pdu_of(&self, draft: &Draft) -> Option<Vec<u8>> {
        match &draft.form {
            DraftForm::Pdu(octets) => {
                let hex: Vec<u8> = draft
                    .bytes
                    .iter()
                    .copied()
                    .filter(|byte| !byte.is_ascii_whitespace())
                    .collect();
                let pdu = from_hex(std::str::from_utf8(&hex).ok()?).ok()?;
                let (_, tpdu) = split_smsc(&pdu).ok()?;
                (tpdu.len() == *octets).then_some(pdu)
            }
            DraftForm::Text(to) => {
                let to = to.clone().or_else(|| Address::parse("0").ok())?;
                let submit = self.submit_of(to, &draft.bytes).ok()?;
                Some(with_smsc(None, &submit.encode()))
            }
        }
    }

    /// Returns what text mode sends: in UCS-2 where `+CSMP` says so, else in the default alphabet.
    fn submit_of(&self, to: Address, bytes: &[u8]) -> Result<Submit, Error> {
        let [first, validity, protocol, coding] = self.session.text_parameters;
        let text = charset::decode(bytes, self.session.charset).unwrap_or_default();
        let data = if coding & 0x0C == 0x08 {
            UserData::new(Vec::new(), Body::Ucs2(text.encode_utf16().collect()))?
        } else {
            let septets = charset::encode(&text, "GSM");
            UserData::new(Vec::new(), Body::Gsm7(septets))?
        };
        let mut submit = Submit::new(to, data);
        submit.protocol = protocol;
        submit.validity = Some(Validity::Relative(validity));
        submit.receipt_wanted = first & RECEIPT_BIT != 0;
        Ok(submit)
    }

    fn send_stored(&mut self, form: &Form, now: Timestamp) -> Reply {
        let [_, memory, _] = self.session.memories;
        let Some(index) = form.number(0) else { return Reply::end(Final::Message(321)) };
        let Some(Some(stored)) = self.memories.place(memory, index) else {
            return Reply::end(Final::Message(321));
        };
        let pdu = stored.pdu.clone();
        let reply = self.send(&pdu, "+CMSS", now);
        if reply.last == Final::Ok
            && let Some(Some(stored)) = self.memories.place(memory, index)
        {
            stored.mark = Mark::Sent;
        }
        reply
    }

    /// Hands a text to the network, and returns the answer.
    fn send(&mut self, pdu: &[u8], head: &str, now: Timestamp) -> Reply {
        let refuse = |code| Reply::end(Final::Message(code));
        let Ok((centre, tpdu)) = split_smsc(pdu) else { return refuse(304) };
        let Ok(mut submit) = Submit::decode(tpdu) else { return refuse(304) };
        if !self.registered || self.session.functionality != 1 {
            return refuse(331);
        }
        if centre.is_none() && self.service_centre.is_empty() {
            return refuse(330);
        }
        let fault = self.strike(&Point::Submission);
        self.struck = fault;
        let reference = self.reference;
        self.reference = reference.wrapping_add(1);
        submit.reference = reference;
        let fate = match fault {
            Some(Fault::ReportLost) => Fate::Lost,
            Some(Fault::ReportTwice) => Fate::Twice,
            Some(Fault::ReportLate(more)) => Fate::Late(more),
            _other => Fate::Once,
        };
        let terms = Terms { report_delay: self.settings.report_delay, fate };
        let own_number = self.settings.own_number.clone();
        let taken = match fault {
            Some(Fault::OkWithoutSending | Fault::NoCredit) => false,
            _other => self.carrier.submit(&own_number, submit, terms, now).is_ok(),
        };
        let said = match fault {
            Some(Fault::OkWithoutSending) => true,
            Some(Fault::ErrorAfterAccept | Fault::NoAnswer | Fault::Reset | Fault::PartialLine) => {
                false
            }
            _other => taken,
        };
        self.note(Truth { at: now, reference: said.then_some(reference), taken });
        match fault {
            Some(Fault::ErrorAfterAccept) => Reply::ERROR,
            Some(Fault::OkWithoutSending) => Reply::line(format!("{head}: {reference}")),
            _other if taken => Reply::line(format!("{head}: {reference}")),
            _refused => Reply::end(Final::Message(21)),
        }
    }

    fn read(&mut self, form: &Form) -> Reply {
        let [memory, ..] = self.session.memories;
        let Some(slot) = form.number(0).and_then(|index| self.memories.place(memory, index)) else {
            return Reply::end(Final::Message(321));
        };
        let Some(stored) = slot else {
            // What an empty place answers differs; many modems say no more than this.
            return Reply::OK;
        };
        let before = stored.clone();
        if stored.mark == Mark::Unread {
            stored.mark = Mark::Read;
        }
        let lines = if self.session.text_mode {
            self.text_lines("+CMGR: ", &before)
        } else {
            pdu_lines("+CMGR: ", &before)
        };
        Reply { lines, last: Final::Ok }
    }

    fn list(&mut self, form: &Form) -> Reply {
        let [memory, ..] = self.session.memories;
        let wanted = form.text(0).map(str::to_owned);
        let wanted = wanted
            .unwrap_or_else(|| if self.session.text_mode { "REC UNREAD" } else { "0" }.to_owned());
        let fits = |mark: Mark| {
            if self.session.text_mode {
                wanted == "ALL" || wanted == mark.words()
            } else {
                wanted == "4" || wanted == mark.number().to_string()
            }
        };
        let chosen = self.memories.list(memory).filter(|(_, stored)| fits(stored.mark));
        let chosen: Vec<(usize, Stored)> =
            chosen.map(|(place, stored)| (place, stored.clone())).collect();
        let mut lines = Vec::new();
        for (place, stored) in &chosen {
            let head = format!("+CMGL: {place},");
            lines.extend(if self.session.text_mode {
                self.text_lines(&head, stored)
            } else {
                pdu_lines(&head, stored)
            });
        }
        for (place, stored) in chosen {
            if stored.mark == Mark::Unread
                && let Some(Some(stored)) = self.memories.place(memory, place)
            {
                stored.mark = Mark::Read;
            }
        }
        Reply { lines, last: Final::Ok }
    }

    fn delete(&mut self, form: &Form) -> Reply {
        let [memory, ..] = self.session.memories;
        let index = form.number(0).unwrap_or(0);
        match form.number::<u8>(1).unwrap_or(0) {
            0 => match self.memories.place(memory, index) {
                Some(slot) => *slot = None,
                None => return Reply::end(Final::Message(321)),
            },
            1 => self.memories.clear(memory, |mark| mark == Mark::Read),
            2 => self.memories.clear(memory, |mark| matches!(mark, Mark::Read | Mark::Sent)),
            3 => self.memories.clear(memory, |mark| mark != Mark::Unread),
            4 => self.memories.clear(memory, |_| true),
            _unknown => return Reply::end(Final::Message(302)),
        }
        // There is room again for what the network still has.
        let refused = std::mem::take(&mut self.refused);
        self.post.extend(refused);
        Reply::OK
    }

    fn acknowledge(&mut self) -> Reply {
        match self.owed.take() {
            Some(_) => {
                self.cancel(|timer| matches!(timer, Timer::Unacknowledged));
                Reply::OK
            }
            None => Reply::end(Final::Message(340)),
        }
    }

    /// Returns a stored message as text mode shows it, behind `head`.
    fn text_lines(&self, head: &str, stored: &Stored) -> Vec<Vec<u8>> {
        let tpdu = split_smsc(&stored.pdu).map(|(_, tpdu)| tpdu).unwrap_or_default();
        let mark = stored.mark.words();
        let own = matches!(stored.mark, Mark::Unsent | Mark::Sent);
        if own && let Ok(submit) = Submit::decode(tpdu) {
            let mut line = format!("{head}\"{mark}\",\"").into_bytes();
            line.extend(charset::encode(submit.to.as_str(), self.session.charset));
            line.extend(b"\",");
            return vec![line, self.body(&submit.data)];
        }
        match Incoming::decode(tpdu) {
            Ok(Incoming::Deliver(deliver)) => {
                let mut line = format!("{head}\"{mark}\",\"").into_bytes();
                line.extend(charset::encode(deliver.from.as_str(), self.session.charset));
                let sent = deliver.sent.map_or(0, crate::wire::tpdu::ServiceTime::unix_seconds);
                line.extend(format!("\",,\"{}\"", service_words(sent)).into_bytes());
                let body = self.body(&deliver.data);
                if self.session.show_details {
                    line.extend(self.details(head, tpdu, &deliver).into_bytes());
                }
                vec![line, body]
            }
            Ok(Incoming::StatusReport(report)) => {
                vec![format!("{head}\"{mark}\",{}", report_fields(&report)).into_bytes()]
            }
            Err(_) => Vec::new(),
        }
    }

    /// Returns what `+CSDH=1` adds to the head of a stored message.
    fn details(&self, head: &str, tpdu: &[u8], deliver: &Deliver) -> String {
        let kind = if deliver.from.as_str().starts_with('+') { 145 } else { 129 };
        let (units, coding) = match deliver.data.body() {
            Body::Gsm7(septets) => (septets.len(), 0),
            Body::Octets(octets) => (octets.len(), 4),
            Body::Ucs2(units) => (units.len() * 2, 8),
        };
        if head.starts_with("+CMGL") {
            return format!(",{kind},{units}");
        }
        let first = tpdu.first().copied().unwrap_or_default();
        let (protocol, centre) = (deliver.protocol, &self.service_centre);
        format!(",{kind},{first},{protocol},{coding},\"{centre}\",145,{units}")
    }

    /// Returns the body of a message as text mode shows it.
    pub(super) fn body(&self, data: &UserData) -> Vec<u8> {
        match (data.body(), data.to_text()) {
            (Body::Octets(octets), _) => to_hex(octets).into_bytes(),
            (Body::Ucs2(_), Some(text)) => charset::encode(&text, "UCS2"),
            (Body::Gsm7(_) | Body::Ucs2(_), text) => {
                charset::encode(&text.unwrap_or_default(), self.session.charset)
            }
        }
    }
}

fn pdu_lines(head: &str, stored: &Stored) -> Vec<Vec<u8>> {
    let octets = split_smsc(&stored.pdu).map_or(0, |(_, tpdu)| tpdu.len());
    let head = format!("{head}{},,{octets}", stored.mark.number());
    vec![head.into_bytes(), to_hex(&stored.pdu).into_bytes()]
}

/// Returns a report as text mode shows it: 3GPP TS 27.005 §3.4.1, `+CDS`.
pub(super) fn report_fields(report: &StatusReport) -> String {
    let words = |time: Option<crate::wire::tpdu::ServiceTime>| {
        service_words(time.map_or(0, crate::wire::tpdu::ServiceTime::unix_seconds))
    };
    let (submitted, discharged) = (words(report.submitted), words(report.discharged));
    let kind = if report.to.as_str().starts_with('+') { 145 } else { 129 };
    let (reference, to, status) = (report.reference, report.to.as_str(), report.status.0);
    format!("6,{reference},\"{to}\",{kind},\"{submitted}\",\"{discharged}\",{status}")
}
