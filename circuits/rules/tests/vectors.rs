//! Poseidon, EdDSA, words, messages and leaves against circomlibjs (`vectors/generate.mjs` makes the file).

use halo2curves::ff::PrimeField;
use rules::account::{Account, AccountIndex, TokenId};
use rules::amount::{Amount, Fee};
use rules::eddsa::{self, PrivateKey, PublicKey, Signature, SignatureError};
use rules::operation::{Creation, Expiry, RollupId, Transfer, Withdrawal, Word};
use rules::tree::Tree;
use rules::{Fr, field, poseidon};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    poseidon: Vec<PoseidonVector>,
    signatures: Vec<SignatureVector>,
    invalid_signatures: Vec<SignatureVector>,
    signed: Vec<SignedVector>,
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

/// An operation of each kind with the same fields, where it has them.
#[derive(Deserialize)]
struct SignedVector {
    rollup_id: RollupId,
    from: AccountIndex,
    to: AccountIndex,
    amount: String,
    withdrawn: String,
    fee: String,
    nonce: String,
    expiry: Expiry,
    token: TokenId,
    seed: String,
    owner: PublicKey,
    l1_address: Address,
    receiver: PublicKey,
    receiver_address: Address,
    transfer: Said,
    withdrawal: Said,
    creation: Said,
}

/// An L1 address as text.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Address([u8; 20]);

impl TryFrom<String> for Address {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(&text[2..], &mut bytes).map(|()| Self(bytes))
    }
}

/// What an operation says and signs.
#[derive(Deserialize)]
struct Said {
    word: String,
    message: String,
    signature: Signature,
}

impl Said {
    fn is(&self, word: Word, message: Fr, signature: Signature) {
        assert_eq!(Fr::from_u128(word.to_integer()), element(&self.word));
        assert_eq!(Word::from_integer(word.to_integer()), Ok(word));
        assert_eq!(message, element(&self.message));
        assert_eq!(signature, self.signature);
    }
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
    let integer = |text: &str| text.parse::<u128>().expect("an integer");
    for vector in vectors().signed {
        let (key, id) = (key(&vector.seed), &vector.rollup_id);
        assert_eq!(key.public(), vector.owner);
        let transfer = Transfer {
            from: vector.from,
            to: vector.to,
            amount: Amount::from_integer(integer(&vector.amount)).expect("a float"),
            fee: Fee::from_integer(integer(&vector.fee)).expect("a float"),
            nonce: vector.nonce.parse().expect("a nonce"),
            expiry: vector.expiry,
            token: vector.token,
        };
        let receiver = Account {
            token: vector.token,
            nonce: 7,
            balance: 8,
            owner: vector.receiver,
            l1_address: vector.receiver_address.0,
        };
        let signed = transfer.sign(&key, id, &receiver);
        let word = Word::Transfer(transfer.effect());
        let message = transfer.message(id, &receiver);
        vector.transfer.is(word, message, signed.signature);
        let l1_address = vector.l1_address.0;
        let withdrawal = Withdrawal {
            from: vector.from,
            amount: integer(&vector.withdrawn),
            fee: transfer.fee,
            nonce: transfer.nonce,
            expiry: vector.expiry,
            token: vector.token,
        };
        let signed = withdrawal.sign(&key, id, &l1_address);
        let message = withdrawal.message(id, &l1_address);
        vector.withdrawal.is(withdrawal.word(), message, signed.signature);
        let creation = Creation {
            index: vector.to,
            token: vector.token,
            owner: vector.owner,
            l1_address,
        };
        let signed = creation.sign(&key, id);
        vector
            .creation
            .is(creation.word(), creation.message(id), signed.signature);
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
