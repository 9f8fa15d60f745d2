//! Binary encodings: a byte that names the version, then a value in postcard, and nothing after it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A versioned encoding of one type. Each has one, so that all are read and refused alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// What is encoded, for errors.
    pub name: &'static str,
    /// The first byte.
    pub version: u8,
    /// Bytes that are read at most.
    pub bytes_max: usize,
}

/// Bytes, or a text, that are not of a format. `name` says of which.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// Another version of it.
    #[error("{name} of version {found}, expected {expected}")]
    Version {
        /// The format.
        name: &'static str,
        /// The version found.
        found: u8,
        /// The version that is read.
        expected: u8,
    },
    /// More bytes than it can have.
    #[error("{name} of {bytes} bytes, at most {bytes_max} are read")]
    TooLong {
        /// The format.
        name: &'static str,
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// They do not decode, or some follow the value.
    #[error("malformed {name}: {reason}")]
    Malformed {
        /// The format.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Format {
    /// The version's byte, then the value, in a vector that begins with room for `capacity` bytes.
    pub fn encode<T: Serialize>(&self, value: &T, capacity: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.push(self.version);
        postcard::to_extend(value, bytes).expect("the types have a known length and memory is the only sink")
    }

    /// Reads [`Format::encode`]. Allocates no more than the bytes justify.
    ///
    /// # Errors
    /// Anything else, in the order of [`FormatError`]'s checks: length, version, value.
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, FormatError> {
        self.check_length(bytes.len(), self.bytes_max)?;
        let (version, body) = bytes.split_first().ok_or_else(|| self.malformed("no bytes"))?;
        self.check_version(*version)?;
        exact(body).map_err(|reason| self.malformed(reason))
    }

    /// That a length is allowed.
    ///
    /// # Errors
    /// [`FormatError::TooLong`].
    pub fn check_length(&self, bytes: usize, bytes_max: usize) -> Result<(), FormatError> {
        let name = self.name;
        match bytes > bytes_max {
            true => Err(FormatError::TooLong {
                name,
                bytes,
                bytes_max,
            }),
            false => Ok(()),
        }
    }

    /// That a version is this one, of a text form too.
    ///
    /// # Errors
    /// [`FormatError::Version`].
    pub fn check_version(&self, found: u8) -> Result<(), FormatError> {
        let (name, expected) = (self.name, self.version);
        match found == expected {
            true => Ok(()),
            false => Err(FormatError::Version {
                name,
                found,
                expected,
            }),
        }
    }

    /// What is malformed for this reason.
    pub fn malformed(&self, reason: impl ToString) -> FormatError {
        FormatError::Malformed {
            name: self.name,
            reason: reason.to_string(),
        }
    }
}

/// Reads a value in postcard that ends where the bytes end. Allocates no more than the bytes justify.
///
/// # Errors
/// What is wrong with the bytes.
pub fn exact<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes follow the value", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        name: "pair",
        version: 3,
        bytes_max: 5,
    };

    #[test]
    fn a_value_is_read_as_it_was_written_and_all_else_is_refused_by_its_cause() {
        let bytes = FORMAT.encode(&(7u8, 300u16), 0);
        assert_eq!(bytes, [3, 7, 0xac, 0x02]);
        assert_eq!(FORMAT.decode(&bytes), Ok((7u8, 300u16)));
        let refused = |bytes: &[u8]| FORMAT.decode::<(u8, u16)>(bytes).unwrap_err().to_string();
        assert_eq!(refused(&[]), "malformed pair: no bytes");
        assert_eq!(refused(&[2, 7, 0xac, 0x02]), "pair of version 2, expected 3");
        assert_eq!(refused(&[3, 7, 1, 0]), "malformed pair: 1 bytes follow the value");
        assert_eq!(refused(&[9; 6]), "pair of 6 bytes, at most 5 are read");
        for end in 1..bytes.len() {
            assert!(refused(&bytes[..end]).starts_with("malformed pair: "), "{end}");
        }
    }
}
