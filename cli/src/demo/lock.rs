//! One demo at a time on a machine: two would not fit in its memory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::environment;

/// Held while a demo runs; the kernel releases it however the demo ends.
pub struct DemoLock {
    _file: File,
}

impl DemoLock {
    /// Takes the lock of this user.
    ///
    /// # Errors
    /// When another demo holds it: the message names its process id.
    pub fn take() -> Result<Self> {
        Self::take_at(default_path())
    }

    fn take_at(path: PathBuf) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: what cannot be read is left out of it.
                let _ = file.read_to_string(&mut holder);
                bail!(
                    "another demo is running (process {}), and two at once would need twice the memory; \
                     wait until it ends, or stop it",
                    holder.trim()
                );
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// In the user's run-time directory where there is one, else the temporary one, with the user in the name.
fn default_path() -> PathBuf {
    match environment::variable("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("rollup-prover-demo.lock"),
        None => {
            let user = environment::variable("USER").unwrap_or_else(|| "user".into());
            std::env::temp_dir().join(format!("rollup-prover-demo-{}.lock", user.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_demo_is_refused_by_name_and_welcome_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = DemoLock::take_at(path.clone()).unwrap();
        let refusal = DemoLock::take_at(path.clone())
            .err()
            .expect("the lock is held")
            .to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(first);
        DemoLock::take_at(path).unwrap();
    }
}
