//! Keys, and what they verify.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, ensure};
use keys::manifest::Manifest;
use keys::whole_file::Folder;
use keys::{KeyConfig, KeyError, KeyPhase, KeyStore, VerifyingKeys, user_cache};
use rules::PROTOCOL_VERSION;
use serde_json::json;
use srs::SrsSource;
use verifier_contracts::tools::{self, Tools};

use crate::args::{ExportKeysArgs, KeyArgs, KeygenArgs, SrsArgs, VerifyArgs, VerifyingKeyArgs};
use crate::guard;
use crate::l1_check;
use crate::output::{self, Exit, Failure};
use crate::progress::{Progress, Step};
use crate::proof_file::{ProofFile, to_hex};

/// Makes or checks keys.
///
/// # Errors
/// When they cannot be made.
pub fn keygen(args: &KeygenArgs, progress: &Progress) -> Result<()> {
    if args.exit_on_stdin_eof {
        guard::exit_on_stdin_eof()?;
    }
    let keys = ensured(&args.keys, progress)?;
    show(keys.manifest(), args.json)
}

/// Writes the verifying keys and their manifest.
///
/// # Errors
/// When the keys cannot be made or a file cannot be written.
pub fn export_keys(args: &ExportKeysArgs, progress: &Progress) -> Result<()> {
    let keys = ensured(&args.keys, progress)?;
    let failed = || format!("cannot write verifying keys to {}", args.out.display());
    let _folder = Folder::make(&args.out).with_context(failed)?;
    keys.write(&args.out).with_context(failed)?;
    show(keys.manifest(), args.json)
}

fn show(manifest: &Manifest, json: bool) -> Result<()> {
    if json {
        output::json(manifest)
    } else {
        output::line(serde_json::to_string_pretty(manifest)?)
    }
}

/// Checks a proof file as L1 does.
///
/// # Errors
/// When L1 would refuse it, or it cannot be read.
pub fn verify(args: &VerifyArgs, progress: &Progress) -> Result<()> {
    let file = ProofFile::read(&args.file)?;
    let keys = verifying(&args.keys, progress)?;
    let result = l1_check::check(&file, &keys);
    let insecure = keys.manifest().insecure_srs;
    if args.json {
        let reason = result.as_ref().err().map(output::sentence);
        output::json(&json!({
            "valid": result.is_ok(),
            "reason": reason,
            "rollup_id": file.rollup_id,
            "batch_number": file.batch_number,
            "old_root": file.old_root,
            "new_root": file.new_root,
            "insecure_srs": insecure,
        }))?;
    } else if result.is_ok() {
        output::line(format!(
            "valid: batch {} of the rollup {} on chain {} leads from the root {} to the root {}",
            file.batch_number,
            to_hex(&file.rollup_id.contract),
            file.rollup_id.chain_id,
            file.old_root,
            file.new_root
        ))?;
        if insecure {
            output::line(
                "INSECURE: the secret of these keys' reference string is published, so anyone can forge such a proof",
            )?;
        }
    }
    result.map_err(|error| Failure::new(Exit::ProofInvalid, output::sentence(&error)).into())
}

/// The directory of the key cache: the given one, else one in the user's cache. It does not depend on where the program
/// lies or who started it, so that every command finds the keys that another made.
pub fn directory(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| user_cache().join("keys"), Path::to_path_buf)
}

/// The L1 tools, in the given directory or the one of [`tools::default_dir`], fetched when they are missing.
///
/// # Errors
/// Names what is missing.
pub fn l1_tools(given: Option<&Path>, say: &mut dyn FnMut(&str)) -> Result<Tools> {
    let directory = given.map_or_else(tools::default_dir, Path::to_path_buf);
    Ok(Tools::ensure_in(&directory, say)?)
}

/// Opens the keys that the arguments name, to prove with them.
///
/// # Errors
/// When the SRS is not named, or the keys cannot be made.
pub fn from_args(args: &KeyArgs, progress: &Progress) -> Result<KeyStore> {
    shown(config(args)?, progress, |config, tell| {
        KeyStore::open(config, tell)
    })
}

/// The same, as far as they verify.
///
/// # Errors
/// As [`from_args`].
pub fn ensured(args: &KeyArgs, progress: &Progress) -> Result<Arc<VerifyingKeys>> {
    ensured_of(config(args)?, progress)
}

/// The verifying keys that the arguments name: those of a folder, or those of the key cache, where all keys are made if need be.
///
/// # Errors
/// When the folder does not hold verifying keys, or the keys cannot be made.
pub fn verifying(args: &VerifyingKeyArgs, progress: &Progress) -> Result<Arc<VerifyingKeys>> {
    match &args.verifying_keys {
        Some(folder) => exported(folder, &args.keys.srs),
        None => ensured(&args.keys, progress),
    }
}

