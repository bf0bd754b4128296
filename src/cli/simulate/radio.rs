//! The radio of the simulated village: options, faults of its air, codes that let nodes live, and what the air saw.

use super::fault;
use crate::cli::field::{Field, Saw};
use crate::cli::print::{self, Style};
use anyhow::Context;
use clap::Args;
use kengele::app::control::{self, Question};
use kengele::app::convert;
use kengele::config::span_as_written;
use kengele::sim::air::{Attacker, Bursts, Conditions, Plan, Position, Reason};
use kengele::sim::field::FieldNode;
use kengele::sim::scenario::Scenario;
use kengele::sim::village::farms::{FARMS_MAX, Farms};
use kengele::sim::village::{self, FIELD_NODES};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in the village's folder that codes are read from.
const CODES: &str = "codes";
/// Name of the file in the village's folder that says what a configuration lacks.
const LACKING: &str = "radio-nodes.toml";
/// Longest file of codes that is read, bytes.
const CODES_BYTES_MAX: u64 = 1 << 20;
/// How much the noise rises in a burst, dB: over what any spreading factor gains.
const BURST_RISE_DB: f64 = 30.0;
/// A burst of noise in each span of this length.
const BURST_EVERY: Duration = Duration::from_secs(10);
/// What attackers send with, dBm: as much as the nodes.
const ATTACKER_DBM: f64 = 14.0;
/// How long an attacker keeps a frame: longer than every window of a node, and so long that it is stale.
const HELD_BACK: Duration = Duration::from_mins(3);
/// How long an attacker needs to forge: after both windows of a node, so that it does not stand in an answer's way.
const FORGED_AFTER: Duration = Duration::from_secs(5);
/// How long the gateway is waited for, to say what it refused.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What goes wrong on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AirFault {
    Loss,
    Damage,
    DamageUnseen,
    Noise,
    Jammer,
    Replay,
    Forge,
    Wormhole,
}

const AIR_FAULTS: [(&str, AirFault); 8] = [
    ("loss", AirFault::Loss),
    ("damage", AirFault::Damage),
    ("damage-unseen", AirFault::DamageUnseen),
    ("noise", AirFault::Noise),
    ("jammer", AirFault::Jammer),
    ("replay", AirFault::Replay),
    ("forge", AirFault::Forge),
    ("wormhole", AirFault::Wormhole),
];

fn air_fault(words: &str) -> Result<(AirFault, u32), String> {
    fault(words, &AIR_FAULTS)
}

