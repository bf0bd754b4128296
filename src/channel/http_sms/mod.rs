//! SMS providers over HTTP: one template engine, providers as data.
//!
//! A [`Preset`] says how a provider wants to be asked and what its answers mean; an [`Account`] is the operator's own
//! part; [`HttpSms`] is the channel made of both. What matters is what is *certain* after an attempt: `Accepted` only when
//! the provider's own words say so, `Retry` only when nothing can have gone out, `Unknown` otherwise.
//! `docs/sms-providers.md` describes the preset format and the providers.

mod account;
mod client;
mod limit;
mod listener;
mod path;
mod poller;
mod preset;
mod receipt;
mod reply;
mod request;
mod template;

pub use account::{Account, Secret};
pub use listener::{Reported, Route, Webhooks, WebhooksError};
pub use poller::{PollPlan, Poller};
pub use preset::{BUILTIN, Error as PresetError, Limit, Need, Preset};
pub use receipt::{Error as ReceiptError, RECEIPTS_MAX, parse_webhook, webhook_answer};
pub use request::{Error as RequestError, Request};
pub use template::{Error as TemplateError, Template};

use crate::domain::message::{NetworkReceipt, Submission, Submitted};
use client::Exchange;
use limit::Pace;
use preset::{Auth, Call};
use request::render;
use std::time::Duration;
use template::Values;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

/// Digits of an E.164 number, without the `+`: ITU-T E.164 §6.2 allows 15; no subscriber has fewer than 7.
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Part of a token's life after which a new one is fetched.
const TOKEN_LIFE_USED: f64 = 0.9;

/// How long the channel waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, DNS and TLS included. When it runs out nothing has been sent.
    pub connect: Duration,
    /// For the whole answer, once connected. When it runs out the outcome is unknown.
    pub answer: Duration,
    /// For how long an idle connection is kept. Shorter than providers keep theirs (5 s is common), so that a request is not
    /// written into a connection that is being closed, which would leave its outcome unknown.
    pub idle: Duration,
    /// For a turn within the provider's rate limit; beyond it the attempt is put off.
    pub turn: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(40),
            idle: Duration::from_secs(4),
            turn: Duration::from_secs(5),
        }
    }
}

/// Everything that makes a channel.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The provider.
    pub preset: Preset,
    /// The operator's account there.
    pub account: Account,
    /// Replaces the preset's rate limit.
    pub limit: Option<Limit>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Certificates in PEM that are trusted besides the public authorities: a gateway telephone on the LAN.
    pub extra_roots_pem: Option<Vec<u8>>,
}

/// Why a channel cannot be made, or a question has no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The engine cannot do what this provider asks for.
    #[error("cannot use {name}: {reason}")]
    Unsupported {
        /// Provider's name.
        name: String,
        /// Why, from the preset.
        reason: String,
    },
    /// Settings or secrets are missing.
    #[error("cannot use {name}: {what} missing")]
    Incomplete {
        /// Provider's name.
        name: String,
        /// Which, as `secret.NAME` or `setting.NAME`, comma-separated.
        what: String,
    },
    /// A certificate is not PEM.
    #[error("cannot read the extra root certificate")]
    RootPem(#[source] rustls::pki_types::pem::Error),
    /// TLS refuses the certificates.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// The HTTP client refuses the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// The preset does not say how.
    #[error("cannot ask {name}: its preset does not say how")]
    NoQuestion {
        /// Provider's name.
        name: String,
    },
    /// A request cannot be made.
    #[error("cannot make the request")]
    Request(#[from] RequestError),
    /// The provider gave no usable answer.
    #[error("cannot get an answer from the provider: {reason}")]
    NoAnswer {
        /// In the operator's words.
        reason: String,
    },
}

/// What is left on an account.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// As the provider writes it, perhaps with a currency.
    pub said: String,
    /// The number in it, in the provider's unit.
    pub amount: Option<f64>,
}

struct Token {
    text: String,
    until: Instant,
}

