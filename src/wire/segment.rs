//! Splitting a text into SMS segments: alphabet, length, concatenation.
