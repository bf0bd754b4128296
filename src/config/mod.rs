//! The configuration: the file as written, checked into a `Config` or into every diagnostic.
