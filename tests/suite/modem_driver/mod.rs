//! The modem driver against modems: a scripted one that fails to the byte, and the simulator with all its faults.

mod inbound;
mod moods;
mod peer;
mod personalities;
mod scripted;
mod simulator;

use kengele::channel::modem::{Line, Modem, Request, Settings, State, Times};
use kengele::domain::message::{DeliveryId, Priority, Submission, Submitted};
use kengele::domain::time::Timestamp;
use kengele::supervise::Tasks;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// Somebody.
const TO: &str = "+243810000001";

/// Longest that any state is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits that are long enough for a busy machine; a test that needs one to run out shortens it.
fn times() -> Times {
    let ms = Duration::from_millis;
    Times {
        answer: ms(2_000),
        wake: ms(500),
        quiet: ms(20),
        escape_guard: ms(30),
        prompt: ms(2_000),
        result: ms(10_000),
        late: ms(100),
        restart_grace: ms(100),
        segment_retry: ms(20),
        sim: ms(1_000),
        poll: ms(50),
        sweep: ms(60_000),
        segments_wait: ms(60_000),
        registration: ms(60_000),
        boot: ms(100),
        power_cycle: ms(5_000),
        reopen_min: ms(10),
        reopen_max: ms(100),
        down_retry: ms(1_000),
        ussd: ms(5_000),
        self_test: ms(10_000),
    }
}

fn settings(port: &Path) -> Settings {
    Settings { times: times(), texts_per_minute: 60_000, ..Settings::new("test", port.to_owned()) }
}

/// A driver that runs.
struct Rig {
    line: Line,
    tasks: Tasks,
}

impl Rig {
    fn start(settings: Settings) -> Self {
        let start = Instant::now();
        let now = move || {
            Timestamp::from_millis(
                i64::try_from(start.elapsed().as_millis()).expect("a short test"),
            )
        };
        let (modem, line) = Modem::new(settings, Arc::new(now));
        let mut tasks = Tasks::default();
        let stop = tasks.stop_signal();
        tasks.spawn("modem", modem.run(stop));
        Self { line, tasks }
    }

    async fn ready(settings: Settings) -> Self {
        let mut rig = Self::start(settings);
        rig.wait_state("ready", |state| *state == State::Ready).await;
        rig
    }

    async fn wait_state(&mut self, what: &str, is: impl Fn(&State) -> bool) {
        let seen =
            timeout(PATIENCE, self.line.health.wait_for(|health| is(&health.state))).await.is_ok();
        assert!(seen, "modem never {what}: {:?}", self.line.health.borrow());
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
        let (reply, answer) = oneshot::channel();
        self.line.requests.send(request(reply)).await.expect("the modem's task lives");
        timeout(PATIENCE, answer).await.expect("an answer in time").expect("an answer")
    }

    async fn submit(&self, to: &str, text: &str) -> Submitted {
        let submission = submission(to, text);
        self.ask(|reply| Request::Submit { submission, reply }).await
    }

    async fn stop(mut self) {
        self.tasks.stop();
        let ended = timeout(PATIENCE, self.tasks.next_ended()).await.expect("the task ends");
        assert!(
            ended.is_some_and(|ended| ended.failure.is_none()),
            "the task ends without a failure"
        );
    }
}

fn submission(to: &str, text: &str) -> Submission {
    Submission {
        delivery: DeliveryId(1),
        to: to.to_owned(),
        text: text.to_owned(),
        validity: Duration::from_hours(1),
        priority: Priority::Danger,
        idempotency_key: "key".to_owned(),
        flash: false,
    }
}

fn accepted(references: &[&str]) -> Submitted {
    Submitted::Accepted {
        references: references.iter().map(|reference| (*reference).to_owned()).collect(),
    }
}

async fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what}: not in time");
        sleep(Duration::from_millis(5)).await;
    }
}
