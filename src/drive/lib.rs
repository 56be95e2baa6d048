//! What drives the service from outside.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod machines;
