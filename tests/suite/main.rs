//! The one integration test binary: the whole program and its peers. A file of this folder that is not named here fails
//! the tidy test.

#![allow(missing_docs, unreachable_pub, reason = "tests are read by their names")]

mod outbox_search;
mod peers;
