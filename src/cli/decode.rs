//! Reading payloads by hand, as the gateway would.

use super::Failure;
use super::print::{self, Style};
use anyhow::{Context, anyhow};
use bytes::Bytes;
use kengele::app::clock::Clocks;
use kengele::app::convert;
use kengele::domain::frame::{Frame, Origin};
use kengele::domain::reading::{Measurement, Stamp};
use kengele::domain::time::ClockQuality;
use kengele::pipeline::{Decoded, Decoder};
use kengele::wire::cayenne_lpp;
use kengele::wire::javascript::{self, Script};
use kengele::wire::payload::{About, PayloadMap};
use kengele::wire::text::{self, Encoding};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
Examples:
  kengele decode --kind cayenne_lpp 03670110056700FF    every item of a Cayenne LPP payload
  kengele decode --codec kipimo --port 2 04D2           by a [codec.NAME] of the configuration
  kengele decode --codec kipimo --base64 BNI=
  kengele decode --script milesight.js --port 85 01755C    what a maker's JavaScript makes of it
  mosquitto_sub -t 'application/#' -C 1 | kengele decode --topic application/7/device/0101010101010101/event/up";

#[derive(Debug, clap::Args)]
pub(crate) struct Decode {
    /// Payloads in hex; without any, standard input holds one
    payload: Vec<String>,
    /// Read by this [codec.NAME] of the configuration
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kind", "topic", "script"])]
    codec: Option<String>,
    /// Read as this, without a configuration
    #[arg(long, value_parser = ["cayenne_lpp"], conflicts_with = "topic")]
    kind: Option<String>,
    /// Read by this file of JavaScript, without a configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["codec", "kind", "topic"])]
    script: Option<PathBuf>,
    /// Read as a publication on this topic: the payload stands as it is published
    #[arg(long)]
    topic: Option<String>,
    /// The broker that brought the publication
    #[arg(long, value_name = "BROKER", default_value = "listener", requires = "topic")]
    from: String,
    /// Payloads are in base64, not in hex
    #[arg(long, conflicts_with = "topic")]
    base64: bool,
    /// The port on which a LoRaWAN device sent it
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=255), conflicts_with = "topic")]
    port: Option<u8>,
}

/// What one payload says.
struct Said {
    node: Option<String>,
    values: Vec<(String, Value, String)>,
    stamp: Option<i64>,
    troubles: Vec<String>,
}

pub(crate) fn run(config: &Path, decode: &Decode, style: Style) -> Result<(), Failure> {
    let payloads = payloads(decode)?;
    let reader = Reader::of(config, decode)?;
    let mut failed = 0;
    let mut all = Vec::new();
    for (written, bytes) in payloads {
        let said = bytes.and_then(|bytes| reader.read(&bytes));
        failed += usize::from(said.is_err());
        if style.json {
            all.push(said.map_or_else(|error| json!({ "error": error.to_string() }), |s| s.json()));
            continue;
        }
        match said {
            Ok(said) => said.show(style),
            Err(error) => {
                print::line(&format!("{written}: {}", style.paint("31", &error.to_string())));
            }
        }
    }
    if style.json {
        print::json(&Value::Array(all));
    }
    match failed {
        0 => Ok(()),
        count => Err(Failure::Failed(anyhow!("{} cannot be read", print::count(count, "payload")))),
    }
}

type Payload = (String, anyhow::Result<Vec<u8>>);

/// Returns the payloads, each as it is written and as bytes.
fn payloads(decode: &Decode) -> Result<Vec<Payload>, Failure> {
    let mut written: Vec<Vec<u8>> =
        decode.payload.iter().map(|payload| payload.clone().into_bytes()).collect();
    if written.is_empty() {
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input).context("cannot read standard input")?;
        written.push(input.trim_ascii().to_vec());
    }
    let encoding = match decode {
        Decode { topic: Some(_), .. } => Encoding::Raw,
        Decode { base64: true, .. } => Encoding::Base64,
        Decode { .. } => Encoding::Hex,
    };
    let read = |written: Vec<u8>| {
        let bytes = text::decode(encoding, &written).map(std::borrow::Cow::into_owned);
        (String::from_utf8_lossy(&written).into_owned(), bytes.map_err(anyhow::Error::from))
    };
    Ok(written.into_iter().map(read).collect())
}

enum Reader {
    CayenneLpp,
    Script { script: Script, port: Option<u8> },
    Codec { map: PayloadMap, port: Option<u8> },
    Topic { rules: Box<kengele::pipeline::Rules>, topic: String, link: String },
}

impl Reader {
    fn of(config: &Path, decode: &Decode) -> Result<Self, Failure> {
        if decode.kind.is_some() {
            return Ok(Self::CayenneLpp);
        }
        if let Some(path) = &decode.script {
            let source = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let script = Script::new(&path.display().to_string(), &source);
            script.check().with_context(|| path.display().to_string())?;
            return Ok(Self::Script { script, port: decode.port });
        }
        if decode.codec.is_none() && decode.topic.is_none() {
            let words = "say how it is read: --codec NAME, --script FILE, --kind cayenne_lpp or --topic TOPIC";
            return Err(Failure::Usage(words.to_owned()));
        }
        let loaded = convert::load(config).map_err(Failure::Wrong)?;
        if let Some(topic) = decode.topic.clone() {
            let rules = Box::new(convert::rules(&loaded)?);
            return Ok(Self::Topic { rules, topic, link: decode.from.clone() });
        }
        let codecs = &loaded.config.codecs;
        let found = codecs.iter().find(|codec| Some(&codec.name) == decode.codec.as_ref());
        let Some(codec) = found else {
            let known: Vec<&str> = codecs.iter().map(|codec| codec.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Failure::Usage(format!("there is no such codec; there are: {known}")));
        };
        Ok(Self::Codec { map: convert::codec_map(codec), port: decode.port })
    }

