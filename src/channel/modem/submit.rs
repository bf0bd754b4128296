//! Handing a text to the network, and saying no more about it than is known.

use super::port::{Port, Trouble};
use super::{Driver, ReferenceWidth, Refused};
use crate::domain::message::{Submission, Submitted};
use crate::wire::at::{self, Class, ErrorCode, Event, Final, News};
use crate::wire::segment::{Options, segments};
use crate::wire::tpdu::{self, Address, Reference, Submit, Validity, to_hex, with_smsc};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Tries of a later segment, when the network is busy: the first ones are out already.
const SEGMENT_TRIES_MAX: u8 = 3;

/// What became of one segment.
enum Outcome {
    /// The network took it under this reference.
    Left(u8),
    /// It did not go out.
    Stayed(Cause),
    /// Nobody knows.
    Open(String),
}

/// Why a segment did not go out.
enum Cause {
    Refused(ErrorCode),
    /// The modem was in no state to take it.
    NotTaken(String),
}

/// A text to ourselves that is on its way.
pub(super) struct SelfTest {
    pub(super) word: String,
    pub(super) started: Instant,
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Result<Duration, Refused>>,
}

impl Driver {
    /// Hands `submission` to the network; also returns the trouble that ends the session, if any.
    pub(super) async fn submit(
        &mut self,
        port: &mut Port,
        submission: &Submission,
    ) -> (Submitted, Option<Trouble>) {
        let pdus = match self.encode(submission) {
            Ok(pdus) => pdus,
            Err(reason) => return (Submitted::Rejected { reason }, None),
        };
        let spacing = Duration::from_mins(1) / self.settings.texts_per_minute.max(1);
        self.next_text = Instant::now() + spacing * u32::try_from(pdus.len()).unwrap_or(u32::MAX);
        if let Err(trouble) = still_set_up(port).await {
            return (self.explain(&Cause::NotTaken(trouble.to_string())), Some(trouble));
        }
        let mut references = Vec::with_capacity(pdus.len());
        for pdu in &pdus {
            let (outcome, trouble) = self.submit_segment(port, pdu, !references.is_empty()).await;
            self.count(&outcome);
            match outcome {
                Outcome::Left(reference) => references.push(reference.to_string()),
                Outcome::Stayed(cause) if references.is_empty() => {
                    return (self.explain(&cause), trouble);
                }
                Outcome::Stayed(Cause::NotTaken(why)) | Outcome::Open(why) => {
                    return (unknown(why, references, pdus.len()), trouble);
                }
                Outcome::Stayed(Cause::Refused(code)) => {
                    return (unknown(code.to_string(), references, pdus.len()), trouble);
                }
            }
            if let Some(trouble) = trouble {
                let whole = references.len() == pdus.len();
                let why = trouble.to_string();
                let submitted = if whole {
                    Submitted::Accepted { references }
                } else {
                    unknown(why, references, pdus.len())
                };
                return (submitted, Some(trouble));
            }
        }
        (Submitted::Accepted { references }, None)
    }

    /// Returns the TPDUs of a text.
    fn encode(&mut self, submission: &Submission) -> Result<Vec<Vec<u8>>, String> {
        let to = Address::parse(&submission.to).map_err(|error| error.to_string())?;
        self.concat = self.concat.wrapping_add(1);
        let [_, low] = self.concat.to_be_bytes();
        let options = Options {
            national: &self.settings.national,
            transliteration: self.settings.transliteration,
            reference: match self.settings.reference {
                ReferenceWidth::Narrow => Reference::Narrow(low),
                ReferenceWidth::Wide => Reference::Wide(self.concat),
            },
        };
        let parts = segments(&submission.text, &options).map_err(|error| error.to_string())?;
        let submit = |part: crate::wire::segment::Segment| Submit {
            class: submission.flash.then_some(tpdu::Class::Flash),
            validity: Some(Validity::lasting(submission.validity)),
            receipt_wanted: true,
            ..Submit::new(to.clone(), part.data)
        };
        Ok(parts.segments.into_iter().map(|part| submit(part).encode()).collect())
    }

    /// Submits one segment; a `later` one is tried again while the network is busy, because the first ones are out.
    async fn submit_segment(
        &mut self,
        port: &mut Port,
        tpdu: &[u8],
        later: bool,
    ) -> (Outcome, Option<Trouble>) {
        let mut tries = 1;
        loop {
            let (outcome, trouble) = match self.try_segment(port, tpdu).await {
                Ok(outcome) => (outcome, None),
                Err((outcome, trouble)) => (outcome, Some(trouble)),
            };
            let busy = matches!(&outcome, Outcome::Stayed(Cause::Refused(code)) if code.class() == Class::RetrySoon);
            if !(later && busy && tries < SEGMENT_TRIES_MAX && trouble.is_none()) {
                return (outcome, trouble);
            }
            tries += 1;
            sleep(self.settings.times.segment_retry).await;
        }
    }

