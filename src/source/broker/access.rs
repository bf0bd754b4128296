//! Who may connect, and what they may publish and follow.

use crate::wire::topic::Template;
use argon2::{Argon2, PasswordHash, PasswordVerifier};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a client may do. `%u` in a filter is the user name, `%c` the client identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Nodes that it may publish for.
    pub nodes: Vec<NodeRight>,
    /// Topic filters that it may publish to besides.
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to, and narrower ones.
    pub subscribe: Vec<String>,
}

/// A user and what it may do.
#[derive(Clone)]
pub struct Credential {
    user: String,
    secret: String,
    rights: Rights,
}

impl Credential {
    /// Makes a credential. `secret` is the password, or its Argon2 hash in PHC form (`$argon2id$…`).
    #[must_use]
    pub fn new(user: String, secret: String, rights: Rights) -> Self {
        Self { user, secret, rights }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

pub(super) struct Access {
    users: BTreeMap<String, Credential>,
    anonymous: Option<Rights>,
    /// Digests of passwords that have been verified against an Argon2 hash: a thousand nodes that come back after a power
    /// cut must not cost a thousand times 20 MB and 50 ms.
    verified: Mutex<BTreeMap<String, [u8; 32]>>,
}

impl Access {
    pub(super) fn new(credentials: Vec<Credential>, anonymous: Option<Rights>) -> Self {
        let users = credentials.into_iter().map(|c| (c.user.clone(), c)).collect();
        Self { users, anonymous, verified: Mutex::default() }
    }

    /// Returns what a client may do, or `None` when it may not connect. Slow (tens of milliseconds) the first time that
    /// a hashed password is seen.
    pub(super) fn rights(
        &self,
        user: Option<&str>,
        password: Option<&[u8]>,
        client: &str,
    ) -> Option<Arc<Rights>> {
        let Some(user) = user else {
            return self.anonymous.as_ref().map(|rights| rights.clone().of("", client));
        };
        let credential = self.users.get(user)?;
        self.is_password(credential, password.unwrap_or_default())
            .then(|| credential.rights.clone().of(user, client))
    }

    /// Returns whether a password must be verified against a hash, away from the reactor.
    pub(super) fn is_slow(&self, user: Option<&str>) -> bool {
        user.and_then(|user| self.users.get(user)).is_some_and(|c| c.secret.starts_with("$argon2"))
    }

    fn is_password(&self, credential: &Credential, password: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(password).into();
        if !credential.secret.starts_with("$argon2") {
            let own: [u8; 32] = Sha256::digest(credential.secret.as_bytes()).into();
            return same(&own, &digest);
        }
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.get(&credential.user).is_some_and(|known| same(known, &digest)) {
            return true;
        }
        let Ok(hash) = PasswordHash::new(&credential.secret) else { return false };
        let right = Argon2::default().verify_password(password, &hash).is_ok();
        if right {
            verified.insert(credential.user.clone(), digest);
        }
        right
    }
}

/// Compares without telling by its time where two digests differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// A right to publish for nodes: those that fit the pattern, on the topics of the template. It need not be declared: a node
/// that fits and is not declared is heard of, refused and listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRight {
    /// Where nodes publish.
    pub template: Template,
    /// Name of the node; `*` stands for any letters.
    pub pattern: String,
}

impl NodeRight {
    fn fits(&self, topic: &str) -> bool {
        self.template.matches(topic).is_some_and(|found| fits(&self.pattern, found.node))
    }
}

/// Returns whether a name fits a pattern in which `*` stands for any letters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    rest.char_indices()
        .map(|(place, _)| place)
        .chain([rest.len()])
        .any(|place| rest.get(place..).is_some_and(|rest| fits(tail, rest)))
}

impl Rights {
    fn of(mut self, user: &str, client: &str) -> Arc<Self> {
        // A name with a wildcard or a level in it must not widen a right.
        let plain = |name: &str| !name.contains(['+', '#', '/', '\0']);
        for filter in self.publish.iter_mut().chain(&mut self.subscribe) {
            if filter.contains("%u") && plain(user) {
                *filter = filter.replace("%u", user);
            }
            if filter.contains("%c") && plain(client) {
                *filter = filter.replace("%c", client);
            }
        }
        Arc::new(self)
    }

    pub(super) fn may_publish(&self, topic: &str) -> bool {
        !topic.starts_with("kengele/")
            && (self.nodes.iter().any(|right| right.fits(topic))
                || self.publish.iter().any(|filter| matches(filter, topic)))
    }

    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        self.subscribe.iter().any(|own| covers(own, filter))
    }
}

/// Returns whether a topic filter matches a topic name: MQTT 5 §4.7.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topics = topic.split('/');
    for level in filter.split('/') {
        match level {
            "#" => return true,
            "+" => {
                if topics.next().is_none() {
                    return false;
                }
            }
            literal => {
                if topics.next() != Some(literal) {
                    return false;
                }
            }
        }
    }
    topics.next().is_none()
}

/// Returns whether everything that `narrow` matches is matched by `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    let mut levels = narrow.split('/');
    for level in wide.split('/') {
        match (level, levels.next()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (literal, Some(other)) if literal == other => {}
            (_, Some(_)) => return false,
        }
    }
    levels.next().is_none()
}

/// Returns whether a text may be subscribed to: MQTT 5 §4.7.1.
pub(super) fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut fine = !filter.is_empty() && !filter.contains('\0');
    while let Some(level) = levels.next() {
        fine &= match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            other => !other.contains(['+', '#']),
        };
    }
    fine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "anything/at/all", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_right_to_follow_covers_what_is_narrower_and_nothing_wider() {
        for (wide, narrow, expected) in [
            ("a/#", "a/b/c", true),
            ("a/#", "a/#", true),
            ("a/#", "a", true),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/b", "#", false),
            ("+/b", "a/b", true),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn a_name_with_a_wildcard_widens_no_right() {
        let rights = Rights {
            nodes: Vec::new(),
            publish: vec!["field/%u/up".into()],
            subscribe: vec!["cmd/%c".into()],
        };
        assert!(rights.clone().of("a", "c").may_publish("field/a/up"));
        assert!(!rights.clone().of("+", "c").may_publish("field/b/up"));
        assert!(!rights.of("a", "#").may_subscribe("cmd/#"));
    }

    #[test]
    fn nobody_publishes_warnings_but_the_gateway() {
        let all = Rights { nodes: Vec::new(), publish: vec!["#".into()], subscribe: vec![] };
        assert!(!all.may_publish("kengele/warnings/valley"));
    }

    #[test]
    fn a_password_is_checked_plain_or_hashed() {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").unwrap();
        let hash = Argon2::default().hash_password(b"right", &salt).unwrap().to_string();
        let credential = |user: &str, secret: &str| {
            Credential::new(user.into(), secret.into(), Rights::default())
        };
        let access =
            Access::new(vec![credential("plain", "right"), credential("hashed", &hash)], None);
        for user in ["plain", "hashed"] {
            for _ in 0..2 {
                assert!(access.rights(Some(user), Some(b"right"), "c").is_some());
                assert!(access.rights(Some(user), Some(b"wrong"), "c").is_none());
            }
            assert!(access.rights(Some(user), None, "c").is_none());
        }
        assert!(access.rights(None, None, "c").is_none());
        assert!(access.rights(Some("other"), Some(b"right"), "c").is_none());
    }
}
