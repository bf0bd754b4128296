//! Texts of rules: their placeholders, their languages, and the segments that they take in their worst case.

use super::Outside;
use super::document::{Faults, Place};
use super::limit::Scale;
use super::section::Section;
use super::settings::{Area, SegmentCount, TextReport};
use crate::domain::node::Node;
use crate::domain::plan::value_words;
use crate::domain::rule::{Leaf, LevelRule, RuleBook, Test};
use crate::domain::text::{Placeholder, Template, TemplateError};
use crate::domain::warning::{Level, Observed};
use std::collections::BTreeMap;

/// A clock time: all are as long.
const TIME_LONGEST: &str = "23:59";

/// Number of a warning and an alert such as only a gateway of many years has.
const TAG_LONGEST: &str = "#99999-99";

/// Reads texts, rule by rule.
pub(super) struct Texts<'a> {
    pub(super) book: &'a RuleBook,
    pub(super) areas: &'a [Area],
    pub(super) sender: &'a str,
    pub(super) language: &'a str,
    pub(super) segments_max: u8,
    pub(super) outside: &'a Outside<'a>,
    pub(super) faults: &'a Faults<'a>,
    /// What every text takes.
    pub(super) reports: Vec<TextReport>,
    rule: String,
    area: String,
    /// Languages of each text of the rule, and where it stands.
    languages: Vec<(Place, Vec<String>)>,
}

impl<'a> Texts<'a> {
    pub(super) fn new(
        (book, areas): (&'a RuleBook, &'a [Area]),
        (sender, language): (&'a str, &'a str),
        segments_max: u8,
        outside: &'a Outside<'a>,
        faults: &'a Faults<'a>,
    ) -> Self {
        let (reports, languages) = (Vec::new(), Vec::new());
        let [rule, area] = [const { String::new() }; 2];
        Self {
            book,
            areas,
            sender,
            language,
            segments_max,
            outside,
            faults,
            reports,
            rule,
            area,
            languages,
        }
    }

    /// Begins a rule: what follows is about it.
    pub(super) fn begin_rule(&mut self, rule: &str, area: &str) {
        rule.clone_into(&mut self.rule);
        area.clone_into(&mut self.area);
        self.languages.clear();
    }

    /// Ends it: languages that only some of its texts have are reported.
    pub(super) fn end_rule(&mut self) {
        let mut all: Vec<&String> = self.languages.iter().flat_map(|(_, own)| own).collect();
        all.sort();
        all.dedup();
        for (place, own) in &self.languages {
            let lacking =
                |language: &&&String| !own.contains(language) && **language != self.language;
            let missing: Vec<&str> = all.iter().filter(lacking).map(|l| l.as_str()).collect();
            if !missing.is_empty() {
                let help = format!("who reads that gets the text in {}", self.language);
                let message = format!(
                    "there is no text in {} here, but elsewhere in the rule",
                    missing.join(", ")
                );
                self.faults.warn(*place, message, help);
            }
        }
    }

    /// Reads the texts of a level.
    pub(super) fn read(
        &mut self,
        section: &Section<'_>,
        key: &str,
        level: Option<&LevelRule>,
    ) -> BTreeMap<String, Template> {
        let mut leaves = Vec::new();
        if let Some(level) = level {
            collect(&level.test, &mut leaves);
        }
        self.texts(section, key, level, &leaves)
    }

    /// Reads the texts of the all-clear: it may tell of any signal of the rule.
    pub(super) fn read_all_clear(
        &mut self,
        section: &Section<'_>,
        levels: &[LevelRule],
    ) -> BTreeMap<String, Template> {
        let mut leaves = Vec::new();
        for level in levels {
            collect(&level.test, &mut leaves);
        }
        self.texts(section, "all_clear", None, &leaves)
    }

    fn texts(
        &mut self,
        section: &Section<'_>,
        key: &str,
        level: Option<&LevelRule>,
        leaves: &[&Leaf],
    ) -> BTreeMap<String, Template> {
        let valueless = level.is_some_and(|level| only_silence(&level.test));
        let level = level.map(|level| level.level);
        let written = section.texts(key);
        if section.written(key).is_some() {
            let languages = written.iter().map(|(language, ..)| (*language).to_owned()).collect();
            self.languages.push((section.key_place(key), languages));
            if !self.language.is_empty() && !written.iter().any(|(l, ..)| *l == self.language) {
                self.faults.missing(
                    section.key_place(key),
                    format!(
                        "there is no text in \"{}\", the language of the gateway",
                        self.language
                    ),
                    format!("add `{key}.{}`", self.language),
                );
            }
        }
        let mut texts = BTreeMap::new();
        for (language, text, place) in written {
            if let Some(template) = self.template(text, place) {
                for word in ["{value}", "{place}"] {
                    if valueless && text.contains(word) {
                        let help = "remove it: the condition looks at no signal";
                        self.faults.error(place, format!("{word} stays empty here"), help);
                    }
                }
                self.count(&template, language, level, leaves, place);
                texts.insert(language.to_owned(), template);
            }
        }
        texts
    }