    /// Submits one segment once. The error carries what is known of the segment besides the trouble.
    async fn try_segment(
        &mut self,
        port: &mut Port,
        tpdu: &[u8],
    ) -> Result<Outcome, (Outcome, Trouble)> {
        let stayed =
            |trouble: Trouble| (Outcome::Stayed(Cause::NotTaken(trouble.to_string())), trouble);
        port.start(&format!("AT+CMGS={}", tpdu.len())).await.map_err(stayed)?;
        match self.await_prompt(port).await {
            Ok(None) => {}
            Ok(Some(cause)) => return Ok(Outcome::Stayed(cause)),
            Err(trouble) => return Err(stayed(trouble)),
        }
        // Until the Ctrl-Z the modem sends nothing; a text that is cut off here is cancelled by the ESC of the next start.
        port.write_pdu(&to_hex(&with_smsc(None, tpdu))).await.map_err(stayed)?;
        port.write(&[at::SEND]).await.map_err(stayed)?;
        self.await_result(port).await
    }

    /// Waits for the prompt; returns why it did not come. Nothing was written that could go out.
    async fn await_prompt(&mut self, port: &mut Port) -> Result<Option<Cause>, Trouble> {
        let until = Instant::now() + self.settings.times.prompt;
        while let Some(event) = port.next(until).await? {
            match event {
                Event::Prompt => return Ok(None),
                Event::Final(Final::Error(code)) => {
                    // It may be an older command's: then the prompt comes still, and must not stay open.
                    port.cancel_prompt().await?;
                    return Ok(Some(Cause::Refused(code)));
                }
                Event::News(News::Restarted(line)) => {
                    port.keep_news(News::Restarted(line));
                    return Err(Trouble::Restarted);
                }
                Event::News(news) => port.keep_news(news),
                // A result before the prompt belongs to a text that was given up.
                Event::Final(Final::Ok | Final::Connection(_))
                | Event::Line(_)
                | Event::Entry { .. } => {
                    port.late_answers = port.late_answers.saturating_add(1);
                }
            }
        }
        port.cancel_prompt().await?;
        Ok(Some(Cause::NotTaken("the modem does not ask for the text".to_owned())))
    }

    /// Waits for the network's word after the last byte. From here on a missing answer means that nobody knows.
    async fn await_result(&mut self, port: &mut Port) -> Result<Outcome, (Outcome, Trouble)> {
        let times = &self.settings.times;
        let mut until = Instant::now() + times.result + times.late;
        let mut reference = None;
        let mut why = "the modem gave no answer after the text";
        loop {
            let event = match port.next(until).await {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(trouble) => {
                    return Err((
                        settle(reference, "the modem was unplugged before its answer"),
                        trouble,
                    ));
                }
            };
            match event {
                Event::Line(line) | Event::News(News::Other(line))
                    if line.starts_with("+CMGS:") =>
                {
                    reference = at::fields(&line).first().and_then(|field| field.parse().ok());
                    until = until.min(Instant::now() + times.answer);
                }
                Event::Final(Final::Ok) => {
                    if let Some(reference) = reference {
                        return Ok(Outcome::Left(reference));
                    }
                    // It may be an older command's; the true answer has a little longer.
                    why = "the modem answered without a reference";
                    until = until.min(Instant::now() + times.late);
                }
                Event::Final(Final::Error(code)) => return Ok(refused(port, reference, code)),
                Event::News(News::Restarted(_)) => {
                    // Some models say that they are up long after they are: an answer may still come.
                    why = "the modem restarted before its answer";
                    until = until.min(Instant::now() + times.restart_grace);
                }
                Event::News(news) => port.keep_news(news),
                Event::Line(_)
                | Event::Entry { .. }
                | Event::Prompt
                | Event::Final(Final::Connection(_)) => {}
            }
        }
        port.doubt();
        // A silent modem may have restarted unheard and forgotten its settings: everything is set up anew.
        Err((settle(reference, why), Trouble::Restarted))
    }

    fn count(&mut self, outcome: &Outcome) {
        let counts = &mut self.health.counts;
        match outcome {
            Outcome::Left(_) => {
                counts.segments_accepted = counts.segments_accepted.saturating_add(1);
            }
            Outcome::Stayed(_) => {
                counts.segments_refused = counts.segments_refused.saturating_add(1);
            }
            Outcome::Open(_) => counts.segments_unknown = counts.segments_unknown.saturating_add(1),
        }
    }

