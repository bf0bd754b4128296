//! Ways to tell people. Each channel takes a [`Submission`](crate::domain::message::Submission) and says what became of it;
//! the outbox decides what is tried, when, and by which channel.

pub mod http_sms;
pub mod modem;
