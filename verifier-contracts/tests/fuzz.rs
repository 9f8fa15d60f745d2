//! What an L1 answers, on any bytes.

use alloy::primitives::U256;
use alloy::sol_types::SolError;
use fuzzer::Target;
use verifier_contracts::rollup::{IRollup, Rejection, from_u256, to_u256};

#[test]
fn fuzz_revert_data() {
    let wrong = IRollup::WrongBatchNumber {
        expected: 1,
        given: 2,
    };
    let rejected = IRollup::ProofRejected {};
    Target::new(env!("CARGO_MANIFEST_DIR"), "revert")
        .seed("wrong-number", wrong.abi_encode())
        .seed("rejected", rejected.abi_encode())
        .run(|data| match Rejection::decode(data) {
            Rejection::Other { data: found } => {
                assert_eq!(found.as_ref(), data, "nothing of what is unknown is lost");
                Err("unknown".to_string())
            }
            known => {
                assert_eq!(Rejection::decode(data), known);
                Ok(())
            }
        });
}

#[test]
fn fuzz_words_of_l1() {
    Target::new(env!("CARGO_MANIFEST_DIR"), "word")
        .seed("one", U256::from(1).to_be_bytes::<32>())
        .run(|bytes| {
            let word = U256::try_from_be_slice(bytes).ok_or("longer than a word")?;
            let element = from_u256(&word).ok_or("not below the modulus")?;
            assert_eq!(to_u256(&element), word);
            Ok(())
        });
}
