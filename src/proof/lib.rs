#![cfg_attr(test, allow(clippy::unwrap_used))]
//! Results that stand by themselves: evidence packs are made here, and packs and signed results are verified with public keys alone.
//!
//! A pack is a tar archive whose bytes depend on nothing but what it holds. Its members are described in `readme.txt`, which is one of
//! them; the tree proofs in `tree`, the seal in `seal`, the records in `evidence`.

mod archive;
mod evidence;
mod facts;
mod make;
#[cfg(test)]
mod pack_tests;
mod seal;
mod tree;
mod verify;
mod words;

pub use make::{PackError, make_pack};
pub use verify::{BYTES_MAX, verify_file};
pub use words::Account;
