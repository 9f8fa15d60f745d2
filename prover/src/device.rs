//! Which device a worker proves on, and whether its memory holds the circuits.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use accel::icicle::OpenError;
use accel::{CpuDevice, Device, DeviceError, IcicleConfig, IcicleDevice};
use circuits::preset::Preset;
use engine::MemoryNeed;
use keys::KeyStore;
use serde::Serialize;

use crate::engine::{EngineError, OwnEngine, OwnOptions, OwnPreparer, Phase, Pipeline, Prepared, Proof};
use crate::memory;
use crate::worker::DeviceInfo;

/// Vectors of the shard circuit's rows that a device holds at the widest point of a proof; bases count as three each, for
/// the scalar that GPUs keep beside the point.
const SHARD_VECTORS: u64 = 78;
/// The same of the aggregation circuit.
const AGGREGATION_VECTORS: u64 = 57;
/// Bytes of a scalar on a device.
const SCALAR_BYTES: u64 = 32;

/// Device memory that a preset's circuits take at least, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryNeeds {
    /// The shard circuit.
    pub shard: u64,
    /// The aggregation circuit.
    pub aggregation: u64,
}

impl MemoryNeeds {
    /// By the circuits' shapes, without keys.
    pub fn estimate(preset: &Preset) -> Self {
        Self {
            shard: (SCALAR_BYTES * SHARD_VECTORS) << preset.shard.k,
            aggregation: (SCALAR_BYTES * AGGREGATION_VECTORS) << preset.aggregation_k,
        }
    }

    /// What the processor's circuits need of the host's memory: beside what a proof holds, the witness and, while it is
    /// loaded, the key's own copy. At `ci` 2.4 GiB were measured where the proof holds 1.8.
    pub fn of_host(self) -> Self {
        Self {
            shard: self.shard / 2 * 3,
            aggregation: self.aggregation / 2 * 3,
        }
    }

    /// By the keys.
    ///
    /// # Errors
    /// The engine cannot prove one of the circuits.
    pub fn of(keys: &KeyStore) -> Result<Self, engine::EngineError> {
        Ok(Self {
            shard: MemoryNeed::of(keys.shard_vk())?.least(),
            aggregation: MemoryNeed::of(keys.aggregation_vk())?.least(),
        })
    }
}

/// ICICLE's name of NVIDIA GPUs.
pub const CUDA: &str = "CUDA";

/// A device, as it is chosen on the command line: `cpu`, `icicle`, `icicle:N` or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// A device through ICICLE, by its index.
    Icicle(u32),
    /// The first GPU, where there is one with ICICLE, else the processor.
    Auto,
}

/// The text names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a device: expected cpu, icicle, icicle:N or auto, found {0:?}")]
pub struct NoSuchChoice(String);

impl FromStr for DeviceChoice {
    type Err = NoSuchChoice;