/// A text channel by way of an SMS provider.
pub struct HttpSms {
    settings: Settings,
    client: reqwest::Client,
    pace: Mutex<Pace>,
    token: Mutex<Option<Token>>,
}

impl HttpSms {
    /// Makes the channel. Nothing is sent before the first message.
    ///
    /// # Errors
    ///
    /// Every variant of [`enum@Error`] but [`Error::NoQuestion`] and [`Error::NoAnswer`].
    pub fn new(mut settings: Settings) -> Result<Self, Error> {
        let preset = &settings.preset;
        let name = preset.name.clone();
        if let Some(reason) = preset.unsupported.clone() {
            return Err(Error::Unsupported { name, reason });
        }
        let mut missing = Vec::new();
        for (key, need) in &preset.settings {
            let values = &mut settings.account.settings;
            match &need.default {
                Some(default) => {
                    values.entry(key.clone()).or_insert_with(|| default.clone());
                }
                None if need.optional || values.contains_key(key) => {}
                None => missing.push(format!("setting.{key}")),
            }
        }
        let secrets = &settings.account.secrets;
        let absent = |(key, need): &(&String, &Need)| !need.optional && !secrets.contains_key(*key);
        missing
            .extend(preset.secrets.iter().filter(absent).map(|(key, _)| format!("secret.{key}")));
        if !missing.is_empty() {
            return Err(Error::Incomplete { name, what: missing.join(", ") });
        }
        let client = client::build(&settings.timeouts, settings.extra_roots_pem.as_deref())?;
        let limit = settings.limit.or(settings.preset.limit);
        let pace = Mutex::new(Pace::new(limit, Instant::now()));
        Ok(Self { settings, client, pace, token: Mutex::new(None) })
    }

    /// Submits one message.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: when the future is dropped the outcome of the attempt is unknown.
    pub async fn submit(&self, message: &Submission) -> Submitted {
        let outcome = self.submit_batch(std::slice::from_ref(message)).await.pop();
        outcome.unwrap_or_else(|| Submitted::Unknown {
            reason: "no outcome was recorded".to_owned(),
            references: Vec::new(),
        })
    }

    /// Submits messages, several in a request where the provider takes that, and returns an outcome for each in order.
    ///
    /// Requests go out one after the other; the caller bounds the list.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: when the future is dropped the outcome of every message is unknown.
    pub async fn submit_batch(&self, messages: &[Submission]) -> Vec<Submitted> {
        let mut outcomes: Vec<Option<Submitted>> =
            messages.iter().map(|message| self.refuse(message)).collect();
        let places: Vec<usize> = (0..messages.len())
            .filter(|place| matches!(outcomes.get(*place), Some(None)))
            .collect();
        let sound: Vec<&Submission> =
            places.iter().filter_map(|place| messages.get(*place)).collect();
        for group in request::plan(&self.settings.preset, &self.settings.account, &sound) {
            let together: Vec<&Submission> =
                group.iter().filter_map(|place| sound.get(*place).copied()).collect();
            let ends = self.submit_group(&together).await;
            for (member, end) in group.iter().zip(ends) {
                let slot = places.get(*member).and_then(|place| outcomes.get_mut(*place));
                if let Some(slot) = slot {
                    *slot = Some(end);
                }
            }
        }
        let missing = || unknown("the provider's answer says nothing of this message");
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    /// Fetches the delivery reports of `references`, one question each, and returns what the provider says.
    ///
    /// A question that gets no answer yields no receipt: ask again later, as [`Poller`] does. Ends early when the provider
    /// asks for a pause.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; nothing changes at the provider.
    pub async fn poll(&self, references: &[String]) -> Vec<NetworkReceipt> {
        let Some(poll) = &self.settings.preset.receipt.poll else { return Vec::new() };
        let mut receipts = Vec::new();
        for reference in references {
            match self.ask(&poll.call, Some(reference)).await {
                Ok(body) => {
                    receipts.extend(receipt::parse_poll(&self.settings.preset, reference, &body));
                }
                Err(error) => {
                    debug!(reference, %error, "delivery report not fetched");
                    if self.pace.lock().await.silence(Instant::now()).is_some() {
                        break;
                    }
                }
            }
        }
        receipts
    }

    /// Asks what is left on the account.
    ///
    /// # Errors
    ///
    /// [`Error::NoQuestion`] when the preset does not say how, [`Error::NoAnswer`] and [`Error::Request`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn balance(&self) -> Result<Balance, Error> {
        let Some(query) = &self.settings.preset.balance else {
            return Err(Error::NoQuestion { name: self.settings.preset.name.clone() });
        };
        let body = self.ask(&query.call, None).await?;
        let root: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = query.path.text(&root, &root).ok_or_else(|| Error::NoAnswer {
            reason: "it does not hold a balance where the preset looks for it".to_owned(),
        })?;
        let number = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        let amount = said.split(|c| !number(c)).find(|part| !part.is_empty());
        Ok(Balance {
            amount: amount.and_then(|part| part.parse().ok()),
            said: said.chars().filter(|c| !c.is_control()).take(40).collect(),
        })
    }

