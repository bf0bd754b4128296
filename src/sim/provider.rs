//! A virtual SMS provider over HTTP.
