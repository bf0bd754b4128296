//! Builds the daemon: every part in the order in which a reading travels, one clock, one order of shutdown.

pub mod clock;
pub mod control;
mod answer;
pub mod convert;
mod lanes;
mod nodes;
pub mod radio;

use crate::channel::modem;
use crate::config::{Config, Loaded};
use crate::dispatch::{Dispatch, Word};
use crate::domain::engine::Engine;
use crate::domain::frame::Envelope;
use crate::domain::radio::Downlink;
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::warning::{Alert, MessageType};
use crate::pipeline::{Command, Outlets, Pipeline, Publisher, Rules};
use crate::source::semtech_udp::{self, Forwarders};
use crate::source::{broker, lora, mqtt as brokers};
use crate::store::Store;
use crate::supervise::{Stop, Tasks};
use crate::telemetry::{Clock, Telemetry};
use anyhow::Context;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Frames that wait for the pipeline.
const FRAMES_MAX: usize = 8192;
/// Commands, words and alerts that wait.
const QUEUE_MAX: usize = 256;
/// Deliveries that wait in memory for the outbox while the disk fails.
const FROM_MEMORY_MAX: usize = 10_000;
/// How often the clocks are compared.
const CLOCK_WATCH: Duration = Duration::from_secs(10);
/// A calendar that is off by less is left alone, ms.
const CLOCK_TOLERANCE_MS: i64 = 1000;
/// How long the parts may take to end.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Name of the database in the data folder.
pub const DATABASE: &str = "kengele.db";

/// What a daemon is told besides its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much faster than real time the clock runs: 1 but in demonstrations.
    pub speed: f64,
    /// Where the calendar stands, when it is not to be read from the machine: in demonstrations.
    pub wall: Option<WallClock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { speed: 1.0, wall: None }
    }
}

/// A running daemon.
pub struct Gateway {
    /// Its clock, counters and news.
    pub telemetry: Telemetry,
    /// Addresses of the MQTT listener.
    pub mqtt: Vec<SocketAddr>,
    /// Its database.
    pub store: Store,
    hands: Hands,
    tasks: Tasks,
    writer: Tasks,
    /// Held for as long as the gateway runs.
    _lock: File,
}

/// What the control socket and the signals need to do what they are asked.
#[derive(Clone)]
pub struct Hands {
    commands: mpsc::Sender<Command>,
    words: mpsc::Sender<Word>,
    store: Store,
    telemetry: Telemetry,
    health: Arc<BTreeMap<String, watch::Receiver<modem::Health>>>,
    modems: Arc<BTreeMap<String, mpsc::Sender<modem::Request>>>,
    listener: Option<broker::Handle>,
    brokers: Arc<[brokers::Handle]>,
    forwarders: Option<Arc<semtech_udp::Counters>>,
    radio: Option<Arc<lora::Counters>>,
    config_path: Arc<Path>,
    config: Arc<std::sync::Mutex<Arc<Config>>>,
    nudge: Arc<Notify>,
}