    /// Returns what the channel was made from.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the outcome of a message that cannot be put into a request.
    fn refuse(&self, message: &Submission) -> Option<Submitted> {
        let digits = message.to.strip_prefix('+').unwrap_or_default();
        let valid = NUMBER_DIGITS.contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !valid {
            let reason = "the number is not E.164 with a leading +".to_owned();
            return Some(Submitted::Rejected { reason });
        }
        let names = self.settings.preset.send.names_once(None);
        let national = names.contains(&&template::Name::ToNational);
        (national && self.settings.account.national(&message.to).is_none()).then(|| {
            let reason = "the provider takes only numbers of the account's country".to_owned();
            Submitted::Rejected { reason }
        })
    }

    async fn submit_group(&self, messages: &[&Submission]) -> Vec<Submitted> {
        let all = |outcome: Submitted| messages.iter().map(|_| outcome.clone()).collect();
        if let Err(outcome) = self.wait_for_turn().await {
            return all(outcome);
        }
        let mut token = match self.token(None).await {
            Ok(token) => token,
            Err(outcome) => return all(outcome),
        };
        let mut exchange = match self.send(messages, token.as_deref()).await {
            Ok(exchange) => exchange,
            Err(error) => return all(down(&error.to_string())),
        };
        if token.is_some() && exchange.status() == Some(401) {
            token = match self.token(token.as_deref()).await {
                Ok(token) => token,
                Err(outcome) => return all(outcome),
            };
            exchange = match self.send(messages, token.as_deref()).await {
                Ok(exchange) => exchange,
                Err(error) => return all(down(&error.to_string())),
            };
        }
        let outcomes = match exchange {
            Exchange::NotSent(reason) => return all(Submitted::Retry { reason, after: None }),
            Exchange::Lost(reason) => return all(unknown(&reason)),
            Exchange::Answered { answer, whole: false } if (200..300).contains(&answer.status) => {
                return all(unknown("the answer was cut off"));
            }
            Exchange::Answered { answer, .. } => {
                reply::judge(&self.settings.preset, &answer, messages)
            }
        };
        let pause = outcomes.iter().filter_map(pause_of).max();
        if let Some(pause) = pause {
            self.pace.lock().await.silent_for(pause, Instant::now());
        }
        outcomes
    }

    async fn send(
        &self,
        messages: &[&Submission],
        token: Option<&str>,
    ) -> Result<Exchange, RequestError> {
        let request = self.settings.preset.render(&self.settings.account, messages, token)?;
        Ok(client::exchange(&self.client, &request).await)
    }

