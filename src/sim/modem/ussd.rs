//! USSD: codes dialled to the network, and its answers.

use super::charset;
use super::line::Form;
use super::machine::{Final, Machine, Reply, Timer};
use super::personality::UssdStyle;
use crate::domain::time::Timestamp;
use crate::wire::gsm7::{Alphabet, pack, unpack};
use crate::wire::tpdu::{from_hex, to_hex};

/// Data coding schemes of cell broadcast and USSD: default alphabet, UCS-2 (3GPP TS 23.038 §5).
const SCHEME_GSM: u8 = 15;
const SCHEME_UCS2: u8 = 72;

const CARRIAGE_RETURN: u8 = 0x0D;

impl Machine {
    /// `^USSDMODE` of Huawei sticks: 0 for text, 1 for packed septets.
    pub(super) fn ussd_mode(&mut self, form: &Form) -> Reply {
        match (form, form.number::<u8>(0)) {
            (Form::Test, _) => return Reply::line("^USSDMODE: (0-1)"),
            (Form::Read, _) => {
                let packed = self.session.ussd == UssdStyle::Packed;
                return Reply::line(format!("^USSDMODE: {}", u8::from(packed)));
            }
            (Form::Set(_), Some(0)) => self.session.ussd = UssdStyle::Plain,
            (Form::Set(_), Some(1)) => self.session.ussd = UssdStyle::Packed,
            (Form::Set(_) | Form::Run, _) => return Reply::ERROR,
        }
        Reply::OK
    }

    pub(super) fn ussd(&mut self, form: &Form, now: Timestamp) -> Reply {
        match form {
            Form::Read => Reply::line("+CUSD: 1"),
            Form::Test => Reply::line("+CUSD: (0-2)"),
            Form::Run => Reply::ERROR,
            Form::Set(_) => match (form.number::<u8>(0), form.text(1)) {
                (Some(0..=2), None) => Reply::OK,
                (Some(0 | 1), Some(code)) => self.dial(code, now),
                (Some(_) | None, _) => Reply::end(Final::Equipment(50)),
            },
        }
    }

    fn dial(&mut self, code: &str, now: Timestamp) -> Reply {
        let bytes: Vec<u8> = code.bytes().collect();
        let code = match self.session.ussd {
            UssdStyle::Packed => unpacked(code),
            UssdStyle::Plain | UssdStyle::Ucs2Answer => {
                charset::decode(&bytes, self.session.charset)
            }
        };
        let Some(code) = code.filter(|code| is_code(code)) else {
            return Reply::end(Final::Equipment(50));
        };
        if !self.registered {
            return Reply::end(Final::Equipment(30));
        }
        let line = match self.carrier.ussd(&self.settings.own_number, &code) {
            Some(answer) => {
                let (text, scheme) = self.written(&answer);
                let mut line = b"+CUSD: 0,\"".to_vec();
                line.extend(text);
                line.extend(format!("\",{scheme}").into_bytes());
                line
            }
            None => b"+CUSD: 4".to_vec(),
        };
        self.after(now + self.settings.ussd_delay, Timer::Say(line));
        Reply::OK
    }

    /// Returns `answer` as this modem writes it, and its coding scheme.
    fn written(&self, answer: &str) -> (Vec<u8>, u8) {
        let septets = Alphabet::DEFAULT.encode(answer);
        match (self.session.ussd, septets) {
            (UssdStyle::Packed, Some(septets)) => (packed(septets), SCHEME_GSM),
            (UssdStyle::Plain, Some(_)) => {
                (charset::encode(answer, self.session.charset), SCHEME_GSM)
            }
            (UssdStyle::Ucs2Answer, _) | (UssdStyle::Packed | UssdStyle::Plain, None) => {
                (charset::encode(answer, "UCS2"), SCHEME_UCS2)
            }
        }
    }
}

fn is_code(code: &str) -> bool {
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit() || b"*#+".contains(&byte))
}

/// Returns septets as packed hexadecimal digits; a last octet with seven bits to spare gets a carriage return, lest it read
/// as `@` (3GPP TS 23.038 §6.1.2.3.1).
fn packed(mut septets: Vec<u8>) -> Vec<u8> {
    if septets.len() % 8 == 7 {
        septets.push(CARRIAGE_RETURN);
    }
    to_hex(&pack(&septets, 0)).into_bytes()
}

fn unpacked(hex: &str) -> Option<String> {
    let octets = from_hex(hex).ok()?;
    let mut septets = unpack(&octets, octets.len() * 8 / 7, 0);
    if septets.len().is_multiple_of(8) && matches!(septets.last(), Some(&(CARRIAGE_RETURN | 0))) {
        septets.pop();
    }
    Some(Alphabet::DEFAULT.decode(&septets))
}
