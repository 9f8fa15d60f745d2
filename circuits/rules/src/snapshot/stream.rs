//! A snapshot that is read account by account.

use super::{Accounts, ENTRY_BYTES_MAX, Entry, Header, SNAPSHOT_VERSION, SnapshotError};
use crate::state::State;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Track;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{BufRead, Error as IoError, ErrorKind, Read};

pub(super) fn read(file: impl BufRead) -> Result<(Header, State), SnapshotError> {
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
    let read = (&mut reader).deserialize(&mut json).and_then(|header| {
        left.set(usize::MAX);
        json.end().map(|()| header)
    });
    if let Some(failure) = failure.take() {
        return Err(SnapshotError::Unread(format!(
            "{failure}, after {} accounts",
            reader.accounts.len()
        )));
    }
    match (reader.refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) => Err(SnapshotError::Malformed(error.to_string())),
        (None, Ok(header)) => Ok((header, reader.accounts.build()?)),
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
    refused: Option<SnapshotError>,
}

impl<'de> DeserializeSeed<'de> for &mut Reader<'_> {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a snapshot: version, header and accounts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let (mut version, mut header, mut accounts) = (false, None, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" if !version => {
                    let found: u8 = map.next_value()?;
                    if found != SNAPSHOT_VERSION {
                        self.refused = Some(SnapshotError::Version { found });
                        return Err(A::Error::custom("another version"));
                    }
                    version = true;
                }
                "header" if header.is_none() => header = Some(map.next_value_seed(Head)?),
                "accounts" if !accounts => {
                    map.next_value_seed(List(self))?;
                    accounts = true;
                }
                "version" => return Err(A::Error::duplicate_field("version")),
                "header" => return Err(A::Error::duplicate_field("header")),
                "accounts" => return Err(A::Error::duplicate_field("accounts")),
                other => {
                    map.next_value::<IgnoredAny>()?;
                    return Err(A::Error::unknown_field(other, &["version", "header", "accounts"]));
                }
            }
        }
        match (version, header, accounts) {
            (false, _, _) => Err(A::Error::missing_field("version")),
            (_, None, _) => Err(A::Error::missing_field("header")),
            (_, _, false) => Err(A::Error::missing_field("accounts")),
            (_, Some(header), _) => Ok(header),
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
        while let Some(entry) = list.next_element_seed(At(reader.accounts.len()))? {
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

/// The header.
struct Head;

impl<'de> DeserializeSeed<'de> for Head {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Header, D::Error> {
        tracked(deserializer, "header".to_owned())
    }
}

/// The account at a place of the list.
struct At(usize);

impl<'de> DeserializeSeed<'de> for At {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry, D::Error> {
        tracked(deserializer, format!("account {}", self.0))
    }
}

/// Reads a value; an error says what it is and the path in it.
fn tracked<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    what: String,
) -> Result<T, D::Error> {
    let mut track = Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    T::deserialize(tracked).map_err(|error| {
        let path = track.path();
        match path.iter().next() {
            Some(_) => D::Error::custom(format!("{what}, {path}: {error}")),
            None => D::Error::custom(format!("{what}: {error}")),
        }
    })
}
