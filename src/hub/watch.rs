//! Misses gateways: looks who has not been heard for too long, and tells the operator.

use super::settings::Providers;
use super::storage::{Error, Notice, NoticeKind, Storage};
use crate::domain::message::{DeliveryId, Priority, Submission, Submitted};
use crate::domain::recipient::PhoneNumber;
use crate::domain::time::millis;
use crate::supervise::{Stop, chain};
use std::convert::Infallible;
use std::time::Duration;
use tracing::{info, warn};

/// Longest time between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
/// How long a network may try to deliver a text.
const VALIDITY: Duration = Duration::from_hours(6);

/// The task that misses gateways.
pub struct Watch {
    /// Where it looks.
    pub storage: Storage,
    /// Unheard for longer than this a gateway is missed.
    pub silent_after: Duration,
    /// Who is told.
    pub tell: Vec<PhoneNumber>,
    /// By whom they are told, in order.
    pub providers: Providers,
}

impl Watch {
    /// Looks again and again, until it is told to stop. While the storage fails it looks on.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        let every = (self.silent_after / 4).min(LOOK_EVERY_MAX);
        loop {
            if let Err(error) = self.look(super::now_ms()).await {
                warn!(error = chain(&error), "cannot look which gateways are missed; trying again");
            }
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Looks once.
    async fn look(&self, now_ms: i64) -> Result<(), Error> {
        let limit_ms = now_ms.saturating_sub(millis(self.silent_after));
        self.storage.watch(now_ms, limit_ms).await?;
        for notice in self.storage.claim_notices(now_ms).await? {
            let (gateway, number) = (&*notice.name, notice.gateway.0);
            match notice.kind {
                NoticeKind::Missing => warn!(gateway, number, "a gateway is missed"),
                NoticeKind::HeardAgain => info!(gateway, number, "a missed gateway is heard again"),
            }
            if self.tell(&notice).await {
                self.storage.told(notice.id, super::now_ms()).await?;
            }
        }
        Ok(())
    }

    /// Tells everybody who is to be told. Returns whether anybody has been; else it is tried again later.
    async fn tell(&self, notice: &Notice) -> bool {
        let mut told = self.tell.is_empty();
        for (place, number) in self.tell.iter().enumerate() {
            told |= self.tell_one(notice, place, number).await;
        }
        told
    }

    async fn tell_one(&self, notice: &Notice, place: usize, number: &PhoneNumber) -> bool {
        let submission = Submission {
            delivery: DeliveryId(notice.id),
            to: number.as_str().to_owned(),
            text: text(notice),
            validity: VALIDITY,
            priority: Priority::Warning,
            // The same for every try by every process, so that a provider can drop a repetition.
            idempotency_key: format!("hub-notice-{}-{place}", notice.id),
            flash: false,
        };
        for provider in &self.providers.0 {
            match provider.submit(&submission).await {
                // What may have gone out is not said again by another.
                Submitted::Accepted { .. } | Submitted::Unknown { .. } => return true,
                Submitted::Rejected { reason }
                | Submitted::ChannelDown { reason }
                | Submitted::Retry { reason, .. } => {
                    let notice = notice.id;
                    warn!(notice, reason, "the operator was not told by this provider");
                }
            }
        }
        false
    }
}

fn text(notice: &Notice) -> String {
    match notice.kind {
        NoticeKind::Missing => {
            let heard = notice.heard_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
            let since = heard.map_or_else(
                || "since it enrolled".to_owned(),
                |heard| format!("since {}", heard.strftime("%Y-%m-%d %H:%M UTC")),
            );
            format!("Kengele hub: gateway {} has not been heard {since}.", notice.name)
        }
        NoticeKind::HeardAgain => format!("Kengele hub: gateway {} is heard again.", notice.name),
    }
}
