//! The access log as people see it who do not trust its operator: with programs that are not ours, from outside.

mod independent;
mod reading;
mod witness;
mod world;
