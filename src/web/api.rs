//! The API, one file a matter.

pub mod audit;
pub mod body;
pub mod connected;
pub mod enrol;
pub mod gateways;
pub mod inspect;
pub mod lists;
pub mod outlooks;
pub mod pack;
pub mod proof;
pub mod push;
pub mod quarantine;
pub mod register;
pub mod results;
pub mod vouchers;
