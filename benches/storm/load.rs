//! Nodes that publish at QoS 1, written by hand so that the load costs little: MQTT 3.1.1, one connection a node.

use super::site::{Arrivals, alarm_name, node_name};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections that are being set up at a time.
const CONNECTING: usize = 200;
/// How long the last acknowledgements and texts are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Load {
    /// Connections, each a node.
    pub(crate) nodes: usize,
    /// Publications of a node that may await their acknowledgement.
    pub(crate) window: usize,
    /// Publications a second of all nodes together; `None` is as fast as it goes.
    pub(crate) rate: Option<u64>,
    /// Nodes that cross a danger threshold, evenly over the time.
    pub(crate) crossings: usize,
    pub(crate) length: Duration,
}

pub(crate) struct Storm {
    /// Publications acknowledged.
    pub(crate) acked: u64,
    /// From the first publication to the last acknowledgement.
    pub(crate) took: Duration,
    pub(crate) told: Told,
}

/// How long something took, of `count` times: for a crossing, from its publication to its text at the provider.
#[derive(Clone, Copy, Default)]
pub(crate) struct Told {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    pub(crate) count: usize,
}

impl Load {
    pub(crate) fn run(&self, mqtt: SocketAddr, arrivals: &Arrivals) -> Storm {
        let connections = connect(mqtt, self.nodes);
        let alarms = connect(mqtt, 1);
        let (acked, took, crossed) = runtime().block_on(self.publish(connections, alarms));
        Storm { acked, took, told: told(arrivals, &crossed) }
    }

