//! Every metric, the logging, the clock that is passed around, and health.

mod clock;
mod health;
mod logging;
mod metrics;

pub use clock::Clock;
pub use health::{Health, Part};
pub use logging::start_logging;
pub use metrics::Metrics;
