//! Why an ICICLE device cannot be taken into service.

use crate::DeviceError;
use std::path::PathBuf;
use thiserror::Error;

/// Why [`crate::IcicleDevice::open`] gave no device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The directory holds no ICICLE.
    #[error("no {name} in {}; is ICICLE v4 with BN254 installed there?", list(tried))]
    LibraryAbsent {
        /// The library's file.
        name: &'static str,
        /// Directories that were looked into.
        tried: Vec<PathBuf>,
    },
    /// A library is there, but the dynamic linker refuses it.
    #[error("cannot load {}: {reason}", path.display())]
    LibraryUnloadable {
        /// The library.
        path: PathBuf,
        /// What the linker says.
        reason: String,
    },
    /// A library lacks a function that ICICLE v4 has for BN254.
    #[error("{} lacks {symbol}: it is not ICICLE v4 with MSM and NTT for BN254", path.display())]
    SymbolMissing {
        /// The library.
        path: PathBuf,
        /// The function.
        symbol: &'static str,
    },
    /// There is no NVIDIA driver. ICICLE's CUDA backend is not loaded, since it would end the process.
    #[error("no NVIDIA driver: {library}: {reason}")]
    DriverAbsent {
        /// The driver's library.
        library: String,
        /// What the linker says.
        reason: String,
    },
    /// The NVIDIA driver does not start.
    #[error("the NVIDIA driver fails: {call} gives {code}")]
    DriverFailed {
        /// The driver's function.
        call: &'static str,
        /// Its `CUresult`.
        code: i32,
    },
    /// The NVIDIA driver sees no GPU.
    #[error("the NVIDIA driver sees no GPU")]
    DriverWithoutDevice,
    /// ICICLE has no such type of device: for `CUDA`, its backend is not installed.
    #[error("ICICLE has no device type {kind}; it has {available}; backends were loaded from {}", backends.display())]
    NoSuchType {
        /// The type asked for.
        kind: String,
        /// The types that are there, separated by commas.
        available: String,
        /// Directory of the backends.
        backends: PathBuf,
    },
    /// There are fewer devices.
    #[error("there is no {kind} device {index}; there are {count}")]
    NoSuchDevice {
        /// The type.
        kind: String,
        /// The index asked for, from 0.
        index: u32,
        /// Devices of that type.
        count: u32,
    },
    /// This process has the device open. It can be shared instead; its NTT domain belongs to the one who opened it.
    #[error("{kind} device {index} is open in this process already")]
    AlreadyOpen {
        /// The type.
        kind: String,
        /// The index.
        index: u32,
    },
    /// A setting is out of its range.
    #[error("{setting} is {found}, not in {allowed}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The device computes wrongly.
    #[error("self-check: {operation} of {elements} elements differs from the CPU's")]
    SelfCheck {
        /// The operation.
        operation: &'static str,
        /// Its size.
        elements: usize,
    },
    /// A call failed while the device was prepared.
    #[error("preparing the device: {0}")]
    Device(#[from] DeviceError),
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
