//! Recipients: who is to be told.
