//! A prover for halo2 (KZG on BN254, SHPLONK) on any [`accel::Device`].
//!
//! [`Engine::new`] takes a stock proving key and prepares the device; [`Engine::prove`] and [`Engine::prove_circuit`]
//! write a proof that stock `verify_proof` accepts. The protocol, its transcript and its blinding are those of
//! halo2-axiom 0.5.3; what differs is where the work is done. Polynomials stay on the device from upload to opening.
//! The quotient is computed on as many cosets of the domain as its degree needs, each with one straight-line program
//! for all constraints of a row.
//!
//! A witness that does not satisfy the circuit gives an error, not a proof: the copy constraints are seen at the end of
//! their running product, the gates when the verifier's equation is checked at the challenge. With
//! [`EngineOptions::debug`] the error names the gate, lookup or cells.

mod channel;
mod clock;
mod constraints;
mod diagnosis;
mod error;
mod fold;
mod graph;
mod key;
mod lookup;
mod opening;
mod prove;
mod quotient;
mod system;
mod witness;

use accel::Device;
use halo2_proofs::plonk::{Circuit, ProvingKey};
use halo2_proofs::transcript::{EncodedChallenge, TranscriptWrite};
use halo2curves::bn256::{Fr, G1Affine};
use rand_core::{CryptoRng, RngCore};
use std::sync::Arc;

use channel::Typed;
use clock::Clock;
use key::{Key, vectors_of_a_proof};
use prove::Proof;
use system::System;

pub use clock::{Phase, Timings};
pub use error::{Cell, EngineError, WitnessError};
pub use key::{MemoryNeed, Srs, lagrange_basis};
pub use witness::Witness;

/// How an engine works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Device memory that key and proof may take, in bytes; none: what the device has free.
    pub memory_bytes_max: Option<u64>,
    /// Of what that leaves, what cosets of the key's polynomials may take, which are then kept between proofs. Making them
    /// takes as long as they save in one.
    pub cosets_bytes_max: u64,
    /// Of the memory, what the device may use for multiples of the bases, in bytes.
    pub table_bytes_max: u64,
    /// How many values every instance column has: any other number is refused. None: as many as there are rows, at most.
    /// The key does not say, and a value that no constraint reads would be part of a proof all the same.
    pub instances: Option<usize>,
    /// Check gates and copy constraints row by row before proving, and name what does not hold. Slow.
    pub debug: bool,
}

/// A prover for one circuit, with bases and key on a device.
pub struct Engine<D: Device> {
    device: Arc<D>,
    system: System,
    key: Key<D>,
    options: EngineOptions,
}

impl<D: Device> Engine<D> {
    /// Prepares bases and key on the device. The key may be dropped afterwards.
    ///
    /// # Errors
    /// The reference string is too small, the budget is, the device fails, or the key's domain does not hold the
    /// circuit's degree.
    pub fn new(
        device: Arc<D>,
        srs: Srs<'_>,
        pk: &ProvingKey<G1Affine>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        let system = System::new(pk.get_vk())?;
        let need = MemoryNeed::new(&system);
        let budget = match options.memory_bytes_max {
            Some(bytes) => bytes,
            None => device.memory()?.free,
        };
        let needed = need.least() + options.table_bytes_max;
        let spare = budget
            .checked_sub(needed)
            .ok_or(EngineError::Budget { needed, budget })?;
        let key = Key::new(
            &*device,
            &system,
            srs,
            pk,
            options.table_bytes_max,
            options.cosets_bytes_max.min(spare),
        )?;
        Ok(Self {
            device,
            system,
            key,
            options,
        })
    }

    /// Takes a proof's memory from the system, so that the first proof is not slower than the next ones. It is of use where
    /// the device keeps memory that proofs gave back.
    ///
    /// # Errors
    /// Out of memory.
    pub fn reserve(&self) -> Result<(), EngineError> {
        let vectors = vectors_of_a_proof(&self.system, self.key.cosets.len());
        Ok(self
            .device
            .reserve(&self.key.powers, self.system.domain.n, vectors)?)
    }

    /// Proves with a witness made beforehand. Instances are one slice per column, unpadded.
    ///
    /// # Errors
    /// [`EngineError`]; then the transcript holds part of a proof and is of no use.
    pub fn prove<E, R, T>(
        &self,
        witness: Witness,
        instances: &[&[Fr]],
        rng: &mut R,
        transcript: &mut T,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Timings, EngineError>
    where
        E: EncodedChallenge<G1Affine>,
        R: RngCore + CryptoRng,
        T: TranscriptWrite<G1Affine, E>,
    {
        let mut channel = Typed::<T, E>::new(transcript);
        let mut clock = Clock::new(progress);
        let mut proof = Proof::new(self, instances, rng, &mut channel, &mut clock)?;
        let phases = self.system.phases.len();
        if phases > 1 {
            return Err(WitnessError::Phases { phases }.into());
        }
        let columns = witness.into_columns(self.system.cs.num_advice_columns(), self.system.domain.n)?;
        proof.end_phase(0, columns)?;
        proof.finish()?;
        Ok(clock.finish())
    }

    /// Proves a circuit, whatever its phases. Instances are one slice per column, unpadded.
    ///
    /// # Errors
    /// As [`Engine::prove`], and those of [`Witness::synthesize`].
    pub fn prove_circuit<C, E, R, T>(
        &self,
        circuit: &C,
        instances: &[&[Fr]],
        rng: &mut R,
        transcript: &mut T,
        progress: &mut dyn FnMut(Phase),
    ) -> Result<Timings, EngineError>
    where
        C: Circuit<Fr>,
        E: EncodedChallenge<G1Affine>,
        R: RngCore + CryptoRng,
        T: TranscriptWrite<G1Affine, E>,
    {
        let mut channel = Typed::<T, E>::new(transcript);
        let mut clock = Clock::new(progress);
        let mut proof = Proof::new(self, instances, rng, &mut channel, &mut clock)?;
        proof.enter(Phase::Witness);
        let (cs, rows) = (&self.system.cs, self.system.domain.n);
        witness::synthesize(cs, rows, circuit, instances, &mut |phase, columns| {
            let challenges = proof.end_phase(phase, columns)?;
            proof.enter(Phase::Witness);
            Ok(challenges)
        })?;
        proof.finish()?;
        Ok(clock.finish())
    }
}
