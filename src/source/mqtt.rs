//! Client of MQTT brokers that others run.
