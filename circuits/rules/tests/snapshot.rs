//! Snapshots are read as they were written, and nothing else is.

use rules::Fr;
use rules::account::{Account, AccountIndex, TokenId};
use rules::babyjub::Point;
use rules::digest::Digest;
use rules::eddsa::{PrivateKey, PublicKey};
use rules::follow::Block;
use rules::operation::RollupId;
use rules::snapshot::{self, Header, SnapshotError};
use rules::state::State;
use std::io::Read;

const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};

fn at(index: u64) -> AccountIndex {
    AccountIndex::new(index).unwrap()
}

fn account(token: u16, nonce: u64) -> Account {
    Account {
        token: TokenId(token),
        nonce,
        balance: 5,
        owner: PrivateKey::from_bytes(&[1; 32]).public(),
        l1_address: [3; 20],
    }
}

fn header(state: &State) -> Header {
    let block = Block {
        number: 12,
        hash: Digest([4; 32]),
    };
    Header {
        batches: 2,
        time: 1_800_000_000,
        head: 3,
        root: state.root(),
        ..Header::empty(ROLLUP, block)
    }
}

fn text_of(accounts: &[(AccountIndex, Account)]) -> String {
    let state = State::from_accounts(accounts.iter().copied());
    let mut text = Vec::new();
    snapshot::write(&header(&state), &state, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn sample() -> Vec<(AccountIndex, Account)> {
    vec![
        (at(1), account(1, 0)),
        (at(65_536), account(1, 7)),
        (at(1 << 32), account(2, u64::MAX)),
    ]
}

fn refused(text: &str) -> SnapshotError {
    snapshot::read(text.as_bytes()).map(drop).unwrap_err()
}

#[test]
fn a_snapshot_is_read_as_it_was_written() {
    let state = State::from_accounts(sample());
    let text = text_of(&sample());
    let (read, same) = snapshot::read(text.as_bytes()).unwrap();
    assert_eq!((read, same.root()), (header(&state), state.root()));
    assert!(same.accounts().eq(state.accounts()));
    // The fields may come in any order.
    let last = text.replacen("\"version\":1,", "", 1);
    let last = format!("{},\"version\":1}}", &last[..last.rfind('}').unwrap()]);
    assert_eq!(snapshot::read(last.as_bytes()).unwrap().0, read);
    assert_eq!(
        refused(&last.replace("\"version\":1", "\"version\":2")),
        SnapshotError::Version { found: 2 }
    );
    // And the state that every rollup begins with is one.
    let empty = text_of(&[]);
    assert_eq!(
        snapshot::read(empty.as_bytes()).unwrap().1.root(),
        State::default().root()
    );
}

#[test]
fn the_accounts_must_have_the_root() {
    let text = text_of(&sample());
    for (from, to) in [
        ("\"balance\":\"5\"", "\"balance\":\"6\""),
        ("\"nonce\":\"7\"", "\"nonce\":\"8\""),
        ("\"index\":65536", "\"index\":65537"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(
            matches!(refused(&text.replacen(from, to, 1)), SnapshotError::Root { expected, .. }
            if expected == State::from_accounts(sample()).root())
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_the_account_and_its_field() {
    let text = text_of(&sample());
    let changed = |from: &str, to: &str| {
        // In the second account.
        let (at, _) = text.match_indices(from).nth(1).unwrap();
        refused(&format!("{}{to}{}", &text[..at], &text[at + from.len()..])).to_string()
    };
    let begins = |said: String, with: &str| {
        let expected = format!("malformed snapshot: {with}");
        assert!(
            said.starts_with(&expected) && said.contains(" at line "),
            "{said}"
        );
    };
    begins(
        changed("\"balance\":\"", "\"balance\":\"-"),
        "account 1, account.balance: ",
    );
    begins(
        changed("\"x\":\"0x", "\"x\":\"0xg"),
        "account 1, account.owner.x: ",
    );
    begins(changed("\"l1_address\"", "\"l2_address\""), "account 1, account");
    begins(changed("{\"index\"", "{\"indices\""), "account 1");
    begins(
        changed("\"token\":", "\"token\":70000"),
        "account 1, account.token: ",
    );
    let in_header = |from: &str, to: &str| refused(&text.replacen(from, to, 1)).to_string();
    begins(
        in_header("\"batches\":\"", "\"batches\":\"x"),
        "header, batches: ",
    );
    begins(in_header("\"hash\":\"0x", "\"hash\":\""), "header, block.hash: ");
    begins(in_header("\"head\"", "\"tail\""), "header");
    for end in [0, 1, 20, text.len() / 2, text.len() - 2] {
        let said = refused(&text[..end]).to_string();
        assert!(said.starts_with("malformed snapshot: "), "{end}: {said}");
    }
    for (text, expected) in [
        (format!("{text} x"), "trailing characters"),
        (
            "{\"accounts\": [], \"accounts\": []}".to_owned(),
            "duplicate field `accounts`",
        ),
        ("{\"accounts\": []}".to_owned(), "missing field `version`"),
        (
            "{\"accounts\": [], \"version\": 1}".to_owned(),
            "missing field `header`",
        ),
        (
            "{\"version\": 1, \"owner\": 1}".to_owned(),
            "unknown field `owner`",
        ),
    ] {
        let said = refused(&text).to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn accounts_that_no_state_has_are_named() {
    let none = |index| (AccountIndex::NONE, index);
    let bad = PublicKey(Point {
        x: Fr::one(),
        y: Fr::one(),
    });
    let cases = [
        (none(account(1, 0)), "account 0: index 0 is never occupied"),
        (
            (at(70_000), account(0, 0)),
            "account 0 (index 70000): token 0 does not exist",
        ),
        ((at(2), account(3, 0)), "account 0: fee account 2 has token 3"),
        (
            (
                at(70_000),
                Account {
                    owner: bad,
                    ..account(1, 0)
                },
            ),
            "account 0 (index 70000): ",
        ),
    ];
    for (entry, expected) in cases {
        let said = refused(&text_of(&[entry])).to_string();
        assert!(said.starts_with(expected), "{said}");
    }
    let text = text_of(&sample()).replacen("\"index\":1,", "\"index\":65536,", 1);
    let (position, index) = (1, at(65_536));
    assert!(
        matches!(
            refused(&text),
            SnapshotError::FeeToken { .. } | SnapshotError::Duplicate { .. }
        ),
        "{}",
        refused(&text)
    );
    assert_eq!(refused(&text), SnapshotError::Duplicate { position, index });
}

#[test]
fn no_account_takes_more_memory_than_it_may() {
    let file = b"{\"version\": 1, \"accounts\": [\""[..].chain(std::io::repeat(b' '));
    let said = snapshot::read(std::io::BufReader::new(file))
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(&said, SnapshotError::Unread(what) if what.contains("65536 bytes without an account")),
        "{said}"
    );
}

#[test]
fn more_accounts_than_are_checked_at_once_are_the_same_state() {
    let entries: Vec<_> = (0..17_000u64)
        .map(|place| (at(70_000 + place), account(1, place)))
        .collect();
    let text = text_of(&entries);
    // And in another order.
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 2;
    lines.swap(1, last - 1);
    let (_, state) = snapshot::read(lines.join("\n").as_bytes()).unwrap();
    assert_eq!(state.accounts().len(), 17_000);
    assert_eq!(state.root(), State::from_accounts(entries).root());
}
