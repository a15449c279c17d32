//! What an exchange promises, tried from outside: each test is one sentence.

mod drops;
mod emergency;
mod frozen;
mod household;
mod keys;
mod log;
mod person;
mod providers;
mod pushes;
mod rotation;
mod rules;
mod senders;
mod story;
pub mod subject;
