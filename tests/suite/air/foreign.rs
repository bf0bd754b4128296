//! Somebody else's driver on the emulated chips: `LoRaRF` from `PyPI`, which knows neither lora-phy nor us.

use super::bench::{MANNER, Radio, radio};
use crate::peers::python;
use kengele::sim::air::{Air, Chip, ChipKind, Position, socket};
use lora_phy::RxMode;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::Command;

const KINDS: [(ChipKind, &str); 2] = [(ChipKind::Sx1262, "sx1262"), (ChipKind::Sx1276, "sx1276")];

/// Half a minute of real time, for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// An emulated chip for the foreign driver on a socket, and one a hundred metres off for ours.
async fn scene(kinds: [ChipKind; 2]) -> (tempfile::TempDir, UnixListener, Chip, Radio, Chip) {
    let air = Air::seeded(1);
    let theirs = air.chip(kinds[0], Position::default());
    let ours = air.chip(kinds[1], Position::new(100.0, 0.0));
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("chip")).unwrap();
    let radio = radio(&ours, false).await.unwrap();
    (folder, listener, theirs, radio, ours)
}

fn peer(folder: &tempfile::TempDir, rest: &[&str]) -> tokio::process::Child {
    let mut command = Command::from(python());
    command.arg("tests/peers/lorarf.py").arg(folder.path().join("chip")).args(rest);
    command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn lora_phy_hears_what_lorarf_sends() {
    for (theirs, name) in KINDS {
        for (kind, _) in KINDS {
            let (folder, listener, chip, mut ours, _) = scene([theirs, kind]).await;
            ours.prepare(MANNER, RxMode::Continuous).await.unwrap();
            let mut peer = peer(&folder, &[name, "send", "6c6576656c20332e34"]);
            let work = async {
                let (heard, ended) = tokio::join!(ours.hear(MANNER), peer.wait());
                assert!(ended.unwrap().success(), "{theirs:?}");
                heard.unwrap()
            };
            let frame = tokio::select! {
                frame = tokio::time::timeout(PATIENCE, work) => frame.unwrap(),
                served = socket::serve(&listener, &chip) => panic!("{served:?}"),
            };
            assert_eq!(frame.payload, b"level 3.4", "{theirs:?} to {kind:?}");
            assert!((-94..=-90).contains(&frame.rssi), "{theirs:?} to {kind:?}: {frame:?}");
            assert_eq!(chip.faults().total(), 0, "{theirs:?}: {:?}", chip.faults());
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn lorarf_hears_what_lora_phy_sends() {
    for (theirs, name) in KINDS {
        for (kind, _) in KINDS {
            let (folder, listener, chip, mut ours, _) = scene([theirs, kind]).await;
            let mut peer = peer(&folder, &[name, "hear"]);
            let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
            let work = async {
                assert_eq!(lines.next_line().await.unwrap().unwrap(), "listening", "{theirs:?}");
                ours.send(MANNER, b"siren on").await.unwrap();
                lines.next_line().await.unwrap().unwrap()
            };
            let heard = tokio::select! {
                heard = tokio::time::timeout(PATIENCE, work) => heard.unwrap(),
                served = socket::serve(&listener, &chip) => panic!("{served:?}"),
            };
            let words: Vec<&str> = heard.split(' ').collect();
            assert_eq!(words[..2], ["heard", "736972656e206f6e"], "{kind:?} to {theirs:?}");
            let (rssi, snr): (i32, i32) = (words[2].parse().unwrap(), words[3].parse().unwrap());
            // On an SX1276 it leaves out the factor 16/15 of the data sheet's §5.5.5, which is 4 dB here.
            let expected = if theirs == ChipKind::Sx1276 { -98..=-94 } else { -94..=-90 };
            assert!(expected.contains(&rssi), "{kind:?} to {theirs:?}: {heard}");
            assert_eq!(snr, 12, "{kind:?} to {theirs:?}");
            assert_eq!(chip.faults().total(), 0, "{theirs:?}: {:?}", chip.faults());
        }
    }
}
