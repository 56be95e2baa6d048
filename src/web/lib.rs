//! The API and the pages: shows, never judges.

mod activity;
mod admin;
mod api;
mod cities;
mod known;
mod limits;
mod listing;
mod pages;
mod problem;
mod routes;
mod state;

pub use admin::admin_router;
pub use limits::RequestLimits;
pub use routes::router;
pub use state::{WebParts, WebState};