    /// Waits until the rate limit allows a request, or says why it may not go out now.
    async fn wait_for_turn(&self) -> Result<(), Submitted> {
        let now = Instant::now();
        let wait = {
            let mut pace = self.pace.lock().await;
            if let Some(left) = pace.silence(now) {
                let reason = "the provider asked for a pause".to_owned();
                return Err(Submitted::Retry { reason, after: Some(left) });
            }
            pace.take_turn(self.settings.timeouts.turn, now)
        };
        let wait = wait.map_err(|wait| Submitted::Retry {
            reason: "the provider's rate limit is used up".to_owned(),
            after: Some(wait),
        })?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Returns the token of the token step: the one at hand unless it is `refused` or old, else a new one.
    async fn token(&self, refused: Option<&str>) -> Result<Option<String>, Submitted> {
        let Some(step) = &self.settings.preset.auth.token else { return Ok(None) };
        let mut slot = self.token.lock().await;
        if let Some(token) = slot.as_ref()
            && Some(token.text.as_str()) != refused
            && Instant::now() < token.until
        {
            return Ok(Some(token.text.clone()));
        }
        *slot = None;
        let values = self.values(None);
        let request = render(&step.call, &Auth::default(), &values, None);
        let request = request.map_err(|error| down(&error.to_string()))?;
        let answer = match client::exchange(&self.client, &request).await {
            Exchange::Answered { answer, whole: true } => answer,
            Exchange::Answered { .. } => {
                return Err(retry("the answer with the token was cut off"));
            }
            Exchange::NotSent(reason) | Exchange::Lost(reason) => return Err(retry(&reason)),
        };
        let root: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let found = step.token.text(&root, &root).filter(|token| !token.is_empty());
        let Some(text) = found.filter(|_| (200..300).contains(&answer.status)) else {
            return Err(match answer.status {
                400 | 401 | 403 => down("the provider refuses the credentials, and gives no token"),
                _ => retry("the provider gives no token"),
            });
        };
        let said = step.expires_in.as_ref().and_then(|path| path.text(&root, &root)?.parse().ok());
        let life = Duration::from_secs(said.unwrap_or(step.lifetime_seconds).min(86_400));
        let token = Token {
            text: text.into_owned(),
            until: Instant::now() + life.mul_f64(TOKEN_LIFE_USED),
        };
        Ok(Some(slot.insert(token).text.clone()))
    }

    /// Asks a question that changes nothing at the provider, and returns the body of a successful answer.
    async fn ask(&self, call: &Call, reference: Option<&str>) -> Result<Vec<u8>, Error> {
        let no_answer = |reason: &str| Error::NoAnswer { reason: reason.to_owned() };
        self.wait_for_turn().await.map_err(|_| no_answer("it asked for a pause"))?;
        let token = self.token(None).await.map_err(|_| no_answer("it gives no token"))?;
        let values = Values { token: token.as_deref(), ..self.values(reference) };
        let request = render(call, &self.settings.preset.auth, &values, None)?;
        let answer = match client::exchange(&self.client, &request).await {
            Exchange::Answered { answer, whole: true } => answer,
            Exchange::Answered { .. } => return Err(no_answer("it was cut off")),
            Exchange::NotSent(reason) | Exchange::Lost(reason) => return Err(no_answer(&reason)),
        };
        match answer.status {
            200..300 => Ok(answer.body),
            401 => {
                *self.token.lock().await = None;
                Err(no_answer("it refuses the credentials"))
            }
            status => Err(no_answer(&format!("HTTP {status}"))),
        }
    }

    const fn values<'a>(&'a self, reference: Option<&'a str>) -> Values<'a> {
        Values { account: &self.settings.account, messages: &[], reference, token: None }
    }
}

impl Exchange {
    const fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { answer, .. } => Some(answer.status),
            Self::NotSent(_) | Self::Lost(_) => None,
        }
    }
}

const fn pause_of(outcome: &Submitted) -> Option<Duration> {
    match outcome {
        Submitted::Retry { after, .. } => *after,
        Submitted::Accepted { .. }
        | Submitted::Rejected { .. }
        | Submitted::ChannelDown { .. }
        | Submitted::Unknown { .. } => None,
    }
}

fn unknown(reason: &str) -> Submitted {
    Submitted::Unknown { reason: reason.to_owned(), references: Vec::new() }
}

fn down(reason: &str) -> Submitted {
    Submitted::ChannelDown { reason: reason.to_owned() }
}

fn retry(reason: &str) -> Submitted {
    Submitted::Retry { reason: reason.to_owned(), after: None }
}
