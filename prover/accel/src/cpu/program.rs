//! Element-wise programs, block by block so that temporaries stay in the cache.

mod schedule;

use super::Kernels;
#[cfg(target_arch = "x86_64")]
use super::ifma;
use crate::Program;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use rayon::prelude::*;
pub(super) use schedule::{Node, Schedule, Source};

/// Elements that one task handles.
const TASK: usize = 1 << 13;

/// Bytes that a task's temporaries may take: half of a small second-level cache.
const TEMPORARY_BYTES: usize = 256 << 10;

/// Elements of a block at most.
const BLOCK_MAX: usize = 256;

/// Runs a program that fits `inputs`, `constants` and `outputs`, all of one length.
pub(super) fn run(
    kernels: Kernels,
    program: &Program,
    inputs: &[&[Fr]],
    constants: &[Fr],
    outputs: Vec<&mut [Fr]>,
) {
    let n = outputs.first().map_or(0, |output| output.len());
    let mut tasks: Vec<Vec<&mut [Fr]>> = (0..n.div_ceil(TASK)).map(|_| Vec::new()).collect();
    for output in outputs {
        for (task, chunk) in tasks.iter_mut().zip(output.chunks_mut(TASK)) {
            task.push(chunk);
        }
    }
    let runner = Runner::new(kernels, program, constants, BLOCK_MAX);
    let tasks = tasks.into_par_iter().enumerate();
    tasks.for_each_init(
        || runner.temporaries(),
        |temporaries, (at, outputs)| runner.task(inputs, at * TASK, temporaries, outputs),
    );
}

/// A program made ready, with all that its blocks share.
pub(super) struct Runner {
    schedule: Schedule,
    constants: Vec<Fr>,
    /// Elements of a block.
    block: usize,
    /// Inputs that are read, under whichever rotation.
    columns: Vec<usize>,
    #[cfg(target_arch = "x86_64")]
    limbs: Option<ifma::program::Constants>,
}

/// What a task writes between its inputs and its outputs.
pub(super) struct Temporaries {
    /// Results of nodes, a block each.
    portable: Vec<Fr>,
    /// The node under way.
    sum: Vec<Fr>,
    #[cfg(target_arch = "x86_64")]
    ifma: Vec<ifma::field::Lanes>,
    /// Blocks of inputs that wrap around or end early, and of outputs that end early.
    copies: Vec<Fr>,
}

impl Runner {
    /// Makes a program ready for blocks of at most `block_max` elements, a multiple of eight.
    pub(super) fn new(kernels: Kernels, program: &Program, constants: &[Fr], block_max: usize) -> Self {
        let schedule = Schedule::new(program);
        let bytes = TEMPORARY_BYTES / schedule.slots.max(1);
        let mut columns: Vec<usize> = schedule.reads.iter().map(|(column, _)| *column).collect();
        columns.sort_unstable();
        columns.dedup();
        Self {
            schedule,
            columns,
            constants: constants.to_vec(),
            block: (bytes / size_of::<Fr>())
                .next_power_of_two()
                .clamp(32, BLOCK_MAX)
                .min(block_max),
            #[cfg(target_arch = "x86_64")]
            limbs: match kernels {
                Kernels::Ifma(available) => Some(ifma::program::Constants::new(available, constants)),
                Kernels::Portable => None,
            },
        }
    }

