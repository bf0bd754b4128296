//! The machine without a port: bytes in, bytes out, in made-up time.

use super::machine::Machine;
use super::{Fault, Faults, Personality, Point, Settings, Truth};
use crate::domain::time::Timestamp;
use crate::sim::carrier::{Carrier, Event, Handset};
use crate::wire::tpdu::{
    Address, Incoming, Submit, UserData, Validity, from_hex, split_smsc, to_hex, with_smsc,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const MODEM: &str = "+46700000001";
const ANNA: &str = "+46701234567";

struct Bench {
    machine: Machine,
    carrier: Carrier,
    time: Arc<AtomicI64>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let time = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&time);
        let carrier = Carrier::with_clock(
            7,
            Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst))),
        );
        carrier.attach(MODEM);
        let machine = Machine::new(settings, carrier.clone(), Timestamp::default());
        Self { machine, carrier, time }
    }

    fn of(personality: Personality) -> Self {
        Self::new(Settings { personality, ..Settings::default() })
    }

    fn with(script: &[Fault]) -> Self {
        let script = script.iter().map(|fault| (fault.point(), *fault)).collect();
        let faults = Faults { script, rates: Vec::new() };
        let mut bench = Self::new(Settings { faults, ..Settings::default() });
        bench.machine.session.echo = false;
        bench
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let now = self.carrier.now();
        words(&self.machine.receive(bytes.as_ref(), now))
    }

    fn wait(&mut self, time: Duration) -> String {
        let until = self.carrier.now() + time;
        let mut said = String::new();
        while let Some(next) = self.machine.next_deadline().filter(|next| *next <= until) {
            self.time.store(next.as_millis().max(self.carrier.now().as_millis()), Ordering::SeqCst);
            said += &words(&self.machine.tick(self.carrier.now()));
        }
        self.time.store(until.as_millis(), Ordering::SeqCst);
        said + &words(&self.machine.tick(until))
    }

    /// Sends a text; returns what the modem says within a second.
    fn send(&mut self, text: &str) -> String {
        let pdu = submit(text);
        let length = pdu.len() / 2 - 1;
        let prompt = self.say(format!("AT+CMGS={length}\r"));
        assert!(prompt.ends_with("\r\n> "), "{prompt:?}");
        let said = self.say(format!("{pdu}\x1a"));
        said + &self.wait(Duration::from_secs(1))
    }

    fn inbox(&self) -> Vec<String> {
        self.carrier.inbox(ANNA).into_iter().map(|received| received.text).collect()
    }

    fn reported(&self) -> Vec<(Option<u8>, bool)> {
        let one = |truth: &Truth| (truth.reference, truth.taken);
        self.machine.truths.iter().map(one).collect()
    }
}

