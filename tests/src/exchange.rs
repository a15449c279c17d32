//! What an exchange promises, tried from outside: each test is one sentence.

mod appeal;
mod conceal;
mod drops;
mod emergency;
mod frozen;
mod household;
mod keys;
mod kinds;
mod log;
mod officers;
mod partner;
mod person;
mod providers;
mod pushes;
mod rotation;
mod rules;
mod senders;
mod signals;
mod statistics;
mod story;
pub mod subject;
