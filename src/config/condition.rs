//! Conditions of levels: one signal against a limit, a silence, or several joined.

use super::amount::{Complaint, Meaning};
use super::document::{Faults, Place, Written};
use super::limit::{self, Scale};
use super::measure::{amount_of, band_of, change_of, number_text};
use super::people::unknown;
use super::section::Section;
use super::signal::{Meant, find_nodes, signal};
use crate::domain::node::Node;
use crate::domain::rule::{Function, Leaf, Limit, NodeIndex, Test};
use std::time::Duration;
use toml::de::DeValue;

/// The keys of which a condition has exactly one.
const FORMS: [&str; 10] =
    ["above", "below", "rises", "falls", "outside", "inside", "silent", "all", "any", "of"];

/// Reads conditions against the declared nodes.
pub(super) struct Conditions<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) faults: &'a Faults<'a>,
}

impl Conditions<'_> {
    /// Reads the condition of a level or of an inline table; reports what is wrong with it.
    pub(super) fn read(&self, section: &Section<'_>) -> Option<Test> {
        let forms: Vec<&str> =
            FORMS.into_iter().filter(|form| section.written(form).is_some()).collect();
        match forms[..] {
            [] => {
                let help = "add `signal` with `above` or `below`, or `silent` with `node`, or `all`, `any`, `of`";
                self.faults.missing(section.place, "there is no condition", help);
                None
            }
            [form] => {
                self.means_nothing(section, form);
                self.form(section, form)
            }
            [first, second, ..] => {
                self.faults.error(
                    section.key_place(second),
                    format!("a condition has one of `{first}` and `{second}`, not both"),
                    format!("join them: all = [{{ {first} = … }}, {{ {second} = … }}]"),
                );
                None
            }
        }
    }

    /// Reports keys that say nothing beside `form`.
    fn means_nothing(&self, section: &Section<'_>, form: &str) {
        let fits = |key: &str| match key {
            "signal" | "hysteresis" => !matches!(form, "silent" | "all" | "any" | "of"),
            "node" => form == "silent",
            _ => !matches!(form, "all" | "any"),
        };
        for key in ["signal", "hysteresis", "node", "at_least"] {
            if section.written(key).is_some() && !fits(key) {
                let help = match (key, form) {
                    ("hysteresis", _) => "move it beside the limit that it belongs to",
                    ("at_least", _) => "write the conditions as `of`",
                    _ => "remove it",
                };
                let message = format!("`{key}` says nothing beside `{form}`");
                self.faults.error(section.key_place(key), message, help);
            }
        }
    }

    fn form(&self, section: &Section<'_>, form: &str) -> Option<Test> {
        match form {
            "all" | "any" | "of" => self.joined(section, form),
            "silent" => self.silent(section),
            limit => self.signals(section, limit),
        }
    }

    fn joined(&self, section: &Section<'_>, form: &str) -> Option<Test> {
        let parts = section.tables(form);
        let tests: Vec<Option<Test>> = parts.iter().map(|part| self.read(part)).collect();
        if parts.is_empty() {
            self.faults.error(section.place_of(form), "the list is empty", "add conditions");
            return None;
        }
        let mut tests = tests.into_iter().collect::<Option<Vec<Test>>>()?;
        let needed = match form {
            "all" => tests.len(),
            "any" => 1,
            _ => self.at_least(section, tests.len())?,
        };
        if needed == tests.len() {
            let silent: Vec<NodeIndex> = tests.iter().flat_map(silent_nodes).collect();
            for test in &mut tests {
                count_while_silent(test, &silent);
            }
        }
        Some(Test::AtLeast(needed, tests))
    }

    fn at_least(&self, section: &Section<'_>, of: usize) -> Option<usize> {
        if section.written("at_least").is_none() {
            let help = "add `at_least`, or write `all` or `any`";
            self.faults.missing(section.place_of("of"), "it is not said how many of these", help);
        }
        let needed = usize::try_from(section.opt::<u32>("at_least")?).ok()?;
        if needed > of {
            let message = format!("{needed} of {of} never holds");
            self.faults.error(section.place_of("at_least"), message, format!("write at most {of}"));
        }
        Some(needed)
    }

    fn silent(&self, section: &Section<'_>) -> Option<Test> {
        let after: Duration = section.opt("silent")?;
        let Some(name) = section.opt::<String>("node") else {
            if section.written("node").is_none() {
                let help = "add `node = \"…\"`";
                self.faults.missing(
                    section.place_of("silent"),
                    "it is not said who is silent",
                    help,
                );
            }
            return None;
        };
        let found = find_nodes(&name, self.nodes);
        if found.is_empty() {
            let names: Vec<&str> = self.nodes.iter().map(|node| &*node.name.0).collect();
            unknown(self.faults, section.place_of("node"), "node", &name, &names);
        }
        for (_, node) in found.iter().filter(|(_, node)| after <= node.interval) {
            let message = format!("\"{}\" would be silent between any two reports", node.name);
            let help = "make it longer than the node's `interval`";
            self.faults.warn(section.place_of("silent"), message, help);
        }
        let tests = found.iter().map(|(index, _)| Test::Silent(*index, after)).collect();
        self.any_of(section, tests, name.contains('*'))
    }

    fn signals(&self, section: &Section<'_>, form: &str) -> Option<Test> {
        let Some(written) = section.written("signal") else {
            let help = "add `signal = \"NODE/QUANTITY\"`";
            self.faults.missing(section.place_of(form), "it is not said what to look at", help);
            return None;
        };
        let mut meant = signal(&written, self.nodes, self.faults)?;
        let limit = self.limit(section, form, &mut meant)?;
        let own = matches!(form, "rises" | "falls");
        self.window(&meant, if own { section.place_of(form) } else { written.place });
        self.range(section, form, &limit, &meant);
        let leaf = |signal| Test::Signal(Leaf { signal, limit, while_silent: false });
        let tests = meant.signals.iter().map(|(signal, ..)| leaf(*signal)).collect();
        self.any_of(section, tests, meant.pattern)
    }

    /// Joins what a pattern stands for.
    fn any_of(&self, section: &Section<'_>, mut tests: Vec<Test>, pattern: bool) -> Option<Test> {
        if pattern {
            let needed = match section.written("at_least") {
                Some(_) => self.at_least(section, tests.len())?,
                None => 1,
            };
            return (!tests.is_empty()).then_some(Test::AtLeast(needed, tests));
        }
        if section.written("at_least").is_some() {
            let help = "write a `*` in the name of the node, or remove it";
            self.faults.error(section.key_place("at_least"), "there is only one to count", help);
        }
        tests.pop()
    }

    /// Reads the limit; `rises` and `falls` make the signal a change over their window.
    fn limit(&self, section: &Section<'_>, form: &str, meant: &mut Meant<'_>) -> Option<Limit> {
        if matches!(form, "rises" | "falls") {
            return self.moving(section, form, meant);
        }
        let meaning = match meant.function {
            Function::Last | Function::Min(_) | Function::Max(_) | Function::Mean(_) => {
                Meaning::Value
            }
            Function::Sum(_) | Function::Count(_) | Function::Change(_) => Meaning::Difference,
            Function::Rate(_) => Meaning::PerHour,
        };
        let margin = self.hysteresis(section, meant);
        let written = section.written(form)?;
        if matches!(form, "outside" | "inside") {
            let end = |end: &Written<'_>| self.value(end, meant, meaning);
            let (low, high) = band_of(&written, self.faults, end)?;
            let margin = margin?;
            return Some(match form {
                "outside" => Limit::Outside { low, high, margin },
                _ => Limit::Inside { low, high, margin },
            });
        }
        let enter = self.value(&written, meant, meaning)?;
        let margin = margin?;
        Some(match form {
            "above" => Limit::Above { enter, exit: enter - margin },
            _ => Limit::Below { enter, exit: enter + margin },
        })
    }

    fn moving(&self, section: &Section<'_>, form: &str, meant: &mut Meant<'_>) -> Option<Limit> {
        if meant.function != Function::Last {
            let help = "write the signal as NODE/QUANTITY alone";
            let message = format!("`{form}` looks at a window of its own");
            self.faults.error(section.place_of("signal"), message, help);
        }
        let change = change_of(section, form, meant.quantity, self.faults);
        let margin = self.hysteresis(section, meant);
        let (change, within) = change?;
        meant.function = Function::Change(within);
        meant.signals.iter_mut().for_each(|(signal, ..)| signal.function = meant.function);
        let margin = margin?;
        if margin >= change {
            let help =
                format!("make it smaller than {} {}", number_text(change), meant.quantity.symbol());
            let message = "the level would stay while nothing moves any more";
            self.faults.error(section.place_of("hysteresis"), message, help);
        }
        Some(match form {
            "rises" => Limit::Above { enter: change, exit: change - margin },
            _ => Limit::Below { enter: -change, exit: margin - change },
        })
    }

    /// Reads the hysteresis: nothing when not written, `None` when wrong.
    fn hysteresis(&self, section: &Section<'_>, meant: &Meant<'_>) -> Option<f64> {
        let Some(written) = section.written("hysteresis") else { return Some(0.0) };
        let meaning = match meant.function {
            Function::Rate(_) => Meaning::PerHour,
            Function::Last
            | Function::Min(_)
            | Function::Max(_)
            | Function::Mean(_)
            | Function::Sum(_)
            | Function::Count(_)
            | Function::Change(_) => Meaning::Difference,
        };
        let margin = self.value(&written, meant, meaning)?;
        if margin < 0.0 {
            let help = "write how far the value must come back, without a sign";
            self.faults.error(written.place, "a hysteresis is not less than nothing", help);
            return None;
        }
        Some(margin)
    }

    /// Reads a value of the signal: a bare number when it counts readings.
    fn value(&self, written: &Written<'_>, meant: &Meant<'_>, meaning: Meaning) -> Option<f64> {
        if !matches!(meant.function, Function::Count(_)) {
            return amount_of(written, meant.quantity, meaning, self.faults);
        }
        let number = match written.value {
            DeValue::Integer(number) => number.to_string().parse().ok(),
            DeValue::Float(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        if number.is_none() {
            let help = "write a whole number without quotes";
            self.faults.error(written.place, "a count of readings has no unit", help);
        }
        number
    }

    /// Warns of a window that cannot hold the readings that its function needs.
    fn window(&self, meant: &Meant<'_>, at: Place) {
        let needed = match meant.function {
            Function::Change(_) => 2,
            Function::Rate(_) => 3,
            Function::Last
            | Function::Min(_)
            | Function::Max(_)
            | Function::Mean(_)
            | Function::Sum(_)
            | Function::Count(_) => return,
        };
        // A window holds what is newer than its newest reading by less than its length.
        let short = |node: &Node| meant.function.window() <= node.interval * (needed - 1);
        if let Some((_, node, _)) = meant.signals.iter().find(|(_, node, _)| short(node)) {
            self.faults.warn(
                at,
                format!(
                    "the window is too short: it must hold {needed} readings of \"{}\"",
                    node.name
                ),
                format!(
                    "make it longer than {}",
                    super::amount::duration_text(node.interval * (needed - 1))
                ),
            );
        }
    }

    /// Reports a limit that the first of its signals cannot reach, or cannot leave.
    fn range(&self, section: &Section<'_>, form: &str, limit: &Limit, meant: &Meant<'_>) {
        let fault = meant.signals.iter().find_map(|(signal, node, sensor)| {
            let scale = Scale::of(signal, node, sensor);
            limit::check(limit, &scale).map(|fault| (fault, scale.certain))
        });
        let (place, Complaint { message, help }, certain) = match fault {
            None => return,
            Some((limit::Fault::Threshold(complaint), certain)) => {
                (section.place_of(form), complaint, certain)
            }
            Some((limit::Fault::Hysteresis(complaint), certain)) => {
                let key = if section.written("hysteresis").is_some() { "hysteresis" } else { form };
                (section.place_of(key), complaint, certain)
            }
        };
        if certain {
            self.faults.error(place, message, help);
        } else {
            self.faults.warn(place, message, help);
        }
    }
}

/// Returns the nodes whose silence a condition asks for, itself or by a pattern.
fn silent_nodes(test: &Test) -> Vec<NodeIndex> {
    match test {
        Test::Signal(_) => Vec::new(),
        Test::Silent(node, _) => vec![*node],
        Test::AtLeast(_, tests) => {
            let only = |test: &Test| matches!(test, Test::Silent(..));
            let nodes = tests.iter().filter(|_| tests.iter().all(only)).flat_map(silent_nodes);
            nodes.collect()
        }
    }
}

/// Lets signals of silent nodes go on counting: the condition asks for that silence.
fn count_while_silent(test: &mut Test, silent: &[NodeIndex]) {
    match test {
        Test::Signal(leaf) => leaf.while_silent |= silent.contains(&leaf.signal.node),
        Test::Silent(..) => {}
        Test::AtLeast(_, tests) => {
            for test in tests {
                count_while_silent(test, silent);
            }
        }
    }
}
