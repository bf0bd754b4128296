//! How long it takes to tell everybody.

use super::settings::Config;
use crate::domain::recipient::Role;
use std::collections::BTreeMap;
use std::time::Duration;

/// Returns how long it takes until the last text of an alert has left, when every role uses the first of its
/// channels and nothing fails. A modem counts segments, a provider messages; channels work side by side.
#[must_use]
pub fn telling_time(
    config: &Config,
    audience: &[Role],
    recipients: &BTreeMap<Role, u32>,
    segments: u32,
) -> Duration {
    let mut busy: BTreeMap<&str, Duration> = BTreeMap::new();
    for role in audience {
        let count = recipients.get(role).copied().unwrap_or(0);
        let Some(channel) = config.role(role).and_then(|settings| settings.channels.first()) else {
            continue;
        };
        let modem = config.modems.iter().find(|modem| modem.name == *channel);
        let provider = config.providers.iter().find(|provider| provider.name == *channel);
        let each = match (modem, provider) {
            (Some(modem), _) => modem.rate.interval().saturating_mul(segments),
            (None, Some(provider)) => provider.rate.interval(),
            (None, None) => continue,
        };
        let total = busy.entry(channel).or_default();
        *total = total.saturating_add(each.saturating_mul(count));
    }
    busy.into_values().max().unwrap_or_default()
}
