//! Records of stream A (P-6.6) and the rolling hash of L1's queue (P-12.2).

use crate::account::{Account, AccountIndex, TokenId, address_to_fr};
use crate::eddsa::PublicKey;
use crate::encoding;
use crate::field;
use crate::stream::ELEMENT_BYTES;
use halo2curves::bn256::Fr;
use num_bigint::BigUint;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha3::{Digest, Keccak256};
use std::fmt;
use thiserror::Error;

/// Elements of a record.
pub const RECORD_ELEMENTS: usize = 4;
/// Bytes of a posted record.
pub const RECORD_BYTES: usize = RECORD_ELEMENTS * ELEMENT_BYTES;

/// Bits of `u` and of `v`.
pub const COORDINATE_BITS: u32 = 254;
/// The bits of `u` that stand in `a_1`.
pub const U_LOW_BITS: u32 = 88;
/// The bits of `v` that stand in `a_2`.
pub const V_LOW_BITS: u32 = 82;
/// Bits that each element has at most.
const ELEMENT_BITS: [u64; RECORD_ELEMENTS] = [183, 248, 248, 172];

/// What a record is of (P-6.6). The discriminants are its `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From the queue: a deposit that makes an account.
    DepositNew = 1,
    /// From the queue: a deposit to an account.
    DepositExisting = 2,
    /// From the queue: the whole balance is owed to the account's L1 address.
    ForcedExit = 3,
    /// From the queue: another owner of an account.
    KeyChange = 4,
    /// Signed: an amount is owed to the account's L1 address.
    Withdrawal = 5,
    /// Signed: a new account without balance.
    Creation = 6,
}

impl Kind {
    /// All, by number from 1.
    pub const ALL: [Self; 6] = [
        Self::DepositNew,
        Self::DepositExisting,
        Self::ForcedExit,
        Self::KeyChange,
        Self::Withdrawal,
        Self::Creation,
    ];

    /// Its number, `1 … 6`.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The kind with a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether L1's queue has such records: kinds 1 to 4.
    pub fn is_queued(self) -> bool {
        self <= Self::KeyChange
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::DepositNew => "deposit to a new account",
            Self::DepositExisting => "deposit to an existing account",
            Self::ForcedExit => "forced exit",
            Self::KeyChange => "key change",
            Self::Withdrawal => "withdrawal",
            Self::Creation => "creation",
        })
    }
}

/// An integer of more than 254 bits, as 32 bytes, big endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("0x{} is not below 2^254", hex::encode(.0))]
pub struct CoordinateRange(pub [u8; 32]);

/// `u` or `v` of a record: an integer below `2^254`, which need not be below the modulus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "Word")]
pub struct Coordinate([u8; 32]);

/// A [`Coordinate`] on its way into or out of a text or bytes.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Word(#[serde(with = "encoding::word")] [u8; 32]);

impl Coordinate {
    /// Zero.
    pub const ZERO: Self = Self([0; 32]);

    /// Checks the range of 32 bytes, big endian.
    ///
    /// # Errors
    /// More than 254 bits.
    pub fn new(bytes: [u8; 32]) -> Result<Self, CoordinateRange> {
        match bytes[0] >> 6 {
            0 => Ok(Self(bytes)),
            _ => Err(CoordinateRange(bytes)),
        }
    }

    /// An L1 address as an integer.
    pub fn from_address(address: &[u8; 20]) -> Self {
        let mut bytes = [0; 32];
        bytes[12..].copy_from_slice(address);
        Self(bytes)
    }

    /// 32 bytes, big endian.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The integer.
    pub fn to_integer(self) -> BigUint {
        BigUint::from_bytes_be(&self.0)
    }

    /// The residue modulo the field: what every operation reads of it.
    pub fn to_fr(self) -> Fr {
        field::reduce(&self.to_integer())
    }
}

impl From<Fr> for Coordinate {
    /// The canonical integer.
    fn from(value: Fr) -> Self {
        Self(field::to_be(&value))
    }
}

impl TryFrom<Word> for Coordinate {
    type Error = CoordinateRange;

    fn try_from(word: Word) -> Result<Self, CoordinateRange> {
        Self::new(word.0)
    }
}

impl From<Coordinate> for Word {
    fn from(coordinate: Coordinate) -> Self {
        Self(coordinate.0)
    }
}

