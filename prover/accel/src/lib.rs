//! Devices that a prover computes on: MSM, NTT, and element-wise programs over resident vectors.
//!
//! [`Device`] is the whole surface. Vectors of scalars and bases stay on the device from upload to download; every call
//! returns a `Result`, and running out of memory is a value. Nothing here knows a circuit.

// They panic where the stream cannot be written; whoever calls is told by an error or `tracing`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod activity;
mod arguments;
pub mod conformance;
mod cpu;
pub mod icicle;
pub mod machine;
mod program;
mod quotients;
mod report;
pub mod signals;

pub use activity::{Activity, Calls};
pub use cpu::{Additions, CpuBases, CpuDevice, CpuVector, Routine};
pub use icicle::{IcicleBases, IcicleConfig, IcicleDevice, IcicleVector};
pub use program::{Op, Operand, Program, ProgramError};
pub use report::{DeviceReport, Rate, outcome};

use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::Field;
use thiserror::Error;

/// Why a device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// The call itself is wrong: a size, an index, a vector of another device.
    #[error("{operation}: {reason}")]
    Invalid {
        /// The call.
        operation: &'static str,
        /// What is wrong, with what was expected and found.
        reason: String,
    },
    /// The device has not enough memory. Retrying on the same device after freeing may help.
    #[error("{operation}: out of device memory ({bytes} bytes asked for)")]
    OutOfMemory {
        /// The call.
        operation: &'static str,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The device or its library failed. The process should not go on using the device.
    #[error("{operation}: device failure: {reason}")]
    Failed {
        /// The call.
        operation: &'static str,
        /// The library's code or message.
        reason: String,
    },
}

/// Direction of a number-theoretic transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Coefficients to values at the powers of halo2's `omega` of that size.
    Forward,
    /// Values to coefficients, `1 / n` included.
    Inverse,
}

/// Device memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// What is free now.
    pub free: u64,
}

/// A device. Calls may come from several threads; each call is synchronous.
///
/// Scalars go in and come out in halo2curves' own form. Sizes are in elements.
pub trait Device: Send + Sync {
    /// Scalars on the device.
    type Vector: Send + Sync;
    /// Affine points on the device, prepared for MSM.
    type Bases: Send + Sync;

    /// What it is, for logs and reports.
    fn name(&self) -> String;

    /// Memory of the device.
    ///
    /// # Errors
    /// The device cannot tell.
    fn memory(&self) -> Result<Memory, DeviceError>;

    /// Gives back memory of dropped vectors that it keeps for the next ones, if it does.
    fn release_unused(&self) {}

    /// What it has done since it was opened; none where it keeps no book.
    fn activity(&self) -> Option<Activity> {
        None
    }

    /// Number of elements of a vector.
    fn len(&self, vector: &Self::Vector) -> usize;

    /// Copies scalars to the device.
    ///
    /// # Errors
    /// Out of memory.
    fn upload(&self, values: &[Fr]) -> Result<Self::Vector, DeviceError>;

    /// Copies scalars from the device.
    ///
    /// # Errors
    /// The device failed.
    fn download(&self, vector: &Self::Vector) -> Result<Vec<Fr>, DeviceError>;

    /// Copies `count` scalars from the device, from index `at` on.
    ///
    /// # Errors
    /// A range that is not in the vector.
    fn read(&self, vector: &Self::Vector, at: usize, count: usize) -> Result<Vec<Fr>, DeviceError>;

    /// Overwrites scalars of a vector from index `at` on.
    ///
    /// # Errors
    /// A range that is not in the vector.
    fn write(&self, vector: &mut Self::Vector, at: usize, values: &[Fr]) -> Result<(), DeviceError>;

    /// A vector of `n` zeros.
    ///
    /// # Errors
    /// Out of memory.
    fn zeros(&self, n: usize) -> Result<Self::Vector, DeviceError>;

    /// Takes what a proof will need from the system beforehand, where the device keeps what was dropped: so many vectors of `n`
    /// elements, and what a sum of `n` multiples of the bases takes.
    ///
    /// # Errors
    /// Out of memory.
    fn reserve(&self, bases: &Self::Bases, n: usize, vectors: usize) -> Result<(), DeviceError> {
        let _ = (bases, n, vectors);
        Ok(())
    }

    /// A copy that stays on the device.
    ///
    /// # Errors
    /// Out of memory.
    fn duplicate(&self, vector: &Self::Vector) -> Result<Self::Vector, DeviceError>;

    /// Prepares points for [`Device::msm`]; `table_bytes_max` bounds what precomputed multiples may take beyond the points.
    ///
    /// # Errors
    /// Out of memory.
    fn bases(&self, points: &[G1Affine], table_bytes_max: u64) -> Result<Self::Bases, DeviceError>;

