//! The dictionary by which alerts are short: names of rules, and the signals that they look at.

use super::EncodeError;
use super::bytes::{NamesReader, NamesWriter, Reader, TEXT_BYTES_MAX, Unreadable, Writer};
use super::latest::quantity;
use crate::domain::reading::NodeName;
use crate::domain::rule::{Function, NodeIndex, RuleBook, Signal};
use crate::wire::sealed_quantity;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a dictionary. Signals that do not fit any more are left out; alerts about them are told in words.
pub const BOOK_BYTES_MAX: usize = 64 * 1024;

/// The first 4 bytes of SHA-256 of `kengele book`, a zero byte and the dictionary's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookId(pub [u8; 4]);

impl fmt::Display for BookId {
    /// 8 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A dictionary of one rule book. It never changes: another rule book has another one.
#[derive(Clone, PartialEq, Eq)]
pub struct Book {
    bytes: Vec<u8>,
    version: String,
    rules: Vec<BookRule>,
    signals: Vec<BookSignal>,
}

/// A rule's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookRule {
    /// Its own.
    pub name: Arc<str>,
    /// Its hazard's.
    pub hazard: Arc<str>,
    /// Its area's.
    pub area: Arc<str>,
}

/// A signal, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookSignal {
    /// The signal; its node is a place in the gateway's own rule book.
    pub signal: Signal,
    /// The node's name.
    pub node: NodeName,
}

impl Book {
    /// Returns the dictionary of a rule book.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Text`] and [`EncodeError::Time`] for names and windows that it cannot tell, [`EncodeError::Book`]
    /// for too many rules.
    pub fn of(book: &RuleBook) -> Result<Self, EncodeError> {
        let rules: Vec<BookRule> = (book.rules.iter())
            .map(|rule| BookRule {
                name: rule.name.as_str().into(),
                hazard: rule.hazard.as_str().into(),
                area: rule.area.as_str().into(),
            })
            .collect();
        let levels = book.rules.iter().flat_map(|rule| &rule.levels);
        let (mut seen, mut signals) = (BTreeSet::new(), Vec::new());
        for leaf in levels.flat_map(|level| level.test.leaves()) {
            let Some(node) = book.nodes.get(leaf.signal.node.0 as usize) else { continue };
            if seen.insert(leaf.signal) {
                signals.push(BookSignal { signal: leaf.signal, node: node.name.clone() });
            }
        }
        loop {
            let bytes = encode(&book.version, &rules, &signals)?;
            if bytes.len() <= BOOK_BYTES_MAX {
                return Ok(Self { bytes, version: book.version.clone(), rules, signals });
            }
            if signals.is_empty() {
                return Err(EncodeError::Book(bytes.len()));
            }
            signals.truncate(signals.len() / 2);
        }
    }

    /// Returns the name by which alerts refer to it.
    #[must_use]
    pub fn id(&self) -> BookId {
        let mut hash = Sha256::new();
        hash.update(b"kengele book\0");
        hash.update(&self.bytes);
        let whole: [u8; 32] = hash.finalize().into();
        BookId(whole.first_chunk().copied().unwrap_or_default())
    }

    /// Returns its bytes: for stores.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the dictionary that is these bytes; `None` where they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BOOK_BYTES_MAX {
            return None;
        }
        let (version, rules, signals) = decode(&mut Reader::new(bytes)).ok()?;
        Some(Self { bytes: bytes.to_vec(), version, rules, signals })
    }

    /// Returns the version of the rule book.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the rules, in the order of the rule book.
    #[must_use]
    pub fn rules(&self) -> &[BookRule] {
        &self.rules
    }

    /// Returns the signals that the rules look at.
    #[must_use]
    pub fn signals(&self) -> &[BookSignal] {
        &self.signals
    }

    /// Returns the name of a node that some rule looks at.
    #[must_use]
    pub fn node(&self, index: NodeIndex) -> Option<&NodeName> {
        self.signals.iter().find(|known| known.signal.node == index).map(|known| &known.node)
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("version", &self.version)
            .field("rules", &self.rules)
            .field("signals", &self.signals)
            .finish_non_exhaustive()
    }
}

fn encode(
    version: &str,
    rules: &[BookRule],
    signals: &[BookSignal],
) -> Result<Vec<u8>, EncodeError> {
    let (mut to, mut names) = (Writer::default(), NamesWriter::default());
    to.text(version, TEXT_BYTES_MAX)?;
    to.number(rules.len() as u64);
    for rule in rules {
        names.write(&mut to, &rule.name)?;
        names.write(&mut to, &rule.hazard)?;
        names.write(&mut to, &rule.area)?;
    }
    to.number(signals.len() as u64);
    for known in signals {
        names.write(&mut to, &known.node.0)?;
        write_signal(known.signal, &mut to)?;
    }
    Ok(to.finish())
}

type Parts = (String, Vec<BookRule>, Vec<BookSignal>);

fn decode(from: &mut Reader<'_>) -> Result<Parts, Unreadable> {
    let version = from.text(TEXT_BYTES_MAX)?.to_owned();
    let mut names = NamesReader::default();
    let mut rules = Vec::new();
    for _ in 0..from.number()? {
        let (name, hazard) = (names.read(from)?, names.read(from)?);
        rules.push(BookRule { name, hazard, area: names.read(from)? });
    }
    let mut signals = Vec::new();
    for _ in 0..from.number()? {
        let node = NodeName(names.read(from)?);
        signals.push(BookSignal { node, signal: read_signal(from)? });
    }
    Ok((version, rules, signals))
}

pub(super) fn write_signal(signal: Signal, to: &mut Writer) -> Result<(), EncodeError> {
    to.number(signal.node.0.into());
    to.number(sealed_quantity::number(signal.quantity).into());
    to.byte(match signal.function {
        Function::Last => 0,
        Function::Min(_) => 1,
        Function::Max(_) => 2,
        Function::Mean(_) => 3,
        Function::Sum(_) => 4,
        Function::Count(_) => 5,
        Function::Change(_) => 6,
        Function::Rate(_) => 7,
    });
    if signal.function == Function::Last {
        return Ok(());
    }
    let window = signal.function.window();
    let ms = u64::try_from(window.as_millis()).map_err(|_| EncodeError::Time)?;
    if Duration::from_millis(ms) != window {
        return Err(EncodeError::Time);
    }
    to.span(ms)
}

pub(super) fn read_signal(from: &mut Reader<'_>) -> Result<Signal, Unreadable> {
    let node = NodeIndex(from.small()?);
    let quantity = quantity(from.number()?)?;
    let over: fn(Duration) -> Function = match from.byte()? {
        0 => return Ok(Signal { node, quantity, function: Function::Last }),
        1 => Function::Min,
        2 => Function::Max,
        3 => Function::Mean,
        4 => Function::Sum,
        5 => Function::Count,
        6 => Function::Change,
        7 => Function::Rate,
        _ => return Err(Unreadable),
    };
    Ok(Signal { node, quantity, function: over(Duration::from_millis(from.span()?)) })
}
