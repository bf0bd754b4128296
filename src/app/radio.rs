//! What radio nodes and the gateways that hear them are told, from the configuration.

use super::convert::{codec_map, secret};
use crate::config::{self, Config};
use crate::domain::airtime::Plan;
use crate::domain::quantity::Quantity;
use crate::domain::rule::NodeIndex;
use crate::pipeline::{self, Link, LinkNode, LorawanNode};
use crate::source::{lora, semtech_udp};
use crate::wire::text::{self, Encoding};
use crate::wire::{lorawan, sealed, sealed_quantity};
use anyhow::Context;
use std::path::Path as FilePath;

/// Name of the source that is this gateway's own radio.
pub const RADIO: &str = "radio";

/// Name of the file in the data folder that keeps what the radio has sent.
const AIRTIME: &str = "airtime";

/// Returns the nodes of our own radio link, without what the database has of them.
pub(super) fn link(config: &Config) -> anyhow::Result<Link> {
    let schema = |name: &str| {
        let report = config.reports.iter().find(|report| report.name == name);
        let report = report.with_context(|| format!("report {name}"))?;
        let field = |field: &config::ReportField| sealed::Field {
            quantity: sealed_quantity::number(field.quantity),
            min_milli: field.min_milli,
            step_milli: field.step_milli,
            bits: field.bits,
        };
        let fields: Vec<sealed::Field> = report.fields.iter().map(field).collect();
        sealed::Schema::new(&fields).map_err(|error| anyhow::anyhow!("report {name}: {error}"))
    };
    let one = |of: &config::LinkNode| -> anyhow::Result<LinkNode> {
        let node = config.rules.nodes.get(of.place).context("a node of the link is gone")?;
        let of_battery = |quantity| quantity == Quantity::BatteryVoltage;
        let schema = schema(&of.report)?;
        let reports_battery =
            schema.fields().iter().any(|f| sealed_quantity::of(f.quantity).is_some_and(of_battery));
        Ok(LinkNode {
            node: NodeIndex(u32::try_from(of.place).context("too many nodes")?),
            name: node.name.to_string(),
            listens: match of.listens {
                config::LinkListens::Never => sealed::Listens::Never,
                config::LinkListens::AfterItsFrames => sealed::Listens::AfterItsFrames,
                config::LinkListens::Always => sealed::Listens::Always,
            },
            schema,
            has_battery: !reports_battery && node.sensors.iter().any(|s| of_battery(s.quantity)),
        })
    };
    let nodes = config.link_nodes.iter().map(one).collect::<anyhow::Result<_>>()?;
    Ok(Link { source: RADIO.into(), nodes })
}

/// Returns the LoRaWAN devices, with their keys.
pub(super) fn lorawan(config: &Config) -> anyhow::Result<Option<pipeline::Lorawan>> {
    let Some(settings) = &config.lorawan else { return Ok(None) };
    let region = lorawan::Region::from_word(&settings.region)
        .with_context(|| format!("region {}", settings.region))?;
    let network = lorawan::Network {
        net_id: settings.net_id,
        rx1_delay_s: settings.rx1_delay_s,
        sub_band: settings.sub_band,
        ..lorawan::Network::new(lorawan::Plan::new(region))
    };
    let device = |node: &config::LorawanNode| -> anyhow::Result<LorawanNode> {
        let codec = config.codecs.iter().find(|codec| codec.name == node.codec);
        let codec = codec.with_context(|| format!("codec {}", node.codec))?;
        let activation = match &node.activation {
            config::Activation::Joins { dev_eui, join_eui, app_key_file } => {
                lorawan::Activation::Otaa {
                    join_eui: lorawan::Eui(*join_eui),
                    dev_eui: lorawan::Eui(*dev_eui),
                    app_key: radio_key(app_key_file)?,
                }
            }
            config::Activation::Fixed { dev_addr, nwk_s_key_file, app_s_key_file } => {
                lorawan::Activation::Abp {
                    dev_addr: lorawan::DevAddr(*dev_addr),
                    nwk_s_key: radio_key(nwk_s_key_file)?,
                    app_s_key: radio_key(app_s_key_file)?,
                }
            }
        };
        let profile = lorawan::Profile {
            version: match node.version {
                config::LorawanVersion::V1_0_2 => lorawan::Version::V1_0_2,
                config::LorawanVersion::V1_0_3 => lorawan::Version::V1_0_3,
                config::LorawanVersion::V1_0_4 => lorawan::Version::V1_0_4,
            },
            activation,
            counter_reset: match node.counter_reset {
                config::CounterReset::Never => lorawan::CounterReset::Never,
                config::CounterReset::Once => lorawan::CounterReset::Once,
                config::CounterReset::Always => lorawan::CounterReset::Always,
            },
            data_rate: node.data_rate,
        };
        let index = NodeIndex(u32::try_from(node.place).context("too many nodes")?);
        Ok(LorawanNode { node: index, profile, codec: codec_map(codec) })
    };
    let devices = config.lorawan_nodes.iter().map(device).collect::<anyhow::Result<_>>()?;
    Ok(Some(pipeline::Lorawan { network, devices }))
}