/// The verifying keys of a folder, if they are of a reference string that the arguments allow.
///
/// # Errors
/// When the folder does not hold verifying keys, or those of another reference string.
pub fn exported(folder: &Path, srs: &SrsArgs) -> Result<Arc<VerifyingKeys>> {
    let keys =
        VerifyingKeys::open(folder).with_context(|| format!("no verifying keys in {}", folder.display()))?;
    let manifest = keys.manifest();
    ensure!(
        manifest.protocol_version == PROTOCOL_VERSION,
        "the keys in {} are of protocol version {}, expected {PROTOCOL_VERSION}",
        folder.display(),
        manifest.protocol_version
    );
    ensure!(
        srs.insecure_dev_srs || !manifest.insecure_srs,
        "the keys in {} are of the development reference string, whose secret everybody knows; --insecure-dev-srs allows them",
        folder.display()
    );
    if let Some(expected) = srs.srs_digest {
        ensure!(
            manifest.srs_digest == expected,
            "the keys in {} are of the reference string {}, expected {expected}",
            folder.display(),
            manifest.srs_digest
        );
    }
    Ok(Arc::new(keys))
}

fn config(args: &KeyArgs) -> Result<KeyConfig> {
    Ok(KeyConfig {
        dir: directory(args.keys_dir.as_deref()),
        preset: args.preset,
        srs: srs_source(&args.srs)?,
        allow_insecure: args.srs.insecure_dev_srs,
        srs_digest: args.srs.srs_digest,
    })
}

fn srs_source(args: &SrsArgs) -> Result<SrsSource> {
    match &args.srs {
        Some(path) => SrsSource::of_file(path)
            .with_context(|| format!("{} is no structured reference string", path.display())),
        None if args.insecure_dev_srs => Ok(SrsSource::Development),
        None => Err(anyhow!(
            "name the structured reference string: --srs FILE, or --insecure-dev-srs for development"
        )),
    }
}

/// Sees to it that keys are there, and opens what verifies.
///
/// # Errors
/// When they cannot be made.
pub fn ensured_of(config: KeyConfig, progress: &Progress) -> Result<Arc<VerifyingKeys>> {
    shown(config, progress, |config, tell| KeyStore::ensure(config, tell))
}

/// Opens keys and shows what takes long.
fn shown<T>(
    config: KeyConfig,
    progress: &Progress,
    open: impl FnOnce(KeyConfig, keys::Progress<'_>) -> Result<T, KeyError>,
) -> Result<T> {
    let preset = config.preset.name;
    // The phase at hand. Key generation tells of it from its threads.
    let current: Mutex<Option<(KeyPhase, Step)>> = Mutex::new(None);
    let keys = open(config, &|phase, fraction| {
        let mut current = current.lock().expect("no holder of this lock panics");
        if current.as_ref().is_none_or(|(known, _)| *known != phase) {
            *current = Some((phase, progress.counted(phase.to_string(), 100)));
        }
        if fraction >= 1.0 {
            if let Some((_, step)) = current.take() {
                step.finish("");
            }
        } else if let Some((_, step)) = current.as_mut() {
            // A log line for each quarter is enough where there are no bars.
            let grain = if progress.is_drawn() { 1.0 } else { 25.0 };
            step.set(((fraction * 100.0 / grain).floor() * grain) as u64, "");
        }
    });
    keys.with_context(|| format!("no keys of preset {preset}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn source(content: &[u8]) -> Result<SrsSource, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("misnamed.ptau");
        fs::write(&path, content).unwrap();
        let args = SrsArgs {
            srs: Some(path),
            ..SrsArgs::default()
        };
        srs_source(&args).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_reference_string_is_judged_by_its_first_bytes_and_not_by_its_name() {
        assert!(matches!(source(b"ptau etc."), Ok(SrsSource::Ptau(_))));
        assert!(matches!(source(&17_u32.to_le_bytes()), Ok(SrsSource::Halo2(_))));
        let error = source(b"zkey etc.").unwrap_err();
        assert!(error.contains("it begins with 0x7a6b6579"), "{error}");
        let error = source(b"pta").unwrap_err();
        assert!(error.contains("3 bytes, expected 4"), "{error}");
    }

    #[test]
    fn no_reference_string_is_chosen_for_the_caller() {
        assert!(srs_source(&SrsArgs::default()).is_err());
        let allowed = SrsArgs {
            insecure_dev_srs: true,
            ..SrsArgs::default()
        };
        assert_eq!(srs_source(&allowed).unwrap(), SrsSource::Development);
    }
}
