//! Devices by the names that people type.

use accel::{CpuDevice, IcicleConfig, IcicleDevice};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// ICICLE's name for the type of an NVIDIA GPU.
const CUDA: &str = "CUDA";

/// A device that a benchmark is asked to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The CPU, with the vector kernels that it has.
    Cpu,
    /// The CPU without its vector kernels.
    Portable,
    /// A device of ICICLE's.
    Icicle {
        /// ICICLE's name for the type of device.
        kind: String,
        /// Which of that type, from 0.
        index: u32,
    },
}

/// What [`DeviceName::from_str`] takes, for help texts.
pub const DEVICE_NAMES: &str =
    "cpu, portable (the CPU without its vector kernels), icicle, icicle:N, icicle-cpu, icicle:TYPE:N";

impl FromStr for DeviceName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let icicle = |kind: &str, index: &str| -> Result<Self> {
            ensure!(!kind.is_empty(), "no type of device in {name}");
            let index = index.parse();
            Ok(Self::Icicle {
                kind: kind.to_string(),
                index: index.with_context(|| format!("no device's index in {name}"))?,
            })
        };
        match name {
            "cpu" => return Ok(Self::Cpu),
            "portable" => return Ok(Self::Portable),
            "icicle" => return icicle(CUDA, "0"),
            "icicle-cpu" => return icicle("CPU", "0"),
            _ => {}
        }
        let Some(rest) = name.strip_prefix("icicle:") else {
            bail!("no device named {name}; there are {DEVICE_NAMES}");
        };
        match rest.split_once(':') {
            Some((kind, index)) => icicle(kind, index),
            None => icicle(CUDA, rest),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Portable => f.write_str("portable"),
            Self::Icicle { kind, index } => write!(f, "icicle:{kind}:{index}"),
        }
    }
}

/// A device, of whichever type: what is generic over devices is called in a `match`.
pub enum OpenDevice {
    /// The CPU.
    Cpu(CpuDevice),
    /// A device of ICICLE's.
    Icicle(IcicleDevice),
}

impl DeviceName {
    /// Whether it is an NVIDIA GPU.
    pub fn is_gpu(&self) -> bool {
        matches!(self, Self::Icicle { kind, .. } if kind == CUDA)
    }

    /// The settings of an ICICLE device for transforms of up to `2^k_max` elements; none for the CPU.
    ///
    /// `icicle_dir` is ICICLE's installation; without it, [`IcicleConfig::new`] says where it is looked for.
    pub fn icicle(&self, icicle_dir: Option<&Path>, k_max: u32) -> Option<IcicleConfig> {
        let Self::Icicle { kind, index } = self else {
            return None;
        };
        let mut config = IcicleConfig::new(icicle_dir, kind, *index);
        // ICICLE's CPU backend takes seconds to make a large domain, so that there it is no larger than it must be.
        config.domain_k = if self.is_gpu() {
            config.domain_k.max(k_max)
        } else {
            k_max
        };
        Some(config)
    }

    /// Opens the device for transforms of up to `2^k_max` elements.
    ///
    /// # Errors
    /// ICICLE or the device is not there, or does not pass its self-check.
    pub fn open(&self, icicle_dir: Option<&Path>, k_max: u32) -> Result<OpenDevice> {
        match self.icicle(icicle_dir, k_max) {
            Some(config) => Ok(OpenDevice::Icicle(IcicleDevice::open(&config)?)),
            None if *self == Self::Portable => Ok(OpenDevice::Cpu(CpuDevice::portable())),
            None => Ok(OpenDevice::Cpu(CpuDevice::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let icicle = |kind: &str, index| DeviceName::Icicle {
            kind: kind.to_string(),
            index,
        };
        for (name, device) in [
            ("cpu", DeviceName::Cpu),
            ("portable", DeviceName::Portable),
            ("icicle", icicle("CUDA", 0)),
            ("icicle:3", icicle("CUDA", 3)),
            ("icicle-cpu", icicle("CPU", 0)),
            ("icicle:LIMITED:64", icicle("LIMITED", 64)),
        ] {
            let read: DeviceName = name.parse().expect(name);
            assert_eq!(read, device, "{name}");
            assert_eq!(
                read.to_string().parse::<DeviceName>().expect("its own name"),
                device
            );
        }
        for name in [
            "",
            "gpu",
            "icicle:",
            "icicle:x",
            "icicle::0",
            "icicle:CUDA:",
            "icicle:CUDA:-1",
        ] {
            assert!(name.parse::<DeviceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn domains_are_as_large_as_asked_for() {
        let k = |name: &str, k_max| {
            let name: DeviceName = name.parse().expect("a name");
            name.icicle(None, k_max).map(|config| config.domain_k)
        };
        assert_eq!(k("icicle", 21), Some(24));
        assert_eq!(k("icicle", 26), Some(26));
        assert_eq!(k("icicle-cpu", 13), Some(13));
        assert_eq!(k("cpu", 13), None);
    }
}
