//! A program that is made ready once, for those who run it often and over few elements.

use super::program::Runner;
use super::{CpuDevice, arguments};
use crate::{DeviceError, Program};
use halo2curves::bn256::Fr;

/// Elements that are computed together. A run takes the time of a multiple of it; larger blocks were not faster for a program of
/// thousands of instructions.
const BLOCK: usize = 16;

/// A program and its constants, made ready for the machine's processors. A run stays on its caller's thread.
pub struct Routine {
    program: Program,
    constants: usize,
    runner: Runner,
}

impl Routine {
    /// Makes a program ready for a device's arithmetic.
    pub fn new(device: &CpuDevice, program: Program, constants: &[Fr]) -> Self {
        Self {
            runner: Runner::new(device.kernels, &program, constants, BLOCK),
            constants: constants.len(),
            program,
        }
    }

    /// What [`crate::Device::run`] does.
    ///
    /// # Errors
    /// As there.
    pub fn run(&self, inputs: &[&[Fr]], outputs: Vec<&mut [Fr]>) -> Result<(), DeviceError> {
        let input_lengths = inputs.iter().map(|input| input.len());
        let output_lengths = outputs.iter().map(|output| output.len());
        if arguments::run(&self.program, input_lengths, self.constants, output_lengths)?.is_none() {
            return Ok(());
        }
        let mut temporaries = self.runner.temporaries();
        self.runner.task(inputs, 0, &mut temporaries, outputs);
        Ok(())
    }
}
