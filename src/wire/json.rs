//! JSON payloads: values by pointer, arrays, plain numbers, state topics.
