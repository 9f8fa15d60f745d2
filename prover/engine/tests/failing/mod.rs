//! A device that runs out of memory at one chosen call.

use accel::{CpuBases, CpuDevice, CpuVector, Device, DeviceError, Direction, Memory, Program};
use halo2curves::bn256::{Fr, G1, G1Affine};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The CPU, but for one call.
pub struct FailingDevice {
    device: CpuDevice,
    calls: AtomicUsize,
    fails_at: AtomicUsize,
}

impl FailingDevice {
    pub fn new() -> Self {
        Self {
            device: CpuDevice::new(),
            calls: AtomicUsize::new(0),
            fails_at: AtomicUsize::new(usize::MAX),
        }
    }

    /// Counts from 0 again, and lets the call of that number fail.
    pub fn fail_at(&self, call: usize) {
        self.calls.store(0, Ordering::SeqCst);
        self.fails_at.store(call, Ordering::SeqCst);
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn call(&self) -> Result<&CpuDevice, DeviceError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call == self.fails_at.load(Ordering::SeqCst) {
            return Err(DeviceError::OutOfMemory {
                operation: "any",
                bytes: 1,
            });
        }
        Ok(&self.device)
    }
}

impl Device for FailingDevice {
    type Vector = CpuVector;
    type Bases = CpuBases;

    fn name(&self) -> String {
        "failing".to_owned()
    }

    fn memory(&self) -> Result<Memory, DeviceError> {
        self.call()?.memory()
    }

    fn len(&self, vector: &CpuVector) -> usize {
        self.device.len(vector)
    }

    fn upload(&self, values: &[Fr]) -> Result<CpuVector, DeviceError> {
        self.call()?.upload(values)
    }

    fn download(&self, vector: &CpuVector) -> Result<Vec<Fr>, DeviceError> {
        self.call()?.download(vector)
    }

    fn read(&self, vector: &CpuVector, at: usize, count: usize) -> Result<Vec<Fr>, DeviceError> {
        self.call()?.read(vector, at, count)
    }

    fn write(&self, vector: &mut CpuVector, at: usize, values: &[Fr]) -> Result<(), DeviceError> {
        self.call()?.write(vector, at, values)
    }

    fn zeros(&self, n: usize) -> Result<CpuVector, DeviceError> {
        self.call()?.zeros(n)
    }

    fn reserve(&self, bases: &CpuBases, n: usize, vectors: usize) -> Result<(), DeviceError> {
        self.call()?.reserve(bases, n, vectors)
    }

    fn duplicate(&self, vector: &CpuVector) -> Result<CpuVector, DeviceError> {
        self.call()?.duplicate(vector)
    }

    fn bases(&self, points: &[G1Affine], table_bytes_max: u64) -> Result<CpuBases, DeviceError> {
        self.call()?.bases(points, table_bytes_max)
    }

    fn msm(&self, bases: &CpuBases, scalars: &[&CpuVector]) -> Result<Vec<G1>, DeviceError> {
        self.call()?.msm(bases, scalars)
    }

    fn ntt(&self, vectors: &mut [&mut CpuVector], direction: Direction) -> Result<(), DeviceError> {
        self.call()?.ntt(vectors, direction)
    }

    fn coset_ntt(
        &self,
        inputs: &[&CpuVector],
        shift: Fr,
        outputs: &mut [&mut CpuVector],
    ) -> Result<(), DeviceError> {
        self.call()?.coset_ntt(inputs, shift, outputs)
    }

    fn run(
        &self,
        program: &Program,
        inputs: &[&CpuVector],
        constants: &[Fr],
        outputs: &mut [&mut CpuVector],
    ) -> Result<(), DeviceError> {
        self.call()?.run(program, inputs, constants, outputs)
    }

    fn invert(&self, vector: &mut CpuVector) -> Result<(), DeviceError> {
        self.call()?.invert(vector)
    }

    fn running_product(&self, vector: &mut CpuVector, first: Fr) -> Result<(), DeviceError> {
        self.call()?.running_product(vector, first)
    }

    fn evaluate(&self, polynomials: &[&CpuVector], points: &[Fr]) -> Result<Vec<Fr>, DeviceError> {
        self.call()?.evaluate(polynomials, points)
    }

    fn divide(&self, polynomials: &mut [&mut CpuVector], points: &[Fr]) -> Result<(), DeviceError> {
        self.call()?.divide(polynomials, points)
    }

    fn quotients(
        &self,
        polynomials: &[&CpuVector],
        factors: &[Fr],
        sets: &[&[Fr]],
        n: usize,
    ) -> Result<CpuVector, DeviceError> {
        self.call()?.quotients(polynomials, factors, sets, n)
    }

    fn combine(&self, vectors: &[&CpuVector], factors: &[Fr], n: usize) -> Result<CpuVector, DeviceError> {
        self.call()?.combine(vectors, factors, n)
    }
}
