//! What drives the service from outside: load, simulated machines, and the demo's world and actors.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent_setup;
pub mod history;
pub mod live;
pub mod load;
pub mod machines;
pub mod modbus_server;
mod mqtt_client;
pub mod service;
pub mod world;

pub use mqtt_client::MqttClient;
