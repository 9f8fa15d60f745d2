//! Words: what stream B says of a signed operation (P-4.3).

use crate::account::AccountIndex;
use crate::amount::{Amount, AmountError, Fee};
use thiserror::Error;

/// Bits of a word (P-4.3).
pub const WORD_BITS: u32 = 99;

/// What a transfer's word says (P-4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// The sender.
    pub from: AccountIndex,
    /// The receiver.
    pub to: AccountIndex,
    /// What the receiver gets.
    pub amount: Amount,
    /// What the fee account gets.
    pub fee: Fee,
}

impl Effect {
    /// The word `w`, below `2^99` (P-4.3).
    pub fn word(&self) -> u128 {
        u128::from(self.from.get())
            | u128::from(self.amount.mantissa()) << 33
            | u128::from(self.amount.exponent()) << 52
            | u128::from(self.fee.mantissa()) << 57
            | u128::from(self.fee.exponent()) << 61
            | u128::from(self.to.get()) << 66
    }
}

/// What a word says (P-4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Nothing.
    NoOp,
    /// All that a transfer does.
    Transfer(Effect),
    /// Its amount stands in its record.
    Withdrawal {
        /// The account that pays.
        from: AccountIndex,
        /// What the fee account gets.
        fee: Fee,
    },
    /// The account stands in its record.
    Creation {
        /// Where the account is made.
        to: AccountIndex,
    },
}

/// An integer that is no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WordError {
    /// It has more than 99 bits.
    #[error("expected a word of 99 bits, found more")]
    Range,
    /// The amount or the fee is not canonical.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// A part that this kind of word does not have.
    #[error("{part} of a {kind}'s word: expected 0, found {found}")]
    Part {
        /// The kind that the indices say.
        kind: &'static str,
        /// The part.
        part: &'static str,
        /// Its value.
        found: u64,
    },
}

impl Word {
    /// The integer `w`, below `2^99`.
    pub fn to_integer(&self) -> u128 {
        let none = Effect {
            from: AccountIndex::NONE,
            to: AccountIndex::NONE,
            amount: Amount::ZERO,
            fee: Fee::ZERO,
        };
        match *self {
            Self::NoOp => 0,
            Self::Transfer(effect) => effect.word(),
            Self::Withdrawal { from, fee } => Effect { from, fee, ..none }.word(),
            Self::Creation { to } => Effect { to, ..none }.word(),
        }
    }

    /// Reads an integer.
    ///
    /// # Errors
    /// [`WordError`] for integers that no operation has.
    pub fn from_integer(word: u128) -> Result<Self, WordError> {
        if word >> WORD_BITS != 0 {
            return Err(WordError::Range);
        }
        let part = |bit: u32, bits: u32| (word >> bit) as u64 & ((1 << bits) - 1);
        let index = |bit: u32| AccountIndex::new(part(bit, 33)).map_err(|_| WordError::Range);
        let zero = |kind: &'static str, parts: &[(&'static str, u32, u32)]| {
            let wrong = |(_, bit, bits): &&(&'static str, u32, u32)| part(*bit, *bits) != 0;
            match parts.iter().find(wrong) {
                Some((name, bit, bits)) => Err(WordError::Part {
                    kind,
                    part: name,
                    found: part(*bit, *bits),
                }),
                None => Ok(()),
            }
        };
        let amount_parts = [("m_amount", 33, 19), ("e_amount", 52, 5)];
        let all_parts = [
            amount_parts[0],
            amount_parts[1],
            ("m_fee", 57, 4),
            ("e_fee", 61, 5),
        ];
        let fee = || Fee::new(part(57, 4) as u32, part(61, 5) as u8);
        let (from, to) = (index(0)?, index(66)?);
        match (from != AccountIndex::NONE, to != AccountIndex::NONE) {
            (false, false) => zero("no-op", &all_parts).map(|()| Self::NoOp),
            (true, true) => Ok(Self::Transfer(Effect {
                from,
                to,
                amount: Amount::new(part(33, 19) as u32, part(52, 5) as u8)?,
                fee: fee()?,
            })),
            (true, false) => {
                zero("withdrawal", &amount_parts)?;
                Ok(Self::Withdrawal { from, fee: fee()? })
            }
            (false, true) => zero("creation", &all_parts).map(|()| Self::Creation { to }),
        }
    }
}
