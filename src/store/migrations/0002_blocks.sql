-- Readings leave the table `reading` in sealed blocks (docs/formats/block.md): the same bytes are kept, sent upstream and hashed.

create table block (
    number integer primary key,     -- place in the chain, from 1
    boot integer not null,          -- to which all of its readings belong
    first integer not null,         -- the readings' numbers, from this one
    last integer not null,          -- to this one
    readings integer not null,
    at_from_ms integer not null,    -- when they were judged, on the time line: the first
    at_until_ms integer not null,   -- and the last
    line_from_ms integer,           -- the earliest measured, on the time line, of those without a Unix time of their node
    stamp_from_ms integer,          -- Unix times of those that have one
    stamp_until_ms integer,
    alone integer not null,         -- 1 stands alone, 0 continues the block before
    link blob not null,             -- 32 bytes
    bytes blob not null
) strict;

-- Stretches of the chain that have been removed, one row each however long they grow.
create table block_gone (
    last integer primary key,
    first integer not null,
    readings integer not null,
    link blob not null              -- after the last: what comes next can still be checked
) strict;

create index block_alone on block (number) where alone = 1;

-- What a day of a series came to, of good readings whose time on the calendar is known.
create table day (
    series integer not null,
    day integer not null,           -- days since 1970-01-01 UTC
    readings integer not null,
    low real not null,
    high real not null,
    total real not null,
    primary key (series, day)
) strict, without rowid;

-- Names this database's chain of blocks towards others: drawn once.
create table chain (
    id integer primary key check (id = 1),
    name integer not null
) strict;
insert into chain values (1, random() & 4294967295);

-- Readings around an alert are never removed: each run of blocks is compared with the alerts.
create index alert_sent on alert (sent_ms);
