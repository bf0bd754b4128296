-- What a restore leaves behind: numbers that must not be given again although no row has them, and where the engine begins.
create table mark (
    name text primary key,          -- warning: numbers of warnings up to this one are taken;
                                    -- engine turn, engine ms: its state begins anew behind this turn, at this moment
    value integer not null
) strict, without rowid;
