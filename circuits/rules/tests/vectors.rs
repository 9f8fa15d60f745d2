//! Poseidon, EdDSA, words, messages and leaves against circomlibjs (`vectors/generate.mjs` makes the file).

use halo2curves::ff::PrimeField;
use rules::account::{Account, AccountIndex};
use rules::eddsa::{self, PrivateKey, PublicKey, Signature, SignatureError};
use rules::operation::{Effect, RollupId, Transfer};
use rules::tree::Tree;
use rules::{Fr, field, poseidon};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    poseidon: Vec<PoseidonVector>,
    signatures: Vec<SignatureVector>,
    invalid_signatures: Vec<SignatureVector>,
    transfers: Vec<TransferVector>,
    state: StateVector,
}

#[derive(Deserialize)]
struct PoseidonVector {
    inputs: Vec<String>,
    output: String,
}

#[derive(Deserialize)]
struct SignatureVector {
    note: String,
    seed: Option<String>,
    key: PublicKey,
    message: String,
    signature: Signature,
    circomlibjs_accepts: bool,
    expected: String,
}

#[derive(Deserialize)]
struct TransferVector {
    rollup_id: RollupId,
    transfer: Transfer,
    word: String,
    message: String,
    seed: String,
    signature: Signature,
}

#[derive(Deserialize)]
struct StateVector {
    account: Account,
    leaf: String,
    index: AccountIndex,
    root: String,
    empty_root: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/circomlibjs.json")).expect("the vectors' file")
}

fn element(text: &str) -> Fr {
    field::from_hex(text).expect("a field element")
}

fn key(seed: &str) -> PrivateKey {
    let mut bytes = [0; 32];
    hex::decode_to_slice(&seed[2..], &mut bytes).expect("32 bytes");
    PrivateKey::from_bytes(&bytes)
}

#[test]
fn poseidon_is_circomlibs() {
    let vectors = vectors().poseidon;
    assert_eq!(vectors.len(), 22);
    for vector in vectors {
        let inputs: Vec<Fr> = vector.inputs.iter().map(|input| element(input)).collect();
        let (hashed, plain) = match *inputs.as_slice() {
            [a, b, c, d, e] => {
                let mut state = [Fr::zero(), a, b, c, d, e];
                poseidon::permute(poseidon::spec6(), &mut state);
                (poseidon::hash5(&[a, b, c, d, e]), state[0])
            }
            [a, b, c, d, e, f, g, h] => {
                let mut state = [Fr::zero(), a, b, c, d, e, f, g, h];
                poseidon::permute(poseidon::spec9(), &mut state);
                (poseidon::hash8(&[a, b, c, d, e, f, g, h]), state[0])
            }
            _ => panic!("only widths 6 and 9 are used (P-2.2)"),
        };
        assert_eq!(hashed, element(&vector.output));
        assert_eq!(plain, element(&vector.output));
    }
}

#[test]
fn keys_and_signatures_are_circomlibjss() {
    for vector in vectors().signatures {
        let key = key(vector.seed.as_deref().expect("valid signatures have a seed"));
        let message = element(&vector.message);
        assert_eq!(key.public(), vector.key, "{}", vector.note);
        assert_eq!(key.sign(&message), vector.signature, "{}", vector.note);
        assert_eq!(
            eddsa::verify(&vector.key, &message, &vector.signature),
            Ok(()),
            "{}",
            vector.note
        );
    }
}

#[test]
fn invalid_signatures_fail_the_named_check() {
    let vectors = vectors().invalid_signatures;
    for vector in &vectors {
        let expected = match vector.expected.as_str() {
            "key_off_curve" => SignatureError::KeyOffCurve,
            "key_small_order" => SignatureError::KeySmallOrder,
            "nonce_off_curve" => SignatureError::NonceOffCurve,
            "nonce_zero_x" => SignatureError::NonceZeroX,
            "scalar_range" => SignatureError::ScalarRange,
            "equation" => SignatureError::Equation,
            other => panic!("unknown check {other}"),
        };
        let verdict = eddsa::verify(&vector.key, &element(&vector.message), &vector.signature);
        assert_eq!(verdict, Err(expected), "{}", vector.note);
    }
    // P-5.4 is stricter than circomlibjs about small orders, and nowhere laxer.
    let laxer: Vec<_> = vectors
        .iter()
        .filter(|vector| vector.circomlibjs_accepts)
        .collect();
    assert_eq!(laxer.len(), 3);
    assert!(laxer.iter().all(|vector| vector.expected == "key_small_order"));
}

#[test]
fn words_and_messages_are_the_protocols() {
    for vector in vectors().transfers {
        let transfer = vector.transfer;
        assert_eq!(Fr::from_u128(transfer.word()), element(&vector.word));
        assert_eq!(Effect::from_word(transfer.word()), Ok(transfer.effect()));
        assert_eq!(transfer.message(&vector.rollup_id), element(&vector.message));
        let signed = transfer.sign(&key(&vector.seed), &vector.rollup_id);
        assert_eq!(signed.signature, vector.signature);
    }
}

#[test]
fn leaves_and_roots_are_the_protocols() {
    let vector = vectors().state;
    let mut tree = Tree::new();
    assert_eq!(tree.root(), element(&vector.empty_root));
    assert_eq!(vector.account.leaf(), element(&vector.leaf));
    tree.set(vector.index, vector.account.leaf());
    assert_eq!(tree.root(), element(&vector.root));
}
