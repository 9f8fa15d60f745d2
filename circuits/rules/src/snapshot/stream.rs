//! A genesis file that is read account by account.

use super::{Accounts, ENTRY_BYTES_MAX, GENESIS_VERSION, GenesisAccount, GenesisError};
use crate::state::State;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Track;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{BufRead, Error as IoError, ErrorKind, Read};

pub(super) fn read(file: impl BufRead) -> Result<State, GenesisError> {
    let left = Cell::new(ENTRY_BYTES_MAX);
    let failure = RefCell::new(None);
    let metered = Metered {
        file,
        left: &left,
        failure: &failure,
    };
    let mut reader = Reader {
        accounts: Accounts::default(),
        left: &left,
        refused: None,
    };
    let mut json = serde_json::Deserializer::from_reader(metered);
    let read = (&mut reader).deserialize(&mut json).and_then(|()| {
        left.set(usize::MAX);
        json.end()
    });
    if let Some(failure) = failure.take() {
        return Err(GenesisError::Unread(format!(
            "{failure}, after {} accounts",
            reader.accounts.len()
        )));
    }
    match (reader.refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) => Err(GenesisError::Malformed(error.to_string())),
        (None, Ok(())) => reader.accounts.build(),
    }
}

/// A file of which no more than some bytes are read before somebody says that it goes on well.
struct Metered<'a, R> {
    file: R,
    left: &'a Cell<usize>,
    /// Why it was not read on.
    failure: &'a RefCell<Option<String>>,
}

impl<R: BufRead> Read for Metered<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let metered = self.file.read(bytes).and_then(|read| {
            let left = self.left.get().checked_sub(read);
            let what = || format!("more than {ENTRY_BYTES_MAX} bytes without an account");
            self.left
                .set(left.ok_or_else(|| IoError::new(ErrorKind::InvalidData, what()))?);
            Ok(read)
        });
        metered.inspect_err(|error| {
            if error.kind() != ErrorKind::Interrupted {
                self.failure.replace(Some(error.to_string()));
            }
        })
    }
}

/// What reads a file.
struct Reader<'a> {
    accounts: Accounts,
    left: &'a Cell<usize>,
    /// The rule that an account breaks.
    refused: Option<GenesisError>,
}

impl<'de> DeserializeSeed<'de> for &mut Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a genesis: version and accounts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut version, mut accounts) = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" if !version => {
                    let found: u8 = map.next_value()?;
                    if found != GENESIS_VERSION {
                        self.refused = Some(GenesisError::Version { found });
                        return Err(A::Error::custom("another version"));
                    }
                    version = true;
                }
                "accounts" if !accounts => {
                    map.next_value_seed(List(self))?;
                    accounts = true;
                }
                "version" => return Err(A::Error::duplicate_field("version")),
                "accounts" => return Err(A::Error::duplicate_field("accounts")),
                other => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(A::Error::unknown_field(other, &["version", "accounts"]));
                }
            }
        }
        match (version, accounts) {
            (false, _) => Err(A::Error::missing_field("version")),
            (_, false) => Err(A::Error::missing_field("accounts")),
            _ => Ok(()),
        }
    }
}

/// The list of accounts.
struct List<'a, 'b>(&'a mut Reader<'b>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of accounts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let reader = self.0;
        while let Some(entry) = list.next_element_seed(Entry(reader.accounts.len()))? {
            reader.left.set(ENTRY_BYTES_MAX);
            if let Err(error) = reader.accounts.add(entry) {
                let text = error.to_string();
                reader.refused = Some(error);
                return Err(A::Error::custom(text));
            }
        }
        Ok(())
    }
}

