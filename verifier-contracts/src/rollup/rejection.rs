//! Why the contract refused: its custom errors, and those of the libraries in it.

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U40},
    sol_types::SolInterface,
};
use thiserror::Error;

use super::abi::IRollup;

/// Errors of OpenZeppelin's code that the contract can revert with.
mod library {
    alloy::sol! {
        interface Library {
            error ReentrancyGuardReentrantCall();
            error SafeERC20FailedOperation(address token);
            error Panic(uint256 code);
            error Error(string reason);
        }
    }
}

use library::Library;

/// Most characters of a revert's words that are told.
const REASON_CHARS_MAX: usize = 200;

/// A decoded value without the width that Solidity gave it.
trait Plain<T> {
    fn plain(self) -> T;
}

macro_rules! as_it_is {
    ($($plain:ty)*) => { $(impl Plain<$plain> for $plain {
        fn plain(self) -> $plain {
            self
        }
    })* };
}

as_it_is!(u8 u16 u32 u64 U256 Address B256);

impl Plain<String> for B256 {
    /// The letters of a short string.
    fn plain(self) -> String {
        let letters = self.iter().take_while(|byte| byte.is_ascii_graphic());
        letters.map(|byte| char::from(*byte)).collect()
    }
}

impl Plain<u64> for U40 {
    fn plain(self) -> u64 {
        self.to()
    }
}