    fn from_str(text: &str) -> Result<Self, NoSuchChoice> {
        let index = |digits: &str| digits.parse().map(Self::Icicle);
        match text {
            "cpu" => Ok(Self::Cpu),
            "icicle" => Ok(Self::Icicle(0)),
            "auto" => Ok(Self::Auto),
            _ => text
                .strip_prefix("icicle:")
                .and_then(|digits| index(digits).ok())
                .ok_or_else(|| NoSuchChoice(text.to_string())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Icicle(index) => write!(f, "icicle:{index}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// Which device, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The device.
    pub choice: DeviceChoice,
    /// ICICLE's installation; none: see [`IcicleConfig::new`].
    pub icicle_dir: Option<PathBuf>,
    /// ICICLE's name of the type of device; [`CUDA`] unless something is being tested.
    pub icicle_type: String,
    /// Memory of the device that proofs may use, in bytes; none: what is free, of the processor what the machine and
    /// the control group allow.
    pub memory_bytes: Option<u64>,
    /// Name the gate, lookup or cells that a witness breaks. Slow.
    pub debug_witness: bool,
}

impl DeviceConfig {
    /// How ICICLE is opened for this device, by its index.
    pub fn icicle(&self, index: u32) -> IcicleConfig {
        IcicleConfig::new(self.icicle_dir.as_deref(), &self.icicle_type, index)
    }
}

/// Why there is no device to prove on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceUnusable {
    /// ICICLE or its device cannot be used.
    #[error(transparent)]
    Icicle(#[from] OpenError),
    /// The device cannot tell its memory.
    #[error(transparent)]
    Memory(#[from] DeviceError),
    /// The constraint system of a key cannot be proven by the engine.
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    /// There are GPUs that would stand idle.
    #[error(
        "the NVIDIA driver sees {gpus} GPUs, but ICICLE cannot use them: {error}; install it, or choose the device cpu"
    )]
    GpusUnused {
        /// How many.
        gpus: u32,
        /// Why they cannot be used.
        error: OpenError,
    },
    /// Its memory holds none of the circuits.
    #[error(
        "{name} has {budget} bytes of memory for proofs; preset {preset} needs {shard} for a shard, \
         {aggregation} for an aggregation"
    )]
    TooSmall {
        /// The device.
        name: String,
        /// The preset.
        preset: &'static str,
        /// What may be used.
        budget: u64,
        /// What a shard takes.
        shard: u64,
        /// What an aggregation takes.
        aggregation: u64,
    },
}

/// The workspace's engine on the device that was chosen.
pub enum DeviceEngine {
    /// On the processor.
    Cpu(OwnEngine<CpuDevice>),
    /// Through ICICLE.
    Icicle(OwnEngine<IcicleDevice>),
}

/// Opens a device for the circuits of the keys' preset. ICICLE may end the process (see [`IcicleDevice::open`]).
///
/// # Errors
/// See [`DeviceUnusable`]. Where the choice is left open, only a GPU that is there and fails is an error.
pub fn open(
    config: &DeviceConfig,
    keys: &Arc<KeyStore>,
) -> Result<(DeviceEngine, DeviceInfo), DeviceUnusable> {
    match config.choice {
        DeviceChoice::Cpu => open_cpu(config, keys),
        DeviceChoice::Icicle(index) => open_icicle(config, index, keys),
        DeviceChoice::Auto => match open_icicle(config, 0, keys) {
            Err(DeviceUnusable::Icicle(error)) if is_absence(&error) => {
                if let Some(gpus) = unused_gpus(config) {
                    return Err(DeviceUnusable::GpusUnused { gpus, error });
                }
                tracing::info!(reason = %error, "no GPU to prove on; taking the processor");
                open_cpu(config, keys)
            }
            opened => opened,
        },
    }
}

/// Whether there simply is no such device.
fn is_absence(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::LibraryAbsent { .. }
            | OpenError::DriverAbsent { .. }
            | OpenError::DriverWithoutDevice
            | OpenError::NoSuchType { .. }
    )
}

/// GPUs that the driver sees and the configuration asks for; none where there are none.
pub fn unused_gpus(config: &DeviceConfig) -> Option<u32> {
    let icicle = config.icicle(0);
    let gpus = (icicle.kind == CUDA)
        .then(|| accel::icicle::gpus(&icicle))
        .flatten();
    gpus.filter(|gpus| *gpus > 0)
}

fn open_cpu(
    config: &DeviceConfig,
    keys: &Arc<KeyStore>,
) -> Result<(DeviceEngine, DeviceInfo), DeviceUnusable> {
    let device = CpuDevice::new();
    let memory_bytes = config.memory_bytes.or_else(memory::limit_bytes);
    let budget = match memory_bytes {
        Some(bytes) => bytes,
        None => device.memory()?.total,
    };
    // Its memory is the host's, of which the worker tells by itself.
    let needs = MemoryNeeds::of(keys)?.of_host();
    let info = info(device.name(), 0, budget, needs, keys.preset())?;
    let options = OwnOptions {
        memory_bytes,
        debug: config.debug_witness,
        ..OwnOptions::default()
    };
    let engine = OwnEngine::new(keys.clone(), Arc::new(device), options);
    Ok((DeviceEngine::Cpu(engine), info))
}

