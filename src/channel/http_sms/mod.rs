//! SMS providers over HTTP: one template engine, providers as data.
