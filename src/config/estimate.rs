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
        let Some(step) = config.role(role).and_then(|settings| settings.channels.first()) else {
            continue;
        };
        // Whichever is free: each text goes where the work ends first.
        for _ in 0..count {
            let ends = step.iter().filter_map(|channel| {
                let each = time_of_one(config, channel, segments)?;
                let before = busy.get(channel.as_str()).copied().unwrap_or_default();
                Some((before.saturating_add(each), channel))
            });
            let Some((end, channel)) = ends.min() else { break };
            busy.insert(channel, end);
        }
    }
    busy.into_values().max().unwrap_or_default()
}

/// Returns how long one text keeps a channel busy.
fn time_of_one(config: &Config, channel: &str, segments: u32) -> Option<Duration> {
    let modem = config.modems.iter().find(|modem| modem.name == channel);
    let modem = modem.map(|modem| modem.rate.interval().saturating_mul(segments));
    let provider = config.providers.iter().find(|provider| provider.name == channel);
    modem.or_else(|| provider.map(|provider| provider.rate.interval()))
}