/// Of a GPU that has room, one part in so many is for multiples of the bases, for each circuit.
const TABLES_SHARE: u64 = 16;

fn open_icicle(
    config: &DeviceConfig,
    index: u32,
    keys: &Arc<KeyStore>,
) -> Result<(DeviceEngine, DeviceInfo), DeviceUnusable> {
    let preset = keys.preset();
    let device = IcicleDevice::open(&IcicleConfig {
        domain_k: preset.shard.k.max(preset.aggregation_k),
        ..config.icicle(index)
    })?;
    let memory = device.memory()?;
    let budget = config.memory_bytes.unwrap_or(u64::MAX).min(memory.free);
    let needs = MemoryNeeds::of(keys)?;
    let info = info(device.name(), memory.total, budget, needs, preset)?;
    // Thrice: the cosets of its key may take more than a circuit needs, and must leave room for the other. What a GPU
    // keeps is in nobody's way, unlike what the host keeps.
    let roomy = 3 * (needs.shard + needs.aggregation) <= budget;
    let options = OwnOptions {
        memory_bytes: config.memory_bytes,
        keep_both: Some(roomy),
        // Multiples of the bases shorten sums by a third.
        table_bytes_max: if roomy { budget / TABLES_SHARE } else { 0 },
        debug: config.debug_witness,
    };
    let engine = OwnEngine::new(keys.clone(), Arc::new(device), options);
    Ok((DeviceEngine::Icicle(engine), info))
}

/// Compares the circuits' needs with what the device has, before any task is taken.
fn info(
    name: String,
    memory_bytes: u64,
    budget: u64,
    needs: MemoryNeeds,
    preset: &Preset,
) -> Result<DeviceInfo, DeviceUnusable> {
    let MemoryNeeds { shard, aggregation } = needs;
    let info = DeviceInfo {
        name,
        memory_bytes,
        proves_shards: shard <= budget,
        proves_aggregations: aggregation <= budget,
    };
    if info.proves_shards || info.proves_aggregations {
        if !info.proves_aggregations {
            tracing::warn!(device = %info.name, budget, needed = aggregation, "too little memory for aggregations; shards only");
        }
        return Ok(info);
    }
    Err(DeviceUnusable::TooSmall {
        name: info.name,
        preset: preset.name,
        budget,
        shard,
        aggregation,
    })
}

impl Pipeline for DeviceEngine {
    type Preparer = OwnPreparer;

    fn preparer(&self) -> OwnPreparer {
        match self {
            Self::Cpu(engine) => engine.preparer(),
            Self::Icicle(engine) => engine.preparer(),
        }
    }

    fn prove(&mut self, prepared: Prepared, progress: &mut dyn FnMut(Phase)) -> Result<Proof, EngineError> {
        match self {
            Self::Cpu(engine) => engine.prove(prepared, progress),
            Self::Icicle(engine) => engine.prove(prepared, progress).map_err(EngineError::of_a_device),
        }
    }

    fn rest(&mut self) {
        match self {
            Self::Cpu(engine) => engine.rest(),
            Self::Icicle(engine) => engine.rest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for (text, choice) in [
            ("cpu", DeviceChoice::Cpu),
            ("icicle", DeviceChoice::Icicle(0)),
            ("icicle:7", DeviceChoice::Icicle(7)),
            ("auto", DeviceChoice::Auto),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in [
            "",
            "gpu",
            "icicle:",
            "icicle:-1",
            "icicle:4294967296",
            "CPU",
            "icicle 1",
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.to_string().ends_with(&format!("found {text:?}")), "{error}");
        }
    }
}
