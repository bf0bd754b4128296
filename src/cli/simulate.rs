//! `simulate`: the village outside a gateway's front door, without the gateway.

mod radio;

use self::radio::{Codes, Radio};
use super::daemon::SPEED_MAX;
use super::field::Field;
use super::print::{self, Style};
use super::typed::typed;
use super::{Failure, block_on, demo};
use anyhow::Context;
use clap::{Args, ValueEnum};
use kengele::sim::carrier::{Carrier, Received, Way};
use kengele::sim::field::{FieldNode, Seen};
use kengele::sim::modem::{Fault as ModemFault, Faults, Personality, Settings, VirtualModem};
use kengele::sim::node::{self, Target, Witness};
use kengele::sim::provider::{Fault as ProviderFault, Plan, Taken, VirtualProvider};
use kengele::sim::scenario::Scenario;
use kengele::sim::village::{self, Places};
use kengele::sim::world::World;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

pub(crate) const HELP: &str = "\
It writes the configuration that fits it into the folder, unless one is there. A line on its standard input such as
`+255700000004 STOP` is a text from that phone to the modem; `mto-chini WF1:…`, with the code that `kengele node add`
shows, lets that field node live, and so does such a line in the file that `kengele node add --codes` writes.

Examples:
  kengele simulate --speed 600               the village at 600 times real time; then, in another terminal:
  kengele run -c village/kengele.toml --speed 600
  kengele simulate --radio --speed 10        with field nodes on an emulated LoRa radio
  kengele simulate --radio --radio-nodes 200 --speed 10 --radio-fault loss=50 --radio-fault forge=100
  kengele simulate --only nodes --broker 192.0.2.7:1883 --user farm --password-file secret
  kengele simulate --only modem --modem ec25 --modem-fault report-lost=100 --modem-fault reset=5";

/// How often the file of codes is looked at.
const CODES_EVERY: Duration = Duration::from_secs(1);
/// What has not been acknowledged so long after the last publication is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// So long without a text after the last publication, and it is over.
const QUIET: Duration = Duration::from_secs(10);
/// Between two lines about what the nodes have published.
const PROGRESS: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Nodes,
    Modem,
    Provider,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// What happens
    #[arg(long, default_value = "flash-flood", value_parser = demo::scenario)]
    scenario: Scenario,
    /// Another seed, another story
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times faster than real time the nodes live
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// These parts only
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Where the nodes publish
    #[arg(long, default_value = "127.0.0.1:1883", value_name = "ADDRESS:PORT")]
    broker: SocketAddr,
    /// User name of the nodes, if not that of the village
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// File with their password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Folder for the configuration and the modem's port
    #[arg(long, default_value = "village")]
    folder: PathBuf,
    /// Model of the modem: sim800, sim7600, ec25 or e3372
    #[arg(long, default_value = "sim7600", value_parser = personality)]
    modem: Personality,
    /// What goes wrong with the modem, and in how many of a thousand cases
    #[arg(long, value_name = "FAULT=PER_THOUSAND", value_parser = modem_fault)]
    modem_fault: Vec<(ModemFault, u32)>,
    #[command(flatten)]
    radio: Radio,
    /// Port of the provider on 127.0.0.1
    #[arg(long, default_value_t = 8091)]
    provider_port: u16,
    /// What goes wrong with the provider, and in how many of a thousand requests
    #[arg(long, value_name = "FAULT=PER_THOUSAND", value_parser = provider_fault)]
    provider_fault: Vec<(ProviderFault, u32)>,
}

