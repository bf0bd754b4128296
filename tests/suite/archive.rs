//! The archive: whatever is asked of it is answered as if every reading still stood in one plain list; what it keeps is
//! small; what explains a warning stays; what is damaged costs nothing else.

use crate::dice::{Dice, asked};
use crate::peers::{program, reference};
use kengele::archive::{self, Archive, Page, ReadingRow, Standing, Wanted};
use kengele::config::{Removable, Storage};
use kengele::domain::engine::Reading;
use kengele::domain::node::{Node, Sensor};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{Measurement, NodeName, Quality, Stamp};
use kengele::domain::rule::{NodeIndex, RuleBook};
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::domain::warning::{Alert, Level, MessageType, Reason, WarningId};
use kengele::store::{Boot, Store, Told, Turn};
use kengele::supervise::Tasks;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// When these histories begin, Unix ms.
const BEGIN_MS: i64 = 1_772_323_200_000;
const QUANTITIES: [Quantity; 4] =
    [Quantity::WaterLevel, Quantity::Rain, Quantity::AirTemperature, Quantity::Humidity];

fn storage() -> Storage {
    Storage {
        seal_every: Duration::from_hours(1),
        readings_kept: Duration::from_hours(24 * 36_500),
        days_kept: Duration::from_hours(24 * 36_500),
        records_kept: Duration::from_hours(24 * 36_500),
        size_max: 2_000_000_000,
        drop_first: Removable::ALL.to_vec(),
    }
}

fn book(nodes: usize, quantities: &[Quantity]) -> Arc<RuleBook> {
    let sensor = |quantity: &Quantity| Sensor {
        quantity: *quantity,
        range: (-1e6, 1e6),
        step: None,
        spike: None,
        stuck_after: None,
        counter: None,
        decimals: 2,
    };
    let node = |n: usize| Node {
        name: NodeName(format!("mto-{n}").into()),
        heard_as: Box::default(),
        place: String::new(),
        interval: Duration::from_mins(10),
        silent_after: Duration::from_mins(30),
        late_after: Duration::from_mins(30),
        sensors: quantities.iter().map(sensor).collect(),
    };
    let nodes = (0..nodes).map(node).collect();
    Arc::new(RuleBook { version: "of the archive".into(), nodes, rules: Vec::new() })
}

/// A gateway's store, and a plain list of all that went into it.
struct Life {
    folder: tempfile::TempDir,
    store: Option<Store>,
    writer: Tasks,
    book: Arc<RuleBook>,
    now: Timestamp,
    /// The calendar of each run.
    walls: Vec<WallClock>,
    /// Of each reading, the run, when it was judged, and the reading.
    told: Vec<(usize, Timestamp, Reading)>,
}

