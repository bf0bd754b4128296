//! Builds the daemon: every part in the order in which a reading travels, one clock, one order of shutdown.

pub mod clock;
pub mod control;
mod answer;
mod aside;
pub mod backup;
pub mod convert;
mod disk;
mod display;
mod inspection;
mod lanes;
mod nodes;
mod opening;
pub mod radio;
pub mod restore;
mod uplink;

use crate::archive::{self, Archive};
use crate::channel::http_sms::HttpSms;
use crate::channel::modem;
use crate::config::{Config, Loaded};
use crate::dispatch::{Dispatch, Word};
use crate::domain::frame::Envelope;
use crate::domain::radio::Downlink;
use crate::domain::time::WallClock;
use crate::pipeline::{Command, Outlets, Pipeline, Publisher, Rules};
use crate::source::semtech_udp::{self, Forwarders};
use crate::source::{broker, lora, mqtt as brokers};
use crate::store::Store;
use crate::supervise::{Stop, Tasks};
use crate::telemetry::{Clock, Telemetry};
use anyhow::Context;
use disk::Disk;
use display::Display;
use inspection::Inspection;
use opening::{Opened, Past};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
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
    inspection: Inspection,
    archive: archive::Report,
    uplink: Option<crate::uplink::Report>,
    disk: Disk,
    health: Arc<BTreeMap<String, watch::Receiver<modem::Health>>>,
    modems: Arc<BTreeMap<String, mpsc::Sender<modem::Request>>>,
    providers: Arc<BTreeMap<String, Arc<HttpSms>>>,
    listener: Option<broker::Handle>,
    brokers: Arc<[brokers::Handle]>,
    forwarders: Option<Arc<semtech_udp::Counters>>,
    radio: Option<Arc<lora::Counters>>,
    config_path: Arc<Path>,
    /// As it stood when this daemon started.
    started: Arc<Config>,
    /// As it stands since the last reload.
    config: Arc<std::sync::Mutex<Arc<Config>>>,
    nudge: Arc<Notify>,
    /// Held while the database is copied.
    copying: Arc<tokio::sync::Mutex<()>>,
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
        let rules = convert::rules_with_keys(loaded)?;
        let opened = opening::open(&data.join(DATABASE), &rules, options).await?;
        let Opened { store, writer, reserve, past } = opened;
        let Past { telemetry, gap, engine, people, radio_states, outbox, warnings } = past;

        let mut tasks = Tasks::default();
        let (frames, frames_in) = mpsc::channel(FRAMES_MAX);
        let (commands, commands_in) = mpsc::channel(QUEUE_MAX);
        let (words, words_in) = mpsc::channel(QUEUE_MAX);
        let (shown, shown_in) = mpsc::channel(QUEUE_MAX);
        let (from_memory, from_memory_in) = mpsc::channel(FROM_MEMORY_MAX);
        let nudge = Arc::new(Notify::new());
        let (downlinks, downlinks_in) = mpsc::channel(QUEUE_MAX);
        let (publishers, outbounds) = publishers(config);
        let outlets =
            Outlets { nudge: Arc::clone(&nudge), from_memory, shown, downlinks, publishers };

        let lanes =
            lanes::start(config, &telemetry.clock, options.speed, &words, &mut tasks).await?;
        let settings = convert::outbox(config, &lanes.all);
        let dispatch = Dispatch::new(
            settings,
            outbox,
            store.clone(),
            lanes.all,
            telemetry.clone(),
            Arc::clone(&nudge),
        );
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
        let mut hands = Hands {
            forwarders,
            radio,
            commands,
            words,
            store: store.clone(),
            telemetry: telemetry.clone(),
            inspection: Inspection::default(),
            archive: archive::Report::default(),
            uplink: None,
            disk: Disk::new(data, reserve),
            health: Arc::new(lanes.health),
            modems: Arc::new(lanes.modems),
            providers: Arc::new(lanes.providers),
            listener: listener.clone(),
            brokers: brokers.into(),
            config_path: config_path.into(),
            started: Arc::new(config.clone()),
            config: Arc::new(std::sync::Mutex::new(Arc::new(config.clone()))),
            nudge,
            copying: Arc::default(),
        };
        keep_and_tell(config, &mut hands, &mut tasks)?;
        let display = Display::new(listener, telemetry.clock.clone(), &warnings);
        tasks.spawn("display", display.run(shown_in));
        // A clock that runs too fast has no calendar to be put right by.
        if options.wall.is_none() && options.speed <= 1.0 {
            tasks.spawn(
                "clock",
                watch_clock(telemetry.clock.clone(), store.clone(), tasks.stop_signal()),
            );
        }
        tasks.spawn("inspection", hands.inspection.clone().run(store.clone(), tasks.stop_signal()));
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
                    Ok((version, _)) => tracing::info!(version, "reloaded"),
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

/// Starts what keeps readings for years, and what tells the hub.
fn keep_and_tell(config: &Config, hands: &mut Hands, tasks: &mut Tasks) -> anyhow::Result<()> {
    let (store, clock) = (hands.store.clone(), hands.telemetry.clock.clone());
    let archive = Archive::new(store.clone(), config.storage.clone(), config.uplink.is_some());
    hands.archive = archive.report();
    tasks.spawn("archive", archive.run(clock.clone(), tasks.stop_signal()));
    if let Some(settings) = &config.uplink {
        let uplink = uplink::make(settings, store, clock, hands.clone())?;
        hands.uplink = Some(uplink.report());
        tasks.spawn("uplink", uplink.run(tasks.stop_signal()));
    }
    Ok(())
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
