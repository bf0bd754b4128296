-- Times named *_ms are milliseconds: at_ms, sent_ms … on the gateway's own time line, unix_ms and stamp on the calendar.
-- A time-line moment becomes calendar time by the offset of its boot: unix = at_ms + boot.offset_ms.

create table boot (
    id integer primary key,
    kernel text not null,           -- the kernel's boot id: time between two runs under one kernel is known exactly
    uptime_ms integer not null,     -- CLOCK_BOOTTIME at start
    at_ms integer not null,         -- time line at start
    offset_ms integer not null,     -- calendar minus time line, as best known for this boot
    quality text not null           -- unset | estimated | synchronised
) strict;

create table rule_book (
    version text primary key,
    sources text not null           -- JSON [[file, text], …]: enough to judge by it again
) strict, without rowid;

create table series (
    id integer primary key,
    node text not null,
    quantity text not null,
    unique (node, quantity)
) strict;

-- One row an engine input: replaying turns and their readings gives the engine's state again.
create table turn (
    id integer primary key,
    boot integer not null,
    at_ms integer not null,
    down_ms integer                 -- set where the gateway came back after being down for so long
) strict;

create table reading (
    id integer primary key,         -- in the order in which they were judged
    turn integer not null,
    series integer not null,
    stamp integer,                  -- >= 0: Unix ms by the node; < 0: -1 - age in ms; null: none
    value real,                     -- null: not a number
    quality integer not null
) strict;

-- What a radio node and the gateway must both remember: counters, nonces, session keys. Changes with the readings that it admits.
create table radio (
    node text primary key,          -- the node's own identifier, such as its DevEUI
    state blob not null
) strict, without rowid;

create table snapshot (
    turn integer primary key,       -- state after this turn
    rule_book text not null,
    state blob not null
) strict;

create table warning (
    id integer primary key,
    hazard text not null,
    area text not null,
    level_max text not null,
    opened_ms integer not null,
    ended_ms integer,
    ending text                     -- cleared | withdrawn | expired
) strict;

create table alert (
    warning integer not null,
    number integer not null,
    turn integer not null,
    message_type text not null,
    reason text not null,
    level text not null,
    rule text not null,
    rule_book text not null,
    sent_ms integer not null,
    expires_ms integer not null,
    observed text not null,         -- JSON [[signal, value], …]
    primary key (warning, number)
) strict, without rowid;

create table notice (
    id integer primary key,
    at_ms integer not null,
    node text,
    words text not null
) strict;

create table recipient (
    id integer primary key,
    name text not null,
    number text not null unique,
    role text not null,
    language text not null,
    areas text not null,            -- separated by spaces
    consent integer not null
) strict;

-- What came but could not be read; bounded, the oldest go first.
create table undecoded (
    id integer primary key,
    at_ms integer not null,
    origin text not null,
    reason text not null,
    payload blob not null
) strict;

-- The outbox. A row is written with the alert that it tells of, and again with every change of its state.
create table delivery (
    id integer primary key,
    subject text not null,          -- alert | notice | test
    warning integer,                -- of an alert
    alert integer,
    message_type text,
    recipient integer not null,
    number text not null,
    body text not null,
    segments integer not null,
    priority integer not null,      -- 0 danger, 1 warning, 2 advice
    rank integer not null,
    idempotency_key text not null default (lower(hex(randomblob(16)))),
    routes text not null,           -- JSON [[channel, tries, not before ms, why rejected or null], …], best first
    created_ms integer not null,
    expires_ms integer not null,
    state text not null,
    attempt integer,                -- that the state speaks of
    decide_at_ms integer,           -- of an unknown fate: until when evidence is awaited
    stop text,                      -- why no further attempt is made: superseded | opted out
    attempts integer not null default 0,
    channel text,                   -- of the last of them
    reached integer not null default 0,
    possible_duplicate integer not null default 0,
    last_error text,
    ended_ms integer
) strict;
create table attempt (
    id integer primary key,
    delivery integer not null,
    channel text not null,
    boot integer not null,
    started_ms integer not null,
    segments integer not null,
    reference_before integer,
    outcome text not null,
    reason text,
    ended_ms integer,
    segment_references text not null -- JSON [[reference, delivered], …]
) strict;

create index attempt_delivery on attempt (delivery);
