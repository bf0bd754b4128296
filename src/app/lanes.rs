//! The channels as lanes of the outbox: what they say comes back as words.

use super::convert;
use crate::channel::http_sms::{HttpSms, PollPlan, Poller, Reported, Webhooks};
use crate::channel::modem::{self, Modem, Request};
use crate::config::Config;
use crate::dispatch::{Handoff, Lane, Word};
use crate::domain::message::{NetworkReceipt, ReceiptState, Submission, Submitted};
use crate::supervise::{Stop, Tasks};
use crate::telemetry::Clock;
use anyhow::Context;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

/// Reports of one request that may wait.
const REPORTED_MAX: usize = 64;
/// Requests that may be out at a provider at once: on a slow link each takes seconds, and people wait.
const REQUESTS_MAX: usize = 4;
/// Texts that may be out at a provider at once, where it takes several in a request.
const BATCH_MAX: usize = 100;
/// Messages that a provider is asked after at one time.
const POLLED_MAX: usize = 64;
/// Texts of a modem to itself that may fail in a row before its power is cut.
const LOOPBACKS_FAILED_MAX: u32 = 2;
/// Longest that a webhook's request may take.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Lanes to everything that the configuration names, and how the modems are.
pub(super) struct Lanes {
    pub all: Vec<Lane>,
    pub health: BTreeMap<String, watch::Receiver<modem::Health>>,
    pub modems: BTreeMap<String, mpsc::Sender<Request>>,
    pub providers: BTreeMap<String, Arc<HttpSms>>,
}

/// Starts every channel.
pub(super) async fn start(
    config: &Config,
    clock: &Clock,
    factor: f64,
    words: &mpsc::Sender<Word>,
    tasks: &mut Tasks,
) -> anyhow::Result<Lanes> {
    let mut lanes = Lanes {
        all: Vec::new(),
        health: BTreeMap::new(),
        modems: BTreeMap::new(),
        providers: BTreeMap::new(),
    };
    for (number, modem) in (1u64..).zip(&config.modems) {
        let mut settings = convert::modem(modem, factor, seed() ^ number)?;
        if factor > 1.0 {
            settings.times = settings.times.scaled(1.0 / factor.min(20.0));
        }
        let name = settings.name.clone();
        start_modem(settings, clock, words, tasks, &mut lanes);
        if let (Some(every), Some(requests)) = (modem.loopback_every, lanes.modems.get(&name)) {
            let requests = requests.clone();
            let stop = tasks.stop_signal();
            tasks.spawn("modem loop-back", loop_back(name, clock.real(every), requests, stop));
        }
    }
    let mut hooks: BTreeMap<String, (Vec<_>, Vec<String>)> = BTreeMap::new();
    for provider in &config.providers {
        let settings = convert::provider(provider, factor)?;
        if let (Some(route), Some(hook)) =
            (convert::webhook(provider, &settings)?, &provider.webhook)
        {
            let entry = hooks.entry(hook.listen.to_string()).or_default();
            entry.0.push(route);
            entry.1.push(provider.name.clone());
        }
        let client =
            HttpSms::new(settings).with_context(|| format!("sms_provider.{}", provider.name))?;
        let client = Arc::new(client);
        lanes.providers.insert(provider.name.clone(), Arc::clone(&client));
        let poll_every = provider.poll_every.filter(|_| client.settings().preset.can_poll());
        let batch_max = client.settings().preset.batch_max();
        let (handoff, handed) = mpsc::channel(batch_max.clamp(REQUESTS_MAX, BATCH_MAX));
        let reports = poll_every.is_some() || provider.webhook.is_some();
        lanes.all.push(Lane { name: provider.name.clone(), handoff, reports });
        start_provider(&provider.name, client, poll_every, clock, words, handed, tasks);
    }
    for (address, (routes, names)) in hooks {
        let webhooks = Webhooks::bind(&address, routes, WEBHOOK_TIMEOUT).await?;
        let (reported, reports) = mpsc::channel(REPORTED_MAX);
        let mut stop = tasks.stop_signal();
        tasks.spawn("webhooks", async move {
            webhooks.serve(reported, async move { stop.wait().await }).await
        });
        tasks.spawn("webhook reports", pass_reports_on(names, reports, words.clone()));
    }
    Ok(lanes)
}

/// Different at every start, so that references and jitter are.
pub(super) fn seed() -> u64 {
    let clocks = super::clock::Clocks::read();
    clocks.unix_ms.cast_unsigned().rotate_left(20) ^ clocks.uptime_ms.cast_unsigned()
}

