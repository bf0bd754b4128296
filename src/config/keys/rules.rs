//! What is judged, and how: nodes, areas, rules.

use super::{Key, Kind, Table, default, derived, optional, required};

/// `[node.NAME]`.
pub(super) static NODE: Table = Table {
    header: "[node.NAME]",
    doc: "A field unit that reports. Readings of a node that is not declared are refused and listed by \
         `kengele status`.",
    keys: NODE_KEYS,
    also: None,
};

const NODE_KEYS: &[Key] = &[
    derived(
        "place",
        Kind::Text,
        "the node's name",
        "Where it stands, in words for people: `{place}` in texts.",
    ),
    default(
        "heard_as",
        Kind::List(&Kind::Text),
        "[]",
        "Other names under which it is heard, such as its DevEUI, or `!` and eight digits on Meshtastic.",
    ),
    required("interval", Kind::Span, "How often it promises to report."),
    derived(
        "silent_after",
        Kind::Span,
        "three intervals",
        "Unheard for longer it is silent: the technician is told, and what it said last counts no more.",
    ),
    derived(
        "late_after",
        Kind::Span,
        "as `silent_after`",
        "A reading that took longer to arrive is kept, but cannot raise a level.",
    ),
    required("sensor", Kind::Named(&SENSOR), "What it measures."),
    optional(
        "lorawan",
        Kind::Table(&super::radio::NODE),
        "It is a LoRaWAN device of this gateway.",
    ),
    optional("wf1", Kind::Table(&super::link::NODE), "It is a node of our own radio link."),
];

static SENSOR: Table = Table {
    header: "[node.NAME.sensor.QUANTITY]",
    doc: "One quantity that a node measures, and what its instrument can and cannot truly report.",
    keys: SENSOR_KEYS,
    also: None,
};

const SENSOR_KEYS: &[Key] = &[
    derived(
        "range",
        Kind::Band,
        "what is possible anywhere on Earth",
        "Lowest and highest value that the instrument can truly report, such as `[\"0 m\", \"6 m\"]`.",
    ),
    optional("step", Kind::Text, "Fastest believable change, such as `\"0.5 m in 5 min\"`."),
    optional(
        "spike",
        Kind::Amount,
        "Farthest that a value may stand from the median of the last five.",
    ),
    optional("stuck_after", Kind::Span, "Longest believable time without any change."),
    derived(
        "decimals",
        Kind::Whole(0, 6),
        "2 for values in m and m³/s, else 1",
        "Digits after the decimal point, in texts.",
    ),
    optional(
        "counter",
        Kind::Table(&COUNTER),
        "It sends a running total, such as the tips of a rain gauge.",
    ),
];

static COUNTER: Table = Table {
    header: "[node.NAME.sensor.QUANTITY.counter]",
    doc: "The sensor sends a running total; what is judged is the increment.",
    keys: COUNTER_KEYS,
    also: None,
};

const COUNTER_KEYS: &[Key] = &[
    optional("wraps_at", Kind::Amount, "The total at which it starts from zero again."),
    required(
        "increment_max",
        Kind::Amount,
        "Most that can truly be added from one reading to the next.",
    ),
];

/// `[area.NAME]`.
pub(super) static AREA: Table = Table {
    header: "[area.NAME]",
    doc: "An area that can be warned.",
    keys: AREA_KEYS,
    also: None,
};

const AREA_KEYS: &[Key] = &[
    derived("name", Kind::Text, "the NAME of the table", "What people call it: `{area}` in texts."),
    optional(
        "name_in",
        Kind::Texts,
        "What people call it in other languages, such as `name_in.en = \"Lower valley\"`.",
    ),
];

/// `[rule.NAME]`.
pub(super) static RULE: Table = Table {
    header: "[rule.NAME]",
    doc: "A condition in levels, and the warning that it raises. Rules stand here or in `rules.d/*.toml`.",
    keys: RULE_KEYS,
    also: None,
};

const RULE_KEYS: &[Key] = &[
    required(
        "hazard",
        Kind::Name,
        "What threatens, such as `flood`. Rules of one hazard and area share one warning.",
    ),
    required("area", Kind::Name, "Who is threatened."),
    default(
        "valid",
        Kind::Span,
        "\"6 h\"",
        "How long an alert holds when nothing newer replaces it.",
    ),
    default(
        "cool_down",
        Kind::Duration,
        "\"1 h\"",
        "How long after an all-clear the same level stays quiet. Danger never waits.",
    ),
    default(
        "certainty",
        Kind::OneOf(&["observed", "likely", "possible"]),
        "\"observed\"",
        "Whether it is measured or inferred.",
    ),
    required("level", Kind::Tables(&LEVEL), "Its levels."),
    required("all_clear", Kind::Texts, "Told when the warning ends, by language."),
];

static LEVEL: Table = Table {
    header: "[[rule.NAME.level]]",
    doc: "When one level holds, and what is said then. The condition is written with the keys of the \
         next table.",
    keys: LEVEL_KEYS,
    also: Some(&CONDITION),
};

const LEVEL_KEYS: &[Key] = &[
    required(
        "level",
        Kind::OneOf(&["advisory", "warning", "danger"]),
        "Which level: be aware, be prepared, act now.",
    ),
    default("hold", Kind::Duration, "\"0 s\"", "For how long the condition must have been true."),
    default(
        "clear_hold",
        Kind::Duration,
        "\"10 min\"",
        "For how long it must not have been true before the level ends.",
    ),
    required("audience", Kind::List(&Kind::Name), "Roles that are told, in this order."),
    required("text", Kind::Texts, "What they are told, by language: `text.sw = \"…\"`."),
    optional(
        "eased",
        Kind::Texts,
        "What they are told instead when a higher level has come down to this one.",
    ),
];

static CONDITION: Table = Table {
    header: "condition",
    doc: "The keys of a condition stand in the level itself, or in the inline tables of `all`, `any` \
         and `of`. Each has exactly one of `above`, `below`, `rises`, `falls`, `outside`, `inside`, \
         `silent`, `all`, `any` and `of`.",
    keys: CONDITION_KEYS,
    also: None,
};

static CONDITION_KEYS: &[Key] = &[
    optional(
        "signal",
        Kind::Text,
        "`NODE/QUANTITY`, or with a function over a window: `mto-juu/rain sum 24 h`. Functions: `min`, \
             `max`, `mean`, `sum`, `count`, `change`, `rate`. `*` in NODE stands for any letters.",
    ),
    optional("above", Kind::Amount, "The signal is at least this."),
    optional("below", Kind::Amount, "The signal is at most this."),
    optional("rises", Kind::Text, "It has risen by at least this, such as `\"0.3 m in 15 min\"`."),
    optional("falls", Kind::Text, "It has fallen by at least this."),
    optional("outside", Kind::Band, "It is outside this band."),
    optional("inside", Kind::Band, "It is inside this band."),
    derived("hysteresis", Kind::Amount, "none", "How far it must come back before the level ends."),
    optional("silent", Kind::Span, "The `node` has not been heard for this long."),
    optional("node", Kind::Text, "The node of `silent`; `*` stands for any letters."),
    optional("all", Kind::Tables(&CONDITION), "All of these conditions."),
    optional("any", Kind::Tables(&CONDITION), "Any of these conditions."),
    optional("of", Kind::Tables(&CONDITION), "At least `at_least` of these conditions."),
    optional(
        "at_least",
        Kind::Whole(1, 1000),
        "How many of `of`, or of the nodes that a `*` stands for (then 1 when not written).",
    ),
];
