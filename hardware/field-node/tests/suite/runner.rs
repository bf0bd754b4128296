//! A node that lives on a board and a radio of memory: the runner does what the logic asks for.

use kengele_field_node::airtime::Modulation;
use kengele_field_node::app::App;
use kengele_field_node::event::{Measured, NotSent};
use kengele_field_node::filter::{Filter, Gather, Raw};
use kengele_field_node::flash::MemoryFlash;
use kengele_field_node::plan::{Confirm, Listening, Plan, Siren};
use kengele_field_node::radio::{Mode, Radio, Unheard};
use kengele_field_node::runner::{Board, FEED_MS, run};
use kengele_field_node::sealed::{
    Address, Boot, Epoch, Field, Kind, Listens, Now, Order, Peer, Profile, Provisioning, Root,
    Schema, parse,
};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const FILTERS: [Filter; 1] =
    [Filter { gather: Gather::Last, samples: 3, possible_milli: [0, 5_000], change_milli: None }];

/// The clock of the test: whoever waits moves it on.
#[derive(Clone, Default)]
struct Clock(Rc<Cell<u64>>);

struct Desk {
    clock: Clock,
    fed_ms: Cell<u64>,
    longest_unfed_ms: Rc<Cell<u64>>,
    relay: Rc<RefCell<Vec<bool>>>,
}

impl Board for Desk {
    fn now_ms(&self) -> u64 {
        self.clock.0.get()
    }

    async fn sleep_until(&self, until_ms: u64) {
        // One turn for others, as on a board.
        yielded().await;
        self.clock.0.set(self.clock.0.get().max(until_ms));
    }

    async fn measure(&mut self, plan: &Plan<'_>) -> Measured {
        let mut measured = Measured::default();
        for filter in plan.filters {
            (0..filter.samples).for_each(|_| measured.push(0, Raw::Milli(1_234), filter));
        }
        measured
    }

    fn switch(&mut self, on: bool) {
        self.relay.borrow_mut().push(on);
    }

    fn feed(&self) {
        let unfed_ms = self.now_ms() - self.fed_ms.replace(self.now_ms());
        self.longest_unfed_ms.set(self.longest_unfed_ms.get().max(unfed_ms));
    }
}

async fn yielded() {
    let mut done = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut done, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A radio whose only listener is the gateway.
struct Air {
    clock: Clock,
    gateway: Rc<RefCell<Peer>>,
    reply: Option<Vec<u8>>,
    heard: Rc<RefCell<Vec<Kind>>>,
    fail_once: bool,
    deaf_once: bool,
    begun: Rc<Cell<u32>>,
}

impl Radio for Air {
    async fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        if std::mem::take(&mut self.fail_once) {
            return Err(NotSent::Failed);
        }
        let now = Now {
            s: 10_000 + self.clock.0.get() / 1000,
            unix_s: Some(1_800_000_000),
            stores: true,
        };
        let accepted = self.gateway.borrow().hear(frame, now).unwrap();
        self.gateway.borrow_mut().commit(accepted.state);
        self.heard.borrow_mut().push(parse(frame).unwrap().kind);
        self.reply = accepted.reply.map(|reply| reply.frame.to_vec());
        Ok(())
    }

    async fn listen(&mut self, _: Mode, into: &mut [u8]) -> Result<usize, Unheard> {
        if std::mem::take(&mut self.deaf_once) {
            return Err(Unheard::Failed);
        }
        match self.reply.take() {
            Some(reply) => {
                into[..reply.len()].copy_from_slice(&reply);
                Ok(reply.len())
            }
            // Nobody: for ever, so that the board's clock ends it.
            None => std::future::pending().await,
        }
    }

    async fn sleep(&mut self) {}

    async fn begin(&mut self) -> bool {
        self.begun.set(self.begun.get() + 1);
        true
    }
}

#[test]
fn a_node_on_a_board_reports_obeys_and_feeds_its_watchdog() {
    let fields = [Field { quantity: 0, min_milli: 0, step_milli: 1, bits: 14 }];
    let plan = Plan {
        firmware: [0, 1],
        schema: Schema::new(&fields).unwrap(),
        filters: &FILTERS,
        sample_s: 60,
        interval_s: 300,
        modulation: Modulation { spreading_factor: 9, bandwidth_hz: 125_000 },
        frequency_hz: 868_100_000,
        power_dbm: 14,
        airtime_permille: 10,
        payload_bytes_max: 24,
        confirm: Confirm::All,
        windows_ms: [1_000, 2_000],
        listening: Listening::Windows,
        siren: Some(Siren { on_s_max: 60, test_s_max: 5 }),
    };
    let address = Address { net: 1, node: 2 };
    let epoch = Epoch { number: 1, root: Root::new([3; 16]) };
    let flash = App::provision(MemoryFlash::<4, 4096>::default(), &Provisioning { address, epoch });
    let app = App::start(plan, flash.unwrap(), Boot::PowerOn, 4).unwrap();
    let listens = Listens::AfterItsFrames;
    let mut peer = Peer::new(Profile { address, epoch, listens, schema: plan.schema }, None);
    let (_, step) = peer.order(Order::SirenOn { seconds: 20 }, 1_000_000).unwrap();
    peer.commit(step.state);
    let clock = Clock::default();
    let (relay, heard) = (Rc::default(), Rc::default());
    let (unfed, begun) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut desk = Desk {
        clock: clock.clone(),
        fed_ms: Cell::new(0),
        longest_unfed_ms: Rc::clone(&unfed),
        relay: Rc::clone(&relay),
    };
    let mut air = Air {
        clock: clock.clone(),
        gateway: Rc::new(RefCell::new(peer)),
        reply: None,
        heard: Rc::clone(&heard),
        fail_once: true,
        deaf_once: true,
        begun: Rc::clone(&begun),
    };
    let mut life = pin!(run(app, &plan, &mut desk, &mut air));
    let mut context = Context::from_waker(Waker::noop());
    while clock.0.get() < 3_600_000 {
        assert!(life.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(begun.get(), 2, "a radio that failed is begun again");
    assert_eq!(*relay.borrow(), [false, true, false]);
    let heard = heard.borrow();
    assert!(heard.contains(&Kind::Health), "{heard:?}");
    assert!(heard.contains(&Kind::Ack), "{heard:?}");
    let reports = heard.iter().filter(|kind| **kind == Kind::Telemetry).count();
    assert!((11..=13).contains(&reports), "{heard:?}");
    assert!(unfed.get() <= 2 * FEED_MS, "{} ms", unfed.get());
}