impl Life {
    async fn begin(book: Arc<RuleBook>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(0);
        let (walls, told) = (Vec::new(), Vec::new());
        let writer = Tasks::default();
        let mut life = Self { folder, store: None, writer, book, now, walls, told };
        life.boot(ClockQuality::Synchronised).await;
        life
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kengele.db")
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    async fn end(&mut self) {
        self.store = None;
        self.writer.next_ended().await;
    }

    /// Ends the run, if there is one, and begins the next.
    async fn boot(&mut self, quality: ClockQuality) {
        if self.store.is_some() {
            self.end().await;
        }
        let (store, writer) = Store::open(&self.path()).await.unwrap();
        self.writer.spawn("store", writer.run());
        let offset_ms = if quality == ClockQuality::Unset { 0 } else { BEGIN_MS };
        let wall = WallClock { offset_ms, quality };
        let kernel = format!("kernel {}", self.walls.len());
        store.begin(Boot { kernel, uptime_ms: 0, at: self.now, wall }).await.unwrap();
        store.declare(Arc::clone(&self.book), "[]".into()).await.unwrap();
        self.walls.push(wall);
        self.store = Some(store);
    }

    async fn set_calendar(&mut self, wall: WallClock) {
        self.store().set_wall_clock(wall).await.unwrap();
        *self.walls.last_mut().unwrap() = wall;
    }

    async fn turn(&mut self, readings: Vec<Reading>, snapshot: bool) {
        let run = self.walls.len() - 1;
        self.told.extend(readings.iter().map(|reading| (run, self.now, *reading)));
        let snapshot = snapshot.then(|| b"what an engine would say".to_vec());
        let turn = Turn { at: self.now, readings, snapshot, ..Turn::default() };
        self.store().commit(turn).await.unwrap();
    }

    /// Has an archive that was just started seal everything, and returns how things stand then.
    async fn archive(&self, settings: Storage) -> Standing {
        let mut archive = Archive::new(self.store().clone(), settings, false);
        archive.round(self.now + Duration::from_hours(48)).await.unwrap();
        let standing = archive.report().standing().unwrap();
        assert_eq!(standing.kept.unsealed, 0);
        standing
    }

    /// Returns what the plain list answers.
    fn expected(&self, wanted: &Wanted) -> Vec<ReadingRow> {
        let row = |(place, (run, at, reading)): (usize, &(usize, Timestamp, Reading))| {
            let wall = self.walls[*run];
            let (unix_ms, clock) = match reading.measurement.stamp {
                Some(Stamp::Unix(ms)) => (ms, ClockQuality::Estimated),
                Some(Stamp::Age(ms)) => (wall.unix_ms(*at) - ms, wall.quality),
                None => (wall.unix_ms(*at), wall.quality),
            };
            ReadingRow {
                number: i64::try_from(place).unwrap() + 1,
                unix_ms,
                clock,
                node: self.book.nodes[reading.node.0 as usize].name.to_string(),
                quantity: reading.measurement.quantity,
                value: reading.measurement.value,
                quality: reading.quality,
            }
        };
        let rows = self.told.iter().enumerate().map(row).filter(|row| {
            wanted.node.as_ref().is_none_or(|node| *node == row.node)
                && wanted.quantity.is_none_or(|quantity| quantity == row.quantity)
                && wanted.from_ms.is_none_or(|from| row.unix_ms >= from)
                && wanted.until_ms.is_none_or(|until| row.unix_ms < until)
        });
        let rows: Vec<ReadingRow> = rows.collect();
        let skip = wanted.last.map_or(0, |last| rows.len().saturating_sub(last as usize));
        rows.into_iter().skip(skip).collect()
    }

    async fn agrees(&self, wanted: &Wanted) {
        let found = all(self.store(), wanted.clone()).await;
        let expected = self.expected(wanted);
        let differs =
            found.rows.iter().zip(&expected).find(|(found, expected)| !same(found, expected));
        assert!(differs.is_none(), "{wanted:?}: {differs:?}");
        assert_eq!((found.rows.len(), found.unreadable), (expected.len(), 0), "{wanted:?}");
    }
}

/// Values are the same where their bits are.
fn same(one: &ReadingRow, other: &ReadingRow) -> bool {
    let plain = |row: &ReadingRow| ReadingRow { value: 0.0, ..row.clone() };
    one.value.to_bits() == other.value.to_bits() && plain(one) == plain(other)
}

/// Returns every page as one.
async fn all(store: &Store, mut wanted: Wanted) -> Page {
    let mut whole = Page::default();
    loop {
        let page = archive::readings(store, &wanted).await.unwrap();
        whole.rows.extend(page.rows);
        whole.unreadable += page.unreadable;
        let Some(next) = page.next else { return whole };
        assert!(next > wanted.after, "a page goes on where it began");
        (wanted.after, wanted.last) = (next, None);
    }
}

fn random_reading(dice: &mut Dice, life: &Life) -> Reading {
    let node = NodeIndex(u32::try_from(dice.index(life.book.nodes.len())).unwrap());
    let value = match dice.below(40) {
        0 => f64::NAN,
        1 => f64::from_bits(dice.below(u64::MAX >> 2)),
        2..20 => f64::from(u32::try_from(dice.below(5000)).unwrap()) / 10.0,
        _ => f64::from(u32::try_from(dice.below(5000)).unwrap()) / 100.0,
    };
    let unix_ms = BEGIN_MS + life.now.as_millis();
    let back = i64::try_from(dice.below(6 * 3_600_000)).unwrap();
    let stamp = match dice.below(8) {
        0 => Some(Stamp::Unix(unix_ms - back)),
        1 => Some(Stamp::Age(back)),
        2 if dice.chance(20) => Some(Stamp::Unix(back)),
        _ => None,
    };
    let quality = if value.is_nan() {
        Quality::NotANumber
    } else {
        *[Quality::Good, Quality::Good, Quality::Late].get(dice.index(3)).unwrap()
    };
    let quantity = QUANTITIES[dice.index(QUANTITIES.len())];
    Reading { node, measurement: Measurement { quantity, value, stamp }, quality }
}

fn random_wanted(dice: &mut Dice, life: &Life) -> Wanted {
    let length = u64::try_from(life.now.as_millis()).unwrap();
    let moment = |dice: &mut Dice| BEGIN_MS + i64::try_from(dice.below(length)).unwrap();
    Wanted {
        node: dice.chance(400).then(|| format!("mto-{}", dice.below(7))),
        quantity: dice.chance(400).then(|| QUANTITIES[dice.index(4)]),
        from_ms: dice.chance(400).then(|| moment(dice)),
        until_ms: dice.chance(400).then(|| moment(dice)),
        last: dice.chance(300).then(|| u32::try_from(dice.below(3000)).unwrap()),
        after: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_is_answered_as_from_one_plain_list() {
    let seeds = asked("KENGELE_SEED").map_or(1..3, |seed| seed..seed + 1);
    for seed in seeds {
        println!("seed {seed}");
        let mut dice = Dice::seeded(seed);
        let mut life = Life::begin(book(6, &QUANTITIES)).await;
        for era in 0..5 {
            for _ in 0..dice.between(10, 60) {
                life.now = life.now + Duration::from_millis(dice.between(1, 1_200_000));
                let readings =
                    (0..dice.between(1, 90)).map(|_| random_reading(&mut dice, &life)).collect();
                life.turn(readings, dice.chance(30)).await;
            }
            if dice.chance(700) {
                life.archive(storage()).await;
            }
            match era % 3 {
                0 => life.boot(ClockQuality::Unset).await,
                1 => {
                    life.set_calendar(WallClock {
                        offset_ms: BEGIN_MS + 40_000,
                        quality: ClockQuality::Synchronised,
                    })
                    .await;
                }
                _ => life.boot(ClockQuality::Estimated).await,
            }
            life.agrees(&Wanted::default()).await;
            for _ in 0..8 {
                life.agrees(&random_wanted(&mut dice, &life)).await;
            }
        }
        life.end().await;
    }
}

/// Asks the database in SQLite's own program.
fn sql(path: &Path, words: &str) -> String {
    let output = program("sqlite3").arg(path).arg(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Each file of real observations, and what its columns after the first are.
const OBSERVED: &[(&str, &[Quantity])] = &[
    ("obs_drogden_sealevel_30min.csv", &[Quantity::WaterLevel]),
    (
        "obs_surfrad_alamosa_1min.csv",
        &[
            Quantity::SolarRadiation,
            Quantity::AirTemperature,
            Quantity::Humidity,
            Quantity::WindSpeed,
            Quantity::WindDirection,
            Quantity::Pressure,
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_real_reading_takes_four_bytes_of_the_file_at_the_most_all_in() {
    for (file, quantities) in OBSERVED {
        let text = std::fs::read_to_string(reference(file)).unwrap();
        let mut life = Life::begin(book(1, quantities)).await;
        let mut archive = Archive::new(life.store().clone(), storage(), false);
        let step = Duration::from_mins(if file.contains("1min") { 1 } else { 30 });
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).skip(1).collect();
        // The file's own pages are of four kilobytes: what it takes shows after some hundred of them.
        for (place, line) in lines.iter().cycle().take(6 * lines.len()).enumerate() {
            life.now = life.now + step;
            let cells = line.split(',').skip(1).zip(*quantities);
            let readings = cells.filter_map(|(cell, quantity)| {
                let measurement =
                    Measurement { quantity: *quantity, value: cell.parse().ok()?, stamp: None };
                Some(Reading { node: NodeIndex(0), measurement, quality: Quality::Good })
            });
            life.turn(readings.collect(), place % 1000 == 0).await;
            // As in life: what was read in an hour is sealed.
            archive.round(life.now).await.unwrap();
        }
        life.turn(Vec::new(), true).await;
        archive.round(life.now + Duration::from_hours(24)).await.unwrap();
        drop(archive);
        let stored = i64::try_from(life.told.len()).unwrap();
        life.agrees(&Wanted::default()).await;
        let path = life.path();
        let used = "select page_size * (page_count - freelist_count) from pragma_page_size, pragma_page_count, pragma_freelist_count";
        let used: i64 = sql(&path, used).parse().unwrap();
        let hot: i64 = sql(&path, "select count(*) from reading").parse().unwrap();
        // An empty database has 30 tables and indexes of a page each: a matter of kilobytes, whatever it holds.
        let empty = {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("empty.db");
            let (store, writer) = Store::open(&path).await.unwrap();
            let mut tasks = Tasks::default();
            tasks.spawn("store", writer.run());
            drop(store);
            tasks.next_ended().await;
            sql(&path, "select page_size * page_count from pragma_page_size, pragma_page_count")
                .parse::<i64>()
                .unwrap()
        };
        println!(
            "{file}: {stored} readings, {} bytes, {:.2} a reading; {hot} still hot",
            used - empty,
            (used - empty) as f64 / stored as f64
        );
        assert!(hot <= 1, "{hot} readings stay in the table");
        assert!(used - empty <= 4 * stored, "{file}: {used} bytes for {stored} readings");
        life.end().await;
    }
}

fn alert(at: Timestamp) -> Alert {
    Alert {
        warning: WarningId(1),
        number: 1,
        message_type: MessageType::Alert,
        reason: Reason::Raised,
        level: Level::Danger,
        level_max: Level::Danger,
        hazard: "flood".into(),
        area: "bonde".into(),
        rule: "flood".into(),
        rule_version: "of the archive".into(),
        sent: at,
        expires: at + Duration::from_hours(6),
        observed: Vec::new(),
    }
}

/// 60 days of a reading every 10 minutes, sealed day by day; on day 20 an alert.
async fn sixty_days() -> Life {
    let mut life = Life::begin(book(1, &QUANTITIES)).await;
    let mut dice = Dice::seeded(60);
    for day in 0..60 {
        for n in 0..144 {
            life.now = life.now + Duration::from_mins(10);
            let mut reading = |quantity| {
                let value = f64::from(u32::try_from(dice.below(100_000)).unwrap()) / 100.0;
                let measurement = Measurement { quantity, value, stamp: None };
                Reading { node: NodeIndex(0), measurement, quality: Quality::Good }
            };
            let readings = QUANTITIES.iter().map(|quantity| reading(*quantity)).collect();
            life.turn(readings, n == 143).await;
        }
        if day == 20 {
            let turn = Turn { at: life.now, alerts: vec![alert(life.now)], ..Turn::default() };
            life.store().commit(turn).await.unwrap();
        }
        // Each time the archive begins anew, and its first block stands alone.
        life.archive(storage()).await;
    }
    life
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_and_what_explains_a_warning_stays() {
    let mut life = sixty_days().await;
    let kept = Storage { readings_kept: Duration::from_hours(24 * 10), ..storage() };
    // The archive's clock stands two days later than the last reading.
    let before = BEGIN_MS + life.now.as_millis() - 8 * DAY_MS;
    life.archive(kept).await;
    let alert_ms = BEGIN_MS + 21 * DAY_MS;
    let found = all(life.store(), Wanted::default()).await;
    let expected = life.expected(&Wanted::default());
    let must_stay = |row: &&ReadingRow| {
        row.unix_ms >= before + DAY_MS
            || (alert_ms - 7 * DAY_MS..=alert_ms + DAY_MS).contains(&row.unix_ms)
    };
    let left: BTreeSet<i64> = found.rows.iter().map(|row| row.number).collect();
    let lost = expected.iter().filter(must_stay).find(|row| !left.contains(&row.number));
    assert!(lost.is_none(), "{lost:?} is gone");
    // Whole runs go: a run of these is a day.
    let may_stay = |row: &&ReadingRow| {
        row.unix_ms >= before - DAY_MS
            || (alert_ms - 8 * DAY_MS..=alert_ms + 2 * DAY_MS).contains(&row.unix_ms)
    };
    let stray = found.rows.iter().find(|row| !may_stay(row));
    assert!(stray.is_none(), "{stray:?} is still there");
    assert_eq!(found.unreadable, 0, "what is left can be read, and its chain is whole");
    let days = life.store().days(0, i64::MAX).await.unwrap();
    assert_eq!(
        days.iter().map(|day| day.of.readings).sum::<i64>(),
        4 * 60 * 144,
        "days are kept for longer"
    );
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_does_not_have_is_not_too_old() {
    let mut life = sixty_days().await;
    let all_told = life.expected(&Wanted::default()).len();
    let kept = Storage { readings_kept: Duration::from_hours(24 * 10), ..storage() };
    // The hub has the first thirty days.
    life.store().told((1..=30).map(Told::Block).collect()).await.unwrap();
    let mut archive = Archive::new(life.store().clone(), kept, true);
    archive.round(life.now + Duration::from_hours(48)).await.unwrap();
    let found = all(life.store(), Wanted::default()).await;
    let from_ms = BEGIN_MS + 30 * DAY_MS;
    let untold = |row: &&ReadingRow| row.unix_ms > from_ms;
    assert_eq!(found.rows.iter().filter(untold).count(), 30 * 144 * QUANTITIES.len());
    assert!(found.rows.len() < all_told, "what it has goes");
    let standing = archive.report().standing().unwrap();
    let gone = life.store().untold_gone(10).await.unwrap();
    assert_eq!(gone.len(), 2, "before and behind the week of the alert: {gone:?}, {standing:?}");
    drop(archive);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_too_large_loses_what_the_operator_names_first() {
    let mut life = sixty_days().await;
    let used = life.store().size().await.unwrap().used_bytes();
    let kept =
        Storage { size_max: used - 40_000, drop_first: vec![Removable::Readings], ..storage() };
    let standing = life.archive(kept).await;
    assert!(standing.size.used_bytes() <= used - 40_000 && !standing.over, "{standing:?}");
    let found = all(life.store(), Wanted::default()).await;
    let expected = life.expected(&Wanted::default());
    assert!(found.rows.len() < expected.len());
    assert_eq!(found.rows.last(), expected.last(), "the newest stay");
    // Nothing that may go is left: that is said, and what explains the warning stays.
    let nothing = Storage { size_max: 1, ..storage() };
    assert!(life.archive(nothing).await.over);
    let left = all(life.store(), Wanted::default()).await;
    let alert_ms = BEGIN_MS + 21 * DAY_MS;
    let week = alert_ms - 7 * DAY_MS..=alert_ms + DAY_MS;
    let of_the_week =
        |rows: &[ReadingRow]| rows.iter().filter(|row| week.contains(&row.unix_ms)).count();
    assert_eq!(of_the_week(&left.rows), of_the_week(&expected));
    assert_eq!(life.store().warnings(None).await.unwrap().len(), 1);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_is_counted_and_costs_only_those_that_continue_it() {
    let mut life = Life::begin(book(1, &QUANTITIES[..1])).await;
    for day in 0..6 {
        for n in 0..144 {
            life.now = life.now + Duration::from_mins(10);
            let value = f64::from(100 + (day * 7 + n) % 90) / 100.0;
            let measurement = Measurement { quantity: Quantity::WaterLevel, value, stamp: None };
            life.turn(
                vec![Reading { node: NodeIndex(0), measurement, quality: Quality::Good }],
                false,
            )
            .await;
        }
        life.archive(storage()).await;
    }
    let store = life.store().clone();
    // The third day's only block: one bit of it.
    let sql_words = "update block set bytes = cast(substr(bytes, 1, 40) || x'ff' || substr(bytes, 42) as blob) where number = 3";
    sql(&life.path(), sql_words);
    let found = all(&store, Wanted::default()).await;
    assert_eq!(found.unreadable, 144);
    let expected = life.expected(&Wanted::default());
    let others = expected.iter().filter(|row| !(289..=432).contains(&row.number));
    assert!(found.rows.iter().eq(others));
    let last = Wanted { last: Some(500), ..Wanted::default() };
    assert_eq!(archive::readings(&store, &last).await.unwrap().rows.len(), 500);
    drop(store);
    life.end().await;
}