impl Simulate {
    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn login(&self) -> anyhow::Result<(String, String)> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else {
            return Ok((village::NODES_USER.to_owned(), village::NODES_PASSWORD.to_owned()));
        };
        let password =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

fn personality(word: &str) -> Result<Personality, String> {
    let words: Vec<&str> = Personality::ALL.iter().map(|one| one.as_str()).collect();
    Personality::from_word(word).ok_or_else(|| format!("choose one of: {}", words.join(", ")))
}

const MODEM_FAULTS: [(&str, ModemFault); 15] = [
    ("no-answer", ModemFault::NoAnswer),
    ("garbage", ModemFault::Garbage),
    ("late-answer", ModemFault::LateAnswer(Duration::from_secs(20))),
    ("partial-line", ModemFault::PartialLine),
    ("news-inside", ModemFault::NewsInside),
    ("echo-flip", ModemFault::EchoFlip),
    ("reset", ModemFault::Reset),
    ("error-after-accept", ModemFault::ErrorAfterAccept),
    ("ok-without-sending", ModemFault::OkWithoutSending),
    ("no-credit", ModemFault::NoCredit),
    ("report-lost", ModemFault::ReportLost),
    ("report-twice", ModemFault::ReportTwice),
    ("report-late", ModemFault::ReportLate(Duration::from_mins(2))),
    ("memory-full", ModemFault::MemoryFull),
    ("registration-lost", ModemFault::RegistrationLost(Duration::from_mins(1))),
];

const PROVIDER_FAULTS: [(&str, ProviderFault); 15] = [
    ("silence", ProviderFault::Silence(Taken::No)),
    ("silence-taken", ProviderFault::Silence(Taken::Yes)),
    ("reset", ProviderFault::Reset(Taken::No)),
    ("reset-taken", ProviderFault::Reset(Taken::Yes)),
    ("garbage", ProviderFault::Garbage(Taken::No)),
    ("garbage-taken", ProviderFault::Garbage(Taken::Yes)),
    ("error", ProviderFault::Error(Taken::No)),
    ("unavailable", ProviderFault::Unavailable),
    ("throttled", ProviderFault::Throttled { retry_after_secs: 5 }),
    ("login-page", ProviderFault::LoginPage),
    ("redirect", ProviderFault::Redirect),
    ("cut-answer", ProviderFault::CutAnswer),
    ("no-credit", ProviderFault::NoCredit),
    ("refuse", ProviderFault::Refuse),
    ("accept-but-lose", ProviderFault::AcceptButLose),
];

fn modem_fault(words: &str) -> Result<(ModemFault, u32), String> {
    fault(words, &MODEM_FAULTS)
}

fn provider_fault(words: &str) -> Result<(ProviderFault, u32), String> {
    fault(words, &PROVIDER_FAULTS)
}

fn fault<F: Copy>(words: &str, known: &[(&str, F)]) -> Result<(F, u32), String> {
    let (name, share) = words.split_once('=').ok_or("write it as reset=5, per thousand")?;
    let share = share.parse().ok().filter(|share| *share <= 1000);
    let share = share.ok_or("the share is a whole number of thousandths, at most 1000")?;
    let found = known.iter().find(|(word, _)| *word == name);
    let words = || known.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    found.map(|(_, fault)| (*fault, share)).ok_or_else(|| format!("choose one of: {}", words()))
}

pub(crate) fn run(simulate: &Simulate, style: Style) -> Result<(), Failure> {
    if !(0.01..=SPEED_MAX).contains(&simulate.speed) {
        let words = format!("--speed {}: it lies between 0.01 and {SPEED_MAX}", simulate.speed);
        return Err(Failure::Usage(words));
    }
    block_on(live(simulate, style))??;
    Ok(())
}

async fn live(simulate: &Simulate, style: Style) -> anyhow::Result<()> {
    fs::create_dir_all(&simulate.folder)
        .with_context(|| format!("cannot make {}", simulate.folder.display()))?;
    let folder = fs::canonicalize(&simulate.folder)?;
    let carrier = Carrier::seeded(simulate.seed);
    let mut heard = carrier.listen();
    let modem = simulate.has(Part::Modem).then(|| start_modem(simulate, &folder, &carrier));
    let modem = modem.transpose()?;
    let provider = if simulate.has(Part::Provider) {
        Some(start_provider(simulate, &carrier).await?)
    } else {
        None
    };
    write_files(simulate, &folder)?;
    introduce(simulate, modem.is_some(), provider.as_ref(), style)?;

    let mut field = if simulate.radio.is_on {
        Some(simulate.radio.open(&folder, simulate.seed, simulate.speed)?)
    } else {
        None
    };
    let mut codes = simulate.radio.codes(&simulate.folder);
    let mut looks = tokio::time::interval(CODES_EVERY);

    let witness = Witness::default();
    let mut nodes = std::pin::pin!(publish(simulate, &witness));
    let mut publishing = simulate.has(Part::Nodes);
    let mut typed = typed();
    let mut progress = tokio::time::interval(PROGRESS);
    let mut last_text = tokio::time::Instant::now();
    loop {
        let over = simulate.has(Part::Nodes) && !publishing;
        tokio::select! {
            done = &mut nodes, if publishing => {
                done?;
                publishing = false;
                last_text = tokio::time::Instant::now();
            }
            text = heard.recv() => match text {
                Ok((to, received)) => {
                    last_text = tokio::time::Instant::now();
                    show_text(&to, &received, style);
                }
                Err(RecvError::Lagged(missed)) => print::line(&format!("… {missed} texts not shown")),
                Err(RecvError::Closed) => break,
            },
            Some(line) = typed.recv() => match (&mut field, provisioned(&line, simulate)) {
                (Some(field), Some(node)) => field.add(node),
                (_, _) => reply(&line, &carrier, modem.as_ref()),
            },
            _ = looks.tick(), if field.is_some() => enliven(&mut codes, &mut field, simulate)?,
            Some(seen) = in_field(&mut field) => show_siren(&seen, style),
            _ = progress.tick(), if publishing => show_progress(&witness, style),
            () = tokio::time::sleep_until(last_text + QUIET), if over => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    if modem.is_some() {
        fs::remove_file(folder.join("modem")).context("cannot remove the modem's port")?;
    }
    if simulate.has(Part::Nodes) {
        show_progress(&witness, style);
    }
    if let Some(field) = &field {
        let saw = field.saw();
        let refused = radio::refused(&folder.join("kengele.toml")).await;
        radio::show(&saw, refused.as_ref(), style);
    }
    Ok(())
}

/// Lets those live whose codes the file has now.
fn enliven(
    codes: &mut Codes,
    field: &mut Option<Field>,
    simulate: &Simulate,
) -> anyhow::Result<()> {
    for line in codes.news()? {
        if let (Some(field), Some(node)) = (field.as_mut(), provisioned(&line, simulate)) {
            field.add(node);
        } else {
            let name = line.split_whitespace().next().unwrap_or_default();
            eprintln!("kengele: the village has no field node \"{name}\": see --radio-nodes");
        }
    }
    Ok(())
}

async fn publish(simulate: &Simulate, witness: &Witness) -> anyhow::Result<()> {
    let target = Target {
        host: simulate.broker.ip().to_string(),
        port: simulate.broker.port(),
        login: Some(simulate.login()?),
    };
    let publications = World::seeded(simulate.seed, simulate.scenario).publications();
    node::publish(publications, &target, simulate.speed, PATIENCE, witness).await;
    Ok(())
}

/// Starts the modem, with a port that keeps its name.
fn start_modem(
    simulate: &Simulate,
    folder: &Path,
    carrier: &Carrier,
) -> anyhow::Result<VirtualModem> {
    let settings = Settings {
        personality: simulate.modem,
        own_number: village::OWN_NUMBER.to_owned(),
        seed: simulate.seed,
        faults: Faults { script: Vec::new(), rates: simulate.modem_fault.clone() },
        ..Settings::default()
    };
    let modem = VirtualModem::start(settings, carrier.clone())?;
    let port = folder.join("modem");
    if fs::symlink_metadata(&port).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(&port)?;
    }
    symlink(modem.path(), &port).with_context(|| format!("cannot make {}", port.display()))?;
    Ok(modem)
}

async fn start_provider(simulate: &Simulate, carrier: &Carrier) -> anyhow::Result<VirtualProvider> {
    let carrier = carrier.clone();
    let plan = Plan {
        port: simulate.provider_port,
        seed: simulate.seed,
        rates: simulate.provider_fault.clone(),
        deliver: Some(Arc::new(move |arrival| {
            carrier.deliver(&arrival.to, &arrival.from, &arrival.text);
        })),
        ..Plan::default()
    };
    let words = || format!("the provider cannot listen on port {}", simulate.provider_port);
    VirtualProvider::start(plan).await.with_context(words)
}

/// Writes the gateway's configuration, unless there is one.
fn write_files(simulate: &Simulate, folder: &Path) -> anyhow::Result<()> {
    if folder.join("kengele.toml").exists() {
        return Ok(());
    }
    let socket = folder.join("radio.sock");
    let places = Places {
        folder,
        mqtt: simulate.broker,
        modem: &folder.join("modem"),
        provider: &format!("http://127.0.0.1:{}", simulate.provider_port),
        radio: simulate.radio.is_on.then_some(village::Radio {
            socket: &socket,
            confirms: simulate.speed <= village::CONFIRMS_UP_TO,
            farms: simulate.radio.farms(),
        }),
    };
    demo::write_files(folder, &places)
}

fn introduce(
    simulate: &Simulate,
    modem: bool,
    provider: Option<&VirtualProvider>,
    style: Style,
) -> anyhow::Result<()> {
    if style.json {
        if simulate.radio.is_on {
            simulate.radio.introduce(&simulate.folder, simulate.speed, style)?;
        }
        return Ok(());
    }
    let folder = simulate.folder.display();
    if simulate.has(Part::Nodes) {
        print::line(&format!(
            "nodes:    {} by MQTT to {}, {} times real time",
            simulate.scenario.as_str(),
            simulate.broker,
            simulate.speed
        ));
    }
    if modem {
        let kind = simulate.modem.as_str();
        print::line(&format!("modem:    {folder}/modem ({kind}, {})", village::OWN_NUMBER));
    }
    if let Some(provider) = provider {
        print::line(&format!("provider: {}", provider.base()));
    }
    if simulate.radio.is_on {
        simulate.radio.introduce(&simulate.folder, simulate.speed, style)?;
    }
    let speed = simulate.speed;
    print::line(&format!(
        "\nA gateway that fits, from another terminal:\n  \
         kengele run -c {folder}/kengele.toml --speed {speed}\n  \
         kengele people import {folder}/people.csv -c {folder}/kengele.toml\n"
    ));
    Ok(())
}

/// Reads `NAME CODE`.
fn provisioned(line: &str, simulate: &Simulate) -> Option<FieldNode> {
    simulate.radio.node(line, simulate.seed, simulate.scenario, simulate.speed)
}

/// Waits for what can be seen in the field; for ever where there is none.
async fn in_field(field: &mut Option<Field>) -> Option<Seen> {
    match field {
        Some(field) => field.seen().await,
        None => std::future::pending().await,
    }
}

fn show_siren(seen: &Seen, style: Style) {
    if style.json {
        let event = json!({ "event": "siren", "node": seen.node, "sounds": seen.sounds });
        print::line(&event.to_string());
    } else {
        let words = if seen.sounds { "sounds" } else { "is silent" };
        print::line(&format!("siren {}  {words}", style.paint("1", &seen.node)));
    }
}

fn reply(line: &str, carrier: &Carrier, modem: Option<&VirtualModem>) {
    let Some((from, text)) = line.trim().split_once(char::is_whitespace) else {
        print::note("kengele: a text from a phone is written as: +255700000004 STOP");
        return;
    };
    if modem.is_none() || !carrier.send_from(from, village::OWN_NUMBER, text) {
        print::note(&format!("kengele: {from} cannot reach the modem"));
    }
}

fn show_text(to: &str, received: &Received, style: Style) {
    if style.json {
        let way = match received.way {
            Way::Modem => "modem",
            Way::Other => "provider",
        };
        let event = json!({
            "event": "text", "to": to, "from": received.from, "way": way, "text": received.text,
        });
        print::line(&event.to_string());
    } else {
        print::line(&format!("{}  {}", style.paint("1", to), received.text));
    }
}

fn show_progress(witness: &Witness, style: Style) {
    let (published, acknowledged) = (witness.published(), witness.acknowledged().len());
    if style.json {
        let event =
            json!({ "event": "nodes", "published": published, "acknowledged": acknowledged });
        print::line(&event.to_string());
    } else {
        let words = format!("nodes: {published} published, {acknowledged} acknowledged");
        print::line(&style.paint("2", &words));
    }
}