/// The account at a place of the list.
struct Entry(usize);

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = GenesisAccount;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<GenesisAccount, D::Error> {
        let mut track = Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        GenesisAccount::deserialize(tracked).map_err(|error| {
            let (position, path) = (self.0, track.path());
            match path.iter().next() {
                Some(_) => D::Error::custom(format!("account {position}, {path}: {error}")),
                None => D::Error::custom(format!("account {position}: {error}")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::Genesis;
    use crate::sample::{Sample, SampleConfig};

    fn sample() -> Sample {
        Sample::new(SampleConfig {
            seed: 1,
            users: 3,
            tokens: 2,
        })
    }

    fn refused(text: &str) -> String {
        Genesis::read(text.as_bytes()).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_as_the_list_that_it_holds() {
        let sample = sample();
        let text = sample.genesis().to_json();
        let read = Genesis::read(text.as_bytes()).unwrap();
        assert_eq!(read.root(), sample.state().root());
        assert!(read.accounts().eq(sample.state().accounts()));
        // The fields may come in any order.
        let version = text.replacen("\"version\": 1,", "", 1);
        let end = version.rfind('}').unwrap();
        let last = format!("{}, \"version\": 1}}", &version[..end]);
        assert_eq!(Genesis::read(last.as_bytes()).unwrap().root(), read.root());
        let last = last.replace("\"version\": 1", "\"version\": 2");
        assert_eq!(
            Genesis::read(last.as_bytes()).map(drop),
            Err(GenesisError::Version { found: 2 })
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_the_account_and_its_field() {
        let text = sample().genesis().to_json();
        let changed = |from: &str, to: &str| {
            // In the second account.
            let at = text.match_indices(from).nth(1).unwrap().0;
            refused(&format!("{}{to}{}", &text[..at], &text[at + from.len()..]))
        };
        let begins = |said: String, with: &str| {
            let expected = format!("malformed genesis file: account 1{with}");
            assert!(
                said.starts_with(&expected) && said.contains(" at line "),
                "{said}"
            );
        };
        begins(
            changed("\"nonce\": \"0\"", "\"nonce\": \"-1\""),
            ", account.nonce: ",
        );
        begins(changed("\"x\": \"0x", "\"x\": \"0xg"), ", account.owner.x: ");
        begins(changed("\"l1_address\"", "\"l2_address\""), ", account");
        begins(changed("\"index\"", "\"indices\""), "");
        begins(changed("\"token\": ", "\"token\": 70000"), ", account.token: ");
        for end in [0, 1, 20, text.len() / 2, text.len() - 1] {
            assert!(
                refused(&text[..end]).starts_with("malformed genesis file: "),
                "{end}"
            );
        }
        let more = refused(&format!("{text} x"));
        assert!(more.contains("trailing characters"), "{more}");
        let twice = refused("{\"accounts\": [], \"accounts\": []}");
        assert!(twice.contains("duplicate field `accounts`"), "{twice}");
        let missing = refused("{\"accounts\": []}");
        assert!(missing.contains("missing field `version`"), "{missing}");
    }

    #[test]
    fn no_account_takes_more_memory_than_it_may() {
        let endless = std::io::repeat(b' ');
        let file = b"{\"version\": 1, \"accounts\": [\""[..].chain(endless);
        let said = Genesis::read(std::io::BufReader::new(file))
            .map(drop)
            .unwrap_err();
        assert!(
            matches!(&said, GenesisError::Unread(what) if what.contains("65536 bytes without an account")),
            "{said}"
        );
    }

    #[test]
    fn the_first_account_that_breaks_a_rule_is_named() {
        let mut genesis = sample().genesis().clone();
        let last = genesis.accounts.len();
        genesis.accounts.push(genesis.accounts[3]);
        let index = genesis.accounts[3].index;
        assert_eq!(
            Genesis::read(genesis.to_json().as_bytes()).map(drop),
            Err(GenesisError::Duplicate {
                position: last,
                index
            })
        );
    }

    #[test]
    fn more_accounts_than_are_checked_at_once_are_the_same_state() {
        let first = sample().genesis().accounts[5];
        let entries: Vec<GenesisAccount> = (0..40_000u64)
            .map(|place| {
                let mut entry = first;
                // In no order.
                let index = 70_000 + place * 7_919 % 40_009;
                entry.index = crate::account::AccountIndex::new(index).unwrap();
                entry.account.nonce = place;
                entry
            })
            .collect();
        let genesis = Genesis::new(entries);
        let state = Genesis::read(genesis.to_json().as_bytes()).unwrap();
        assert_eq!(state.accounts().len(), 40_000);
        let entries = genesis.accounts.iter().map(|entry| (entry.index, entry.account));
        assert_eq!(state.root(), State::from_accounts(entries).root());
    }
}