/// Elements or bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The kind is none of 1 to 6. L1 refuses it too (P-9.10).
    #[error("kind: expected 1 to 6, found {found}")]
    Kind {
        /// The kind given.
        found: u8,
    },
    /// An element has a bit that no record gives it. L1 refuses it with the proof.
    #[error("a_{element}: expected at most {expected} bits, found {found}")]
    Bits {
        /// The element's place in the record.
        element: usize,
        /// Bits that it may have.
        expected: u64,
        /// Bits that it has.
        found: u64,
    },
}

/// A record of stream A (P-6.6): what L1 asks for, is told, or must know.
///
/// In binary forms it is its 124 posted bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// What it is of.
    pub kind: Kind,
    /// `0 … 7`: 0 in the queue and for kinds 5 and 6, else P-4.11's answer.
    pub code: u8,
    /// The token.
    pub token: TokenId,
    /// The account's index.
    pub index: AccountIndex,
    /// What arrived, leaves or is owed, in smallest units.
    pub amount: u128,
    /// The depositor, the caller, or the account's L1 address.
    pub address: [u8; 20],
    /// `A.x`, the L1 address that an account must have, or 0.
    pub u: Coordinate,
    /// `A.y`, that which an account must have, or 0.
    pub v: Coordinate,
}

impl Record {
    /// The first field in which another differs: its name, what this one has, and what the other has.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        // Of millions that are compared, none may differ.
        if self == other {
            return None;
        }
        let pairs = self.fields().into_iter().zip(other.fields());
        let differs = pairs.map(|((field, expected), (_, found))| (field, expected, found));
        differs.into_iter().find(|(_, expected, found)| expected != found)
    }

    fn fields(&self) -> [(&'static str, String); 8] {
        let bytes = |value: &[u8]| format!("0x{}", hex::encode(value));
        [
            ("kind", self.kind.to_string()),
            ("code", self.code.to_string()),
            ("token", self.token.to_string()),
            ("index", self.index.to_string()),
            ("amount", self.amount.to_string()),
            ("address", bytes(&self.address)),
            ("u", bytes(&self.u.to_bytes())),
            ("v", bytes(&self.v.to_bytes())),
        ]
    }

    /// A withdrawal's, but for what is the account's: token and address are 0.
    pub(crate) fn withdrawal(from: AccountIndex, amount: u128) -> Self {
        Self {
            kind: Kind::Withdrawal,
            code: 0,
            token: TokenId(0),
            index: from,
            amount,
            address: [0; 20],
            u: Coordinate::ZERO,
            v: Coordinate::ZERO,
        }
    }

    /// The key that `u` and `v` are the coordinates of.
    pub fn key(&self) -> PublicKey {
        PublicKey(crate::babyjub::Point {
            x: self.u.to_fr(),
            y: self.v.to_fr(),
        })
    }

    /// The account that a deposit to a new account or a creation makes.
    pub fn new_account(&self) -> Account {
        Account {
            token: self.token,
            nonce: 0,
            balance: self.amount,
            owner: self.key(),
            l1_address: self.address,
        }
    }

    /// The record as it is in the queue: without code, and a forced exit without amount (P-9.10).
    pub fn entry(&self) -> Self {
        let amount = match self.kind {
            Kind::ForcedExit => 0,
            _ => self.amount,
        };
        Self {
            code: 0,
            amount,
            ..*self
        }
    }

    /// Whether L1 owes the amount to the address (P-9.12).
    pub fn pays(&self) -> bool {
        self.amount != 0
            && match self.kind {
                Kind::Withdrawal => true,
                Kind::ForcedExit => self.code == 0,
                Kind::DepositNew | Kind::DepositExisting => self.code != 0,
                Kind::KeyChange | Kind::Creation => false,
            }
    }

    /// The four elements as integers.
    ///
    /// # Panics
    /// On a code of more than 3 bits.
    pub fn element_integers(&self) -> [BigUint; RECORD_ELEMENTS] {
        assert!(self.code < 8, "a code has 3 bits");
        let (u, v) = (self.u.to_integer(), self.v.to_integer());
        let low = |value: &BigUint, bits: u32| value % (BigUint::from(1u8) << bits);
        let head = u64::from(self.kind.number())
            | u64::from(self.code) << 3
            | u64::from(self.token.0) << 6
            | self.index.get() << 22;
        [
            BigUint::from(head) + (BigUint::from(self.amount) << 55u8),
            BigUint::from_bytes_be(&self.address) + (low(&u, U_LOW_BITS) << 160u8),
            (u >> U_LOW_BITS) + (low(&v, V_LOW_BITS) << 166u8),
            v >> V_LOW_BITS,
        ]
    }

    /// The four elements.
    pub fn elements(&self) -> [Fr; RECORD_ELEMENTS] {
        self.element_integers().map(|element| field::reduce(&element))
    }

    /// The posted bytes.
    pub fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        for (chunk, element) in bytes.chunks_exact_mut(ELEMENT_BYTES).zip(self.element_integers()) {
            let digits = element.to_bytes_be();
            chunk[ELEMENT_BYTES - digits.len()..].copy_from_slice(&digits);
        }
        bytes
    }

    /// Reads [`Record::to_bytes`]. Any code of three bits is read: whether it is the right one, who executes the record tells.
    ///
    /// # Errors
    /// [`RecordError`], the kind's first.
    pub fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Result<Self, RecordError> {
        let mut chunks = bytes.chunks_exact(ELEMENT_BYTES);
        let elements: [BigUint; RECORD_ELEMENTS] =
            std::array::from_fn(|_| BigUint::from_bytes_be(chunks.next().expect("four elements")));
        let [a0, a1, a2, a3] = &elements;
        let head = part(a0, 0, 55);
        let number = (head & 7) as u8;
        let kind = Kind::from_number(number).ok_or(RecordError::Kind { found: number })?;
        for (element, (value, expected)) in elements.iter().zip(ELEMENT_BITS).enumerate() {
            let found = value.bits();
            if found > expected {
                return Err(RecordError::Bits {
                    element,
                    expected,
                    found,
                });
            }
        }
        let mut address = [0; 20];
        let digits = part(a1, 128, 32) as u32;
        address[..4].copy_from_slice(&digits.to_be_bytes());
        address[4..].copy_from_slice(&part(a1, 0, 128).to_be_bytes());
        let (u_low, u_high) = (a1 >> 160u8, a2 % (BigUint::from(1u8) << 166u8));
        let (v_low, v_high) = (a2 >> 166u8, a3);
        Ok(Self {
            kind,
            code: (head >> 3) as u8 & 7,
            token: TokenId((head >> 6) as u16),
            index: AccountIndex::new((head >> 22) as u64 & ((1 << 33) - 1)).expect("33 bits"),
            amount: part(a0, 55, 128),
            address,
            u: coordinate(&((u_high << U_LOW_BITS) + u_low)),
            v: coordinate(&((v_high << V_LOW_BITS) + v_low)),
        })
    }

    /// The L1 address as an integer.
    pub fn address_fr(&self) -> Fr {
        address_to_fr(&self.address)
    }
}

