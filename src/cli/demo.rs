//! `demo`: the whole chain in one process, with a simulated village outside its front door.

use super::daemon::SPEED_MAX;
use super::field::Field;
use super::print::{self, Style};
use super::{Failure, block_on};
use anyhow::Context;
use clap::Args;
use kengele::app::control::{NodeCommand, PersonRow, Question};
use kengele::app::{Gateway, Options, convert};
use kengele::config::Config;
use kengele::domain::outbox::Delivery;
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::domain::warning::{Alert, MessageType};
use kengele::sim::air::Conditions;
use kengele::sim::carrier::Carrier;
use kengele::sim::field::Seen;
use kengele::sim::modem::{Personality, Settings as ModemSettings, VirtualModem};
use kengele::sim::node::{self, Target, Witness};
use kengele::sim::provider::{Plan, VirtualProvider};
use kengele::sim::scenario::Scenario;
use kengele::sim::village::farms::Farms;
use kengele::sim::village::{self, Places};
use kengele::sim::world::{BEGINS_UNIX_S, World};
use kengele::telemetry::{Clock, News};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

pub(crate) const HELP: &str = "\
Scenarios: flash-flood, slow-flood, drought, frost-night, sensor-faults, quiet-day

Examples:
  kengele demo                                    a flash flood in about half a minute
  kengele demo --scenario sensor-faults --seed 7  what the technician hears, and nobody else
  kengele demo --keep                             leave configuration and database behind to look at";

/// What has not been acknowledged so long after the last publication is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest that the outbox may take to empty after the last reading, real time.
const DRAIN: Duration = Duration::from_secs(15);
/// So long without news, and an empty outbox, and it is over.
const QUIET: Duration = Duration::from_millis(1500);

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What happens
    #[arg(long, default_value = "flash-flood", value_parser = scenario)]
    scenario: Scenario,
    /// How many times faster than real time
    #[arg(long)]
    speed: Option<f64>,
    /// Another seed, another story
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave configuration and database behind
    #[arg(long)]
    keep: bool,
}

pub(crate) fn scenario(word: &str) -> Result<Scenario, String> {
    Scenario::from_word(word).ok_or_else(|| {
        let words: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.as_str()).collect();
        format!("choose one of: {}", words.join(", "))
    })
}

pub(crate) fn run(demo: &Demo, style: Style) -> Result<(), Failure> {
    if let Some(speed) = demo.speed.filter(|speed| !(1.0..=SPEED_MAX).contains(speed)) {
        return Err(Failure::Usage(format!("--speed {speed}: it lies between 1 and {SPEED_MAX}")));
    }
    let folder = std::env::temp_dir().join(format!("kengele-demo-{}", std::process::id()));
    let folder = if demo.keep {
        std::env::current_dir()?.join(format!("demo-{}", demo.scenario.as_str()))
    } else {
        folder
    };
    if folder.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already: remove it first",
            folder.display()
        )));
    }
    let played = block_on(play(demo, &folder, style));
    if demo.keep {
        print::note(&format!("left behind: {}", folder.display()));
        let look = format!("kengele -c {}/kengele.toml warnings", folder.display());
        print::note(&format!("look at it with: {look}"));
    } else if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    played??;
    Ok(())
}