    fn read(&self, bytes: &[u8]) -> anyhow::Result<Said> {
        let mut found = Vec::new();
        let clocks = Clocks::read();
        let unix_ms = (clocks.quality != ClockQuality::Unset).then_some(clocks.unix_ms);
        match self {
            Self::CayenneLpp => items(bytes),
            Self::Script { script, port } => leaves(&script.decode(bytes, *port, unix_ms)?),
            Self::Codec { map, port } => {
                let about = About { quantity: None, port: *port, unix_ms };
                let troubles = map.decode(bytes, about, &mut found)?;
                Ok(Said::of(None, &found, troubles))
            }
            Self::Topic { rules, topic, link } => {
                let mut decoder = Decoder::new(rules.routes.clone(), &rules.book);
                let origin = Origin::Mqtt {
                    link: link.as_str().into(),
                    client: "".into(),
                    topic: topic.as_str().into(),
                };
                let payload = Bytes::copy_from_slice(bytes);
                let frame = Frame { origin, payload, redelivered: false };
                match decoder.decode(&frame, unix_ms, &mut found) {
                    Decoded::Heard { node, troubles } => {
                        let node = rules.book.nodes.get(node.0 as usize);
                        Ok(Said::of(node.map(|node| node.name.to_string()), &found, troubles))
                    }
                    Decoded::Nothing | Decoded::Downlink { .. } => {
                        Ok(Said::of(None, &[], Vec::new()))
                    }
                    Decoded::NoTemplate => Err(anyhow!("no [[topic]] is of this form")),
                    Decoded::Undeclared => {
                        let heard = decoder.heard().next();
                        let name = heard.map(|heard| heard.node.clone()).unwrap_or_default();
                        Err(anyhow!("node \"{name}\" is not declared"))
                    }
                    Decoded::Unreadable(error) => Err(error.into()),
                }
            }
        }
    }
}

/// Reads every item, wanted or not.
fn items(bytes: &[u8]) -> anyhow::Result<Said> {
    let mut values = Vec::new();
    let read = cayenne_lpp::read(bytes, |item| {
        for (part, value) in item.values() {
            let name = if part.is_empty() { item.to_string() } else { format!("{item}/{part}") };
            values.push((name, json!(value), String::new()));
        }
    });
    match read {
        Err(error) if values.is_empty() => Err(error.into()),
        read => {
            let troubles = read.err().map(|error| error.to_string()).into_iter().collect();
            Ok(Said { node: None, values, stamp: None, troubles })
        }
    }
}

/// Returns every value that a script gives, by its JSON pointer: what a `field` of a codec names.
fn leaves(decoded: &javascript::Decoded) -> anyhow::Result<Said> {
    fn collect(at: &str, value: &Value, values: &mut Vec<(String, Value, String)>) {
        let inner = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| collect(&inner(name), value, values));
            }
            Value::Array(items) => {
                (0..).zip(items).for_each(|(n, value): (usize, _)| {
                    collect(&inner(&n.to_string()), value, values);
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                values.push((at.to_owned(), value.clone(), String::new()));
            }
        }
    }
    let data: Value = serde_json::from_str(&decoded.data)?;
    let mut values = Vec::new();
    collect("", &data, &mut values);
    Ok(Said { node: None, values, stamp: None, troubles: decoded.warnings.clone() })
}

impl Said {
    fn of(node: Option<String>, found: &[Measurement], troubles: Vec<String>) -> Self {
        let value = |measurement: &Measurement| {
            let quantity = measurement.quantity;
            (quantity.to_string(), json!(measurement.value), quantity.symbol().to_owned())
        };
        let stamp = found.iter().find_map(|measurement| match measurement.stamp {
            Some(Stamp::Unix(ms)) => Some(ms),
            Some(Stamp::Age(_)) | None => None,
        });
        Self { node, values: found.iter().map(value).collect(), stamp, troubles }
    }

    fn json(&self) -> Value {
        let value = |(name, value, unit): &(String, Value, String)| json!({ "name": name, "value": value, "unit": unit });
        json!({
            "node": self.node, "unix_ms": self.stamp, "values": self.values.iter().map(value).collect::<Vec<_>>(),
            "troubles": self.troubles,
        })
    }

    fn show(&self, style: Style) {
        if let Some(node) = &self.node {
            let at = self.stamp.map(|ms| format!(" at {}", print::clock(ms))).unwrap_or_default();
            print::line(&format!("node {node}{at}"));
        }
        for (name, value, unit) in &self.values {
            // A script may write anything into its names and texts.
            let shown = text::printable(&format!("  {name} {value} {unit}"), usize::MAX);
            print::line(shown.trim_end());
        }
        if self.values.is_empty() && self.troubles.is_empty() {
            print::line("  no readings");
        }
        for trouble in &self.troubles {
            print::line(&format!("  {}", style.paint("33", trouble)));
        }
    }
}
