-- The tables of a hub, as `../postgres` has them.

create table gateway (
  number integer primary key autoincrement,
  name text not null unique,
  key blob not null,
  enrolled_ms integer not null,
  suspended_ms integer,
  heard_ms integer,
  packets integer not null default 0,
  -- What it last said of itself, JSON; in which packet, and when that came.
  health text,
  health_packet integer,
  health_ms integer,
  -- Since when it is missed.
  missing_ms integer
) strict;

create table token (
  -- SHA-256 of the token.
  hash blob primary key,
  name text not null,
  made_ms integer not null,
  expires_ms integer not null,
  used_ms integer
) strict;

-- A database of a gateway: another one after it was restored.
create table chain (
  gateway integer not null,
  chain integer not null,
  first_ms integer not null,
  primary key (gateway, chain)
) strict;

-- Sealed blocks as they came. `state`: 0 waits for those before it, 1 its readings are stored, 2 it cannot be read,
-- 3 its place is taken by another block.
create table block (
  gateway integer not null,
  chain integer not null,
  number integer not null,
  id blob not null,
  previous blob not null,
  alone integer not null,
  state integer not null,
  received_ms integer not null,
  readings integer,
  bytes blob not null,
  primary key (gateway, chain, number, id)
) strict;
create index block_unread on block (gateway, state) where state <> 1;

-- Blocks that a gateway has removed unsent.
create table gone (
  gateway integer not null,
  chain integer not null,
  first integer not null,
  last integer not null,
  primary key (gateway, chain, first, last)
) strict;

create table series (
  id integer primary key autoincrement,
  gateway integer not null,
  node text not null,
  quantity text not null,
  unique (gateway, node, quantity)
) strict;

-- `at_ms` is the gateway's time line; `unix_ms` when it was measured, as best known; `lag_ms` how long before `at_ms` that
-- was, nothing where the node's own clock says so. `clock`: 0 unset, 1 estimated, 2 synchronised.
create table if not exists reading (
  gateway integer not null,
  series integer not null,
  unix_ms integer not null,
  sequence integer not null,
  at_ms integer not null,
  lag_ms integer,
  clock integer not null,
  quality integer not null,
  value real,
  primary key (gateway, series, unix_ms, sequence)
) strict, without rowid;
create index if not exists reading_unsettled on reading (gateway, at_ms) where lag_ms is not null and clock < 2;

create view measured as
  select gateway.name as gateway, series.node, series.quantity, reading.unix_ms, reading.sequence, reading.value,
    reading.quality, reading.clock
  from reading join series on series.id = reading.series join gateway on gateway.number = reading.gateway;

-- Where a run of a gateway lies on the calendar. The newest word counts: of the packet with the greatest number, unless that
-- is older than a day, for a gateway that was set up anew counts from one again.
create table boot (
  gateway integer not null,
  boot integer not null,
  at_ms integer not null,
  offset_ms integer not null,
  quality integer not null,
  packet integer not null,
  received_ms integer not null,
  primary key (gateway, boot, at_ms)
) strict;

-- Dictionaries of the short form of alerts, as they came.
create table book (
  gateway integer not null,
  id blob not null,
  received_ms integer not null,
  bytes blob not null,
  primary key (gateway, id)
) strict;

-- Alerts: the item as it came, and what it says; the names once its dictionary is here. Times are on the gateway's time line,
-- which `boot` lays on the calendar.
create table alert (
  gateway integer not null,
  warning integer not null,
  number integer not null,
  sent_ms integer not null,
  expires_ms integer not null,
  received_ms integer not null,
  message_type text not null,
  reason text not null,
  level text not null,
  level_max text not null,
  book blob,
  item blob not null,
  hazard text,
  area text,
  rule text,
  rule_version text,
  observed text,
  primary key (gateway, warning, number, sent_ms)
) strict;
create index alert_unread on alert (gateway, book) where hazard is null;

create table outcome (
  gateway integer not null,
  warning integer not null,
  alert integer not null,
  recipients integer not null,
  delivered integer not null,
  accepted integer not null,
  failed integer not null,
  expired integer not null,
  waiting integer not null,
  acknowledged integer not null,
  packet integer not null,
  received_ms integer not null,
  primary key (gateway, warning, alert)
) strict;

create table ended (
  gateway integer not null,
  warning integer not null,
  at_ms integer not null,
  ending text not null,
  primary key (gateway, warning, at_ms)
) strict;

create table latest (
  gateway integer not null,
  node text not null,
  quantity text not null,
  at_ms integer not null,
  received_ms integer not null,
  value real,
  quality integer not null,
  primary key (gateway, node, quantity)
) strict;

-- What the operator is told: that a gateway is missed, or heard again.
create table notice (
  id integer primary key autoincrement,
  gateway integer not null,
  kind text not null,
  at_ms integer not null,
  claimed_ms integer,
  told_ms integer
) strict;
create index notice_untold on notice (id) where told_ms is null;