fn words(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn submit(text: &str) -> String {
    let to = Address::parse(ANNA).expect("a number");
    let mut submit = Submit::new(to, UserData::text(text).expect("one segment"));
    submit.receipt_wanted = true;
    submit.validity = Some(Validity::lasting(Duration::from_hours(1)));
    to_hex(&with_smsc(None, &submit.encode()))
}

#[test]
fn the_same_seed_says_the_same_bytes() {
    let run = |seed| {
        let rates =
            [Fault::Garbage, Fault::NoAnswer, Fault::ErrorAfterAccept, Fault::OkWithoutSending];
        let faults = Faults { script: Vec::new(), rates: rates.map(|fault| (fault, 200)).to_vec() };
        let mut bench = Bench::new(Settings { faults, seed, ..Settings::default() });
        let mut said = String::new();
        for _ in 0..50 {
            said += &bench.say(format!("AT+CSQ\rAT+CMGS={}\r", submit("Hi").len() / 2 - 1));
            said += &bench.say(format!("{}\x1a\x1b\r", submit("Hi")));
            said += &bench.wait(Duration::from_secs(1));
        }
        (said, bench.reported())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_text_is_prompted_for_sent_and_reported() {
    let mut bench = Bench::of(Personality::Sim800);
    assert_eq!(bench.say("ATE0\r"), "ATE0\r\r\nOK\r\n");
    assert_eq!(bench.say("AT+CNMI=2,1,0,1,0\r"), "\r\nOK\r\n");
    let said = bench.send("Flood");
    assert!(said.starts_with("\r\n+CMGS: 0\r\n\r\nOK\r\n\r\n+CDS: "), "{said:?}");
    let pdu = said.trim_end().rsplit("\r\n").next().expect("a PDU");
    let octets = from_hex(pdu).expect("digits");
    let (_, tpdu) = split_smsc(&octets).expect("a PDU");
    let Ok(Incoming::StatusReport(report)) = Incoming::decode(tpdu) else {
        panic!("no report: {said:?}")
    };
    assert_eq!((report.reference, report.status.0, report.to.as_str()), (0, 0, ANNA));
    assert_eq!(bench.inbox(), ["Flood"]);
    assert_eq!(bench.reported(), [(Some(0), true)]);
}

#[test]
fn a_pdu_of_another_length_than_announced_is_refused() {
    let mut bench = Bench::with(&[]);
    bench.say("AT+CMGS=99\r");
    assert_eq!(bench.say(format!("{}\x1a", submit("Hi"))), "\r\n+CMS ERROR: 304\r\n");
    assert!(bench.inbox().is_empty());
    bench.say("AT+CMGS=99\r");
    assert_eq!(bench.say("00\x1b"), "\r\nOK\r\n");
    assert_eq!(bench.say("AT\r"), "\r\nOK\r\n");
}

#[test]
fn references_begin_anew_after_255() {
    let settings = Settings { first_reference: 255, ..Settings::default() };
    let mut bench = Bench::new(settings);
    assert!(bench.send("one").contains("+CMGS: 255\r\n"));
    assert!(bench.send("two").contains("+CMGS: 0\r\n"));
}

#[test]
fn a_direct_message_waits_for_the_acknowledgement_of_the_one_before() {
    let mut bench = Bench::with(&[]);
    bench.say("AT+CSMS=1;+CNMI=2,2,0,1,0\r");
    assert!(bench.carrier.send_from(ANNA, MODEM, "one"));
    assert!(bench.carrier.send_from(ANNA, MODEM, "two"));
    assert_eq!(bench.wait(Duration::from_secs(1)).matches("+CMT: ").count(), 1);
    assert_eq!(bench.say("AT+CNMA\r").matches("+CMT: ").count(), 1);
    // The second is not acknowledged: it is stored, and nothing is handed on directly any more.
    bench.wait(Duration::from_mins(1));
    assert_eq!(bench.machine.memories.fill("SM").0, 1);
    assert_eq!(bench.say("AT+CNMI?\r"), "\r\n+CNMI: 2,0,0,0,0\r\n\r\nOK\r\n");
}

#[test]
fn lte_shows_on_cereg_alone_where_the_modem_is_like_that() {
    let mut bench = Bench::of(Personality::Sim7600);
    bench.say("ATE0\r");
    assert_eq!(bench.say("AT+CREG?\r"), "\r\n+CREG: 0,2\r\n\r\nOK\r\n");
    assert_eq!(bench.say("AT+CEREG?\r"), "\r\n+CEREG: 0,1\r\n\r\nOK\r\n");
    let mut old = Bench::of(Personality::Sim800);
    old.say("ATE0\r");
    assert_eq!(old.say("AT+CEREG?\r"), "\r\nERROR\r\n");
}

#[test]
fn a_sim800_knows_no_stored_reports_and_an_e3372_talks() {
    let mut bench = Bench::with(&[]);
    assert_eq!(bench.say("AT+CNMI=2,1,0,2,0\r"), "\r\n+CMS ERROR: 302\r\n");
    let mut talkative = Bench::of(Personality::E3372);
    assert!(talkative.wait(Duration::from_secs(20)).contains("^RSSI:17"));
    talkative.say("AT^CURC=0\r");
    assert_eq!(talkative.wait(Duration::from_secs(20)), "");
}

#[test]
fn a_pin_opens_the_sim_and_three_wrong_ones_lock_it() {
    let settings = || Settings { pin: Some("1234".to_owned()), ..Settings::default() };
    let mut bench = Bench::new(settings());
    bench.say("ATE0;+CMEE=1\r");
    assert_eq!(bench.say("AT+CPIN?\r"), "\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n");
    assert_eq!(bench.say("AT+CMGS=20\r"), "\r\n+CMS ERROR: 311\r\n");
    assert_eq!(bench.say("AT+CPIN=1234\r"), "\r\nOK\r\n");
    assert!(bench.send("Hi").contains("+CMGS: 0"));
    let mut wrong = Bench::new(settings());
    wrong.say("ATE0;+CMEE=1\r");
    for _ in 0..3 {
        assert_eq!(wrong.say("AT+CPIN=0000\r"), "\r\n+CME ERROR: 16\r\n");
    }
    assert_eq!(wrong.say("AT+CPIN?\r"), "\r\n+CPIN: SIM PUK\r\n\r\nOK\r\n");
    assert_eq!(wrong.say("AT+CPIN=1234\r"), "\r\n+CME ERROR: 12\r\n");
}

#[test]
fn a_handset_that_is_off_gets_its_text_later_or_never() {
    let mut bench = Bench::with(&[]);
    bench.say("AT+CNMI=2,1,0,1,0\r");
    bench.carrier.set_handset(ANNA, Handset::Off);
    bench.send("one");
    assert!(bench.inbox().is_empty());
    bench.carrier.set_handset(ANNA, Handset::On);
    assert!(bench.wait(Duration::from_secs(1)).contains("+CDS: "));
    assert_eq!(bench.inbox(), ["one"]);
    bench.carrier.set_handset(ANNA, Handset::Off);
    bench.send("two");
    assert!(bench.wait(Duration::from_hours(2)).contains("+CDS: "), "the report of its end");
    bench.carrier.set_handset(ANNA, Handset::On);
    assert_eq!(bench.inbox(), ["one"]);
    let expired = Event::Expired { to: ANNA.to_owned() };
    assert!(bench.carrier.log().iter().any(|entry| entry.event == expired));
}

#[test]
fn no_answer_leaves_the_command_done_and_unanswered() {
    let mut bench = Bench::with(&[Fault::NoAnswer]);
    assert_eq!(bench.say("AT+CMGF=1\r"), "");
    assert_eq!(bench.say("AT+CMGF?\r"), "\r\n+CMGF: 1\r\n\r\nOK\r\n");
}

#[test]
fn no_answer_to_a_text_leaves_it_sent() {
    let mut bench = Bench::with(&[]);
    assert!(bench.machine.fates.add(Point::Submission, Fault::NoAnswer));
    assert_eq!(bench.send("Hi"), "");
    assert_eq!(bench.inbox(), ["Hi"]);
    assert_eq!(bench.reported(), [(None, true)]);
}

#[test]
fn a_stored_text_is_sent_with_the_same_faults() {
    let mut bench = Bench::with(&[]);
    assert!(bench.machine.fates.add(Point::Submission, Fault::NoAnswer));
    let pdu = submit("Hi");
    bench.say(format!("AT+CMGW={}\r", pdu.len() / 2 - 1));
    assert_eq!(bench.say(format!("{pdu}\x1a")), "\r\n+CMGW: 1\r\n\r\nOK\r\n");
    assert_eq!(bench.say("AT+CMSS=1\r"), "");
    assert_eq!(bench.say("AT+CMSS=1\r"), "\r\n+CMSS: 1\r\n\r\nOK\r\n");
    assert_eq!(bench.inbox(), ["Hi", "Hi"]);
    assert_eq!(bench.reported(), [(None, true), (Some(1), true)]);
}

#[test]
fn a_reset_after_a_text_leaves_it_sent() {
    let mut bench = Bench::with(&[]);
    assert!(bench.machine.fates.add(Point::Submission, Fault::Reset));
    let said = bench.send("Hi");
    assert!(said.starts_with("\r\nRDY\r\n") && !said.contains("+CMGS"), "{said:?}");
    assert_eq!(bench.inbox(), ["Hi"]);
    assert_eq!(bench.reported(), [(None, true)]);
}

#[test]
fn garbage_comes_before_the_answer() {
    let mut bench = Bench::with(&[Fault::Garbage]);
    let said = bench.say("AT\r");
    assert!(said.len() > 6 && said.ends_with("\r\nOK\r\n"), "{said:?}");
}

#[test]
fn a_late_answer_comes_and_what_is_said_meanwhile_waits() {
    let mut bench = Bench::with(&[Fault::LateAnswer(Duration::from_secs(9))]);
    assert_eq!(bench.say("AT\rAT+CMGF?\r"), "");
    assert_eq!(bench.wait(Duration::from_secs(8)), "");
    assert_eq!(bench.wait(Duration::from_secs(2)), "\r\nOK\r\n\r\n+CMGF: 0\r\n\r\nOK\r\n");
}

#[test]
fn a_partial_line_and_news_inside_an_answer() {
    let mut bench = Bench::with(&[Fault::PartialLine, Fault::NewsInside]);
    assert_eq!(bench.say("AT\r"), "\r\nO");
    assert_eq!(bench.say("AT\r"), "\r\nRING\r\n\r\nOK\r\n");
}

#[test]
fn the_echo_flips_by_itself() {
    let mut bench = Bench::with(&[Fault::EchoFlip]);
    assert_eq!(bench.say("AT\r"), "\r\nOK\r\n");
    assert_eq!(bench.say("AT\r"), "AT\r\r\nOK\r\n");
}

#[test]
fn a_reset_forgets_the_settings_and_tells_that_it_starts() {
    let mut bench = Bench::with(&[]);
    bench.say("AT+CNMI=2,1,0,1,0\r");
    assert!(bench.machine.fates.add(Point::Command("AT+CSQ".to_owned()), Fault::Reset));
    assert_eq!(bench.say("AT\r"), "\r\nOK\r\n");
    assert_eq!(bench.say("AT+CSQ\r"), "");
    assert_eq!(bench.say("AT\r"), "", "nothing is heard while it starts");
    let said = bench.wait(Duration::from_secs(1));
    assert!(said.contains("\r\nRDY\r\n") && said.ends_with("\r\nSMS Ready\r\n"), "{said:?}");
    assert_eq!(bench.say("ATE0\r"), "ATE0\r\r\nOK\r\n", "the echo is on again");
    assert_eq!(bench.say("AT+CNMI?\r"), "\r\n+CNMI: 2,1,0,0,0\r\n\r\nOK\r\n");
}

#[test]
fn the_two_truths_differ_where_the_modem_lies() {
    let mut bench = Bench::with(&[Fault::ErrorAfterAccept, Fault::OkWithoutSending]);
    assert_eq!(bench.send("one"), "\r\nERROR\r\n");
    assert_eq!(bench.send("two"), "\r\n+CMGS: 1\r\n\r\nOK\r\n");
    assert_eq!(bench.inbox(), ["one"]);
    assert_eq!(bench.carrier.taken_from(MODEM).len(), 1);
    assert_eq!(bench.reported(), [(None, true), (Some(1), false)]);
}

#[test]
fn without_credit_the_network_refuses() {
    let mut bench = Bench::with(&[]);
    bench.carrier.set_credit(MODEM, 1);
    assert!(bench.send("one").contains("OK"));
    assert_eq!(bench.send("two"), "\r\n+CMS ERROR: 21\r\n");
    assert_eq!(bench.inbox(), ["one"]);
    let mut struck = Bench::with(&[Fault::NoCredit]);
    assert_eq!(struck.send("one"), "\r\n+CMS ERROR: 21\r\n");
    assert!(struck.inbox().is_empty());
    assert!(struck.send("two").contains("OK"));
}

#[test]
fn reports_are_lost_doubled_and_late() {
    let late = Fault::ReportLate(Duration::from_mins(10));
    let mut bench = Bench::with(&[Fault::ReportLost, Fault::ReportTwice, late]);
    bench.say("AT+CNMI=2,1,0,1,0\r");
    assert_eq!(bench.send("one").matches("+CDS: ").count(), 0);
    assert_eq!(bench.send("two").matches("+CDS: ").count(), 2);
    assert_eq!(bench.send("three").matches("+CDS: ").count(), 0);
    assert_eq!(bench.wait(Duration::from_mins(11)).matches("+CDS: ").count(), 1);
    assert_eq!(bench.inbox(), ["one", "two", "three"]);
}

#[test]
fn a_full_memory_leaves_messages_to_the_network_until_there_is_room() {
    let mut bench = Bench::with(&[]);
    for number in 0..32 {
        assert!(bench.carrier.send_from(ANNA, MODEM, &format!("text {number}")));
    }
    assert_eq!(bench.wait(Duration::from_secs(1)).matches("+CMTI: \"SM\",").count(), 30);
    assert_eq!(bench.say("AT+CMGD=7\r"), "\r\nOK\r\n\r\n+CMTI: \"SM\",7\r\n");
    let mut struck = Bench::with(&[Fault::MemoryFull]);
    assert!(struck.carrier.send_from(ANNA, MODEM, "first"));
    assert_eq!(struck.wait(Duration::from_secs(1)), "");
    assert_eq!(struck.say("AT+CMGD=1,4\r"), "\r\nOK\r\n\r\n+CMTI: \"SM\",1\r\n");
}

#[test]
fn a_lost_network_refuses_texts_and_comes_back() {
    let mut bench = Bench::with(&[]);
    bench.say("AT+CREG=1\r");
    let lost = Fault::RegistrationLost(Duration::from_secs(30));
    assert!(bench.machine.fates.add(lost.point(), lost));
    assert!(bench.say("AT\r").contains("\r\n+CREG: 2\r\n"));
    assert_eq!(bench.say("AT+CSQ\r"), "\r\n+CSQ: 99,99\r\n\r\nOK\r\n");
    assert_eq!(bench.send("Hi"), "\r\n+CMS ERROR: 331\r\n");
    assert!(bench.wait(Duration::from_secs(30)).contains("\r\n+CREG: 1\r\n"));
    assert!(bench.send("Hi").contains("OK"));
}

#[test]
fn text_mode_sends_lists_and_deletes() {
    let mut bench = Bench::with(&[]);
    bench.say("AT+CMGF=1;+CSCS=\"GSM\"\r");
    assert_eq!(bench.say(format!("AT+CMGS=\"{ANNA}\"\r")), "\r\n> ");
    bench.say("Two\rlines\x1a");
    assert!(bench.wait(Duration::from_secs(1)).contains("+CMGS: 0"));
    assert_eq!(bench.inbox(), ["Two\nlines"]);
    assert!(bench.carrier.send_from(ANNA, MODEM, "Safe"));
    bench.wait(Duration::from_secs(1));
    let listed = bench.say("AT+CMGL=\"ALL\"\r");
    assert!(
        listed.contains(&format!("+CMGL: 1,\"REC UNREAD\",\"{ANNA}\",,\"26/06/01,00:00:0")),
        "{listed:?}"
    );
    assert!(listed.ends_with("\r\nSafe\r\n\r\nOK\r\n"), "{listed:?}");
    assert_eq!(bench.say("AT+CMGD=1\r"), "\r\nOK\r\n");
    assert_eq!(bench.say("AT+CMGL=\"ALL\"\r"), "\r\nOK\r\n");
}

#[test]
fn hostile_bytes_do_no_harm() {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{RngCore, SeedableRng};
    let alphabet = b"AT+CMGSDRLWNIPUE=0123456789?;,\"\r\n\x1a\x1b\x08 ^&\xff\x00abcF";
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bench = Bench::of(Personality::ALL[(seed % 4) as usize]);
        for _ in 0..40 {
            let bytes: Vec<u8> =
                (0..60).map(|_| alphabet[rng.next_u32() as usize % alphabet.len()]).collect();
            bench.say(b"AT+C");
            bench.say(&bytes);
            bench.wait(Duration::from_millis(100));
        }
        bench.say("\x1b\r");
        bench.wait(Duration::from_secs(10));
        bench.say("\x1b\r");
        let said = bench.say("ATE0V1\r") + &bench.say("AT\r");
        assert!(said.ends_with("\r\nOK\r\n"), "seed {seed}: {said:?}");
    }
}
