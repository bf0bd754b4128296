//! A modem of changing moods: whatever it does, what is claimed of each text is true of that text.

use super::peer::{Peer, PeerState, Say, Script, ordinary, take, text};
use super::*;
use kengele::wire::tpdu::{Submit, from_hex, split_smsc};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// What the modem does with a text. It may be silent, late, garbled or restarted, but it does not lie.
const MOODS: [fn(&str, &mut PeerState) -> Vec<Say>; 12] = [
    ordinary,
    ordinary,
    |_, _| Vec::new(),
    |command, state| nothing(take(command, state)),
    |command, state| late(format!("\r\n+CMGS: {}\r\n\r\nOK\r\n", take(command, state))),
    |_, _| late("\r\n+CMS ERROR: 38\r\n".to_owned()),
    |_, _| text("\r\n+CMS ERROR: 42\r\n"),
    |command, state| {
        take(command, state);
        vec![Say::Bytes(b"\xfe\x00+C#GS: \x80\r\nO".to_vec())]
    },
    |_, state| restart(state),
    |command, state| {
        take(command, state);
        restart(state)
    },
    |_, _| text("\r\nOK\r\n"),
    |command, state| text(&format!("\r\n+CMGS: {}\r\n", take(command, state))),
];

fn nothing(_reference: u8) -> Vec<Say> {
    Vec::new()
}

/// Said after the driver has given up; meanwhile nothing else is worked off, as modems work in order.
fn late(said: String) -> Vec<Say> {
    vec![Say::Later(Duration::from_millis(500)), Say::Text(said)]
}

fn restart(state: &mut PeerState) -> Vec<Say> {
    (state.echo, state.text_mode) = (true, true);
    text("\r\nRDY\r\n")
}

fn moody(seed: u64) -> Script {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = move |sides: usize| usize::try_from(random.next_u32()).unwrap_or(0) % sides;
    Box::new(move |command, state| {
        if command.starts_with("SEND ") {
            let mood = MOODS.iter().cycle().nth(draw(MOODS.len()));
            return mood.map(|mood| mood(command, state));
        }
        // Now and then the prompt is refused, or does not come.
        match (command.starts_with("AT+CMGS="), draw(8)) {
            (true, 0) => Some(text("\r\nERROR\r\n")),
            (true, 1) => Some(Vec::new()),
            _ => None,
        }
    })
}

/// Returns the texts that the network has.
fn texts(peer: &Peer) -> Vec<String> {
    let state = peer.state();
    let read = |pdu: &String| {
        let octets = from_hex(pdu).expect("digits");
        let (_, tpdu) = split_smsc(&octets).expect("a service centre, or none");
        Submit::decode(tpdu).expect("a SUBMIT").data.to_text().expect("a text")
    };
    state.took.iter().map(read).collect()
}

async fn live_with(seed: u64) -> [usize; 3] {
    let peer = Peer::new(moody(seed));
    let mut settings = settings(&peer.port);
    let ms = Duration::from_millis;
    let times = &mut settings.times;
    (times.result, times.late, times.restart_grace) = (ms(250), ms(50), ms(50));
    (times.prompt, times.wake, times.answer) = (ms(250), ms(150), ms(300));
    let mut rig = Rig::start(settings);
    let mut counts = [0; 3];
    for number in 0..14 {
        rig.wait_state("ready", |state| *state == State::Ready).await;
        let words = format!("seed {seed} text {number}");
        let submitted = rig.submit(TO, &words).await;
        let has = texts(&peer).iter().filter(|text| **text == words).count();
        let claim = format!("seed {seed}, text {number}: {submitted:?}, the network has {has}");
        match submitted {
            Submitted::Accepted { .. } => {
                assert_eq!(has, 1, "{claim}");
                counts[0] += 1;
            }
            Submitted::Unknown { .. } => {
                assert!(has <= 1, "{claim}");
                counts[1] += 1;
            }
            Submitted::Retry { .. }
            | Submitted::Rejected { .. }
            | Submitted::ChannelDown { .. } => {
                assert_eq!(has, 0, "{claim}");
                counts[2] += 1;
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_modem_does_what_is_claimed_of_each_text_is_true() {
    let lives = tokio::join!(
        live_with(1),
        live_with(2),
        live_with(3),
        live_with(4),
        live_with(5),
        live_with(6)
    );
    let mut sum = [0; 3];
    for life in [lives.0, lives.1, lives.2, lives.3, lives.4, lives.5] {
        for (sum, one) in sum.iter_mut().zip(life) {
            *sum += one;
        }
    }
    assert!(sum.iter().all(|count| *count >= 5), "accepted, unknown, stayed: {sum:?}");
}
