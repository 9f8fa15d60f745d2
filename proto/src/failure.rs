//! Why a worker gave a task up: the classes of `FailureClass`, without the value that none has.

use serde::{Deserialize, Serialize};

use crate::v1;

/// What kind of failure it is, which decides what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// The payload cannot be read.
    Input,
    /// The statement does not hold.
    Execution,
    /// Too little memory or a full device.
    Resource,
    /// Device, network or disk; or the worker's proof does not verify.
    Infrastructure,
    /// A defect of the worker.
    Internal,
    /// Nothing is wrong: the worker stops.
    Returned,
}

/// The sender named no class, or one of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoClass;

impl TryFrom<v1::FailureClass> for FailureClass {
    type Error = NoClass;

    fn try_from(class: v1::FailureClass) -> Result<Self, NoClass> {
        match class {
            v1::FailureClass::Unspecified => Err(NoClass),
            v1::FailureClass::Input => Ok(Self::Input),
            v1::FailureClass::Execution => Ok(Self::Execution),
            v1::FailureClass::Resource => Ok(Self::Resource),
            v1::FailureClass::Infrastructure => Ok(Self::Infrastructure),
            v1::FailureClass::Internal => Ok(Self::Internal),
            v1::FailureClass::Returned => Ok(Self::Returned),
        }
    }
}

impl From<FailureClass> for v1::FailureClass {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Input => Self::Input,
            FailureClass::Execution => Self::Execution,
            FailureClass::Resource => Self::Resource,
            FailureClass::Infrastructure => Self::Infrastructure,
            FailureClass::Internal => Self::Internal,
            FailureClass::Returned => Self::Returned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_the_wire_but_none_has_one_of_its_own() {
        let mut named = 0;
        for class in (0..64).filter_map(|number| v1::FailureClass::try_from(number).ok()) {
            match FailureClass::try_from(class) {
                Ok(own) => assert_eq!(v1::FailureClass::from(own), class),
                Err(NoClass) => assert_eq!(class, v1::FailureClass::Unspecified),
            }
            named += 1;
        }
        assert_eq!(named, 7);
    }
}