impl Gateway {
    /// Starts a daemon: opens the database, brings the engine to where it stood, and listens.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting, in words.
    pub async fn start(
        loaded: &Loaded,
        config_path: &Path,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let config = &loaded.config;
        let data = &config.gateway.data;
        make_data_folder(data)?;
        let lock = lock(data)?;
        let path = open_path(data);
        let (store, writer_task) = open_store(&path).await?;
        let mut writer = Tasks::default();
        writer.spawn("store", writer_task.run());
        let (telemetry, gap) = begin(&store, options).await?;
        let rules = convert::rules_with_keys(loaded)?;
        let engine = bring_back(&store, &rules, telemetry.clock.now()).await?;
        let people = store.recipients().await?;
        let radio_states = store.radio_states().await?;

        let mut tasks = Tasks::default();
        let (frames, frames_in) = mpsc::channel(FRAMES_MAX);
        let (commands, commands_in) = mpsc::channel(QUEUE_MAX);
        let (words, words_in) = mpsc::channel(QUEUE_MAX);
        let (alerts, alerts_in) = mpsc::channel(QUEUE_MAX);
        let (from_memory, from_memory_in) = mpsc::channel(FROM_MEMORY_MAX);
        let nudge = Arc::new(Notify::new());
        let (downlinks, downlinks_in) = mpsc::channel(QUEUE_MAX);
        let (publishers, outbounds) = publishers(config);
        let outlets =
            Outlets { nudge: Arc::clone(&nudge), from_memory, alerts, downlinks, publishers };

        let lanes =
            lanes::start(config, &telemetry.clock, options.speed, &words, &mut tasks).await?;
        let outbox = convert::outbox(config, &lanes.all);
        let dispatch =
            Dispatch::new(outbox, store.clone(), lanes.all, telemetry.clone(), Arc::clone(&nudge))
                .await?;
        tasks.spawn("dispatch", dispatch.run(from_memory_in, words_in, tasks.stop_signal()));

        let before = engine.book().version.clone();
        let known = Rules { book: Arc::clone(engine.book()), ..rules.clone() };
        let mut pipeline = Pipeline::new(
            engine,
            known,
            people,
            &radio_states,
            store.clone(),
            telemetry.clone(),
            outlets,
        );
        pipeline.resume(gap.down, gap.is_certain).await;
        tasks.spawn("pipeline", pipeline.run(frames_in, commands_in, tasks.stop_signal()));
        if before != rules.book.version {
            let (reply, answer) = oneshot::channel();
            commands
                .send(Command::Reload(Box::new(rules.clone()), reply))
                .await
                .context("the pipeline has ended")?;
            answer.await.context("the pipeline has ended")??;
        }

        let Sources { mqtt, listener, brokers, forwarders, radio } =
            start_sources(config, &frames, (downlinks_in, outbounds), &telemetry, &mut tasks)
                .await?;
        let hands = Hands {
            forwarders,
            radio,
            commands,
            words,
            store: store.clone(),
            telemetry: telemetry.clone(),
            health: Arc::new(lanes.health),
            modems: Arc::new(lanes.modems),
            listener: listener.clone(),
            brokers: brokers.into(),
            config_path: config_path.into(),
            config: Arc::new(std::sync::Mutex::new(Arc::new(config.clone()))),
            nudge,
        };
        hands.show_open_warnings().await?;
        tasks.spawn("display", display(alerts_in, listener, telemetry.clone()));
        // A clock that runs too fast has no calendar to be put right by.
        if options.wall.is_none() && options.speed <= 1.0 {
            tasks.spawn(
                "clock",
                watch_clock(telemetry.clock.clone(), store.clone(), tasks.stop_signal()),
            );
        }
        let control = control::Control::bind(&config.gateway.socket, hands.clone())?;
        tasks.spawn("control", control.run(tasks.stop_signal()));
        // The pipeline ends when every source has: this one never does.
        let mut stop = tasks.stop_signal();
        tasks.spawn("sources", async move {
            stop.wait().await;
            drop(frames);
            Ok::<(), Infallible>(())
        });
        Ok(Self { telemetry, mqtt, store, hands, tasks, writer, _lock: lock })
    }

    /// Returns what the control socket works with, for whoever runs the daemon in the same process.
    #[must_use]
    pub fn hands(&self) -> Hands {
        self.hands.clone()
    }

    /// Runs until `until` is ready or a part fails, reloading the rules whenever `reload` says so; then stops in order.
    ///
    /// # Errors
    ///
    /// The first part that failed.
    pub async fn run(
        mut self,
        until: impl Future<Output = ()>,
        mut reload: mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        let mut until = std::pin::pin!(until);
        let failure = loop {
            tokio::select! {
                () = &mut until => break None,
                Some(()) = reload.recv() => match self.hands.reload().await {
                    Ok(version) => tracing::info!(version, "reloaded"),
                    Err(error) => tracing::error!(error = %error, "the rules were not reloaded: those before stay in force"),
                },
                Some(ended) = self.tasks.next_ended() => {
                    break Some(format!("{}: {}", ended.name, ended.failure.unwrap_or_else(|| "ended by itself".into())));
                }
            }
        };
        self.stop().await;
        failure.map_or(Ok(()), |failure| Err(anyhow::anyhow!(failure)))
    }

