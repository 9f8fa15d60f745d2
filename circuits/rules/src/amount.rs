//! Amounts and fees as canonical decimal floats (P-4.2).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Exponents are below `2^5`.
pub const EXPONENT_BITS: u32 = 5;

/// A float that P-4.2 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AmountError {
    /// The mantissa has too many bits.
    #[error("mantissa {mantissa} is not below 2^{bits}")]
    Mantissa {
        /// The mantissa given.
        mantissa: u32,
        /// The bits it may have.
        bits: u32,
    },
    /// The exponent has too many bits.
    #[error("exponent {exponent} is not below 2^5")]
    Exponent {
        /// The exponent given.
        exponent: u8,
    },
    /// The value has another encoding, with a smaller exponent.
    #[error(
        "{mantissa}·10^{exponent} is not canonical: at this exponent a mantissa is at least {mantissa_min}"
    )]
    NonCanonical {
        /// The mantissa given.
        mantissa: u32,
        /// The exponent given.
        exponent: u8,
        /// The smallest mantissa of a positive exponent.
        mantissa_min: u32,
    },
    /// No float has this value.
    #[error("{value} is not m·10^e with m below 2^{bits} and e below 32")]
    NotRepresentable {
        /// The integer given.
        value: u128,
        /// The bits a mantissa may have.
        bits: u32,
    },
}

macro_rules! decimal_float {
    ($(#[$doc:meta])* $name:ident, $bits:literal, $min:literal) => {
        $(#[$doc])*
        ///
        /// In JSON it is its value as a decimal string; in postcard, mantissa and exponent.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name {
            mantissa: u32,
            exponent: u8,
        }

        impl $name {
            /// Bits of a mantissa.
            pub const MANTISSA_BITS: u32 = $bits;
            /// The smallest mantissa that goes with a positive exponent.
            pub const MANTISSA_MIN: u32 = $min;
            /// Zero.
            pub const ZERO: Self = Self { mantissa: 0, exponent: 0 };

            /// The value `mantissa · 10^exponent`.
            ///
            /// # Errors
            /// Parts out of range, and encodings that are not canonical.
            pub fn new(mantissa: u32, exponent: u8) -> Result<Self, AmountError> {
                if mantissa >> Self::MANTISSA_BITS != 0 {
                    return Err(AmountError::Mantissa { mantissa, bits: Self::MANTISSA_BITS });
                }
                if exponent >> EXPONENT_BITS != 0 {
                    return Err(AmountError::Exponent { exponent });
                }
                if exponent > 0 && mantissa < Self::MANTISSA_MIN {
                    return Err(AmountError::NonCanonical { mantissa, exponent, mantissa_min: Self::MANTISSA_MIN });
                }
                Ok(Self { mantissa, exponent })
            }

            /// The encoding of exactly `value`.
            ///
            /// # Errors
            /// [`AmountError::NotRepresentable`] when no encoding has this value.
            pub fn from_integer(value: u128) -> Result<Self, AmountError> {
                let fail = AmountError::NotRepresentable { value, bits: Self::MANTISSA_BITS };
                let (mut rest, mut exponent) = (value, 0u8);
                while rest >> Self::MANTISSA_BITS != 0 {
                    if rest % 10 != 0 {
                        return Err(fail);
                    }
                    rest /= 10;
                    exponent += 1;
                }
                let mantissa = u32::try_from(rest).map_err(|_| fail)?;
                Self::new(mantissa, exponent).map_err(|_| fail)
            }

            /// `m`.
            pub fn mantissa(&self) -> u32 {
                self.mantissa
            }

            /// `e`.
            pub fn exponent(&self) -> u8 {
                self.exponent
            }

            /// `m · 10^e`, below `2^123`.
            pub fn value(&self) -> u128 {
                u128::from(self.mantissa) * 10u128.pow(u32::from(self.exponent))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    crate::encoding::decimal::serialize(&self.value(), serializer)
                } else {
                    (self.mantissa, self.exponent).serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let value = crate::encoding::decimal::deserialize(deserializer)?;
                    Self::from_integer(value).map_err(serde::de::Error::custom)
                } else {
                    let (mantissa, exponent) = <(u32, u8)>::deserialize(deserializer)?;
                    Self::new(mantissa, exponent).map_err(serde::de::Error::custom)
                }
            }
        }
    };
}

decimal_float! {
    /// The amount of a transfer: a mantissa of 19 bits and a decimal exponent of 5 bits.
    Amount, 19, 52_429
}

decimal_float! {
    /// The fee of a transfer: a mantissa of 4 bits and a decimal exponent of 5 bits.
    Fee, 4, 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_fee_value_has_one_encoding() {
        let mut values = HashSet::new();
        for mantissa in 0..16 {
            for exponent in 0..32 {
                if let Ok(fee) = Fee::new(mantissa, exponent) {
                    assert!(values.insert(fee.value()), "{mantissa}e{exponent}");
                    assert_eq!(Fee::from_integer(fee.value()), Ok(fee));
                }
            }
        }
        assert_eq!(values.len(), 16 + 31 * 14);
    }

    #[test]
    fn amounts_at_the_edges() {
        assert_eq!(
            Amount::new(524_287, 31).map(|a| a.value()),
            Ok(524_287 * 10u128.pow(31))
        );
        assert!(Amount::new(52_429, 1).is_ok());
        assert!(matches!(
            Amount::new(52_428, 1),
            Err(AmountError::NonCanonical { mantissa: 52_428, .. })
        ));
        assert!(matches!(Amount::new(0, 1), Err(AmountError::NonCanonical { .. })));
        assert!(matches!(
            Amount::new(524_288, 0),
            Err(AmountError::Mantissa { .. })
        ));
        assert!(matches!(
            Amount::new(524_287, 32),
            Err(AmountError::Exponent { exponent: 32 })
        ));
        assert_eq!(
            Amount::from_integer(524_290).map(|a| (a.mantissa(), a.exponent())),
            Ok((52_429, 1))
        );
        assert!(matches!(
            Amount::from_integer(524_289),
            Err(AmountError::NotRepresentable { .. })
        ));
        assert!(matches!(
            Amount::from_integer(u128::MAX),
            Err(AmountError::NotRepresentable { .. })
        ));
        assert!(matches!(
            Amount::from_integer(10u128.pow(38)),
            Err(AmountError::NotRepresentable { .. })
        ));
    }
}
