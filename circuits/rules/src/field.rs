//! The field `F` of every value of the protocol (P-1.1) and its canonical encodings (P-1.2).

use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;
use num_bigint::BigUint;
use thiserror::Error;

/// Bytes that are no canonical integer below the modulus (P-1.2).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("0x{} is not below the field modulus", hex::encode(.0))]
pub struct NonCanonical(pub [u8; 32]);

/// A text that is no field element.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldTextError {
    /// Neither `0x` and at most 64 hexadecimal digits, nor a decimal integer.
    #[error("{0:?} is neither a 0x-hexadecimal nor a decimal integer of at most 256 bits")]
    NotAnInteger(String),
    /// The integer is at or above the modulus.
    #[error(transparent)]
    NonCanonical(#[from] NonCanonical),
}

/// The canonical integer of `value`, 32 bytes, big endian.
pub fn to_be(value: &Fr) -> [u8; 32] {
    let mut bytes = value.to_repr();
    bytes.reverse();
    bytes
}

/// Reads a canonical 32-byte big-endian integer.
///
/// # Errors
/// An integer at or above the modulus.
pub fn from_be(bytes: &[u8; 32]) -> Result<Fr, NonCanonical> {
    let mut le = *bytes;
    le.reverse();
    Option::from(Fr::from_repr(le)).ok_or(NonCanonical(*bytes))
}

/// `0x` and 64 lower-case hexadecimal digits.
pub fn to_hex(value: &Fr) -> String {
    format!("0x{}", hex::encode(to_be(value)))
}

/// Reads an element from `0x` and 1 to 64 hexadecimal digits, or from a decimal integer.
///
/// # Errors
/// Anything else, and integers at or above the modulus.
pub fn from_hex(text: &str) -> Result<Fr, FieldTextError> {
    Ok(from_be(&word_from_text(text)?)?)
}

/// Reads a 256-bit integer as [`from_hex`] does, without the comparison with the modulus.
pub(crate) fn word_from_text(text: &str) -> Result<[u8; 32], FieldTextError> {
    let wrong = || FieldTextError::NotAnInteger(text.chars().take(100).collect());
    let (digits, radix, digits_max) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16, 64),
        None => (text, 10, 78),
    };
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if !plain || digits.len() > digits_max {
        return Err(wrong());
    }
    let value = BigUint::parse_bytes(digits.as_bytes(), radix).ok_or_else(wrong)?;
    let bytes = value.to_bytes_be();
    if bytes.len() > 32 {
        return Err(wrong());
    }
    let mut word = [0u8; 32];
    word[32 - bytes.len()..].copy_from_slice(&bytes);
    Ok(word)
}

/// The canonical integer of `value`.
pub fn to_integer(value: &Fr) -> BigUint {
    BigUint::from_bytes_le(&value.to_repr())
}

/// `value` reduced modulo the field.
pub fn reduce(value: &BigUint) -> Fr {
    let reduced = value % modulus();
    let mut le = [0u8; 32];
    let bytes = reduced.to_bytes_le();
    le[..bytes.len()].copy_from_slice(&bytes);
    Option::from(Fr::from_repr(le)).expect("a remainder is below the modulus")
}

/// The field's modulus `r`.
pub fn modulus() -> BigUint {
    let minus_one = -Fr::one();
    to_integer(&minus_one) + 1u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_bytes_round_trip_and_the_modulus_is_refused() {
        for value in [Fr::zero(), Fr::one(), -Fr::one(), Fr::from_u128(u128::MAX)] {
            assert_eq!(from_be(&to_be(&value)), Ok(value));
            assert_eq!(from_hex(&to_hex(&value)), Ok(value));
            assert_eq!(from_hex(&to_integer(&value).to_string()), Ok(value));
        }
        let mut bytes = to_be(&-Fr::one());
        bytes[31] += 1;
        assert_eq!(from_be(&bytes), Err(NonCanonical(bytes)));
        assert_eq!(from_be(&[0xff; 32]), Err(NonCanonical([0xff; 32])));
    }

    #[test]
    fn texts_that_are_no_integers_are_refused() {
        for text in [
            "",
            "0x",
            "+1",
            "-1",
            "1_0",
            "0xg0",
            "zz",
            " 1",
            &format!("0x{}", "1".repeat(65)),
        ] {
            assert!(
                matches!(from_hex(text), Err(FieldTextError::NotAnInteger(_))),
                "{text}"
            );
        }
        assert!(matches!(
            from_hex(&modulus().to_string()),
            Err(FieldTextError::NonCanonical(_))
        ));
    }
}
