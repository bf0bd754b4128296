//! What is asked about nodes of our own radio link, and done with them.

use super::Hands;
use crate::pipeline::{Chance, Command, LinkAnswer, LinkCommand, LinkStatus, NodeHearing};
use crate::wire::sealed::Listens;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What may be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeCommand {
    /// Give it a number and a key.
    Add,
    /// Put other hardware in its place.
    Swap,
    /// Believe it no more.
    Revoke,
    /// Change its key over the air.
    Rekey,
    /// Let it report so often, s.
    Interval(u16),
}

impl Hands {
    /// Says how the nodes are, and which are heard but not declared.
    pub(super) async fn nodes(&self) -> anyhow::Result<Value> {
        let LinkAnswer::Nodes(nodes) = self.link(LinkCommand::List).await? else {
            bail!("the pipeline answered something else")
        };
        Ok(nodes.iter().map(node).collect::<Vec<_>>().into())
    }

    /// Says how a radio node was heard behind a number.
    pub(super) async fn hearings(&self, node: String, behind: u64) -> anyhow::Result<Value> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Hearings(node.clone(), behind, reply);
        self.commands.send(command).await.context("the pipeline has ended")?;
        let heard = answer.await.context("the pipeline has ended")?;
        let heard = heard.with_context(|| format!("there is no node {node}"))?;
        let wall = self.telemetry.clock.wall();
        let one = |heard: &NodeHearing| {
            json!({
                "number": heard.number, "unix_ms": wall.unix_ms(heard.at), "counter": heard.counter,
                "rssi_dbm": heard.rssi_dbm, "snr_db": heard.snr_db, "spreading_factor": heard.spreading_factor,
            })
        };
        Ok(heard.iter().map(one).collect::<Vec<_>>().into())
    }

    /// Does something with a node. Who wanted it stands in the log.
    pub(super) async fn node(
        &self,
        name: String,
        command: NodeCommand,
        asker: &str,
    ) -> anyhow::Result<Value> {
        let wanted = name.clone();
        let answer = self.link(match command {
            NodeCommand::Add => LinkCommand::Add { name, chance: chance()? },
            NodeCommand::Swap => LinkCommand::Swap { name, chance: chance()? },
            NodeCommand::Revoke => LinkCommand::Revoke { name },
            NodeCommand::Rekey => LinkCommand::Rekey { name, chance: chance()? },
            NodeCommand::Interval(seconds) => LinkCommand::Interval { name, seconds },
        });
        let answer = answer.await?;
        tracing::info!(node = wanted, asker, command = ?command, "an operator changes a radio node");
        Ok(match answer {
            LinkAnswer::Code(code) => json!({ "node": wanted, "code": code }),
            LinkAnswer::Nodes(_) | LinkAnswer::Done => json!({ "node": wanted }),
        })
    }

    async fn link(&self, command: LinkCommand) -> anyhow::Result<LinkAnswer> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Link(command, reply))
            .await
            .context("the pipeline has ended")?;
        Ok(answer.await.context("the pipeline has ended")??)
    }
}

/// Draws random bytes from the generator that TLS keys come from.
pub(super) fn chance() -> anyhow::Result<Chance> {
    let mut bytes = [0; 20];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("this machine gives no random bytes"))?;
    let (key, net) = bytes.split_at(16);
    Ok(Chance {
        key: key.try_into().context("16 bytes")?,
        net: u32::from_be_bytes(net.try_into().context("4 bytes")?),
    })
}

fn node(node: &LinkStatus) -> Value {
    let health = node.health.as_ref();
    json!({
        "node": node.name, "number": node.number, "epoch": node.epoch,
        "listens": match node.listens {
            Listens::Never => "never",
            Listens::AfterItsFrames => "after_its_frames",
            Listens::Always => "always",
        },
        "state": if node.number.is_none() { "has no key" } else if node.revoked { "revoked" }
            else if node.rekeying { "changes its key" } else { "in use" },
        "heard_s_ago": node.heard_ago.map(|ago| ago.as_secs()),
        "rssi_dbm": node.signal.map(|(rssi, _)| f64::from(rssi) / 10.0),
        "snr_db": node.signal.map(|(_, snr)| f64::from(snr) / 10.0),
        "battery_mv": health.map(|health| health.battery_mv),
        "firmware": health.map(|health| format!("{}.{}", health.firmware[0], health.firmware[1])),
        "uptime_s": health.map(|health| health.uptime_s), "boots": health.map(|health| health.boots),
        "readings_dropped": health.map(|health| health.dropped),
        "frames_repeated": health.map(|health| health.repeats),
        "orders": node.orders,
    })
}
