//! The access log as people see it who do not trust its operator: with programs that are not ours, from outside.

mod independent;
mod keeping;
pub mod reading;
mod receiver;
mod replicas;
mod stamping;
mod tampering;
mod watching;
mod witness;
mod world;
mod years;
