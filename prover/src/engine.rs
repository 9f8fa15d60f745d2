//! Engines turn a task's input into a proof: [`OwnEngine`], the workspace's own prover on a device, and, with feature `stock`,
//! `StockEngine`, halo2-axiom's own, which it is measured against.
//!
//! Tests aside, this is the only place of the workspace that instantiates halo2's generic prover: each instantiation
//! costs minutes of compilation.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use accel::DeviceError;
use circuits::aggregation::AggregationInput;
use circuits::preset::Preset;
use circuits::recursion::AggregationError;
use circuits::shard::{ShardCircuit, ShardCircuitError};
use rules::Fr;
use rules::statement::ACCUMULATOR_LIMBS;
use rules::witness::ShardInput;

mod own;
#[cfg(feature = "stock")]
mod stock;

pub use accel::CpuDevice;
pub use own::{OwnEngine, OwnOptions, OwnPreparer, Prepared};
pub use proto::FailureClass;
#[cfg(feature = "stock")]
pub use stock::StockEngine;

/// Memory from which on both circuits' keys stay loaded. The `ci` preset's take 4 GB, a large GPU's several times that,
/// on machines with hundreds.
const KEEP_KEYS_FROM_BYTES: u64 = 64 << 30;

/// Makes proofs. One task at a time: an engine owns the device's memory.
pub trait Engine {
    /// Proves a shard (P-7.4) under its instances ([`ShardInput::instances`]). The proof has been verified.
    ///
    /// # Errors
    /// [`EngineError`]; its class says what may help.
    fn prove_shard(
        &mut self,
        input: &ShardInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Vec<u8>, EngineError>;

    /// Proves the aggregation of `N` shard proofs (P-8.1). The proof has been verified, its accumulator decided.
    ///
    /// # Errors
    /// As above.
    fn prove_aggregation(
        &mut self,
        input: &AggregationInput,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<RootProof, EngineError>;
}

/// An engine whose tasks have two stages: the first of one task may be done while the second of another is.
pub trait Pipeline: Send + 'static {
    /// Does the first stage.
    type Preparer: Prepare;

    /// Of the same keys as the engine.
    fn preparer(&self) -> Self::Preparer;

    /// Proves what was prepared. The proof has been verified.
    ///
    /// # Errors
    /// [`EngineError`]; its class says what may help.
    fn prove(
        &mut self,
        prepared: <Self::Preparer as Prepare>::Prepared,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Proof, EngineError>;

    /// Called when no task has come for a while: gives back memory that the next task can read again.
    fn rest(&mut self);
}

/// The first stage of tasks: what needs no device.
pub trait Prepare: Send + 'static {
    /// What the second stage goes on from.
    type Prepared: Send + 'static;

    /// Builds a task's circuit and computes its witness.
    ///
    /// # Errors
    /// [`EngineError`]; its class says what may help.
    fn prepare(&self, task: &Task, progress: &mut dyn FnMut(Phase)) -> Result<Self::Prepared, EngineError>;
}

/// What is to be proven.
#[derive(Debug, Clone)]
pub enum Task {
    /// A shard (P-7.4) under its instances ([`ShardInput::instances`]).
    Shard(Box<ShardInput>),
    /// The aggregation of `N` shard proofs (P-8.1).
    Aggregation(AggregationInput),
}

/// A proof of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The proof alone.
    pub bytes: Vec<u8>,
    /// Instances 0 to 7 of an aggregation (see [`RootProof`]); none of a shard.
    pub accumulator: Option<[Fr; ACCUMULATOR_LIMBS]>,
}

/// A root proof and the part of its instances that only proving makes known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootProof {
    /// For the L1 verifier.
    pub proof: Vec<u8>,
    /// Instances 0 to 7 (P-8.4): the low and the high bits of `lhs.x, lhs.y, rhs.x, rhs.y`.
    pub accumulator: [Fr; ACCUMULATOR_LIMBS],
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Keys are read from disk.
    LoadKeys,
    /// The circuit is built and its witness computed.
    Witness,
    /// Stock halo2 makes the proof, and says nothing while it does.
    Prove,
    /// The workspace's engine makes the proof. It enters some of its phases more than once.
    Proving(engine::Phase),
    /// The proof is being checked.
    Verify,
}

