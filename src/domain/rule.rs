//! Rules: a condition over signals, in levels, and the warning that it raises. Data, checked before it gets here.

use crate::domain::node::Node;
use crate::domain::quantity::Quantity;
use crate::domain::recipient::Role;
use crate::domain::text::Template;
use crate::domain::warning::Level;
use std::collections::BTreeMap;
use std::time::Duration;

/// Place of a node in [`RuleBook::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

/// Everything that readings are judged by: one version of nodes and rules, immutable once made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleBook {
    /// Digest of the text that it was read from: names the version in records.
    pub version: String,
    /// Declared nodes.
    pub nodes: Vec<Node>,
    /// Rules.
    pub rules: Vec<Rule>,
}

impl RuleBook {
    /// Returns whether `signal` is what `other` is in another book: nodes are known by their names.
    pub(crate) fn is_same(&self, signal: Signal, other: Signal, book: &Self) -> bool {
        let name = |book: &Self, signal: Signal| {
            book.nodes.get(signal.node.0 as usize).map(|node| node.name.clone())
        };
        Signal { node: other.node, ..signal } == other && name(self, signal) == name(book, other)
    }

    /// Returns a signal as a configuration writes it: `mto-juu/rain sum 24 h`.
    #[must_use]
    pub fn words(&self, signal: Signal) -> String {
        signal.words(self.nodes.get(signal.node.0 as usize).map_or("?", |node| &*node.name.0))
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: String,
    /// What threatens, such as `flood`: rules of one hazard and area share one warning.
    pub hazard: String,
    /// Name of the area that is threatened.
    pub area: String,
    /// From mild to severe; at most one of each level.
    pub levels: Vec<LevelRule>,
    /// How long an alert stays valid when nothing newer replaces it.
    pub valid: Duration,
    /// How long after an all-clear the same level stays quiet. Danger never waits.
    pub cool_down: Duration,
    /// Told when the warning ends, by language.
    pub all_clear: BTreeMap<String, Template>,
    /// Whether it is measured (`Observed`) or inferred (`Likely`, `Possible`).
    pub certainty: crate::domain::warning::Certainty,
}

/// When one level of a rule holds, and what is said then.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelRule {
    /// Which level.
    pub level: Level,
    /// What must be so.
    pub test: Test,
    /// For how long it must have been so.
    pub hold: Duration,
    /// For how long it must not have been so before the level ends.
    pub clear_hold: Duration,
    /// Roles that are told, in the order in which they are told.
    pub audience: Vec<Role>,
    /// What they are told, by language.
    pub texts: BTreeMap<String, Template>,
    /// What they are told instead when a higher level has come down to this one. Where it is empty, `texts`.
    pub eased: BTreeMap<String, Template>,
}

/// A condition, as a tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One signal against limits.
    Signal(Leaf),
    /// A node has not been heard for this long.
    Silent(NodeIndex, Duration),
    /// At least this many of these. `all` is all of them, `any` is one.
    AtLeast(usize, Vec<Test>),
}

impl Test {
    /// Returns the signals that it looks at, in the order in which they are written.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let mut ahead = vec![self];
        std::iter::from_fn(move || {
            while let Some(test) = ahead.pop() {
                match test {
                    Self::Signal(leaf) => return Some(leaf),
                    Self::Silent(..) => {}
                    Self::AtLeast(_, tests) => ahead.extend(tests.iter().rev()),
                }
            }
            None
        })
    }
}

/// One signal against limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// What is looked at.
    pub signal: Signal,
    /// What it must be.
    pub limit: Limit,
    /// Goes on counting when its node is silent: set where the same condition asks for that silence.
    pub while_silent: bool,
}

/// Limits with hysteresis: where a test begins to hold, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Holds from `enter` upwards, until it falls below `exit` (`exit <= enter`).
    Above {
        /// At or above this it begins.
        enter: f64,
        /// Below this it ends.
        exit: f64,
    },
    /// Holds from `enter` downwards, until it rises above `exit` (`exit >= enter`).
    Below {
        /// At or below this it begins.
        enter: f64,
        /// Above this it ends.
        exit: f64,
    },
    /// Holds outside `low..=high`, until it is back inside by `margin`.
    Outside {
        /// Lower end of the band.
        low: f64,
        /// Upper end of the band.
        high: f64,
        /// How far inside it must be to end.
        margin: f64,
    },
    /// Holds inside `low..=high`, until it is outside by `margin`.
    Inside {
        /// Lower end of the band.
        low: f64,
        /// Upper end of the band.
        high: f64,
        /// How far outside it must be to end.
        margin: f64,
    },
}

impl Limit {
    /// Returns whether the limit holds for `value`, given whether it held before.
    #[must_use]
    pub fn holds(&self, value: f64, held: bool) -> bool {
        match *self {
            Self::Above { enter, exit } => value >= enter || held && value >= exit,
            Self::Below { enter, exit } => value <= enter || held && value <= exit,
            Self::Outside { low, high, margin } => {
                let margin = if held { margin } else { 0.0 };
                value < low + margin || value > high - margin
            }
            Self::Inside { low, high, margin } => {
                let margin = if held { margin } else { 0.0 };
                value >= low - margin && value <= high + margin
            }
        }
    }
}

/// A value derived from the readings of one quantity of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal {
    /// Whose readings.
    pub node: NodeIndex,
    /// Which of them.
    pub quantity: Quantity,
    /// What is made of them.
    pub function: Function,
}

impl Signal {
    /// Returns the signal as a configuration writes it, with its node's name: `mto-juu/rain sum 24 h`.
    #[must_use]
    pub fn words(self, node: &str) -> String {
        let Some(function) = self.function.word() else {
            return format!("{node}/{}", self.quantity);
        };
        let minutes = self.function.window().as_secs() / 60;
        let (number, unit) =
            if minutes.is_multiple_of(60) { (minutes / 60, "h") } else { (minutes, "min") };
        format!("{node}/{} {function} {number} {unit}", self.quantity)
    }
}

/// What is made of readings. Windows are of event time, end with the newest reading, and hold what is newer than
/// that by less than their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// The newest value.
    Last,
    /// The lowest in the window.
    Min(Duration),
    /// The highest in the window.
    Max(Duration),
    /// The arithmetic mean of the window.
    Mean(Duration),
    /// The sum over the window.
    Sum(Duration),
    /// How many readings the window has.
    Count(Duration),
    /// The newest value minus the oldest in the window.
    Change(Duration),
    /// Change per hour: the median of the slopes between all pairs (Theil 1950, Sen 1968), so that one bad
    /// value does not bend it. Needs three readings.
    Rate(Duration),
}

impl Function {
    /// Returns the length of the window, zero for the newest value alone.
    #[must_use]
    pub const fn window(self) -> Duration {
        match self {
            Self::Last => Duration::ZERO,
            Self::Min(w)
            | Self::Max(w)
            | Self::Mean(w)
            | Self::Sum(w)
            | Self::Count(w)
            | Self::Change(w)
            | Self::Rate(w) => w,
        }
    }

    /// Returns the word that names it in a configuration; `None` for the newest value.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Last => None,
            Self::Min(_) => Some("min"),
            Self::Max(_) => Some("max"),
            Self::Mean(_) => Some("mean"),
            Self::Sum(_) => Some("sum"),
            Self::Count(_) => Some("count"),
            Self::Change(_) => Some("change"),
            Self::Rate(_) => Some("rate"),
        }
    }
}