    /// Reads a template; reports every placeholder that does not exist.
    fn template(&self, text: &str, place: Place) -> Option<Template> {
        let mut rest = text.to_owned();
        loop {
            match Template::parse(&rest) {
                Ok(template) if rest == text => return Some(template),
                Ok(_) => return None,
                Err(TemplateError::Unknown { word, offset }) => {
                    let end = offset + word.len() + 2;
                    let words = Placeholder::ALL.map(Placeholder::as_str);
                    let help = match super::amount::nearest(&word, words) {
                        Some(near) => format!("did you mean {{{near}}}?"),
                        None => format!("there are {{{}}}", words.join("}, {")),
                    };
                    let at = self.faults.inside(place, offset..end);
                    self.faults.error(at, format!("unknown placeholder {{{word}}}"), help);
                    // Spaces in its place keep the offsets of what follows.
                    rest.replace_range(offset..end, &" ".repeat(end - offset));
                }
                Err(TemplateError::Unpaired { offset }) => {
                    let at = self.faults.inside(place, offset..offset + 1);
                    self.faults.error(
                        at,
                        "a brace without its partner",
                        "write {{ or }} for a brace itself",
                    );
                    return None;
                }
            }
        }
    }

    /// Counts the segments of the worst case, and reports when there are too many.
    fn count(
        &mut self,
        template: &Template,
        language: &str,
        level: Option<Level>,
        leaves: &[&Leaf],
        place: Place,
    ) {
        let candidates = |placeholder| self.candidates(placeholder, language, leaves);
        let longest = |placeholder| {
            let values = candidates(placeholder);
            values.into_iter().max_by_key(|value| value.chars().count()).unwrap_or_default()
        };
        let mut worst = template.render(longest);
        let mut count = (self.outside.count_segments)(&worst);
        // A shorter value with a letter outside the GSM alphabet can cost more than the longest.
        for swapped in Placeholder::ALL {
            for value in candidates(swapped) {
                let text =
                    template.render(|p| if p == swapped { value.clone() } else { longest(p) });
                let other = (self.outside.count_segments)(&text);
                if other.segments > count.segments {
                    (worst, count) = (text, other);
                }
            }
        }
        let SegmentCount { segments, unicode } = count;
        if segments > u32::from(self.segments_max) {
            let message = format!(
                "this text takes {segments} segments in its worst case, and at most {} are allowed",
                self.segments_max
            );
            let help = if unicode {
                "shorten it, or use only letters of the GSM alphabet (others leave 67 characters a segment, not 153)"
            } else {
                "shorten it, or raise `segments_max` in [sms]"
            };
            self.faults.error(place, message, help);
        }
        let (rule, language) = (self.rule.clone(), language.to_owned());
        self.reports.push(TextReport { rule, level, language, worst, count });
    }

    /// Returns what a placeholder can become.
    fn candidates(
        &self,
        placeholder: Placeholder,
        language: &str,
        leaves: &[&Leaf],
    ) -> Vec<String> {
        match placeholder {
            Placeholder::Area => {
                let area = self.areas.iter().find(|area| area.name == self.area);
                area.map(|area| area.title_in(language).to_owned()).into_iter().collect()
            }
            Placeholder::Place => {
                let nodes = leaves.iter().filter_map(|leaf| self.node(leaf));
                let mut places: Vec<String> = nodes.map(|node| node.place.clone()).collect();
                places.sort();
                places.dedup();
                places
            }
            Placeholder::Value => leaves.iter().flat_map(|leaf| self.values(leaf)).collect(),
            Placeholder::Time | Placeholder::Until => vec![TIME_LONGEST.to_owned()],
            Placeholder::Sender => vec![self.sender.to_owned()],
            Placeholder::Tag => vec![TAG_LONGEST.to_owned()],
        }
    }

    fn node(&self, leaf: &Leaf) -> Option<&'a Node> {
        self.book.nodes.get(usize::try_from(leaf.signal.node.0).ok()?)
    }

    fn values(&self, leaf: &Leaf) -> Vec<String> {
        let Some(node) = self.node(leaf) else { return Vec::new() };
        let sensor = node.sensors.iter().find(|sensor| sensor.quantity == leaf.signal.quantity);
        let Some(sensor) = sensor else { return Vec::new() };
        let scale = Scale::of(&leaf.signal, node, sensor);
        let text = |value| value_words(self.book, &Observed { signal: leaf.signal, value });
        vec![text(scale.low), text(scale.high)]
    }
}

/// Returns whether a condition asks for silence alone.
fn only_silence(test: &Test) -> bool {
    match test {
        Test::Signal(_) => false,
        Test::Silent(..) => true,
        Test::AtLeast(_, tests) => !tests.is_empty() && tests.iter().all(only_silence),
    }
}

/// Collects the signals that a condition looks at.
fn collect<'t>(test: &'t Test, leaves: &mut Vec<&'t Leaf>) {
    match test {
        Test::Signal(leaf) => leaves.push(leaf),
        Test::Silent(..) => {}
        Test::AtLeast(_, tests) => tests.iter().for_each(|test| collect(test, leaves)),
    }
}
