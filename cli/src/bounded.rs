//! Files that somebody names, which may be larger than any that is meant, or without an end.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A file's bytes, if they are not too many.
///
/// # Errors
/// When the file cannot be read, or has more bytes than `most`.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let unread = || format!("cannot read {}", path.display());
    let check = |found: u64| {
        ensure!(
            found <= most,
            "{} is too large: expected at most {most} bytes, found more",
            path.display()
        );
        Ok(())
    };
    let file = File::open(path).with_context(unread)?;
    // Of what is no regular file this is 0, and its end comes when it comes.
    check(file.metadata().with_context(unread)?.len())?;
    let mut bytes = Vec::new();
    let mut some = file.take(most.saturating_add(1));
    check(some.read_to_end(&mut bytes).with_context(unread)? as u64)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_as_many_bytes_as_are_allowed_and_none_more() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 10]).unwrap();
        assert_eq!(read(file.path(), 10).unwrap(), [1; 10]);
        for (path, most) in [(file.path(), 9), (Path::new("/dev/zero"), 1 << 20)] {
            let error = read(path, most).unwrap_err().to_string();
            assert!(
                error.contains(&format!("expected at most {most} bytes")),
                "{error}"
            );
        }
    }
}
