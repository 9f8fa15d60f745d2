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
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    let found = read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        found as u64 <= most,
        "{} is too large: expected at most {most} bytes, found more",
        path.display()
    );
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