    /// Stops: sources first, then the pipeline and the lanes, at last the writer.
    pub async fn stop(mut self) {
        self.tasks.stop();
        let ending = async {
            while let Some(ended) = self.tasks.next_ended().await {
                if let Some(failure) = ended.failure {
                    tracing::warn!(task = ended.name, failure, "a task failed while it ended");
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN, ending).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        drop(self.hands);
        drop(self.store);
        drop(self.tasks);
        if tokio::time::timeout(SHUTDOWN, self.writer.next_ended()).await.is_err() {
            tracing::warn!(
                "the database was not closed in time; nothing that was acknowledged is lost"
            );
        }
    }
}

/// What the sources are asked about, once they run.
struct Sources {
    mqtt: Vec<SocketAddr>,
    listener: Option<broker::Handle>,
    brokers: Vec<brokers::Handle>,
    forwarders: Option<Arc<semtech_udp::Counters>>,
    radio: Option<Arc<lora::Counters>>,
}

/// What is said on each broker, by its name.
type Outbounds = BTreeMap<String, brokers::Outbound>;

/// Makes the ways from the pipeline to brokers, and their ends there.
fn publishers(config: &Config) -> (BTreeMap<String, Publisher>, Outbounds) {
    let way = |broker: &crate::config::Broker| {
        let (queue, publications) = mpsc::channel(brokers::PUBLICATIONS_MAX);
        let (heard, is_heard) = watch::channel(false);
        let publisher = Publisher { queue, heard: is_heard };
        let outbound = brokers::Outbound { publications, heard };
        ((broker.name.clone(), publisher), (broker.name.clone(), outbound))
    };
    config.brokers.iter().map(way).unzip()
}

/// Starts everything that brings frames.
async fn start_sources(
    config: &Config,
    frames: &mpsc::Sender<Envelope>,
    (downlinks, mut outbounds): (mpsc::Receiver<Downlink>, Outbounds),
    telemetry: &Telemetry,
    tasks: &mut Tasks,
) -> anyhow::Result<Sources> {
    let clock = &telemetry.clock;
    let mut mqtt = Vec::new();
    let mut listener = None;
    if let Some(settings) = &config.listener {
        let settings = convert::listener(config, settings)?;
        let bound = broker::Listener::bind(settings, frames.clone()).await?;
        mqtt = bound.addresses();
        listener = Some(bound.handle());
        tasks.spawn("listener", bound.run(tasks.stop_signal()));
    }
    let mut heard = Vec::new();
    for (settings, number) in config.brokers.iter().zip(0..) {
        let settings = convert::broker(config, settings, lanes::seed() ^ number)?;
        let outbound = outbounds.remove(&settings.name).context("a broker has no queue")?;
        let client = brokers::Client::new(settings, frames.clone(), outbound);
        heard.push(client.handle());
        tasks.spawn("broker", client.run(tasks.stop_signal()));
    }
    let mut airs: Vec<(Arc<str>, mpsc::Sender<Downlink>)> = Vec::new();
    let mut forwarders = None;
    if let Some(settings) = &config.semtech_udp {
        let data = &config.gateway.data;
        let settings = radio::semtech_udp(settings, config.lorawan.as_ref(), data);
        let source = Forwarders::bind(settings, clock.clone(), frames.clone()).await?;
        forwarders = Some(source.counters());
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        airs.push((semtech_udp::LINK.into(), queue));
        tasks.spawn("packet forwarders", source.run(waiting, tasks.stop_signal()));
    }
    let mut radio = None;
    if let Some(settings) = &config.radio {
        let source = lora::Radio::new(
            radio::own(settings, &config.gateway.data),
            clock.clone(),
            frames.clone(),
        );
        radio = Some(source.counters());
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        airs.push((radio::RADIO.into(), queue));
        tasks.spawn("radio", source.run(waiting, tasks.stop_signal()));
    }
    tasks.spawn("downlinks", hand_out(downlinks, airs, telemetry.clone()));
    Ok(Sources { mqtt, listener, brokers: heard, forwarders, radio })
}

/// Gives each frame for a node to the source that it names.
async fn hand_out(
    mut downlinks: mpsc::Receiver<Downlink>,
    airs: Vec<(Arc<str>, mpsc::Sender<Downlink>)>,
    telemetry: Telemetry,
) -> Result<(), Infallible> {
    while let Some(downlink) = downlinks.recv().await {
        let air = airs.iter().find(|(link, _)| *link == downlink.link);
        let taken = air.is_some_and(|(_, queue)| queue.try_send(downlink).is_ok());
        if !taken {
            telemetry.counters.downlinks_dropped.add(1);
        }
    }
    Ok(())
}

/// Makes the folder of the database, for its owner's eyes only: it holds telephone numbers.
///
/// # Errors
///
/// When it cannot be made.
pub fn make_data_folder(data: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("cannot make the folder {}", data.display()))
}

/// Takes the folder for this process: two gateways on one database would tell everybody twice. The kernel gives it back
/// however the process ends.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another gateway runs on {}: stop it first", data.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn open_path(data: &Path) -> PathBuf {
    data.join(DATABASE)
}