/// Reads a key of a radio node: 32 hexadecimal digits.
fn radio_key(path: &FilePath) -> anyhow::Result<lorawan::Key> {
    let written = secret(path)?;
    let bytes = text::decode(Encoding::Hex, written.as_bytes()).ok();
    let key = bytes.and_then(|bytes| <[u8; 16]>::try_from(&*bytes).ok());
    let key =
        key.with_context(|| format!("{} does not hold 32 hexadecimal digits", path.display()))?;
    Ok(lorawan::Key::new(key))
}

/// Returns what the source of packet forwarders is told; `lorawan` names the plan that their downlinks keep to.
#[must_use]
pub fn semtech_udp(
    settings: &config::SemtechUdp,
    lorawan: Option<&config::Lorawan>,
    data: &FilePath,
) -> semtech_udp::Settings {
    semtech_udp::Settings {
        listen: settings.listen,
        gateways: settings.gateways.iter().map(|eui| lorawan::Eui(*eui)).collect(),
        power_dbm: i8::try_from(settings.power_dbm).unwrap_or(i8::MAX),
        plan: lorawan.and_then(|lorawan| Plan::named(&lorawan.region)),
        airtime_per_hour: settings.airtime_per_hour,
        records: Some(data.to_path_buf()),
    }
}

/// Returns what the gateway's own radio is told.
#[must_use]
pub fn own(settings: &config::Radio, data: &FilePath) -> lora::Settings {
    let (bus, circuit) = match &settings.bus {
        config::RadioBus::Wired(wiring) => {
            let wires = lora::Wires {
                spi: wiring.spi.clone(),
                gpio: wiring.gpio.clone(),
                reset: wiring.reset,
                busy: wiring.busy,
                irq: wiring.irq,
                dio1: wiring.dio1,
                rf_rx: wiring.rf_rx,
                rf_tx: wiring.rf_tx,
                enable: wiring.enable.clone(),
            };
            let circuit = lora::Circuit {
                chip: chip(wiring.chip),
                dio2_switch: wiring.dio2_switch,
                tcxo_mv: wiring.tcxo_mv,
                power_max_dbm: i32::from(wiring.power_max).min(power_max(wiring.chip)),
                amplifier_db: i32::from(wiring.amplifier_db),
            };
            (lora::Bus::Wired(wires), circuit)
        }
        config::RadioBus::Socket { path, chip: emulated } => {
            let circuit = lora::Circuit {
                chip: chip(*emulated),
                dio2_switch: true,
                tcxo_mv: None,
                power_max_dbm: power_max(*emulated),
                amplifier_db: 0,
            };
            (lora::Bus::Linked(path.clone()), circuit)
        }
    };
    lora::Settings {
        link: RADIO.into(),
        bus,
        circuit,
        frequency_hz: settings.frequency_hz,
        modulation: settings.modulation,
        plan: settings.plan,
        power_dbm: settings.power_dbm.map_or(i32::MAX, i32::from),
        antenna_dbi: settings.antenna_dbi,
        record: Some(data.join(AIRTIME)),
    }
}

const fn chip(chip: config::Chip) -> lora::Chip {
    match chip {
        config::Chip::Sx1261 => lora::Chip::Sx1261,
        config::Chip::Sx1262 | config::Chip::Sx1268 => lora::Chip::Sx1262,
        config::Chip::Sx1276 | config::Chip::Sx1277 | config::Chip::Sx1278 => lora::Chip::Sx1276,
    }
}

/// What the driver can be told at the most, dBm: beyond 17 its arithmetic for an SX1276 overflows.
const fn power_max(of: config::Chip) -> i32 {
    match chip(of) {
        lora::Chip::Sx1261 => 15,
        lora::Chip::Sx1262 => 22,
        lora::Chip::Sx1276 => 17,
    }
}