fn interval(words: &str) -> Result<Duration, String> {
    let span = span_as_written(words)?;
    let is_whole = span.subsec_nanos() == 0 && (10..=65_535).contains(&span.as_secs());
    is_whole.then_some(span).ok_or_else(|| "whole seconds, 10 s to 18 h".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct Radio {
    /// Emulate the gateway's LoRa radio too, with a gauge and a siren in the field
    #[arg(id = "radio", long = "radio")]
    pub is_on: bool,
    /// So many more field nodes: soil sensors on the farms around
    #[arg(long = "radio-nodes", value_name = "NUMBER", requires = "radio", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=i64::from(FARMS_MAX)))]
    nodes: u16,
    /// How often each of them reports
    #[arg(long = "radio-interval", value_name = "SPAN", requires = "radio", default_value = "15 min", value_parser = interval)]
    interval: Duration,
    /// What goes wrong on the air, and in how many of a thousand cases
    #[arg(long = "radio-fault", value_name = "FAULT=PER_THOUSAND", requires = "radio", value_parser = air_fault)]
    faults: Vec<(AirFault, u32)>,
    /// File of codes as `kengele node add --codes` writes it; read again when it grows [default: codes, in the folder]
    #[arg(long, value_name = "FILE", requires = "radio")]
    codes: Option<PathBuf>,
}

impl Radio {
    pub(super) fn farms(&self) -> Farms {
        Farms { count: self.nodes, interval: self.interval }
    }

    pub(super) fn codes(&self, folder: &Path) -> Codes {
        let path = self.codes.clone().unwrap_or_else(|| folder.join(CODES));
        Codes { path, taken: BTreeSet::new() }
    }

    /// Reads `NAME CODE`: a field node of the village that is given its code.
    pub(super) fn node(
        &self,
        line: &str,
        seed: u64,
        scenario: Scenario,
        faster: f64,
    ) -> Option<FieldNode> {
        let (name, code) = line.trim().split_once(char::is_whitespace)?;
        let confirms = faster <= village::CONFIRMS_UP_TO;
        village::field_node(name, code, seed, scenario, confirms, self.farms())
    }

    /// Makes the air, with what goes wrong on it.
    pub(super) fn open(&self, folder: &Path, seed: u64, faster: f64) -> anyhow::Result<Field> {
        let share = |wanted: AirFault| {
            let found = self.faults.iter().rev().find(|(fault, _)| *fault == wanted);
            found.map_or(0.0, |(_, share)| f64::from(*share) / 1000.0)
        };
        let noise = share(AirFault::Noise);
        let bursts = Bursts {
            every: BURST_EVERY,
            lasting: BURST_EVERY.mul_f64(noise),
            rise_db: BURST_RISE_DB,
        };
        let conditions = Conditions {
            loss: share(AirFault::Loss),
            corruption: share(AirFault::Damage),
            undetected: share(AirFault::DamageUnseen),
            bursts: (noise > 0.0).then_some(bursts),
            ..Conditions::default()
        };
        let mut field = Field::open(&folder.join("radio.sock"), seed, faster, conditions)?;
        let jammed = share(AirFault::Jammer);
        if jammed > 0.0 {
            field.jam(village::channel(self.farms()).0, jammed, seed);
        }
        let plans = [
            (AirFault::Replay, Plan::Replay { after: HELD_BACK, times: 1 }),
            (AirFault::Forge, Plan::Forge { after: FORGED_AFTER }),
            (AirFault::Wormhole, Plan::Wormhole { after: HELD_BACK }),
        ];
        for (fault, plan) in plans {
            if share(fault) > 0.0 {
                field.attack(Attacker {
                    ear: Position::new(150.0, 100.0),
                    antenna: Position::new(150.0, 100.0),
                    power_dbm: ATTACKER_DBM,
                    plan,
                    share: share(fault),
                    from: Duration::ZERO,
                    until: Duration::MAX,
                });
            }
        }
        Ok(field)
    }

    /// Says how the nodes are brought to life; where the configuration that was there has no such nodes, writes down what it
    /// lacks.
    pub(super) fn introduce(&self, folder: &Path, speed: f64, style: Style) -> anyhow::Result<()> {
        let config = fs::read_to_string(folder.join("kengele.toml"))
            .with_context(|| format!("cannot read {}/kengele.toml", folder.display()))?;
        let lacking = self
            .farms()
            .names()
            .chain(FIELD_NODES.map(str::to_owned))
            .filter(|name| !config.contains(&format!("[node.{name}.wf1]")))
            .count();
        let place = folder.display();
        let mut lines = vec![format!(
            "radio:    {place}/radio.sock, {} and {} in the field",
            FIELD_NODES.join(", "),
            print::count(self.nodes, "soil sensor")
        )];
        if lacking > 0 {
            let path = folder.join(LACKING);
            let socket = folder.join("radio.sock");
            let radio = village::Radio {
                socket: &socket,
                confirms: speed <= village::CONFIRMS_UP_TO,
                farms: self.farms(),
            };
            fs::write(&path, village::radio_toml(&radio))
                .with_context(|| format!("cannot write {}", path.display()))?;
            lines.push(format!(
                "          {place}/kengele.toml was there, and lacks {lacking} of them: take over what {place}/{LACKING} says"
            ));
        }
        let codes = self.codes(folder).path;
        lines.push(format!(
            "          kengele node add --all --codes {} -c {place}/kengele.toml lets them live",
            codes.display()
        ));
        if !style.json {
            for line in &lines {
                print::line(line);
            }
        }
        Ok(())
    }
}

/// The file of codes, and which of its lines have been obeyed.
pub(super) struct Codes {
    path: PathBuf,
    taken: BTreeSet<String>,
}

impl Codes {
    /// Returns the whole lines that are new.
    pub(super) fn news(&mut self) -> anyhow::Result<Vec<String>> {
        let cannot = || format!("cannot read {}", self.path.display());
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > CODES_BYTES_MAX => {
                anyhow::bail!("{} is no file of codes: it is too long", self.path.display())
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(cannot),
        }
        let text = fs::read_to_string(&self.path).with_context(cannot)?;
        // The last line may still be in the writing.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.filter(|line| self.taken.insert((*line).to_owned())).map(str::to_owned).collect())
    }
}

/// Asks the gateway of a configuration, if it runs, what frames it refused: by reason, how many.
pub(super) async fn refused(config: &Path) -> Option<BTreeMap<String, u64>> {
    let socket = convert::places(config).ok()?.socket;
    let asked = control::ask(&socket, &Question::Status);
    let status = tokio::time::timeout(ANSWER_WITHIN, asked).await.ok()?.ok()?;
    let refused = status.pointer("/radio/refused")?.as_object()?;
    let count = |(reason, count): (&String, &Value)| Some((reason.clone(), count.as_u64()?));
    Some(refused.iter().filter_map(count).collect())
}

/// Shows what the air saw, and what the gateway refused of it, if that is known.
pub(super) fn show(saw: &Saw, refused: Option<&BTreeMap<String, u64>>, style: Style) {
    let missed = |reasons: &[Reason]| -> u64 {
        reasons.iter().filter_map(|reason| saw.gateway.missed.get(reason)).sum()
    };
    let clashes = missed(&[Reason::Clash, Reason::Busy]);
    let jammed = missed(&[Reason::Jammed]);
    let (weak, chance) = (missed(&[Reason::Weak]), missed(&[Reason::Chance]));
    let turned = missed(&[Reason::Left]);
    // What it was late for began while it was deaf, or was let go before.
    let all = missed(&Reason::ALL) - missed(&[Reason::Late]);
    let other = all - clashes - jammed - weak - chance - turned;
    let nodes_missed: u64 = saw.nodes.missed.values().sum();
    let deeds = saw.deeds;
    if style.json {
        let reasons = saw.gateway.missed.iter().map(|(reason, count)| (reason.as_str(), count));
        let reasons: BTreeMap<&str, &u64> = reasons.collect();
        let event = json!({
            "event": "radio", "field_nodes": saw.lives,
            "sent": { "nodes": saw.nodes.sent, "gateway": saw.gateway.sent, "attackers": deeds.sent },
            "gateway": {
                "heard": saw.gateway.heard, "missed": reasons, "deaf": saw.gateway.deaf, "refused": refused,
            },
            "nodes": { "heard": saw.nodes.heard, "missed": nodes_missed },
            "attackers": {
                "heard": deeds.heard, "jammed": deeds.jammed, "replayed": deeds.sent - deeds.forged,
                "forged": deeds.forged, "let_go": deeds.let_go,
            },
            "no_room": saw.refused, "sights_missed": saw.sights_missed,
        });
        return print::line(&event.to_string());
    }
    print::line(&format!(
        "radio: {} by {}, {} by the gateway; attackers sent {} again and forged {}",
        print::count(saw.nodes.sent, "frame"),
        print::count(saw.lives, "field node"),
        saw.gateway.sent,
        deeds.sent - deeds.forged,
        deeds.forged
    ));
    print::line(&format!(
        "  the gateway's chip got {} whole, and missed {all}: {clashes} by collision, {jammed} jammed, {weak} too weak, \
         {chance} by chance, {turned} because it turned to sending, {other} otherwise; {} began while it sent or did not \
         listen",
        saw.gateway.heard, saw.gateway.deaf
    ));
    match refused {
        Some(refused) if refused.is_empty() => print::line("  the gateway refused none of them"),
        Some(refused) => {
            let reasons = refused.iter().map(|(reason, count)| format!("{count} {reason}"));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            print::line(&format!("  the gateway refused: {reasons}"));
        }
        None => print::line("  what the gateway refused is not known: it does not answer"),
    }
    print::line(&format!(
        "  field nodes got {}, and missed {nodes_missed}; attackers heard {} and jammed {}",
        saw.nodes.heard, deeds.heard, deeds.jammed
    ));
    if saw.refused + deeds.let_go + saw.sights_missed > 0 {
        print::line(&format!(
            "  the simulation had no room for {} on the air, {} of an attacker, {} of a siren",
            print::count(saw.refused, "frame"),
            print::count(deeds.let_go, "frame"),
            print::count(saw.sights_missed, "change")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn codes_are_read_once_each_as_the_file_grows() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("codes");
        let mut codes = Codes { path: path.clone(), taken: BTreeSet::new() };
        assert!(codes.news().unwrap().is_empty());
        fs::write(&path, "shamba-001 WF1:A\nshamba-002 WF").unwrap();
        assert_eq!(codes.news().unwrap(), ["shamba-001 WF1:A"]);
        fs::write(&path, "shamba-001 WF1:A\nshamba-002 WF1:B\n\n").unwrap();
        assert_eq!(codes.news().unwrap(), ["shamba-002 WF1:B"]);
        assert!(codes.news().unwrap().is_empty());
    }
}
