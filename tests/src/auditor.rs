//! The access log as people see it who do not trust its operator: with programs that are not ours, from outside.

mod independent;
mod keeping;
mod reading;
mod replicas;
mod witness;
mod world;
