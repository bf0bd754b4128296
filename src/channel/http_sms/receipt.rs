//! Delivery reports, brought by webhook or fetched. Pure.

use super::account::Account;
use super::path::Path;
use super::preset::{Preset, Signature, States, Webhook, WebhookFormat};
use super::reply::plain_words;
use crate::domain::message::{NetworkReceipt, ReceiptState};
use crate::wire::http1::{self, Request};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use thiserror::Error;

/// Most reports in one call or answer.
pub const RECEIPTS_MAX: usize = 1000;

/// Why a call is not a delivery report.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The preset knows no reports by webhook.
    #[error("cannot read a delivery report: the preset has no webhook")]
    NoWebhook,
    /// The signature is missing or wrong.
    #[error("cannot believe a delivery report: its signature is missing or wrong")]
    Signature,
    /// The body is not what the preset says.
    #[error("cannot read a delivery report: its body is not what the preset describes")]
    Body,
    /// There are more reports than [`RECEIPTS_MAX`].
    #[error("cannot take more than {RECEIPTS_MAX} delivery reports at once")]
    TooMany,
}

/// Reads the delivery reports of one webhook call.
///
/// The signature is checked when the preset describes one and the account has its secret. Whether the call came to the
/// right address is the receiver's question, not this function's. A report with a word that the preset does not list says
/// nothing, and yields no receipt.
///
/// # Errors
///
/// See [`enum@Error`].
pub fn parse_webhook(
    preset: &Preset,
    account: &Account,
    call: &Request,
) -> Result<Vec<NetworkReceipt>, Error> {
    let webhook = preset.receipt.webhook.as_ref().ok_or(Error::NoWebhook)?;
    if let Some(signature) = &webhook.signature {
        check_signature(signature, account, call)?;
    }
    let root = match webhook.format {
        WebhookFormat::Form => read_form(call)?,
        WebhookFormat::Json => serde_json::from_slice(&call.body).map_err(|_| Error::Body)?,
    };
    let items = items(webhook.each.as_ref(), &root);
    if items.len() > RECEIPTS_MAX {
        return Err(Error::TooMany);
    }
    let fields =
        Fields { state: &webhook.state, to: webhook.to.as_ref(), reason: webhook.reason.as_ref() };
    let complete = |item: &&Value| {
        [&webhook.reference, &webhook.state].iter().all(|path| path.text(&root, item).is_some())
    };
    if !items.iter().any(complete) {
        return Err(Error::Body);
    }
    let read = |item: &Value| {
        let reference = webhook.reference.text(&root, item)?.into_owned();
        receipt(&fields, &preset.receipt.states, &root, item, reference)
    };
    Ok(items.into_iter().filter_map(read).collect())
}

/// Returns the body with which the provider wants its webhook answered.
#[must_use]
pub fn webhook_answer(preset: &Preset) -> &str {
    preset.receipt.webhook.as_ref().map_or("", |Webhook { answer, .. }| answer.as_str())
}

/// Reads the answer to a question about `reference`.
pub(super) fn parse_poll(preset: &Preset, reference: &str, body: &[u8]) -> Vec<NetworkReceipt> {
    let Some(poll) = &preset.receipt.poll else { return Vec::new() };
    let Ok(root) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let fields = Fields { state: &poll.state, to: poll.to.as_ref(), reason: poll.reason.as_ref() };
    let items = items(poll.each.as_ref(), &root).into_iter().take(RECEIPTS_MAX);
    items
        .filter_map(|item| {
            receipt(&fields, &preset.receipt.states, &root, item, reference.to_owned())
        })
        .collect()
}

/// Where the parts of a report stand.
struct Fields<'p> {
    state: &'p Path,
    to: Option<&'p Path>,
    reason: Option<&'p Path>,
}

fn receipt(
    fields: &Fields<'_>,
    states: &States,
    root: &Value,
    item: &Value,
    reference: String,
) -> Option<NetworkReceipt> {
    let word = fields.state.text(root, item)?;
    let text = |path: Option<&Path>| path?.text(root, item).map(std::borrow::Cow::into_owned);
    let said = text(fields.reason).map(|said| plain_words(&said)).filter(|said| !said.is_empty());
    let reason = said.unwrap_or_else(|| plain_words(&word));
    let state = states.read(&word, reason)?;
    Some(NetworkReceipt { reference, to: text(fields.to), state })
}

fn items<'v>(each: Option<&Path>, root: &'v Value) -> Vec<&'v Value> {
    match each.map(|each| each.find(root, root)) {
        None => vec![root],
        Some(Some(Value::Array(items))) => items.iter().collect(),
        Some(_) => Vec::new(),
    }
}

impl States {
    fn read(&self, word: &str, reason: String) -> Option<ReceiptState> {
        let holds = |words: &[String]| words.iter().any(|known| known == word);
        if holds(&self.delivered) {
            Some(ReceiptState::Delivered)
        } else if holds(&self.failed) {
            Some(ReceiptState::Failed { reason })
        } else if holds(&self.expired) {
            Some(ReceiptState::Expired)
        } else {
            holds(&self.pending).then_some(ReceiptState::Pending)
        }
    }
}

fn read_form(call: &Request) -> Result<Value, Error> {
    let body = str::from_utf8(&call.body).map_err(|_| Error::Body)?;
    let pairs = http1::form(&call.query).into_iter().chain(http1::form(body));
    Ok(Value::Object(pairs.map(|(name, value)| (name, Value::String(value))).collect()))
}

fn check_signature(signature: &Signature, account: &Account, call: &Request) -> Result<(), Error> {
    let Some(secret) = account.secrets.get(&signature.secret) else { return Ok(()) };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(&call.body);
    for name in &signature.then_headers {
        mac.update(call.header(&name.to_ascii_lowercase()).unwrap_or_default().as_bytes());
    }
    let said = call.header(&signature.header.to_ascii_lowercase()).and_then(from_hex);
    // `verify_slice` takes the same time wherever the first difference is.
    mac.verify_slice(&said.ok_or(Error::Signature)?).map_err(|_| Error::Signature)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let pairs = digits?;
    let (pairs, rest) = pairs.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
