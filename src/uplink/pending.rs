//! What waits to be told, as items of a packet, each with the mark that its acknowledgement earns.

use super::Error;
use crate::domain::rule::RuleBook;
use crate::domain::time::Timestamp;
use crate::domain::warning::{Alert, Level, MessageType, Observed, Reason, WarningId};
use crate::store::{self, BlockOrder, Store, Told, UntoldAlert};
use crate::wire::batch::{Link, Sealed};
use crate::wire::uplink::{
    Block, Book, Boot, Ended, Ending, Gone, Latest, Outcome, ShortAlert, Up,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Alerts, ends of warnings and other news of a packet, of each.
const NEWS_MAX: i64 = 64;
/// Dictionaries of a packet: each may take 64 kB.
const BOOKS_MAX: i64 = 1;
/// Newest readings of a packet.
const LATEST_MAX: i64 = 512;
/// What becomes of an alert's texts is told for so long.
const OUTCOMES_FOR: Duration = Duration::from_hours(7 * 24);

/// Reads a rule book from the texts that the store has of it; nothing where they are not understood any more.
pub type BookOf = fn(&str) -> Option<std::sync::Arc<RuleBook>>;

/// What waits.
#[derive(Default)]
pub(super) struct Pending {
    items: Vec<Up>,
    told: Vec<Option<Told>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn into_parts(self) -> (Vec<Up>, Vec<Option<Told>>) {
        (self.items, self.told)
    }

    pub(super) fn add(&mut self, item: Up, told: Option<Told>) {
        self.items.push(item);
        self.told.push(told);
    }

    /// Adds alerts, with the dictionaries that they need, and ends of warnings.
    pub(super) async fn alerts(&mut self, store: &Store, book_of: BookOf) -> Result<(), Error> {
        for (version, sources) in store.untold_books(BOOKS_MAX).await? {
            match dictionary(&sources, book_of) {
                Some(book) => self.add(Up::Book(book), Some(Told::Book(version))),
                // Its alerts are told in words.
                None => store.told(vec![Told::Book(version)]).await?,
            }
        }
        let mut books: BTreeMap<String, Option<Book>> = BTreeMap::new();
        for row in store.untold_alerts(NEWS_MAX).await? {
            if !books.contains_key(&row.rule_book) {
                let sources = store.rule_book(&row.rule_book).await?;
                let book = sources.and_then(|sources| dictionary(&sources, book_of));
                books.insert(row.rule_book.clone(), book);
            }
            let book = books.get(&row.rule_book).and_then(Option::as_ref);
            let alert = alert(&row, book)?;
            let told = Told::Alert(row.warning, row.number);
            self.add(Up::Alert(ShortAlert::of(&alert, book)), Some(told));
        }
        for (warning, at, ending) in store.untold_endings(NEWS_MAX).await? {
            let ending = match ending.as_str() {
                "cleared" => Ending::Cleared,
                "withdrawn" => Ending::Withdrawn,
                _ => Ending::Expired,
            };
            let item = Ended { warning: WarningId(warning.cast_unsigned()), at, ending };
            self.add(Up::Ended(item), Some(Told::Ending(warning)));
        }
        Ok(())
    }

    /// Adds the newest readings that no block has yet.
    pub(super) async fn latest(&mut self, store: &Store) -> Result<(), Error> {
        let rows = store.latest(LATEST_MAX).await?;
        let latest = |row: store::LatestReading| Latest {
            node: row.node,
            quantity: row.quantity,
            at: row.at,
            value: row.value,
            quality: row.quality,
        };
        if !rows.is_empty() {
            self.add(Up::Latest(rows.into_iter().map(latest).collect()), None);
        }
        Ok(())
    }

    /// Adds calendars of runs, what became of alerts, and which blocks are gone.
    pub(super) async fn news(&mut self, store: &Store, now: Timestamp) -> Result<(), Error> {
        for (boot, at, clock) in store.untold_boots(NEWS_MAX).await? {
            let item = Boot { boot: boot.cast_unsigned(), at, clock };
            self.add(Up::Boot(item), Some(Told::Boot(boot, clock)));
        }
        let since = now.as_millis().saturating_sub(crate::domain::time::millis(OUTCOMES_FOR));
        for row in store.untold_outcomes(Timestamp::from_millis(since), NEWS_MAX).await? {
            let [recipients, delivered, accepted, failed, expired, waiting] = row.figures;
            let item = Outcome {
                warning: WarningId(row.warning.cast_unsigned()),
                alert: u32::try_from(row.number).unwrap_or(u32::MAX),
                recipients,
                delivered,
                accepted,
                failed,
                expired,
                waiting,
                acknowledged: 0,
            };
            self.add(Up::Outcome(item), Some(Told::Outcome(row)));
        }
        let chain = store.chain().await?;
        for (first, last) in store.untold_gone(NEWS_MAX).await? {
            let item = Gone { chain, first: first.cast_unsigned(), last: last.cast_unsigned() };
            self.add(Up::Gone(item), Some(Told::Gone(last)));
        }
        Ok(())
    }

    /// Adds sealed blocks, as many as have so many bytes together.
    pub(super) async fn blocks(
        &mut self,
        store: &Store,
        order: BlockOrder,
        bytes_max: usize,
    ) -> Result<(), Error> {
        let chain = store.chain().await?;
        for block in store.untold_blocks(order, bytes_max).await? {
            let previous = Link(block.previous);
            let sealed = Sealed { link: previous.next(&block.bytes), previous, bytes: block.bytes };
            let item = Block::new(chain, block.number.cast_unsigned(), &sealed);
            self.add(Up::Block(item), Some(Told::Block(block.number)));
        }
        Ok(())
    }
}

/// Returns the dictionary of the rule book that was read from these texts.
fn dictionary(sources: &str, book_of: BookOf) -> Option<Book> {
    book_of(sources).and_then(|book| Book::of(&book).ok())
}

/// Returns an alert as it was made: its signals are those of its rule book.
fn alert(row: &UntoldAlert, book: Option<&Book>) -> Result<Alert, store::Error> {
    let damaged = |what| store::Error::Damaged { what };
    let [message_type, reason, level, level_max] = &row.words;
    let as_level = |word: &str| Level::from_word(word).ok_or_else(|| damaged("level"));
    let seen: BTreeMap<String, f64> =
        serde_json::from_str(&row.observed).map_err(|_| damaged("list of signals"))?;
    let signals = book.map(Book::signals).unwrap_or_default();
    let observed = seen.iter().filter_map(|(words, value)| {
        let known = signals.iter().find(|known| known.signal.words(&known.node.0) == *words)?;
        Some(Observed { signal: known.signal, value: *value })
    });
    Ok(Alert {
        warning: WarningId(row.warning.cast_unsigned()),
        number: u32::try_from(row.number).map_err(|_| damaged("number of an alert"))?,
        message_type: MessageType::from_word(message_type)
            .ok_or_else(|| damaged("message type"))?,
        reason: Reason::from_word(reason).ok_or_else(|| damaged("reason"))?,
        level: as_level(level)?,
        level_max: as_level(level_max)?,
        hazard: row.hazard.clone(),
        area: row.area.clone(),
        rule: row.rule.clone(),
        rule_version: row.rule_book.clone(),
        sent: row.sent,
        expires: row.expires,
        observed: observed.collect(),
    })
}
