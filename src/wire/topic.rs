//! Topic templates: which node, and perhaps which quantity, a publication speaks of.

use std::fmt;
use thiserror::Error;

/// A topic with named levels, such as `field/{node}/up` or `{node}/sensor/{quantity}/state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    Node,
    Quantity,
    Any,
}

/// What a topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// The level where `{node}` stands.
    pub node: &'a str,
    /// The level where `{quantity}` stands, if the template has one.
    pub quantity: Option<&'a str>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Nothing would say which node it is.
    #[error("a topic template has exactly one level {{node}}")]
    NoNode,
    /// A level mixes text and braces or wildcards, or names what does not exist.
    #[error("the level {level:?} is neither plain text, nor {{node}}, {{quantity}} or +")]
    Level {
        /// Which level.
        level: String,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// Names the level that is none, or says that `{node}` is missing or doubled.
    pub fn parse(written: &str) -> Result<Self, TemplateError> {
        let levels = written.split('/').map(parse_level).collect::<Result<Vec<_>, _>>()?;
        let count = |wanted| levels.iter().filter(|level| **level == wanted).count();
        if count(Level::Node) != 1 || count(Level::Quantity) > 1 {
            return Err(TemplateError::NoNode);
        }
        Ok(Self { levels })
    }

    /// Returns what `topic` says, if the template is of its form.
    #[must_use]
    pub fn matches<'a>(&self, topic: &'a str) -> Option<Captured<'a>> {
        let mut found = Captured { node: "", quantity: None };
        let mut parts = topic.split('/');
        for level in &self.levels {
            let part = parts.next()?;
            match level {
                Level::Literal(text) if text == part => {}
                Level::Literal(_) => return None,
                Level::Node => found.node = part,
                Level::Quantity => found.quantity = Some(part),
                Level::Any => {}
            }
        }
        (parts.next().is_none() && !found.node.is_empty()).then_some(found)
    }

    /// Returns the topic on which a node publishes; `None` when more than the node is open.
    #[must_use]
    pub fn topic_of(&self, node: &str) -> Option<String> {
        let parts: Option<Vec<&str>> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => Some(text.as_str()),
                Level::Node => Some(node),
                Level::Quantity | Level::Any => None,
            })
            .collect();
        Some(parts?.join("/"))
    }

    /// Returns the MQTT filter of everything that the template matches, for one node or for all.
    #[must_use]
    pub fn filter(&self, node: Option<&str>) -> String {
        let level = |level: &Level| match level {
            Level::Literal(text) => text.clone(),
            Level::Node => node.unwrap_or("+").to_owned(),
            Level::Quantity | Level::Any => "+".to_owned(),
        };
        self.levels.iter().map(level).collect::<Vec<_>>().join("/")
    }
}

fn parse_level(written: &str) -> Result<Level, TemplateError> {
    match written {
        "{node}" => Ok(Level::Node),
        "{quantity}" => Ok(Level::Quantity),
        "+" => Ok(Level::Any),
        text if text.contains(['{', '}', '+', '#']) => {
            Err(TemplateError::Level { level: text.to_owned() })
        }
        text => Ok(Level::Literal(text.to_owned())),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = |level: &Level| match level {
            Level::Literal(text) => text.clone(),
            Level::Node => "{node}".to_owned(),
            Level::Quantity => "{quantity}".to_owned(),
            Level::Any => "+".to_owned(),
        };
        f.write_str(&self.levels.iter().map(level).collect::<Vec<_>>().join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_says_which_node_and_quantity_a_topic_speaks_of() {
        let up = Template::parse("field/{node}/up").unwrap();
        assert_eq!(up.matches("field/a-1/up").unwrap().node, "a-1");
        for other in ["field/a-1", "field/a-1/up/x", "field//up", "other/a-1/up", ""] {
            assert_eq!(up.matches(other), None, "{other}");
        }
        let state = Template::parse("{node}/+/{quantity}/state").unwrap();
        let found = state.matches("roof/sensor/rain/state").unwrap();
        assert_eq!((found.node, found.quantity), ("roof", Some("rain")));
        assert_eq!(state.filter(None), "+/+/+/state");
        assert_eq!(up.filter(Some("b")), "field/b/up");
        assert_eq!(up.topic_of("b").as_deref(), Some("field/b/up"));
        assert_eq!(state.to_string(), "{node}/+/{quantity}/state");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert_eq!(Template::parse("field/up"), Err(TemplateError::NoNode));
        assert_eq!(Template::parse("{node}/{node}"), Err(TemplateError::NoNode));
        for bad in ["field/{noed}/{node}", "a{node}", "{node}/#", "{node}/x+"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