    pub(super) fn temporaries(&self) -> Temporaries {
        #[cfg(target_arch = "x86_64")]
        if self.limbs.is_some() {
            return Temporaries {
                portable: Vec::new(),
                sum: Vec::new(),
                ifma: ifma::field::buffer(self.schedule.slots * self.block / 8),
                copies: Vec::new(),
            };
        }
        Temporaries {
            portable: vec![Fr::ZERO; self.schedule.slots * self.block],
            sum: vec![Fr::ZERO; self.block],
            #[cfg(target_arch = "x86_64")]
            ifma: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Computes the elements from `start` on that `outputs` have room for.
    pub(super) fn task(
        &self,
        inputs: &[&[Fr]],
        start: usize,
        temporaries: &mut Temporaries,
        outputs: Vec<&mut [Fr]>,
    ) {
        let mut outputs: Vec<_> = outputs
            .into_iter()
            .map(|output| output.chunks_mut(self.block))
            .collect();
        let mut start = start;
        loop {
            let outputs: Vec<&mut [Fr]> = outputs.iter_mut().filter_map(Iterator::next).collect();
            if outputs.is_empty() {
                return;
            }
            self.block(inputs, start, temporaries, outputs);
            start += self.block;
        }
    }

    /// Computes one block, a whole one even where the outputs end earlier.
    fn block(
        &self,
        inputs: &[&[Fr]],
        start: usize,
        temporaries: &mut Temporaries,
        mut outputs: Vec<&mut [Fr]>,
    ) {
        let reads = &self.schedule.reads;
        let part = outputs[0].len();
        let first = |column: usize, rotation: i32| {
            (start as i64 + i64::from(rotation)).rem_euclid(inputs[column].len() as i64) as usize
        };
        let wraps = |(column, rotation): &(usize, i32)| {
            first(*column, *rotation) + self.block > inputs[*column].len()
        };
        let mut copies = std::mem::take(&mut temporaries.copies);
        if part < self.block || reads.iter().any(wraps) {
            copies.resize((reads.len() + outputs.len()) * self.block, Fr::ZERO);
        }
        let mut free = copies.chunks_exact_mut(self.block);
        let mut views: Vec<&[Fr]> = Vec::with_capacity(reads.len());
        for read in reads {
            let (input, from) = (inputs[read.0], first(read.0, read.1));
            views.push(match free.next() {
                Some(copy) if wraps(read) => {
                    let around = input[from..].iter().chain(input.iter().cycle());
                    copy.iter_mut().zip(around).for_each(|(to, value)| *to = *value);
                    copy
                }
                _ => &input[from..from + self.block],
            });
        }
        let end = start + part;
        let next: Vec<&[Fr]> = self
            .columns
            .iter()
            .map(|column| &inputs[*column][end..])
            .collect();
        if part == self.block {
            self.execute(&views, temporaries, &mut outputs, &next);
        } else {
            let mut whole: Vec<&mut [Fr]> = free.take(outputs.len()).collect();
            self.execute(&views, temporaries, &mut whole, &next);
            for (output, whole) in outputs.iter_mut().zip(whole) {
                output.copy_from_slice(&whole[..part]);
            }
        }
        temporaries.copies = copies;
    }

    /// Runs all nodes over one block; `views` and `outputs` have `self.block` elements each. `next` is what the next block
    /// will read.
    fn execute(
        &self,
        views: &[&[Fr]],
        temporaries: &mut Temporaries,
        outputs: &mut [&mut [Fr]],
        next: &[&[Fr]],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(limbs) = &self.limbs {
            let slots = &mut temporaries.ifma;
            return ifma::program::execute(
                &self.schedule,
                limbs,
                views,
                self.block / 8,
                slots,
                outputs,
                next,
            );
        }
        let _ = next;
        let (slots, sum) = (&mut temporaries.portable, &mut temporaries.sum);
        for node in &self.schedule.nodes {
            sum.fill(Fr::ZERO);
            for product in &node.products {
                let (a, b) = (
                    self.view(views, slots, product.a),
                    self.view(views, slots, product.b),
                );
                match (product.a == product.b, product.negative) {
                    (true, false) => a.apply(sum, |sum, a| *sum += a.square()),
                    (true, true) => a.apply(sum, |sum, a| *sum -= a.square()),
                    (false, false) => a.apply_with(&b, sum, |sum, a, b| *sum += a * b),
                    (false, true) => a.apply_with(&b, sum, |sum, a, b| *sum -= a * b),
                }
            }
            for source in &node.plus {
                self.view(views, slots, *source)
                    .apply(sum, |sum, value| *sum += value);
            }
            for source in &node.minus {
                self.view(views, slots, *source)
                    .apply(sum, |sum, value| *sum -= value);
            }
            slots[node.slot * self.block..][..self.block].copy_from_slice(sum);
        }
        for (source, output) in self.schedule.outputs.iter().zip(outputs) {
            self.view(views, slots, *source)
                .apply(output, |out, value| *out = *value);
        }
    }

    fn view<'v>(&'v self, views: &[&'v [Fr]], slots: &'v [Fr], source: Source) -> View<'v> {
        match source {
            Source::Slot(slot) => View::Block(&slots[slot * self.block..][..self.block]),
            Source::Read(read) => View::Block(views[read]),
            Source::Constant(index) => View::Constant(&self.constants[index]),
        }
    }
}

/// A source over a block.
enum View<'a> {
    Block(&'a [Fr]),
    Constant(&'a Fr),
}

impl View<'_> {
    fn apply(&self, sums: &mut [Fr], update: impl Fn(&mut Fr, &Fr)) {
        match self {
            Self::Block(values) => sums
                .iter_mut()
                .zip(*values)
                .for_each(|(sum, value)| update(sum, value)),
            Self::Constant(value) => sums.iter_mut().for_each(|sum| update(sum, value)),
        }
    }

    fn apply_with(&self, other: &Self, sums: &mut [Fr], update: impl Fn(&mut Fr, &Fr, &Fr)) {
        match (self, other) {
            (Self::Block(a), Self::Block(b)) => {
                let pairs = sums.iter_mut().zip(a.iter().zip(*b));
                pairs.for_each(|(sum, (a, b))| update(sum, a, b));
            }
            (Self::Block(_), Self::Constant(b)) => self.apply(sums, |sum, a| update(sum, a, b)),
            (Self::Constant(a), _) => other.apply(sums, |sum, b| update(sum, a, b)),
        }
    }
}
