//! How values look in JSON and in postcard: `#[serde(with = …)]` modules.
//!
//! JSON, which people and JavaScript read, has field elements and bytes as `0x` strings and integers that may
//! exceed `2^53` as decimal strings. Postcard has raw bytes and integers.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field element: `0x` text (decimal text is read too), or 32 big-endian bytes. Only canonical ones are read.
pub(crate) mod field_element {
    use super::*;
    use crate::field;
    use halo2curves::bn256::Fr;

    pub(crate) fn serialize<S: Serializer>(value: &Fr, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&field::to_hex(value))
        } else {
            field::to_be(value).serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fr, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            field::from_hex(&text).map_err(D::Error::custom)
        } else {
            let bytes = <[u8; 32]>::deserialize(deserializer)?;
            field::from_be(&bytes).map_err(D::Error::custom)
        }
    }
}

/// A 256-bit integer that need not be a field element: `0x` or decimal text, or 32 big-endian bytes.
pub(crate) mod word {
    use super::*;
    use crate::field;

    pub(crate) fn serialize<S: Serializer>(value: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&format!("0x{}", hex::encode(value)))
        } else {
            value.serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            field::word_from_text(&text).map_err(D::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer)
        }
    }
}

/// An L1 address: `0x` text, or 20 raw bytes.
pub(crate) mod address {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &[u8; 20], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&format!("0x{}", hex::encode(value)))
        } else {
            value.serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 20], D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 20]>::deserialize(deserializer);
        }
        let text = String::deserialize(deserializer)?;
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| D::Error::custom("an address begins with 0x"))?;
        let mut bytes = [0u8; 20];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|error| D::Error::custom(format!("an address has 40 hexadecimal digits: {error}")))?;
        Ok(bytes)
    }
}

/// An unsigned integer: decimal text (a JSON integer is read too), or postcard's integer.
pub(crate) mod decimal {
    use super::*;
    use std::fmt;
    use std::marker::PhantomData;
    use std::str::FromStr;

    /// The integers that this encoding serves: `u64` and `u128`.
    pub(crate) trait Integer: Copy + ToString + FromStr + Serialize + TryFrom<u128> {}
    impl Integer for u64 {}
    impl Integer for u128 {}

    struct Text<T>(PhantomData<T>);

    impl<T: Integer> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "an unsigned integer, as decimal text or a number")
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
            T::try_from(u128::from(value)).map_err(|_| E::custom("the integer is too large"))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            // `from_str` would also take a sign.
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(E::custom(format!("{text:?} is no decimal integer")));
            }
            text.parse()
                .map_err(|_| E::custom(format!("{text:?} is no decimal integer in range")))
        }
    }

    pub(crate) fn serialize<T: Integer, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&value.to_string())
        } else {
            value.serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: Integer + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Text(PhantomData))
        } else {
            T::deserialize(deserializer)
        }
    }
}
