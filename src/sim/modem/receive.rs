//! What comes from the network: stored, announced or handed on at once.

use super::fault::{Fault, Point};
use super::machine::{Machine, POST_MAX, Timer};
use super::memory::{Mark, Stored};
use super::messages::report_fields;
use crate::domain::time::Timestamp;
use crate::sim::carrier::Downlink;
use crate::wire::tpdu::{Class, to_hex};
use std::time::Duration;

/// How long the client may take to acknowledge: 3GPP TS 27.005 §3.4.4 leaves it to the network's timer, here the lower
/// value of TR1M in TS 24.011 §10.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(35);

/// What becomes of a message.
enum Routing {
    /// Handed on at once.
    Direct,
    /// Stored, and its place told.
    Announced,
    /// Stored in silence.
    Silent,
    /// Nobody wants it.
    Dropped,
}

impl Machine {
    /// Fetches and routes what the network has, as long as the port may be told.
    pub(super) fn deliver(&mut self, now: Timestamp) {
        if !self.can_receive() {
            return;
        }
        if self.post.len() < POST_MAX {
            self.post.extend(self.carrier.collect(&self.settings.own_number, now));
        }
        while self.can_receive()
            && let Some(downlink) = self.post.pop_front()
        {
            self.route(downlink, now);
        }
    }

    fn route(&mut self, downlink: Downlink, now: Timestamp) {
        if self.strike(&Point::Arrival) == Some(Fault::MemoryFull) {
            self.put_off(downlink);
            return;
        }
        match self.routing(&downlink) {
            Routing::Direct => self.hand_on(downlink, now),
            Routing::Announced => self.keep(downlink, true),
            Routing::Silent => self.keep(downlink, false),
            Routing::Dropped => {}
        }
    }

    /// Decides by `+CNMI` (3GPP TS 27.005 §3.4.1) and the message's class.
    fn routing(&self, downlink: &Downlink) -> Routing {
        let [_, texts, _, reports, _] = self.session.announcements;
        match downlink {
            Downlink::Report(_) => match reports {
                0 => Routing::Dropped,
                1 => Routing::Direct,
                _stored => Routing::Announced,
            },
            Downlink::Text(deliver) => match (texts, deliver.class) {
                (2, Some(Class::Sim))
                | (3, Some(Class::Flash | Class::Telephone | Class::Sim) | None) => {
                    Routing::Announced
                }
                (2 | 3, _) => Routing::Direct,
                (1, _) => Routing::Announced,
                _silent => Routing::Silent,
            },
        }
    }

    fn hand_on(&mut self, downlink: Downlink, now: Timestamp) {
        let (octets, hex) = (downlink.tpdu().len(), to_hex(&downlink.pdu()));
        let text_mode = self.session.text_mode;
        let line = match &downlink {
            Downlink::Report(report) if text_mode => {
                format!("+CDS: {}", report_fields(report)).into_bytes()
            }
            Downlink::Report(_) => format!("+CDS: {octets}\r\n{hex}").into_bytes(),
            Downlink::Text(deliver) if text_mode => {
                let sent = deliver.sent.map_or(0, crate::wire::tpdu::ServiceTime::unix_seconds);
                let mut line = b"+CMT: \"".to_vec();
                line.extend(super::charset::encode(deliver.from.as_str(), self.session.charset));
                line.extend(
                    format!("\",,\"{}\"\r\n", super::commands::service_words(sent)).into_bytes(),
                );
                line.extend(self.body(&deliver.data));
                line
            }
            Downlink::Text(_) => format!("+CMT: ,{octets}\r\n{hex}").into_bytes(),
        };
        self.tell(line);
        if self.session.service == 1 {
            self.owed = Some(downlink);
            self.after(now + ACKNOWLEDGE_WAIT, Timer::Unacknowledged);
        }
    }

    fn keep(&mut self, downlink: Downlink, announced: bool) {
        let [_, _, memory] = self.session.memories;
        let stored = Stored { mark: Mark::Unread, pdu: downlink.pdu() };
        let Some(place) = self.memories.store(memory, stored) else {
            self.put_off(downlink);
            return;
        };
        if announced {
            let name = match downlink {
                Downlink::Report(_) => "+CDSI",
                Downlink::Text(_) => "+CMTI",
            };
            self.tell(format!("{name}: \"{memory}\",{place}").into_bytes());
        }
    }

    /// Leaves a message to the network until something is deleted.
    fn put_off(&mut self, downlink: Downlink) {
        if let Some(news) = self.traits.memory_full {
            self.news(news);
        }
        if self.refused.len() < POST_MAX {
            self.refused.push_back(downlink);
        }
    }

    /// Says news, or keeps it back in `+CNMI` mode 0.
    fn tell(&mut self, line: Vec<u8>) {
        let [mode, ..] = self.session.announcements;
        if mode > 0 {
            self.news(line);
        } else if self.kept_back.len() < POST_MAX {
            self.kept_back.push_back(line);
        }
    }

    /// Nobody acknowledged: nothing is handed on directly any more, and the message comes again.
    pub(super) fn unacknowledged(&mut self) {
        let [_, texts, _, reports, _] = &mut self.session.announcements;
        (*texts, *reports) = (0, 0);
        if let Some(downlink) = self.owed.take() {
            self.post.push_front(downlink);
        }
    }
}