    async fn publish(
        &self,
        connections: Vec<std::net::TcpStream>,
        mut alarms: Vec<std::net::TcpStream>,
    ) -> (u64, Duration, Vec<Instant>) {
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        let pause = self.rate.map(|rate| Duration::from_secs_f64(self.nodes as f64 / rate as f64));
        for (number, stream) in connections.into_iter().enumerate() {
            let stream = TcpStream::from_std(stream).unwrap();
            let (window, length, nodes) = (self.window, self.length, self.nodes);
            tasks.spawn(async move {
                match pause {
                    None => full_speed(stream, number, window, begin + length).await,
                    Some(pause) => {
                        let phase = pause.mul_f64(number as f64 / nodes as f64);
                        paced(stream, number, begin + phase, pause, begin + length).await
                    }
                }
            });
        }
        let mut crossed = Vec::new();
        if self.crossings > 0 {
            let stream = TcpStream::from_std(alarms.remove(0)).unwrap();
            crossed = cross(stream, self.crossings, self.length).await;
        }
        let mut acked = crossed.len() as u64;
        while let Some(count) = tasks.join_next().await {
            acked += count.unwrap();
        }
        (acked, begin.elapsed(), crossed)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Connects so many nodes; what they connected with stays open as long as the streams.
pub(crate) fn connect(mqtt: SocketAddr, count: usize) -> Vec<std::net::TcpStream> {
    runtime().block_on(async move {
        let mut streams = Vec::with_capacity(count);
        let mut tasks = JoinSet::new();
        for number in 0..count {
            if tasks.len() == CONNECTING {
                streams.push(tasks.join_next().await.unwrap().unwrap());
            }
            tasks.spawn(connect_one(mqtt, number));
        }
        streams.extend(tasks.join_all().await);
        streams
    })
}

async fn connect_one(mqtt: SocketAddr, number: usize) -> std::net::TcpStream {
    let mut stream = TcpStream::connect(mqtt).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let id = format!("bench-{number}-{}", stream.local_addr().unwrap().port());
    let mut packet = vec![0x10, u8::try_from(12 + id.len()).unwrap()];
    packet.extend_from_slice(b"\x00\x04MQTT\x04\x02\x00\x00\x00");
    packet.push(u8::try_from(id.len()).unwrap());
    packet.extend_from_slice(id.as_bytes());
    stream.write_all(&packet).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK");
    stream.into_std().unwrap()
}

/// Appends a PUBLISH with QoS 1.
pub(crate) fn publication(packet: &mut Vec<u8>, node: &str, id: u16, centimetres: u32) {
    let topic = format!("f/{node}/up");
    let payload = format!("{{\"level\":{centimetres}}}");
    packet.push(0x32);
    packet.push(u8::try_from(2 + topic.len() + 2 + payload.len()).unwrap());
    packet.extend_from_slice(&u16::try_from(topic.len()).unwrap().to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(payload.as_bytes());
}

/// A level that walks to and fro well below every threshold.
pub(crate) fn calm(node: usize, count: u64) -> u32 {
    80 + u32::try_from((node as u64 * 7 + count * 3) % 40).unwrap()
}

async fn full_speed(mut stream: TcpStream, node: usize, window: usize, until: Instant) -> u64 {
    let name = node_name(node);
    let (mut sent, mut acked, mut id) = (0_u64, 0_u64, 0_u16);
    let mut packets = Vec::new();
    let mut answers = vec![0; 4 * window];
    let mut part = 0;
    loop {
        packets.clear();
        if Instant::now() < until {
            while sent - acked < window as u64 {
                id = id % 60_000 + 1;
                publication(&mut packets, &name, id, calm(node, sent));
                sent += 1;
            }
        }
        if sent == acked {
            return acked;
        }
        stream.write_all(&packets).await.unwrap();
        let got = tokio::time::timeout(PATIENCE, stream.read(&mut answers)).await;
        let got = got.expect("an acknowledgement in time").unwrap();
        assert!(got > 0, "the gateway closed the connection of {name}");
        part += got;
        acked += part as u64 / 4;
        part %= 4;
    }
}

async fn paced(
    mut stream: TcpStream,
    node: usize,
    begin: Instant,
    pause: Duration,
    until: Instant,
) -> u64 {
    let name = node_name(node);
    let mut ticks = tokio::time::interval_at(begin.into(), pause);
    let mut acked = 0;
    let mut packet = Vec::new();
    while Instant::now() < until {
        ticks.tick().await;
        packet.clear();
        publication(
            &mut packet,
            &name,
            u16::try_from(acked % 60_000).unwrap() + 1,
            calm(node, acked),
        );
        stream.write_all(&packet).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        acked += 1;
    }
    acked
}

/// Lets one node after the other cross its threshold; returns when each did.
async fn cross(mut stream: TcpStream, crossings: usize, length: Duration) -> Vec<Instant> {
    let mut crossed = Vec::with_capacity(crossings);
    // The first half second belongs to the load alone.
    let begin = Instant::now() + Duration::from_millis(500);
    let pause = (length - Duration::from_secs(1)) / u32::try_from(crossings).unwrap();
    let mut ticks = tokio::time::interval_at(begin.into(), pause);
    for alarm in 0..crossings {
        ticks.tick().await;
        let mut packet = Vec::new();
        publication(&mut packet, &alarm_name(alarm), u16::try_from(alarm).unwrap() + 1, 400);
        crossed.push(Instant::now());
        stream.write_all(&packet).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
    }
    crossed
}

fn told(arrivals: &Arrivals, crossed: &[Instant]) -> Told {
    let until = Instant::now() + PATIENCE;
    let arrived = |alarm: usize| arrivals.lock().unwrap()[alarm];
    while (0..crossed.len()).any(|alarm| arrived(alarm).is_none()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let waited = |(alarm, at): (usize, &Instant)| Some(arrived(alarm)?.duration_since(*at));
    Told::of(crossed.iter().enumerate().filter_map(waited).collect())
}

impl Told {
    pub(crate) fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort();
        // Of n sorted waits, the one that at least so many of a hundred are no longer than.
        let quantile = |percent: usize| {
            let place = (waits.len() * percent).div_ceil(100);
            waits.get(place.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: quantile(50), p99: quantile(99), max: quantile(100), count: waits.len() }
    }
}
