-- What the hub has said that it has. Everything else is still to be told.

alter table boot add column told text;                                -- the calendar that it knows, as 'offset quality'
alter table rule_book add column told integer not null default 0;
alter table warning add column end_told integer not null default 0;
alter table alert add column told integer not null default 0;
alter table alert add column outcome_told text not null default '';   -- the figures that it knows
alter table block add column told integer not null default 0;
alter table block_gone add column told integer not null default 0;

create index block_untold on block (number) where told = 0;
create index alert_untold on alert (warning, number) where told = 0;

create table uplink (
    id integer primary key check (id = 1),
    packet integer not null             -- number of the last packet that was answered
) strict;
insert into uplink values (1, 0);
