//! SQLite: one file, one writer; a turn commits whole or not at all.
