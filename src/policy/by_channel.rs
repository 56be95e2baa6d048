//! One figure for each door of the interface. What came through both stands in both: the two do not add up to the whole.

use serde::{Deserialize, Serialize};

use crate::facts::Channel;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByChannel<T> {
    pub gateway: T,
    pub supplier: T,
}

impl<T> ByChannel<T> {
    pub fn of(&mut self, channel: Channel) -> &mut T {
        match channel {
            Channel::Gateway => &mut self.gateway,
            Channel::Supplier => &mut self.supplier,
        }
    }

    /// The figure of each, made from both figures of each.
    pub fn with<U, V>(&self, other: &ByChannel<U>, make: impl Fn(&T, &U) -> V) -> ByChannel<V> {
        ByChannel { gateway: make(&self.gateway, &other.gateway), supplier: make(&self.supplier, &other.supplier) }
    }

    pub fn map<V>(&self, make: impl Fn(&T) -> V) -> ByChannel<V> {
        ByChannel { gateway: make(&self.gateway), supplier: make(&self.supplier) }
    }
}
