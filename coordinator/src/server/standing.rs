//! Whether this coordinator leads, and who does where it stands by.

use std::sync::{PoisonError, RwLock};

/// Who leads.
#[derive(Debug, Default)]
pub(crate) struct Standing(RwLock<Option<String>>);

impl Standing {
    /// Where the coordinator that leads is reached, if it is not this one. Empty where nobody does at present.
    pub(crate) fn other(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this coordinator leads.
    pub(crate) fn leads(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Says who leads; none for this coordinator.
    pub(crate) fn set(&self, other: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }
}