/// The enumeration, and how each error of the interface becomes its variant: a variant is the error of that name, its fields are the
/// error's, in their order.
macro_rules! rejections {
    ($($message:literal $name:ident $({ $($field:ident : $plain:ty = $given:ident),* })?)*) => {
        /// Why the contract refused. Each variant but the last ones is the custom error of the same name in `contracts/IRollup.sol`.
        #[derive(Clone, Debug, PartialEq, Eq, Error)]
        #[allow(missing_docs)] // The fields are those of the Solidity errors, documented there; the messages name each.
        pub enum Rejection {
            $(#[error($message)] $name $({ $($field: $plain),* })?,)*
            /// A call came back into the contract while another was on its way (P-10.19).
            #[error("the contract was called again during a call of its own (P-10.19)")]
            Reentered,
            /// An ERC-20 answered false or reverted.
            #[error("the token {token} refused the transfer: its balance or allowance may be too small")]
            TokenRefused { token: Address },
            /// An assertion of the compiler's failed.
            #[error("the contract panicked with the code {code:#x}")]
            Panicked { code: U256 },
            /// A revert with words, which are a stranger's: OpenZeppelin's and the compiler's errors have none, a token's may.
            #[error("reverted: {reason:?}")]
            Said { reason: String },
            /// A revert without one of these errors, such as arguments that the ABI decoder refuses, or a token's own.
            #[error("reverted with unknown data 0x{}", hex::encode(data))]
            Other { data: Bytes },
        }

        impl From<IRollup::IRollupErrors> for Rejection {
            fn from(error: IRollup::IRollupErrors) -> Self {
                match error {
                    $(IRollup::IRollupErrors::$name(error) => {
                        let IRollup::$name { $($($given),*)? } = error;
                        Self::$name $({ $($field: $given.plain()),* })?
                    })*
                }
            }
        }
    };
}

rejections! {
    "the rollup is frozen (P-13.4)"
    IsFrozen
    "the rollup is not frozen (P-13.5, P-13.6)"
    NotFrozen
    "the next batch is {expected}, not {given} (P-9.2)"
    WrongBatchNumber { expected: u64 = expected, given: u64 = given }
    "the state root on L1 is {expected:#x}, the batch starts from {given:#x} (P-9.2)"
    WrongOldRoot { expected: U256 = expected, given: U256 = given }
    "{caller} is not the operator, and the rollup is not enforced (P-9.9)"
    OnlyOperator { caller: Address = caller }
    "a batch of another than the operator must consume an entry of the queue (P-9.9)"
    ConsumesNothing
    "the time {given} does not fit 40 bits (P-9.4)"
    TimeTooLarge { given: u64 = given }
    "the batch's time {given} is before the last batch's, {last} (P-9.4)"
    TimeBeforeLastBatch { last: u64 = last, given: u64 = given }
    "the batch's time {given} is after the block's, {block_time} (P-9.4)"
    TimeInFuture { block_time: U256 = blockTime, given: u64 = given }
    "the batch's time {given} is too old: the earliest accepted is {earliest} (P-9.4)"
    BatchTooOld { earliest: U256 = earliest, given: u64 = given }
    "there is no verifier {id} (P-14.4)"
    NoSuchVerifier { id: u8 = id }
    "the verifier {id} is not in force: not yet, no more, or disabled (P-14.4)"
    VerifierNotInForce { id: u8 = id }
    "the code of verifier {id} has the hash {found}, registered was {expected} (P-9.6)"
    VerifierChanged { id: u8 = id, expected: B256 = expected, found: B256 = found }
    "{value} is larger than the field of a record that it is for (P-6.6)"
    FieldTooLarge { value: U256 = value }
    "{length} bytes of stream A are not a whole number of records of 124 bytes (P-9.8)"
    DataANotWhole { length: U256 = length }
    "{length} bytes of stream B are not a whole number of groups of 62 bytes (P-9.8)"
    DataBNotWhole { length: U256 = length }
    "the last group of {length} bytes of stream B is all zero (P-9.8)"
    DataBEndsInZeros { length: U256 = length }
    "record {record} has the kind {kind}, which there is not (P-9.10)"
    NoSuchKind { record: U256 = record, kind: U256 = kind }
    "the batch consumes {consumed} entries of the queue, {pending} are waiting (P-9.10)"
    BeyondTail { consumed: U256 = consumed, pending: U256 = pending }
    "the records are not the queue's in their order: expected the hash {expected:#x}, found {found:#x} (P-9.10)"
    QueueMismatch { expected: U256 = expected, found: U256 = found }
    "the batch leaves entry {entry}, which has been due since {due_since} (P-9.11)"
    EntryDue { entry: u64 = entry, due_since: U256 = dueSince }
    "{left} gas is left for the verifier, {needed} is needed (P-9.6)"
    TooLittleGas { needed: U256 = needed, left: U256 = left }
    "the verifier rejected the proof (P-9.6)"
    ProofRejected
    "the verifier used up its {gas_cap} gas: the cap is too low (P-9.6)"
    VerifierOutOfGas { gas_cap: U256 = gasCap }
    "no token has the id {id} (P-12.7)"
    NoSuchToken { id: u16 = id }
    "the token has the id {id} already (P-12.9)"
    TokenKnown { id: u16 = id }
    "all ids of tokens are given out (P-12.9)"
    NoMoreTokens
    "there is no contract at {addr}, so it is no token (P-12.9)"
    NotAToken { addr: Address = addr }
    "the deposit would credit nothing (P-12.7)"
    NoAmount
    "the escrow of token {token} has no room for so much (P-12.8)"
    EscrowFull { token: u16 = token }
    "{given} wei do not pay the {price} that the call costs, a deposit of ETH included (P-12.3)"
    PriceNotPaid { price: U256 = price, given: U256 = given }
    "index {index} is not below 2^33 (P-12.6)"
    BadIndex { index: u64 = index }
    "all indices of L1 are given out (P-12.4)"
    NoMoreIndices
    "({ax:#x}, {ay:#x}) is no valid key (P-12.5)"
    BadKey { ax: U256 = ax, ay: U256 = ay }
    "deposits are paused until {until} (P-14.6)"
    DepositsArePaused { until: u64 = until }
    "deposits were paused lately, and can be again from {not_before} on (P-14.6)"
    PausedLately { not_before: u64 = notBefore }
    "the caller did not take back what it paid too much (P-12.3)"
    ChangeNotTaken
    "batch {batch} does not owe that at position {position} (P-13.2)"
    NotInTree { batch: u64 = batch, position: u32 = position }
    "the withdrawal at position {position} of batch {batch} was paid already (P-13.2)"
    AlreadyPaid { batch: u64 = batch, position: u32 = position }
    "account {index} has left already (P-13.5)"
    AlreadyExited { index: u64 = index }
    "entry {entry} was paid back already (P-13.6)"
    AlreadyRefunded { entry: u64 = entry }
    "there is nothing to pay"
    NothingToPay
    "the recipient or the token refused the payment (P-13.3)"
    PaymentFailed
    "it is possible from the second {from} on"
    NotYet { from: U256 = from }
    "{value:#x} is not below the field's modulus (P-1.2)"
    NotCanonical { value: U256 = value }
    "account and siblings lead to the root {root:#x}, which is not the state's (P-13.5)"
    WrongLeaf { root: U256 = root }
    "entry {entry} is not waiting in the queue"
    NotAnEntry { entry: u64 = entry }
    "entry {entry} holds no deposit (P-13.6)"
    NotADeposit { entry: u64 = entry }
    "the record is not that of entry {entry} (P-13.6)"
    WrongEntry { entry: u64 = entry }
    "{caller} does not have the role (section 14)"
    OnlyRole { caller: Address = caller }
    "the parameter {name} is outside its range (P-17.1, P-14.4)"
    BadParameter { name: String = name }
}

impl Rejection {
    /// Reads a revert's data.
    pub fn decode(data: &[u8]) -> Self {
        use Library::LibraryErrors as L;
        if let Ok(error) = IRollup::IRollupErrors::abi_decode(data) {
            return error.into();
        }
        match L::abi_decode(data) {
            Ok(L::ReentrancyGuardReentrantCall(_)) => Self::Reentered,
            Ok(L::SafeERC20FailedOperation(error)) => Self::TokenRefused { token: error.token },
            Ok(L::Panic(error)) => Self::Panicked { code: error.code },
            Ok(L::Error(error)) => Self::Said {
                reason: error.reason.chars().take(REASON_CHARS_MAX).collect(),
            },
            Err(_) => Self::Other {
                data: Bytes::copy_from_slice(data),
            },
        }
    }

    /// The selectors of all errors that are read, by which a test finds what is missing.
    pub fn selectors() -> impl Iterator<Item = [u8; 4]> {
        IRollup::IRollupErrors::selectors().chain(Library::LibraryErrors::selectors())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::sol_types::SolError;

    #[test]
    fn reverts_decode_to_the_error_with_its_arguments() {
        let (expected, given) = (3, 2);
        let data = IRollup::WrongBatchNumber { expected, given }.abi_encode();
        assert_eq!(
            Rejection::decode(&data),
            Rejection::WrongBatchNumber { expected, given }
        );
        let due = IRollup::EntryDue {
            entry: U40::from(u32::MAX),
            dueSince: U256::from(5),
        };
        let found = Rejection::decode(&due.abi_encode());
        let (entry, due_since) = (u32::MAX.into(), U256::from(5));
        assert_eq!(found, Rejection::EntryDue { entry, due_since });
        assert_eq!(
            found.to_string(),
            "the batch leaves entry 4294967295, which has been due since 5 (P-9.11)"
        );
        let mut name = B256::ZERO;
        name[..5].copy_from_slice(b"delay");
        let found = Rejection::decode(&IRollup::BadParameter { name }.abi_encode());
        assert_eq!(
            found.to_string(),
            "the parameter delay is outside its range (P-17.1, P-14.4)"
        );
        let token = Address::repeat_byte(7);
        let refused = Library::SafeERC20FailedOperation { token }.abi_encode();
        assert_eq!(Rejection::decode(&refused), Rejection::TokenRefused { token });
    }

    /// Each by its selector and as many words as the longest has.
    #[test]
    fn every_error_of_the_interface_is_read_and_told() {
        let mut count = 0;
        for selector in Rejection::selectors() {
            count += 1;
            let told = (0..=3).find_map(|words| {
                let data = [&selector[..], &vec![0; 32 * words]].concat();
                match Rejection::decode(&data) {
                    Rejection::Other { .. } => None,
                    rejection => Some(rejection.to_string()),
                }
            });
            assert!(
                told.is_some_and(|told| !told.is_empty()),
                "0x{}",
                hex::encode(selector)
            );
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn what_is_no_error_of_the_contract_stays_as_it_is() {
        let data = IRollup::WrongBatchNumber {
            expected: 3,
            given: 2,
        };
        let data = data.abi_encode();
        for data in [&data[..40], &[], &[1, 2, 3, 4]] {
            let data = Bytes::copy_from_slice(data);
            assert_eq!(Rejection::decode(&data), Rejection::Other { data });
        }
    }
}