    /// Returns what a text is told whose first segment did not go out.
    fn explain(&mut self, cause: &Cause) -> Submitted {
        let code = match cause {
            Cause::NotTaken(reason) => {
                return Submitted::Retry { reason: reason.clone(), after: None };
            }
            Cause::Refused(code) => code,
        };
        let reason = code.to_string();
        match code.class() {
            Class::RetrySoon | Class::UnknownOutcome => Submitted::Retry { reason, after: None },
            Class::Housekeeping => {
                self.inbox.sweep_now();
                Submitted::Retry { reason, after: Some(self.settings.times.poll) }
            }
            Class::PermanentForRecipient => Submitted::Rejected { reason },
            Class::FixConfiguration | Class::CreditOrBarring => Submitted::ChannelDown { reason },
        }
    }

    /// Sends a text to ourselves; the answer is given when it comes back, or does not.
    pub(super) async fn start_self_test(
        &mut self,
        port: &mut Port,
        reply: oneshot::Sender<Result<Duration, Refused>>,
    ) -> Result<(), Trouble> {
        let refuse = |reply: oneshot::Sender<_>, why: &str| {
            let _asker_gone = reply.send(Err(Refused(why.to_owned()))).is_err();
        };
        let Some(to) = self.settings.own_number.clone() else {
            refuse(reply, "the SIM's own number is not configured");
            return Ok(());
        };
        if self.self_test.is_some() {
            refuse(reply, "a self-test is under way");
            return Ok(());
        }
        let word = format!("{:08X}", rand_core::RngCore::next_u32(&mut self.random));
        let submission = Submission {
            delivery: crate::domain::message::DeliveryId(0),
            to,
            text: format!("Kengele self-test {word}"),
            validity: self.settings.times.self_test,
            priority: crate::domain::message::Priority::Advice,
            idempotency_key: String::new(),
            flash: false,
        };
        let started = Instant::now();
        let (submitted, trouble) = self.submit(port, &submission).await;
        match submitted {
            Submitted::Accepted { .. } | Submitted::Unknown { .. } => {
                info!(modem = %self.settings.name, "self-test text is on its way");
                self.self_test = Some(SelfTest {
                    word,
                    started,
                    until: started + self.settings.times.self_test,
                    reply,
                });
            }
            Submitted::Retry { reason, .. }
            | Submitted::Rejected { reason }
            | Submitted::ChannelDown { reason } => {
                warn!(modem = %self.settings.name, reason, "self-test text does not go out");
                refuse(reply, &reason);
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Gives up a self-test whose time is over.
    pub(super) fn expire_self_test(&mut self) {
        if let Some(test) = self.self_test.take_if(|test| Instant::now() >= test.until) {
            let late = Refused("the self-test's text did not come back".to_owned());
            let _asker_gone = test.reply.send(Err(late)).is_err();
        }
    }
}

/// Makes sure that the modem still takes PDUs.
///
/// A modem that restarted unheard takes `AT+CMGS=23` for the number of a text in letters, and would send the PDU's digits
/// there. Besides, the question shows that both sides are in step: its answer is more than `OK`.
async fn still_set_up(port: &mut Port) -> Result<(), Trouble> {
    let mode = port.ask("AT+CMGF?", "+CMGF:").await?;
    let forgotten = mode.line("+CMGF:").is_some_and(|line| at::fields(line).first() != Some(&"0"));
    if forgotten { Err(Trouble::Restarted) } else { Ok(()) }
}

/// A text of which something is out and not everything is.
fn unknown(reason: String, references: Vec<String>, total: usize) -> Submitted {
    let reason = if total > 1 {
        format!("segment {} of {total}: {reason}", references.len() + 1)
    } else {
        reason
    };
    Submitted::Unknown { reason, references }
}

/// A reference is the network's own word, even when the `OK` behind it is lost.
fn settle(reference: Option<u8>, why: &str) -> Outcome {
    reference.map_or_else(|| Outcome::Open(why.to_owned()), Outcome::Left)
}

fn refused(port: &mut Port, reference: Option<u8>, code: ErrorCode) -> Outcome {
    if reference.is_some() {
        port.doubt();
        return Outcome::Open(format!("the modem gave a reference and then an error: {code}"));
    }
    match code.class() {
        Class::UnknownOutcome => Outcome::Open(code.to_string()),
        Class::RetrySoon
        | Class::FixConfiguration
        | Class::CreditOrBarring
        | Class::PermanentForRecipient
        | Class::Housekeeping => Outcome::Stayed(Cause::Refused(code)),
    }
}