/// `bits` bits, at most 128, of an integer from bit `from` on.
fn part(value: &BigUint, from: u64, bits: u64) -> u128 {
    let digits = (value >> from).to_u64_digits();
    let digit = |place: usize| u128::from(digits.get(place).copied().unwrap_or(0));
    let low = digit(0) | digit(1) << 64;
    match bits {
        128 => low,
        _ => low & ((1 << bits) - 1),
    }
}

fn coordinate(value: &BigUint) -> Coordinate {
    let (digits, mut bytes) = (value.to_bytes_be(), [0; 32]);
    bytes[32 - digits.len()..].copy_from_slice(&digits);
    Coordinate::new(bytes).expect("88 and 166, or 82 and 172 bits")
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl serde::de::Visitor<'_> for Bytes {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "the {RECORD_BYTES} bytes of a record")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Record, E> {
                let bytes = bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Record::from_bytes(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// The queue's rolling hash (P-12.2): an integer below `2^216`, 27 bytes, big endian. It is 0 before the first entry.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct QueueHash(pub [u8; 27]);

impl QueueHash {
    /// The hash after an entry: a record as it is in the queue, [`Record::entry`].
    pub fn after(&self, entry: &Record) -> Self {
        let mut hash = Keccak256::new();
        hash.update([0; 5]);
        hash.update(self.0);
        hash.update(entry.to_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut low = [0; 27];
        low.copy_from_slice(&digest[5..]);
        Self(low)
    }
}

impl fmt::Display for QueueHash {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for QueueHash {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