fn start_modem(
    settings: modem::Settings,
    clock: &Clock,
    words: &mpsc::Sender<Word>,
    tasks: &mut Tasks,
    lanes: &mut Lanes,
) {
    let name = settings.name.clone();
    let clock = clock.clone();
    let (modem, line) = Modem::new(settings, Arc::new(move || clock.now()));
    let (handoff, handed) = mpsc::channel(1);
    lanes.all.push(Lane { name: name.clone(), handoff, reports: true });
    lanes.health.insert(name.clone(), line.health.clone());
    lanes.modems.insert(name.clone(), line.requests.clone());
    tasks.spawn("modem", modem.run(tasks.stop_signal()));
    tasks.spawn("modem lane", modem_lane(handed, line.requests));
    tasks.spawn("modem events", modem_events(name.clone(), line.events, words.clone()));
    tasks
        .spawn("modem health", modem_health(name, line.health, words.clone(), tasks.stop_signal()));
}

async fn modem_lane(
    mut handed: mpsc::Receiver<Handoff>,
    requests: mpsc::Sender<Request>,
) -> Result<(), Infallible> {
    while let Some(Handoff { submission, reply }) = handed.recv().await {
        if requests.send(Request::Submit { submission, reply }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Has a modem text itself now and then: a modem that says that all is well while nothing leaves or arrives is found out
/// before the flood. After a second failure in a row its power is cut and restored.
async fn loop_back(
    modem: String,
    every: Duration,
    requests: mpsc::Sender<Request>,
    mut stop: Stop,
) -> Result<(), Infallible> {
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(every) => {}
        }
        let (reply, answer) = oneshot::channel();
        if requests.send(Request::SelfTest { reply }).await.is_err() {
            return Ok(());
        }
        let Ok(outcome) = answer.await else { return Ok(()) };
        match outcome {
            Ok(took) => {
                failures = 0;
                tracing::info!(modem, took_ms = took.as_millis(), "a text to itself came back");
            }
            Err(refused) => {
                failures += 1;
                tracing::warn!(modem, failures, reason = %refused, "a text to itself did not come back");
            }
        }
        if failures == LOOPBACKS_FAILED_MAX {
            failures = 0;
            let (reply, answer) = oneshot::channel();
            if requests.send(Request::PowerCycle { reply }).await.is_err() {
                return Ok(());
            }
            if let Ok(Err(refused)) = answer.await {
                tracing::warn!(modem, reason = %refused, "its power cannot be cut");
            }
        }
    }
}

async fn modem_events(
    name: String,
    mut events: mpsc::Receiver<modem::Event>,
    words: mpsc::Sender<Word>,
) -> Result<(), Infallible> {
    while let Some(event) = events.recv().await {
        match event {
            modem::Event::Receipt(handover) => {
                let (kept, is_kept) = oneshot::channel();
                let word =
                    Word::Receipt { channel: name.clone(), receipt: handover.item.clone(), kept };
                if words.send(word).await.is_err() {
                    break;
                }
                if is_kept.await.is_ok() {
                    handover.taken();
                }
            }
            modem::Event::Text(handover) => {
                tracing::info!(modem = name, "a text came in");
                handover.taken();
            }
        }
    }
    Ok(())
}

/// Says when a modem can send again.
async fn modem_health(
    name: String,
    mut health: watch::Receiver<modem::Health>,
    words: mpsc::Sender<Word>,
    mut stop: Stop,
) -> Result<(), Infallible> {
    let mut was_ready = true;
    loop {
        let is_ready = health.borrow_and_update().state == modem::State::Ready;
        if is_ready && !was_ready && words.send(Word::Up(name.clone())).await.is_err() {
            return Ok(());
        }
        was_ready = is_ready;
        tokio::select! {
            () = stop.wait() => return Ok(()),
            changed = health.changed() => if changed.is_err() {
                return Ok(());
            },
        }
    }
}

fn start_provider(
    name: &str,
    client: Arc<HttpSms>,
    poll_every: Option<Duration>,
    clock: &Clock,
    words: &mpsc::Sender<Word>,
    handed: mpsc::Receiver<Handoff>,
    tasks: &mut Tasks,
) {
    let poller =
        poll_every.map(|interval| Poller::new(PollPlan { interval, ..PollPlan::default() }));
    let lane = ProviderLane {
        name: name.to_owned(),
        client,
        poller,
        clock: clock.clone(),
        words: words.clone(),
        submitting: JoinSet::new(),
        asking: JoinSet::new(),
    };
    tasks.spawn("provider lane", lane.run(handed, tasks.stop_signal()));
}

/// What is out at a provider, and what it says.
struct ProviderLane {
    name: String,
    client: Arc<HttpSms>,
    poller: Option<Poller>,
    clock: Clock,
    words: mpsc::Sender<Word>,
    /// Requests that have no answer yet.
    submitting: JoinSet<Vec<(Handoff, Submitted)>>,
    /// The question that has no answer yet, about what became of texts.
    asking: JoinSet<Vec<NetworkReceipt>>,
}

impl ProviderLane {
    async fn run(
        mut self,
        mut handed: mpsc::Receiver<Handoff>,
        mut stop: Stop,
    ) -> Result<(), Infallible> {
        let clock = self.clock.clone();
        let together = self.client.settings().preset.batch_max();
        let mut waiting = Vec::new();
        loop {
            let poller = self.poller.as_ref().filter(|_| self.asking.is_empty());
            let due = poller.and_then(Poller::next_deadline);
            tokio::select! {
                () = stop.wait() => break,
                count = handed.recv_many(&mut waiting, together) => match count {
                    0 => break,
                    1.. => self.submit(std::mem::take(&mut waiting)),
                },
                Some(done) = self.submitting.join_next() => self.landed(done),
                Some(told) = self.asking.join_next() => self.told(told).await,
                () = clock.sleep_until(due) => self.ask(),
            }
        }
        while let Some(done) = self.submitting.join_next().await {
            self.landed(done);
        }
        Ok(())
    }

    fn submit(&mut self, handoffs: Vec<Handoff>) {
        let client = Arc::clone(&self.client);
        self.submitting.spawn(async move {
            let submissions: Vec<_> = handoffs.iter().map(|h| h.submission.clone()).collect();
            let outcomes = client.submit_batch(&submissions).await;
            handoffs.into_iter().zip(outcomes).collect()
        });
    }

    fn landed(&mut self, done: Result<Vec<(Handoff, Submitted)>, JoinError>) {
        match done {
            Ok(outcomes) => {
                for (Handoff { submission, reply }, outcome) in outcomes {
                    self.watch(&submission, &outcome);
                    // A dispatcher that is gone finds the delivery as being written at its next start.
                    let _heard = reply.send(outcome).is_ok();
                }
            }
            Err(error) => tracing::error!(provider = self.name, error = %error, "a request failed"),
        }
    }

    fn watch(&mut self, submission: &Submission, outcome: &Submitted) {
        let Some(poller) = &mut self.poller else { return };
        let now = self.clock.now();
        if let Submitted::Accepted { references } | Submitted::Unknown { references, .. } = outcome
        {
            for reference in references {
                poller.watch(reference.clone(), now + submission.validity, now);
            }
        }
    }

    fn ask(&mut self) {
        let Some(poller) = &mut self.poller else { return };
        let due = poller.take_due(POLLED_MAX, self.clock.now());
        let client = Arc::clone(&self.client);
        self.asking.spawn(async move { client.poll(&due).await });
    }

    async fn told(&mut self, told: Result<Vec<NetworkReceipt>, JoinError>) {
        let receipts = told.unwrap_or_default();
        if let Some(poller) = &mut self.poller {
            poller.settle(&receipts);
        }
        for receipt in receipts {
            if receipt.state == ReceiptState::Pending {
                continue;
            }
            let (kept, _) = oneshot::channel();
            let word = Word::Receipt { channel: self.name.clone(), receipt, kept };
            if self.words.send(word).await.is_err() {
                return;
            }
        }
    }
}

async fn pass_reports_on(
    names: Vec<String>,
    mut reports: mpsc::Receiver<Reported>,
    words: mpsc::Sender<Word>,
) -> Result<(), Infallible> {
    while let Some(Reported { route, receipts, kept }) = reports.recv().await {
        let Some(name) = names.get(route) else { continue };
        let mut all_kept = true;
        for receipt in receipts {
            let (said, is_kept) = oneshot::channel();
            let word = Word::Receipt { channel: name.clone(), receipt, kept: said };
            if words.send(word).await.is_err() {
                return Ok(());
            }
            all_kept &= is_kept.await.is_ok();
        }
        if all_kept {
            // The provider has gone if it does not hear it, and reports again.
            let _heard = kept.send(()).is_ok();
        }
    }
    Ok(())
}
