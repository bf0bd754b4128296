//! What clients follow, and what they get.

use super::Counters;
use super::access::is_filter;
use super::connection::Connection;
use super::packet::{Filter, Version};
use super::reply::{self, Granted};
use super::session::{Acknowledged, Subscription};
use tokio::io::{AsyncRead, AsyncWrite};

/// Messages that are put together before they are written.
const BATCH_MAX: usize = 64;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn take_subscriptions(
        &mut self,
        id: u16,
        filters: &[Filter],
        identifier: Option<u32>,
    ) {
        let mut granted = Vec::with_capacity(filters.len());
        let mut retained = Vec::new();
        for filter in filters {
            match self.subscribe(filter, identifier) {
                Ok((subscription, new)) => {
                    granted.push(Granted::Qos(subscription.qos));
                    // Nobody of a group gets what is retained: MQTT 5 §4.8.2.
                    let wanted =
                        filter.retain_handling == 0 || (filter.retain_handling == 1 && new);
                    if wanted && subscription.share.is_none() {
                        retained.push(subscription);
                    }
                }
                Err(refused) => granted.push(refused),
            }
        }
        self.send(reply::suback(self.version, id, &granted));
        let (limits, counters) = (&self.shared.limits, &self.shared.counters);
        for subscription in retained {
            self.shared.hub().replay_retained(&self.attached, &subscription, limits, counters);
        }
    }

    /// Puts a subscription in force, if it may be. Returns it and whether it is new, or how it is refused.
    fn subscribe(
        &self,
        filter: &Filter,
        identifier: Option<u32>,
    ) -> Result<(Subscription, bool), Granted> {
        let (share, pattern) = self.split(&filter.pattern).ok_or(Granted::Invalid)?;
        if !is_filter(pattern) {
            return Err(Granted::Invalid);
        }
        if !self.rights.may_subscribe(pattern) {
            Counters::add(&self.shared.counters.not_authorised);
            return Err(Granted::NotAuthorised);
        }
        let subscription = Subscription {
            share: share.map(str::to_owned),
            filter: pattern.to_owned(),
            qos: filter.qos,
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            identifier,
        };
        let mut hub = self.shared.hub();
        let new = hub.subscribe(&self.attached, subscription.clone(), &self.shared.limits);
        new.map(|new| (subscription, new)).ok_or(Granted::TooMany)
    }

    /// Splits the name of a group off a filter that is shared; 3.1.1 knows no such thing. `None` for a name that is none
    /// (MQTT-4.8.2-1, MQTT-4.8.2-2).
    fn split<'a>(&self, pattern: &'a str) -> Option<(Option<&'a str>, &'a str)> {
        let Some(shared) = pattern.strip_prefix("$share/") else { return Some((None, pattern)) };
        if self.version == Version::V3 {
            return Some((None, pattern));
        }
        let (share, filter) = shared.split_once('/')?;
        (!share.is_empty() && !share.contains(['+', '#'])).then_some((Some(share), filter))
    }

    pub(super) fn take_unsubscriptions(&mut self, id: u16, filters: &[String]) {
        let gone = filters.iter().map(|filter| {
            let (share, filter) = self.split(filter)?;
            Some(self.shared.hub().unsubscribe(&self.attached, share, filter))
        });
        let gone: Vec<Option<bool>> = gone.collect();
        self.send(reply::unsuback(self.version, id, &gone));
    }

    /// Sends what waits for this subscriber, as far as it has acknowledged what it got before.
    pub(super) fn deliver(&mut self) {
        let taken = self.shared.hub().take(&self.attached, self.unacknowledged_max, BATCH_MAX);
        for (message, id) in taken {
            // The protocol has this identifier still, if the one before with it could not be sent.
            let _registered = id.is_some_and(|id| self.protocol.register_packet_id(id).is_ok());
            let sent = self.send(reply::publish(self.version, &message, id));
            if !sent && let Some(id) = id {
                // What is larger than the client takes counts as delivered (MQTT-3.1.2-25).
                self.acknowledged(id, Acknowledged::Done);
            }
        }
    }

    /// Notes what a subscriber says of a message.
    pub(super) fn acknowledged(&mut self, id: u16, said: Acknowledged) {
        self.shared.hub().acknowledge(&self.attached, id, said);
    }
}
