//! The HTTP channel against the virtual provider, which keeps the truth of what its network really got.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "what these stand for is the failure of a test, in its helpers too"
)]

mod connection;
mod kannel;
mod outcome;
mod preset;
mod receipt;

use kengele::channel::http_sms::{Account, HttpSms, Preset, Secret, Settings, Timeouts};
use kengele::domain::message::{DeliveryId, Priority, Submission, Submitted};
use kengele::sim::provider::{Plan, VirtualProvider};
use std::time::Duration;

const ANNA: &str = "+254711000111";
const BEN: &str = "+254722000222";
const PASSWORD: &str = "s3cret & more";

/// What breaks out of a quote, a field, a tag, a template and a terminal, and letters beyond GSM-7.
const HOSTILE: &str = "\"&{}<>%+;=\\'\r\n\t{to}%0d%0aX-Evil: 1 🌊 ماء נהר\u{202e}";

const DIALECTS: [&str; 4] = ["africastalking", "vonage", "sms-gateway-android", "kannel"];

fn message(id: i64, to: &str, text: &str) -> Submission {
    Submission {
        delivery: DeliveryId(id),
        to: to.to_owned(),
        text: text.to_owned(),
        validity: Duration::from_mins(90),
        priority: Priority::Danger,
        idempotency_key: format!("key-{id}"),
        flash: false,
    }
}

/// Returns an account that has everything that any preset may ask for.
fn account(preset: &Preset, base: &str) -> Account {
    let settings = preset.settings.keys().map(|key| {
        let value = match key.as_str() {
            "base" => base.to_owned(),
            "username" | "account_sid" => "kengele".to_owned(),
            "sim" => "2".to_owned(),
            other => format!("{other}-setting"),
        };
        (key.clone(), value)
    });
    let secrets = preset.secrets.keys().map(|key| {
        let user = key == "api_key" && preset.secrets.contains_key("api_secret");
        (key.clone(), Secret::new(if user { "kengele" } else { PASSWORD }))
    });
    Account {
        from: Some("+KENGELE".to_owned()),
        settings: settings.collect(),
        secrets: secrets.collect(),
        dlr_url: None,
        country_code: Some("254".to_owned()),
    }
}

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    answer: Duration::from_millis(500),
    idle: Duration::from_secs(1),
    turn: Duration::from_secs(1),
};

fn settings(id: &str, base: &str) -> Settings {
    let preset = Preset::builtin(id).unwrap();
    let account = account(&preset, base);
    Settings { preset, account, limit: None, timeouts: TIMEOUTS, extra_roots_pem: None }
}

fn channel(id: &str, base: &str) -> HttpSms {
    HttpSms::new(settings(id, base)).unwrap()
}

async fn provider(plan: Plan) -> VirtualProvider {
    VirtualProvider::start(Plan { password: Some(PASSWORD.to_owned()), ..plan }).await.unwrap()
}

/// Waits at most ten seconds until `state` holds.
async fn wait_for(what: &str, mut state: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if state() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

fn kind(outcome: &Submitted) -> &'static str {
    match outcome {
        Submitted::Accepted { .. } => "accepted",
        Submitted::Retry { .. } => "retry",
        Submitted::Rejected { .. } => "rejected",
        Submitted::ChannelDown { .. } => "down",
        Submitted::Unknown { .. } => "unknown",
    }
}

fn reason(outcome: &Submitted) -> &str {
    match outcome {
        Submitted::Accepted { .. } => "",
        Submitted::Retry { reason, .. }
        | Submitted::Rejected { reason }
        | Submitted::ChannelDown { reason }
        | Submitted::Unknown { reason, .. } => reason,
    }
}