impl Phase {
    /// A word for people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Phase::LoadKeys => "load keys",
            Phase::Witness => "witness",
            Phase::Prove => "prove",
            Phase::Proving(phase) => phase.name(),
            Phase::Verify => "verify",
        }
    }

    /// Part of the task that is done when the phase begins, 0 to 1: measured at the `ci` preset, rounded.
    pub fn fraction(self) -> f64 {
        match self {
            Phase::Witness => 0.0,
            Phase::LoadKeys => 0.07,
            Phase::Prove => 0.15,
            Phase::Proving(phase) => proving_fraction(phase),
            Phase::Verify => 0.99,
        }
    }
}

fn proving_fraction(phase: engine::Phase) -> f64 {
    match phase {
        engine::Phase::Witness => 0.05,
        engine::Phase::Commitments => 0.17,
        engine::Phase::Lookups => 0.30,
        engine::Phase::Permutation => 0.38,
        engine::Phase::Quotient => 0.55,
        engine::Phase::Evaluations => 0.88,
        engine::Phase::Opening => 0.91,
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The payload is not the encoding of an input of its kind.
    #[error("the task's payload cannot be read: {reason}")]
    Payload {
        /// What is wrong with it.
        reason: String,
    },
    /// The shard has another shape than the keys' circuit, whose preset this is.
    #[error("the shard is not one of preset {preset}")]
    Shard {
        /// The keys' preset.
        preset: &'static str,
        /// What does not fit.
        #[source]
        source: ShardCircuitError,
    },
    /// The children do not make one batch, or one of them does not verify.
    #[error("the shard proofs cannot be aggregated")]
    Aggregation(#[source] AggregationError),
    /// The keys cannot be loaded.
    #[error("the keys cannot be loaded")]
    Keys(#[source] keys::KeyError),
    /// halo2 refused the circuit or its witness.
    #[error("halo2 could not prove: {reason}")]
    Halo2 {
        /// halo2's message.
        reason: String,
    },
    /// The workspace's engine made no proof.
    #[error("the engine made no proof")]
    Engine(#[from] engine::EngineError),
    /// The proof that was made does not verify: the statement does not hold, since stock halo2 does not check it.
    #[error("the proof does not verify; the input's statement does not hold")]
    ProofInvalid(#[source] circuits::verify::VerifyError),
    /// A device other than the processor made a proof that does not hold. The coordinator has executed what it asks to be
    /// proven, so it is rather the device that computed wrongly.
    #[error("the device computed wrongly, or the input's statement does not hold")]
    Doubtful(#[source] Box<EngineError>),
    /// The proof is not wanted any more.
    #[error("the task was given up, since nobody wants its proof any more")]
    Abandoned,
    /// Code panicked; the message says where.
    #[error("panic: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
}

impl EngineError {
    /// The kind of failure.
    pub fn class(&self) -> FailureClass {
        match self {
            EngineError::Payload { .. } | EngineError::Shard { .. } => FailureClass::Input,
            EngineError::Aggregation(_) | EngineError::ProofInvalid(_) => FailureClass::Execution,
            EngineError::Keys(_) | EngineError::Doubtful(_) | EngineError::Abandoned => {
                FailureClass::Infrastructure
            }
            EngineError::Engine(error) => engine_class(error),
            EngineError::Halo2 { .. } | EngineError::Panicked { .. } => FailureClass::Internal,
        }
    }

    /// Whether the device failed, was full, or seems to compute wrongly. It is not to be relied on then.
    pub fn is_device_fault(&self) -> bool {
        use engine::EngineError::Device;
        matches!(
            self,
            EngineError::Engine(Device(
                DeviceError::Failed { .. } | DeviceError::OutOfMemory { .. }
            )) | EngineError::Doubtful(_)
        )
    }

    /// The same of a proof that was made on a device other than the processor.
    pub(crate) fn of_a_device(self) -> Self {
        use engine::EngineError as E;
        match self {
            EngineError::ProofInvalid(_)
            | EngineError::Engine(E::Unsatisfied { .. } | E::Copy { .. } | E::Lookup { .. }) => {
                EngineError::Doubtful(Box::new(self))
            }
            error => error,
        }
    }

    /// The error and its causes, as one line that says each once.
    pub fn with_causes(&self) -> String {
        told_once(self)
    }
}

/// An error and its causes. One that stands within what was said, wherever, is not said again.
fn told_once(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        source = cause.source();
    }
    text
}

fn engine_class(error: &engine::EngineError) -> FailureClass {
    use engine::EngineError as E;
    match error {
        E::Device(DeviceError::OutOfMemory { .. }) | E::Budget { .. } => FailureClass::Resource,
        E::Device(_) => FailureClass::Infrastructure,
        E::Lookup { .. } | E::Gate { .. } | E::Copy { .. } | E::Unsatisfied { .. } => FailureClass::Execution,
        E::SrsTooSmall { .. }
        | E::Degree { .. }
        | E::Instances { .. }
        | E::Witness(_)
        | E::Challenge
        | E::Transcript(_) => FailureClass::Internal,
    }
}

/// Runs a task so that a panic in it, on whichever of rayon's threads, is that task's error.
///
/// # Errors
/// What `task` returns, or [`EngineError::Panicked`].
pub fn guarded<T>(task: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // Unwind safety: what a panic may leave half done belongs to the task and is dropped with it. An engine's
    // own state is keys, which it only ever replaces as a whole.
    catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|panic| {
        Err(match panic.is::<Abandon>() {
            true => EngineError::Abandoned,
            false => EngineError::Panicked {
                message: panic_message(panic.as_ref()),
            },
        })
    })
}

/// A shard's circuit under the keys of a preset.
fn shard_circuit(preset: &Preset, input: &ShardInput) -> Result<ShardCircuit, EngineError> {
    ShardCircuit::new(preset.shard, Some(input)).map_err(|source| EngineError::Shard {
        preset: preset.name,
        source,
    })
}

/// What [`abandon`] unwinds with.
struct Abandon;

/// Ends the task that tells of a phase: to be called from its `progress`, within [`guarded`], which returns
/// [`EngineError::Abandoned`] then. Engines drop what a task has, as they do when one fails.
pub(crate) fn abandon() -> ! {
    // No panic: nothing is wrong, and no message is to be printed.
    resume_unwind(Box::new(Abandon))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_within_an_errors_text_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("keys: {source}; make some")]
        struct Within {
            source: std::io::Error,
        }
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(told_once(&Within { source }), "keys: entity not found; make some");
        let device = DeviceError::Failed {
            operation: "sum",
            reason: "none".into(),
        };
        let error = EngineError::Engine(engine::EngineError::Device(device));
        assert_eq!(error.with_causes().matches("none").count(), 1, "{error:?}");
    }

    #[test]
    fn a_panic_is_the_tasks_failure() {
        for panic in [
            || -> Result<(), EngineError> { panic!("plain") },
            || panic!("formatted {}", 1),
        ] {
            let error = guarded(panic).unwrap_err();
            assert_eq!(error.class(), FailureClass::Internal);
            assert!(error.to_string().starts_with("panic: "), "{error}");
        }
        let error = guarded(|| -> Result<(), EngineError> { std::panic::panic_any(7) }).unwrap_err();
        assert_eq!(error.to_string(), "panic: no message");
        assert!(guarded(|| Ok(1)).is_ok());
        let abandoned = guarded(|| -> Result<(), EngineError> { abandon() });
        assert!(matches!(abandoned, Err(EngineError::Abandoned)), "{abandoned:?}");
    }
}
