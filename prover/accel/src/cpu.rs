//! The CPU as a device: vectors in main memory, work spread over rayon's threads.

#[cfg(target_arch = "x86_64")]
mod ifma;
mod kept;
mod memory;
mod msm;
mod ntt;
mod program;
mod quotients;
mod routine;
mod scan;

use crate::{Device, DeviceError, Direction, Memory, Program, arguments, machine};
use halo2curves::bn256::{Fr, G1, G1Affine};
use memory::Scalars;
use rayon::prelude::*;
pub use routine::Routine;

/// The machine's processors.
pub struct CpuDevice {
    kernels: Kernels,
    transforms: ntt::Plans,
}

/// The arithmetic that a device computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernels {
    /// halo2curves' own.
    Portable,
    /// AVX-512 IFMA, which the processor was found to have.
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Available),
}

/// Scalars in main memory.
pub struct CpuVector {
    values: Scalars,
}

/// Points in main memory, prepared for MSM.
pub struct CpuBases {
    bases: msm::Bases,
}

impl CpuDevice {
    /// The device with the fastest arithmetic that this machine has.
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(available) = ifma::Available::detect() {
            return Self::with(Kernels::Ifma(available));
        }
        Self::portable()
    }

    /// The device with halo2curves' arithmetic, which runs on every machine.
    pub fn portable() -> Self {
        Self::with(Kernels::Portable)
    }

    /// Whether the processor's vector instructions do the arithmetic, eight elements at a time.
    pub fn has_lanes(&self) -> bool {
        self.kernels != Kernels::Portable
    }

    fn with(kernels: Kernels) -> Self {
        Self {
            kernels,
            transforms: ntt::Plans::new(kernels),
        }
    }
}

/// What a sum of multiples takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Additions {
    /// Digits of scalars that are not zero: each reads one of the bases or of their multiples.
    pub bases: f64,
    /// Additions of points, of those bases and of what they add up to.
    pub total: f64,
}

impl CpuBases {
    /// What [`Device::msm`] with these scalars takes, as far as a sample of them tells.
    pub fn additions(&self, scalars: &CpuVector) -> Additions {
        msm::additions(&self.bases, &scalars.values)
    }
}

impl Default for CpuDevice {
    fn default() -> Self {
        Self::new()
    }
}

/// An empty vector with room for `n` elements.
fn with_capacity<T>(operation: &'static str, n: usize) -> Result<Vec<T>, DeviceError> {
    let mut values = Vec::new();
    match values.try_reserve_exact(n) {
        Ok(()) => Ok(values),
        Err(_) => Err(DeviceError::OutOfMemory {
            operation,
            bytes: (n as u64).saturating_mul(size_of::<T>() as u64),
        }),
    }
}

impl Device for CpuDevice {
    type Vector = CpuVector;
    type Bases = CpuBases;

    fn name(&self) -> String {
        match self.kernels {
            Kernels::Portable => "cpu (portable)".to_string(),
            #[cfg(target_arch = "x86_64")]
            Kernels::Ifma(_) => "cpu (AVX-512 IFMA)".to_string(),
        }
    }

    fn memory(&self) -> Result<Memory, DeviceError> {
        match (
            machine::memory_bytes("MemTotal"),
            machine::memory_bytes("MemAvailable"),
        ) {
            (Some(total), Some(free)) => Ok(Memory {
                total,
                // What is kept is the process's own, and the next vector's.
                free: free + memory::kept_bytes() as u64,
            }),
            _ => Err(DeviceError::Failed {
                operation: "memory",
                reason: "/proc/meminfo cannot be read, or lacks MemTotal or MemAvailable".to_string(),
            }),
        }
    }

    fn release_unused(&self) {
        memory::release_kept();
    }

    fn len(&self, vector: &CpuVector) -> usize {
        vector.values.len()
    }

    fn upload(&self, values: &[Fr]) -> Result<CpuVector, DeviceError> {
        let values = Scalars::copied("upload", values)?;
        Ok(CpuVector { values })
    }

    fn download(&self, vector: &CpuVector) -> Result<Vec<Fr>, DeviceError> {
        let mut copy = with_capacity("download", vector.values.len())?;
        copy.extend_from_slice(&vector.values);
        Ok(copy)
    }

    fn read(&self, vector: &CpuVector, at: usize, count: usize) -> Result<Vec<Fr>, DeviceError> {
        let range = arguments::range("read", at, count, vector.values.len())?;
        let mut copy = with_capacity("read", count)?;
        copy.extend_from_slice(&vector.values[range]);
        Ok(copy)
    }

    fn write(&self, vector: &mut CpuVector, at: usize, values: &[Fr]) -> Result<(), DeviceError> {
        let range = arguments::range("write", at, values.len(), vector.values.len())?;
        vector.values[range].copy_from_slice(values);
        Ok(())
    }

    fn zeros(&self, n: usize) -> Result<CpuVector, DeviceError> {
        let values = Scalars::zeros("zeros", n)?;
        Ok(CpuVector { values })
    }

    fn reserve(&self, bases: &CpuBases, n: usize, vectors: usize) -> Result<(), DeviceError> {
        // What transforms work in comes on top.
        let vectors = (0..vectors + ntt::SCRATCH_MAX).map(|_| Scalars::touched("reserve", n));
        let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
        let buckets = msm::reserve(&bases.bases, n)?;
        drop((vectors, buckets));
        Ok(())
    }

