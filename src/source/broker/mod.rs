//! The embedded MQTT listener (3.1.1 and 5): an acknowledgement leaves only after the commit.