    /// `Σ scalars[j][i] · bases[i]` for each vector `j`. A vector may be shorter than the bases; the identity may
    /// be among them; zero length gives the identity.
    ///
    /// # Errors
    /// A vector longer than the bases; out of memory.
    fn msm(&self, bases: &Self::Bases, scalars: &[&Self::Vector]) -> Result<Vec<G1>, DeviceError>;

    /// Transforms each vector in place, natural order in and out. Each has `2^k` elements, `k <= 28`.
    ///
    /// # Errors
    /// A length that is no power of two.
    fn ntt(&self, vectors: &mut [&mut Self::Vector], direction: Direction) -> Result<(), DeviceError>;

    /// Values of polynomials on a coset: `outputs[j]` becomes the forward transform of `inputs[j][i] · shift^i`. All vectors have
    /// the same `2^k` elements.
    ///
    /// # Errors
    /// Different numbers of inputs and outputs; lengths that differ or are no power of two; out of memory.
    fn coset_ntt(
        &self,
        inputs: &[&Self::Vector],
        shift: Fr,
        outputs: &mut [&mut Self::Vector],
    ) -> Result<(), DeviceError> {
        let (from, to) = (inputs.iter(), outputs.iter());
        let (from, to) = (
            from.map(|vector| self.len(vector)),
            to.map(|vector| self.len(vector)),
        );
        arguments::coset_ntt(from, to, u32::MAX)?;
        let Some(first) = inputs.first() else {
            return Ok(());
        };
        let powers = std::iter::successors(Some(Fr::ONE), |power| Some(*power * shift));
        let powers: Vec<Fr> = powers.take(self.len(first)).collect();
        let powers = self.upload(&powers)?;
        let operand = |column| Operand::Input { column, rotation: 0 };
        let product = Program::one(Op::Mul(operand(0), operand(1)));
        for (input, output) in inputs.iter().zip(outputs.iter_mut()) {
            self.run(&product, &[input, &powers], &[], &mut [output])?;
        }
        self.ntt(outputs, Direction::Forward)
    }

    /// Runs an element-wise program: for every index `i`, on `inputs[c][(i + rotation) mod n]` and on `constants`;
    /// `outputs[o][i]` are its results. All vectors have the same length `n`. Outputs are other vectors than inputs.
    ///
    /// # Errors
    /// Lengths that differ, or a program that does not fit the inputs.
    fn run(
        &self,
        program: &Program,
        inputs: &[&Self::Vector],
        constants: &[Fr],
        outputs: &mut [&mut Self::Vector],
    ) -> Result<(), DeviceError>;

    /// Replaces every element by its inverse, 0 by 0.
    ///
    /// # Errors
    /// Out of memory.
    fn invert(&self, vector: &mut Self::Vector) -> Result<(), DeviceError>;

    /// Exclusive running product: element `i` becomes `first · Π_{j<i} v_j`.
    ///
    /// # Errors
    /// Out of memory.
    fn running_product(&self, vector: &mut Self::Vector, first: Fr) -> Result<(), DeviceError>;

    /// Values of polynomials in coefficient form: `polynomials[j]` at `points[j]`.
    ///
    /// # Errors
    /// Different numbers of polynomials and points.
    fn evaluate(&self, polynomials: &[&Self::Vector], points: &[Fr]) -> Result<Vec<Fr>, DeviceError>;

    /// Turns the coefficients of each polynomial `p` into those of `(p - p(point)) / (X - point)`, the last of which is 0.
    ///
    /// # Errors
    /// Different numbers of polynomials and points; out of memory.
    fn divide(&self, polynomials: &mut [&mut Self::Vector], points: &[Fr]) -> Result<(), DeviceError>;

    /// `Σ factors[j] · (p_j - r_j) / Z_j` of polynomials of `n` coefficients each: `Z_j` vanishes on the points of `sets[j]`, and
    /// `r_j`, of lower degree, has the polynomial's values there.
    ///
    /// # Errors
    /// Different numbers of polynomials, factors and sets; another length; a set that is empty or has a point twice; out of
    /// memory.
    fn quotients(
        &self,
        polynomials: &[&Self::Vector],
        factors: &[Fr],
        sets: &[&[Fr]],
        n: usize,
    ) -> Result<Self::Vector, DeviceError> {
        let lengths = polynomials.iter().map(|polynomial| self.len(polynomial));
        arguments::quotients(lengths, factors.len(), sets, n)?;
        quotients::by_partial_fractions(self, polynomials, factors, sets, n)
    }

    /// `Σ factors[j] · vectors[j]`, element-wise; shorter vectors count as padded with zeros up to `n`.
    ///
    /// # Errors
    /// A vector longer than `n`.
    fn combine(
        &self,
        vectors: &[&Self::Vector],
        factors: &[Fr],
        n: usize,
    ) -> Result<Self::Vector, DeviceError>;
}
