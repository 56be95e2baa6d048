//! The API, one file a matter.

pub mod body;
pub mod evidence;
pub mod proof;
pub mod push;
pub mod register;
pub mod results;
pub mod vouchers;
