//! The life of a node on a board: asks the logic what to do, does it, tells how it went.

use crate::app::App;
use crate::event::{Action, Event, Listen, Measured, NotSent};
use crate::flash::Flash;
use crate::plan::Plan;
use crate::radio::{Mode, Radio, Unheard};
use core::pin::pin;
use core::task::Poll;

/// What the logic needs of a board beside flash and radio.
pub trait Board {
    /// Returns the uptime, ms. It never goes back.
    fn now_ms(&self) -> u64;

    /// Waits until then; may return early.
    fn sleep_until(&self, until_ms: u64) -> impl Future<Output = ()>;

    /// Measures each field of the plan as often as its filter says, and the battery.
    fn measure(&mut self, plan: &Plan<'_>) -> impl Future<Output = Measured>;

    /// Closes the siren's relay, or opens it. Without power, or in a reset, it is open.
    fn switch(&mut self, on: bool);

    /// Tells the watchdog that the logic lives.
    fn feed(&self);
}

/// The watchdog is fed at least so often, ms; a board gives it three times as long.
pub const FEED_MS: u64 = 10_000;

/// A radio that failed while it listened is begun again after so long, ms.
const BEGIN_AGAIN_MS: u64 = 1_000;

/// Lets a node live, for ever.
pub async fn run<F: Flash>(
    mut app: App<'_, F>,
    plan: &Plan<'_>,
    board: &mut impl Board,
    radio: &mut impl Radio,
) -> ! {
    let mut buffer = [0; 255];
    let mut measured;
    let mut action = app.handle(Event::Started, board.now_ms());
    loop {
        board.feed();
        let event = match &action {
            Action::Sleep { until_ms } => {
                radio.sleep().await;
                sleep(board, *until_ms).await;
                Event::Woke
            }
            Action::Sample => {
                radio.sleep().await;
                measured = board.measure(plan).await;
                Event::Sampled(&measured)
            }
            Action::Transmit(frame) => match radio.transmit(frame).await {
                Ok(()) => Event::Sent,
                Err(why) => {
                    if why == NotSent::Failed {
                        // If that fails too, the next use says so, and it is tried again.
                        let _begun = radio.begin().await;
                    }
                    Event::NotSent(why)
                }
            },
            Action::Listen(how) => match listen(*how, board, radio, &mut buffer).await {
                Some(length) => Event::Heard(buffer.get(..length).unwrap_or_default()),
                None => Event::Silence,
            },
            Action::Switch { on } => {
                board.switch(*on);
                Event::Switched
            }
        };
        action = app.handle(event, board.now_ms());
    }
}

/// Sleeps, and feeds the watchdog meanwhile.
async fn sleep(board: &impl Board, until_ms: u64) {
    loop {
        board.feed();
        let now_ms = board.now_ms();
        if now_ms >= until_ms {
            return;
        }
        board.sleep_until(until_ms.min(now_ms + FEED_MS)).await;
    }
}

async fn listen(
    how: Listen,
    board: &impl Board,
    radio: &mut impl Radio,
    buffer: &mut [u8],
) -> Option<usize> {
    let (mode, until_ms) = match how {
        Listen::Window { from_ms, symbols } => {
            sleep(board, from_ms).await;
            // The longest frame at the slowest setting ends within it.
            (Mode::Window(symbols), from_ms + FEED_MS)
        }
        Listen::Until { until_ms } => (Mode::Always, until_ms),
        Listen::Sampled { until_ms, awake_ms, asleep_ms } => {
            (Mode::Sampled(awake_ms, asleep_ms), until_ms)
        }
    };
    let heard = {
        let mut over = pin!(sleep(board, until_ms));
        let mut hears = pin!(radio.listen(mode, buffer));
        core::future::poll_fn(|context| {
            if let Poll::Ready(heard) = hears.as_mut().poll(context) {
                return Poll::Ready(heard);
            }
            over.as_mut().poll(context).map(|()| Err(Unheard::Nothing))
        })
        .await
    };
    match heard {
        Ok(length) => return Some(length),
        Err(Unheard::Nothing) => radio.sleep().await,
        Err(Unheard::Failed) => {
            // Without the pause a siren whose radio is broken would ask it without end.
            board.sleep_until(board.now_ms() + BEGIN_AGAIN_MS).await;
            let _begun = radio.begin().await;
        }
    }
    None
}