async fn play(demo: &Demo, folder: &Path, style: Style) -> anyhow::Result<()> {
    let speed = demo.speed.unwrap_or_else(|| demo.scenario.speed());
    let carrier = Carrier::seeded(demo.seed);
    let modem = VirtualModem::start(modem_settings(demo.seed), carrier.clone())?;
    let provider = VirtualProvider::start(Plan {
        seed: demo.seed,
        deliver: Some({
            let carrier = carrier.clone();
            Arc::new(move |arrival| carrier.deliver(&arrival.to, &arrival.from, &arrival.text))
        }),
        ..Plan::default()
    })
    .await?;
    let mqtt = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let socket = folder.join("radio.sock");
    // Nobody waits for acknowledgements: in this hurry the windows of nodes are missed.
    let radio = Some(village::Radio { socket: &socket, confirms: false, farms: Farms::default() });
    let places = Places { folder, mqtt, modem: modem.path(), provider: &provider.base(), radio };
    write_files(folder, &places)?;
    let mut field = Field::open(&socket, demo.seed, speed, Conditions::default())?;
    let path = folder.join("kengele.toml");
    let loaded = convert::load(&path).map_err(|faults| {
        anyhow::anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;

    let wall = WallClock { offset_ms: BEGINS_UNIX_S * 1000, quality: ClockQuality::Synchronised };
    let options = Options { speed, wall: Some(wall) };
    let gateway = Gateway::start(&loaded, &path, &options).await?;
    let hands = gateway.hands();
    hands.answer(Question::PutPeople { people: people()? }).await?;
    for name in village::FIELD_NODES {
        let command = NodeCommand::Add;
        let added = hands.answer(Question::Node { name: name.to_owned(), command }).await?;
        let code = added.get("code").and_then(Value::as_str).unwrap_or_default();
        let node =
            village::field_node(name, code, demo.seed, demo.scenario, false, Farms::default());
        if let Some(node) = node {
            field.add(node);
        }
    }
    introduce(demo, speed, &loaded.config, style);

    let names = names(&gateway).await?;
    let (settled, quiet) = watch::channel(());
    let shown = Shown { zone: zone(&loaded.config)?, wall };
    let timeline = Timeline {
        style,
        names,
        config: loaded.config.clone(),
        shown: shown.clone(),
        clock: gateway.telemetry.clock.clone(),
        people: BTreeMap::new(),
    };
    let news = gateway.telemetry.listen();
    let watching = tokio::task::JoinSet::from_iter([timeline.watch(news, settled)]);

    let mut rang = 0;
    let witness = Witness::default();
    let login = Some((village::NODES_USER.to_owned(), village::NODES_PASSWORD.to_owned()));
    let target = Target { host: mqtt.ip().to_string(), port: mqtt.port(), login };
    let publications = World::seeded(demo.seed, demo.scenario).publications();
    {
        let mut nodes =
            std::pin::pin!(node::publish(publications, &target, speed, PATIENCE, &witness));
        let mut story = std::pin::pin!(async {
            tokio::time::sleep(demo.scenario.length().div_f64(speed)).await;
            drain(&hands, quiet).await
        });
        let mut publishing = true;
        loop {
            tokio::select! {
                told = &mut story => break told?,
                // Every node has said all that it had to say.
                () = &mut nodes, if publishing => publishing = false,
                Some(seen) = field.seen() => {
                    rang += u32::from(seen.sounds);
                    show_siren(&seen, &shown, style);
                }
            }
        }
    }
    let summary = Summary::gather(&gateway, &witness, &carrier, demo, &loaded.config, rang).await?;
    drop(watching);
    gateway.stop().await;
    summary.show(style);
    Ok(())
}

/// How moments are shown.
#[derive(Clone)]
struct Shown {
    zone: jiff::tz::TimeZone,
    wall: WallClock,
}

impl Shown {
    fn time(&self, at: Timestamp) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.wall.unix_ms(at)).unwrap_or_default();
        moment.to_zoned(self.zone.clone()).strftime("%a %H:%M").to_string()
    }
}

fn show_siren(seen: &Seen, shown: &Shown, style: Style) {
    let at = Timestamp::default() + seen.at;
    if style.json {
        let event = json!({
            "event": "siren", "node": seen.node, "sounds": seen.sounds, "unix_ms": shown.wall.unix_ms(at),
        });
        print::line(&event.to_string());
        return;
    }
    let (label, words) = if seen.sounds {
        (style.paint("31", "siren"), "sounds, told by LoRa")
    } else {
        (style.paint("2", "siren"), "is silent")
    };
    print::line(&format!("{}  {label}  {} {words}", shown.time(at), seen.node));
}

fn modem_settings(seed: u64) -> ModemSettings {
    ModemSettings {
        personality: Personality::Sim7600,
        own_number: village::OWN_NUMBER.to_owned(),
        seed,
        send_delay: Duration::from_millis(10),
        report_delay: Duration::from_millis(60),
        ..ModemSettings::default()
    }
}