    fn duplicate(&self, vector: &CpuVector) -> Result<CpuVector, DeviceError> {
        let values = Scalars::copied("duplicate", &vector.values)?;
        Ok(CpuVector { values })
    }

    fn bases(&self, points: &[G1Affine], table_bytes_max: u64) -> Result<CpuBases, DeviceError> {
        let bases = msm::Bases::new(self.kernels, points, table_bytes_max)?;
        Ok(CpuBases { bases })
    }

    fn msm(&self, bases: &CpuBases, scalars: &[&CpuVector]) -> Result<Vec<G1>, DeviceError> {
        let bases = &bases.bases;
        arguments::msm(scalars.iter().map(|vector| vector.values.len()), bases.len())?;
        let scalars: Vec<&[Fr]> = scalars.iter().map(|vector| &*vector.values).collect();
        msm::sums_of_multiples(bases, &scalars)
    }

    fn ntt(&self, vectors: &mut [&mut CpuVector], direction: Direction) -> Result<(), DeviceError> {
        arguments::ntt(vectors.iter().map(|vector| vector.values.len()), ntt::K_MAX)?;
        let vectors = vectors.par_iter_mut();
        vectors.try_for_each(|vector| self.transforms.transform(&mut vector.values, direction))
    }

    fn coset_ntt(
        &self,
        inputs: &[&CpuVector],
        shift: Fr,
        outputs: &mut [&mut CpuVector],
    ) -> Result<(), DeviceError> {
        let input_lengths = inputs.iter().map(|input| input.values.len());
        let output_lengths = outputs.iter().map(|output| output.values.len());
        let Some(n) = arguments::coset_ntt(input_lengths, output_lengths, ntt::K_MAX)? else {
            return Ok(());
        };
        let coset = self.transforms.coset(n.ilog2(), shift);
        let pairs = inputs.par_iter().zip(outputs.par_iter_mut());
        pairs.try_for_each(|(input, output)| coset.transform(&input.values, &mut output.values))
    }

    fn run(
        &self,
        program: &Program,
        inputs: &[&CpuVector],
        constants: &[Fr],
        outputs: &mut [&mut CpuVector],
    ) -> Result<(), DeviceError> {
        let input_lengths = inputs.iter().map(|input| input.values.len());
        let output_lengths = outputs.iter().map(|output| output.values.len());
        if arguments::run(program, input_lengths, constants.len(), output_lengths)?.is_none() {
            return Ok(());
        }
        let inputs: Vec<&[Fr]> = inputs.iter().map(|input| &*input.values).collect();
        let outputs = outputs.iter_mut().map(|output| &mut *output.values);
        program::run(self.kernels, program, &inputs, constants, outputs.collect());
        Ok(())
    }

    fn invert(&self, vector: &mut CpuVector) -> Result<(), DeviceError> {
        scan::invert(self.kernels, &mut vector.values);
        Ok(())
    }

    fn running_product(&self, vector: &mut CpuVector, first: Fr) -> Result<(), DeviceError> {
        scan::running_product(self.kernels, &mut vector.values, first);
        Ok(())
    }

    fn evaluate(&self, polynomials: &[&CpuVector], points: &[Fr]) -> Result<Vec<Fr>, DeviceError> {
        arguments::points("evaluate", polynomials.len(), points.len())?;
        let pairs = polynomials.iter().zip(points);
        Ok(pairs
            .map(|(polynomial, point)| scan::evaluate(self.kernels, &polynomial.values, *point))
            .collect())
    }

    fn divide(&self, polynomials: &mut [&mut CpuVector], points: &[Fr]) -> Result<(), DeviceError> {
        arguments::points("divide", polynomials.len(), points.len())?;
        let pairs = polynomials.par_iter_mut().zip(points);
        pairs.for_each(|(polynomial, point)| scan::divide(self.kernels, &mut polynomial.values, *point));
        Ok(())
    }

    fn quotients(
        &self,
        polynomials: &[&CpuVector],
        factors: &[Fr],
        sets: &[&[Fr]],
        n: usize,
    ) -> Result<CpuVector, DeviceError> {
        let lengths = polynomials.iter().map(|polynomial| polynomial.values.len());
        arguments::quotients(lengths, factors.len(), sets, n)?;
        let terms = polynomials.iter().zip(factors).zip(sets);
        let terms = terms.map(|((polynomial, factor), points)| quotients::Term {
            polynomial: &polynomial.values,
            factor: *factor,
            points,
        });
        let mut sum = self.zeros(n)?;
        quotients::add(self.kernels, &terms.collect::<Vec<_>>(), &mut sum.values)?;
        Ok(sum)
    }

    fn combine(&self, vectors: &[&CpuVector], factors: &[Fr], n: usize) -> Result<CpuVector, DeviceError> {
        arguments::combine(vectors.iter().map(|vector| vector.values.len()), factors.len(), n)?;
        let mut sum = self.zeros(n)?;
        let vectors: Vec<&[Fr]> = vectors.iter().map(|vector| &*vector.values).collect();
        scan::combine(self.kernels, &mut sum.values, &vectors, factors);
        Ok(sum)
    }
}