/// Opens the database. One that is damaged is put aside, whole, and a fresh one begun: the next flood does not wait.
async fn open_store(path: &Path) -> anyhow::Result<(Store, crate::store::Writer)> {
    match Store::open(path).await {
        Ok(opened) => Ok(opened),
        Err(error) if path.exists() && error.is_damage() => {
            let unix_ms = clock::Clocks::read().unix_ms;
            let aside = path.with_extension(format!("damaged-{unix_ms}"));
            tracing::error!(
                error = %crate::supervise::chain(&error),
                aside = %aside.display(),
                "the database is damaged: it is put aside and a fresh one is begun; recipients must be imported again"
            );
            std::fs::rename(path, &aside).context("cannot put the damaged database aside")?;
            for tail in ["-wal", "-shm"] {
                let mut from = path.as_os_str().to_owned();
                from.push(tail);
                let mut to = aside.as_os_str().to_owned();
                to.push(tail);
                if Path::new(&from).exists() {
                    std::fs::rename(&from, &to).context("cannot put the damaged database aside")?;
                }
            }
            Ok(Store::open(path).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Begins a run on record, and sets its clock going.
async fn begin(store: &Store, options: &Options) -> anyhow::Result<(Telemetry, clock::Gap)> {
    let last = store.last_run().await?;
    let (mut boot, gap) = clock::go_on(last.as_ref(), &clock::Clocks::read());
    if let Some(wall) = options.wall {
        boot.wall = wall;
    }
    let clock = Clock::new(boot.at, boot.wall, options.speed);
    store.begin(boot).await?;
    Ok((Telemetry::new(clock), gap))
}

/// Brings the engine to where the last run ended: under the rule book that was in force then.
async fn bring_back(store: &Store, rules: &Rules, now: Timestamp) -> anyhow::Result<Engine> {
    let snapshot = store.snapshot().await?;
    let Some(snapshot) = snapshot else {
        store.declare(Arc::clone(&rules.book), rules.sources.clone()).await?;
        let mut engine = Engine::new(&rules.book, now);
        let replayed = store.replay(&mut engine, 0).await?;
        if replayed > 0 {
            tracing::info!(replayed, "the engine was brought back without a snapshot");
        }
        return Ok(engine);
    };
    let written = store
        .rule_book(&snapshot.rule_book)
        .await?
        .context("the rule book of the last run is not on record")?;
    let sources = convert::sources(&written)?;
    let old = convert::parse(&sources).map_err(|faults| {
        anyhow::anyhow!(
            "the rule book of the last run is not understood any more: {} faults",
            faults.len()
        )
    });
    let restored = old.and_then(|old| {
        let book = old.config.rules;
        Engine::restore(&book, &snapshot.state)
            .context("the engine's state is not understood")
            .map(|e| (e, book))
    });
    match restored {
        Ok((mut engine, book)) => {
            store.declare(Arc::clone(&book), written).await?;
            let replayed = store.replay(&mut engine, snapshot.turn).await?;
            tracing::info!(replayed, "the engine stands where it stood");
            Ok(engine)
        }
        Err(error) => {
            tracing::warn!(error = %error, "starting without the engine's earlier state");
            store.declare(Arc::clone(&rules.book), rules.sources.clone()).await?;
            Ok(Engine::new(&rules.book, now))
        }
    }
}

/// Shows the current state of each area's warnings to whoever follows `kengele/warnings/#`.
async fn display(
    mut alerts: mpsc::Receiver<Alert>,
    listener: Option<broker::Handle>,
    telemetry: Telemetry,
) -> Result<(), Infallible> {
    while let Some(alert) = alerts.recv().await {
        let Some(listener) = &listener else { continue };
        let topic = format!("kengele/warnings/{}/{}", alert.area, alert.hazard);
        let wall = telemetry.clock.wall();
        let over = alert.message_type == MessageType::Cancel;
        let state = serde_json::json!({
            "warning": alert.warning.0,
            "number": alert.number,
            "status": if over { "clear" } else { "open" },
            "level": if over { "none" } else { alert.level.as_str() },
            "hazard": alert.hazard,
            "area": alert.area,
            "message_type": alert.message_type.as_str(),
            "severity": if over { "Minor" } else { alert.level.severity() },
            "sent_unix_ms": wall.unix_ms(alert.sent),
            "expires_unix_ms": wall.unix_ms(alert.expires),
            "clock": wall.quality.as_str(),
        });
        listener.publish(&topic, state.to_string().as_bytes(), true);
    }
    Ok(())
}

/// Keeps the calendar of this run right: when NTP has set the machine's clock, or somebody has.
async fn watch_clock(clock: Clock, store: Store, mut stop: Stop) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(CLOCK_WATCH) => {}
        }
        let clocks = clock::Clocks::read();
        let known = clock.wall();
        let offset_ms = clocks.unix_ms - clock.now().as_millis();
        let off = (offset_ms - known.offset_ms).abs() > CLOCK_TOLERANCE_MS;
        if clocks.quality >= known.quality && (off || clocks.quality > known.quality) {
            let wall = WallClock { offset_ms, quality: clocks.quality };
            tracing::info!(
                quality = wall.quality.as_str(),
                "the calendar of this run is put right"
            );
            clock.set_wall(wall);
            if let Err(error) = store.set_wall_clock(wall).await {
                tracing::warn!(error = %crate::supervise::chain(&error), "the calendar could not be recorded");
            }
        }
    }
}