pub(crate) fn write_files(folder: &Path, places: &Places<'_>) -> anyhow::Result<()> {
    for (name, text) in village::files(places) {
        let path: PathBuf = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn people() -> anyhow::Result<Vec<PersonRow>> {
    let csv = village::people_csv();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader
        .records()
        .map(|record| {
            let record = record?;
            let field = |place: usize| record.get(place).unwrap_or_default().to_owned();
            let consent = record.get(5) == Some("yes");
            Ok(PersonRow {
                id: 0,
                name: field(0),
                number: field(1),
                role: field(2),
                language: field(3),
                areas: field(4),
                consent,
            })
        })
        .collect()
}

async fn names(gateway: &Gateway) -> anyhow::Result<BTreeMap<i64, String>> {
    let people = gateway.store.recipients().await?;
    Ok(people.into_iter().map(|p| (p.id.0, format!("{} ({})", p.name, p.role.0))).collect())
}

fn zone(config: &Config) -> anyhow::Result<jiff::tz::TimeZone> {
    match &config.gateway.timezone {
        kengele::config::Timezone::Local => Ok(jiff::tz::TimeZone::system()),
        kengele::config::Timezone::Named(name) => Ok(jiff::tz::TimeZone::get(name)?),
    }
}

fn introduce(demo: &Demo, speed: f64, config: &Config, style: Style) {
    if style.json {
        return;
    }
    let hours = demo.scenario.length().as_secs() / 3600;
    print::line(
        &style.paint("1", &format!("{}: {}", demo.scenario.as_str(), demo.scenario.story())),
    );
    print::line(&format!(
        "{} nodes over MQTT, {} over LoRa, one of them a siren, a modem on a serial port, an SMS provider over HTTP, {} rules, 13 people.",
        config.rules.nodes.len() - config.link_nodes.len(),
        config.link_nodes.len(),
        config.rules.rules.len()
    ));
    print::line(&format!(
        "{hours} hours, {speed:.0} times faster than real time. Seed {}.\n",
        demo.seed
    ));
}

/// Waits until nothing waits to be told, and nothing has been told for a while.
async fn drain(hands: &kengele::app::Hands, mut news: watch::Receiver<()>) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + DRAIN;
    while tokio::time::Instant::now() < until {
        let status = hands.answer(Question::Status).await?;
        let waiting = |key: &str| {
            status.pointer(&format!("/outbox/{key}")).and_then(Value::as_u64).unwrap_or(0)
        };
        let busy = waiting("queued") + waiting("writing") + waiting("submitted") > 0;
        let quiet = tokio::time::timeout(QUIET, news.changed()).await.is_err();
        if quiet && !busy {
            break;
        }
    }
    Ok(())
}

/// The news, as lines.
struct Timeline {
    style: Style,
    names: BTreeMap<i64, String>,
    config: Config,
    shown: Shown,
    clock: Clock,
    people: BTreeMap<i64, String>,
}

impl Timeline {
    async fn watch(
        mut self,
        mut news: tokio::sync::broadcast::Receiver<News>,
        settled: watch::Sender<()>,
    ) {
        loop {
            match news.recv().await {
                Ok(News::Readings { .. }) => {}
                Ok(news) => {
                    settled.send_replace(());
                    self.show(&news);
                }
                Err(RecvError::Lagged(missed)) => {
                    print::line(&format!("… {missed} events not shown"));
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn show(&mut self, news: &News) {
        match news {
            News::Readings { .. } => {}
            News::Alert(alert) => self.show_alert(alert),
            News::Notice { node, words, at } => {
                let node = node.as_deref().unwrap_or("gateway");
                self.line(
                    *at,
                    &self.style.paint("36", "technician"),
                    &format!("{node}: {words}"),
                    &json!({
                        "event": "notice", "node": node, "words": words,
                    }),
                );
            }
            News::Delivery(delivery) => self.show_delivery(delivery),
            News::Disk { works } => {
                print::line(if *works { "the disk works again" } else { "the disk fails" });
            }
        }
    }

    fn show_alert(&self, alert: &Alert) {
        let because: Vec<String> = alert
            .observed
            .iter()
            .take(2)
            .map(|seen| format!("{} {:.2}", self.config.rules.words(seen.signal), seen.value))
            .collect();
        let level = if alert.message_type == MessageType::Cancel {
            "all-clear"
        } else {
            alert.level.as_str()
        };
        let words = format!(
            "{} in {}: {} ({})",
            alert.hazard,
            alert.area,
            alert.reason.as_str(),
            because.join(", ")
        );
        self.line(alert.sent, &self.style.level(level), &words, &json!({
            "event": "alert", "warning": alert.warning.0, "number": alert.number, "level": level,
            "hazard": alert.hazard, "area": alert.area, "reason": alert.reason.as_str(), "because": because,
        }));
    }

    fn show_delivery(&mut self, delivery: &Delivery) {
        let word = match delivery.state.as_str() {
            "submitted" => "→ sent",
            "delivered" => "✓ phone buzzes",
            "queued" | "writing" | "superseded" | "accepted" => return,
            other => other,
        };
        // A provider's report may follow its word at once; each person is shown once a step.
        let key = format!("{word}{:?}", delivery.alert());
        if self.people.insert(delivery.recipient.0, key.clone()) == Some(key) {
            return;
        }
        let nobody = String::new();
        let name = self.names.get(&delivery.recipient.0).unwrap_or(&nobody);
        let at = delivery.ended.unwrap_or_else(|| self.clock.now());
        let text: String = delivery.text.chars().take(72).collect();
        let words = if word.starts_with('→') { format!("{name}: {text}") } else { name.clone() };
        let label = self.style.paint(if word.starts_with('✓') { "32" } else { "2" }, word);
        self.line(
            at,
            &label,
            &words,
            &json!({
                "event": "delivery", "delivery": delivery.id.0, "recipient": delivery.recipient.0,
                "state": delivery.state.as_str(), "channel": delivery.channel.as_deref(),
            }),
        );
    }

    fn line(&self, at: Timestamp, label: &str, words: &str, machine: &Value) {
        if self.style.json {
            let mut machine = machine.clone();
            if let Some(fields) = machine.as_object_mut() {
                fields.insert("unix_ms".to_owned(), self.shown.wall.unix_ms(at).into());
            }
            print::line(&machine.to_string());
        } else {
            print::line(&format!("{}  {label}  {words}", self.shown.time(at)));
        }
    }
}

/// What it came to.
struct Summary {
    scenario: Scenario,
    published: u64,
    acknowledged: usize,
    stored: i64,
    suspect: u64,
    refused: u64,
    warnings: Vec<(String, String, bool)>,
    told: BTreeMap<&'static str, usize>,
    segments: u32,
    by_channel: BTreeMap<String, u32>,
    cost: Option<String>,
    phones: usize,
    radio: Value,
    rang: u32,
    lead: Option<(Duration, Duration)>,
    as_expected: Result<(), String>,
}

impl Summary {
    async fn gather(
        gateway: &Gateway,
        witness: &Witness,
        carrier: &Carrier,
        demo: &Demo,
        config: &Config,
        rang: u32,
    ) -> anyhow::Result<Self> {
        let store = &gateway.store;
        let deliveries = store.deliveries(None).await?;
        let (mut told, mut by_channel, mut segments) = (BTreeMap::new(), BTreeMap::new(), 0);
        for delivery in &deliveries {
            *told.entry(delivery.state.as_str()).or_default() += 1;
            if delivery.reached {
                segments += u32::from(delivery.segments);
                let channel = delivery.channel.as_deref().unwrap_or("?").to_owned();
                *by_channel.entry(channel).or_default() += u32::from(delivery.segments);
            }
        }
        let warnings: Vec<_> = store.warnings(None).await?.into_iter().rev().collect();
        let cost = config.sms.price_per_segment.as_ref();
        let counters = &gateway.telemetry.counters;
        let csv = village::people_csv();
        let phones = csv.lines().skip(1).filter_map(|line| line.split(',').nth(1));
        let radio = radio(gateway).await?;
        let as_expected = judge(demo.scenario, &warnings, counters.suspect.get())
            .and_then(|()| judge_radio(demo.scenario, &radio, rang));
        Ok(Self {
            scenario: demo.scenario,
            published: witness.published(),
            acknowledged: witness.acknowledged().len(),
            stored: store.reading_count().await?,
            suspect: counters.suspect.get(),
            refused: counters.undecoded.get(),
            lead: lead(&deliveries),
            as_expected,
            warnings: warnings
                .into_iter()
                .map(|w| (w.hazard, w.level_max, w.ended.is_some()))
                .collect(),
            told,
            segments,
            by_channel,
            cost: cost.map(|price| price.of(segments)),
            rang,
            radio,
            phones: phones.filter(|number| !carrier.inbox(number).is_empty()).count(),
        })
    }

    fn show(&self, style: Style) {
        if style.json {
            print::line(&json!({
                "event": "summary", "scenario": self.scenario.as_str(), "published": self.published,
                "acknowledged": self.acknowledged, "readings_stored": self.stored, "suspect": self.suspect,
                "unreadable": self.refused, "deliveries": self.told, "segments": self.segments,
                "segments_by_channel": self.by_channel, "cost": self.cost, "phones_reached": self.phones,
                "warnings": self.warnings.iter().map(|(hazard, level, ended)| json!({
                    "hazard": hazard, "level_max": level, "ended": ended })).collect::<Vec<_>>(),
                "radio": self.radio, "siren_sounded": self.rang,
                "as_expected": self.as_expected.is_ok(),
            }).to_string());
            return;
        }
        print::line("");
        print::line(&style.paint("1", "Summary"));
        print::line(&format!(
            "  {} publications, {} acknowledged, {} readings stored, {} of them suspect, {} unreadable",
            self.published, self.acknowledged, self.stored, self.suspect, self.refused
        ));
        let open = self.warnings.iter().filter(|(.., ended)| !ended).count();
        print::line(&format!(
            "  {} warnings raised, {} ended, {open} still open",
            self.warnings.len(),
            self.warnings.len() - open
        ));
        for (hazard, level, _) in &self.warnings {
            print::line(&format!("    {hazard}, up to {}", style.level(level)));
        }
        let ends: Vec<String> =
            self.told.iter().map(|(state, count)| format!("{count} {state}")).collect();
        print::line(&format!(
            "  texts: {}",
            if ends.is_empty() { "none".to_owned() } else { ends.join(", ") }
        ));
        if let Some((first, last)) = self.lead {
            print::line(&format!(
                "  from the first danger to its first text {}, to its last {}",
                print::span(first.as_secs()),
                print::span(last.as_secs())
            ));
        }
        let channels: Vec<String> =
            self.by_channel.iter().map(|(name, count)| format!("{count} by {name}")).collect();
        print::line(&format!(
            "  {} segments ({}), {}; {} phones reached",
            self.segments,
            channels.join(", "),
            self.cost.as_ref().map_or_else(
                || "no price configured".to_owned(),
                |cost| format!("would have cost {cost}")
            ),
            self.phones
        ));
        let number = |key: &str| self.radio.get(key).and_then(Value::as_u64).unwrap_or(0);
        print::line(&format!(
            "  LoRa: {} frames heard, {} sent; the siren sounded {}",
            number("frames"),
            number("sent"),
            print::count(self.rang, "time")
        ));
        match &self.as_expected {
            Ok(()) => print::line(&style.paint("32", "  as it should be")),
            Err(words) => {
                print::line(&style.paint("31", &format!("  NOT as it should be: {words}")));
            }
        }
    }
}

/// Returns what the gateway's own radio counts.
async fn radio(gateway: &Gateway) -> anyhow::Result<Value> {
    let status = gateway.hands().answer(Question::Status).await?;
    Ok(status.pointer("/radio/own").cloned().unwrap_or_default())
}

/// Returns how long after the first danger was planned its first and its last text had been handed over.
fn lead(deliveries: &[Delivery]) -> Option<(Duration, Duration)> {
    use kengele::domain::message::Priority;
    let alert = deliveries.iter().find(|d| d.priority == Priority::Danger)?.alert()?;
    let same = || deliveries.iter().filter(|d| d.alert() == Some(alert));
    let planned = same().map(|d| d.created).min()?;
    let ends = || same().filter(|d| d.reached).filter_map(|d| d.ended);
    Some((ends().min()?.since(planned), ends().max()?.since(planned)))
}

/// Compares what was warned of with what the scenario calls for.
fn judge(
    scenario: Scenario,
    warnings: &[kengele::store::WarningRow],
    suspect: u64,
) -> Result<(), String> {
    let expected = scenario.expected();
    for (hazard, least) in expected.hazards {
        let rank = |level: &str| ["advisory", "warning", "danger"].iter().position(|l| *l == level);
        let highest = warnings
            .iter()
            .filter(|w| w.hazard == *hazard)
            .filter_map(|w| rank(&w.level_max))
            .max();
        if highest < rank(least) {
            return Err(format!("{hazard} should have been warned of as {least}"));
        }
    }
    if let Some(other) =
        warnings.iter().find(|w| expected.hazards.iter().all(|(h, _)| *h != w.hazard))
    {
        return Err(format!("{} should not have been warned of", other.hazard));
    }
    if expected.faults && suspect == 0 {
        return Err("no fault was found".to_owned());
    }
    Ok(())
}

/// Says whether the gauge was heard by radio, and the siren told of danger.
fn judge_radio(scenario: Scenario, radio: &Value, rang: u32) -> Result<(), String> {
    if radio.get("frames").and_then(Value::as_u64).unwrap_or(0) == 0 {
        return Err("nothing was heard by radio".to_owned());
    }
    if scenario.expected().hazards.contains(&("flood", "danger")) && rang == 0 {
        return Err("the siren should have sounded".to_owned());
    }
    Ok(())
}
