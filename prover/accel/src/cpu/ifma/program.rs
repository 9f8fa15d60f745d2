//! Nodes of a program over a block, eight elements at a time.
//!
//! All values have halo2curves' Montgomery form. The columns of a sum of products are multiplied by 16 before they are
//! reduced, which makes up for the radix: `16 / 2^260 = 1 / 2^256`.

use super::super::memory::words;
use super::super::program::{Node, Schedule, Source};
use super::Available;
use super::field::*;
use halo2curves::bn256::Fr;
use std::arch::x86_64::*;

/// Constants of a program, as [`execute`] takes them.
pub(in crate::cpu) struct Constants {
    _available: Available,
    limbs: Vec<[u64; 5]>,
}

impl Constants {
    pub(in crate::cpu) fn new(available: Available, constants: &[Fr]) -> Self {
        Self {
            _available: available,
            limbs: constants.iter().map(|constant| split(words(constant))).collect(),
        }
    }
}

/// Runs a schedule over a block of `8 vectors` elements. `views` are the schedule's reads and `outputs` its outputs, of that
/// length; `slots` has `vectors` entries for each slot. Meanwhile the elements of `next`, which the next block will read, are
/// asked for.
pub(in crate::cpu) fn execute(
    schedule: &Schedule,
    constants: &Constants,
    views: &[&[Fr]],
    vectors: usize,
    slots: &mut [Lanes],
    outputs: &mut [&mut [Fr]],
    next: &[&[Fr]],
) {
    assert!(views.iter().all(|view| view.len() == 8 * vectors));
    assert!(outputs.iter().all(|output| output.len() == 8 * vectors));
    let mut block = Block {
        constants: &constants.limbs,
        views,
        vectors,
        slots,
    };
    // SAFETY: the processor has the kernels' features, as the caller's or this struct's `Available` shows, and the lengths are checked above.
    unsafe {
        // Spread over the nodes, so that memory and arithmetic work side by side.
        let per_node = next.len().div_ceil(schedule.nodes.len().max(1)).max(1);
        let mut next = next.chunks(per_node);
        for node in &schedule.nodes {
            block.node(node, next.next().unwrap_or_default());
        }
        for (source, output) in schedule.outputs.iter().zip(outputs) {
            block.output(*source, output);
        }
    }
}

struct Block<'a> {
    constants: &'a [[u64; 5]],
    views: &'a [&'a [Fr]],
    vectors: usize,
    slots: &'a mut [Lanes],
}

/// The eight elements of a source from `8 vector` on; tidy. The vector is within the block.
///
/// This is a macro because a function, called from so many places, would not be inlined, and would pass its result through
/// memory.
macro_rules! fetch {
    ($block:expr, $source:expr, $vector:expr) => {
        match $source {
            Source::Slot(slot) => $block.slots[slot * $block.vectors + $vector],
            Source::Read(read) => {
                let elements = &$block.views[read][8 * $vector..8 * $vector + 8];
                // SAFETY: eight elements are 32 words.
                unpack(&unsafe { load(elements.as_ptr().cast()) })
            }
            Source::Constant(index) => broadcast(&$block.constants[index]),
        }
    };
}

impl Block<'_> {
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    fn node(&mut self, node: &Node, next: &[&[Fr]]) {
        let offset = times(Scalar::LIMBS, node.offset);
        for vector in 0..self.vectors {
            for elements in next {
                prefetch(elements.as_ptr().wrapping_add(8 * vector).cast());
            }
            let mut sum = broadcast(&offset);
            if !node.products.is_empty() {
                let scaled = self
                    .products(node, vector)
                    .map(|column| _mm512_slli_epi64::<4>(column));
                sum = add(&sum, &montgomery::<Scalar>(scaled));
            }
            for source in &node.plus {
                sum = add(&sum, &fetch!(self, *source, vector));
            }
            for source in &node.minus {
                sum = sub(&sum, &fetch!(self, *source, vector));
            }
            sum = tidy(&sum);
            if node.reduce {
                sum = below_2p::<Scalar>(&sum);
            }
            self.slots[node.slot * self.vectors + vector] = sum;
        }
    }

    /// Columns of the sum of all products, of at most nine times `2^52` from each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    fn products(&self, node: &Node, vector: usize) -> [__m512i; 10] {
        let mut columns = no_columns();
        for product in &node.products {
            let mut left = fetch!(self, product.a, vector);
            if product.a == product.b && !product.negative {
                let square = square_columns(&left);
                for (column, more) in columns.iter_mut().zip(square) {
                    *column = _mm512_add_epi64(*column, more);
                }
                continue;
            }
            if product.negative {
                let multiple = broadcast(&times(Scalar::LIMBS, product.a_bound));
                left = tidy(&sub(&multiple, &left));
            }
            multiply_add(&mut columns, &left, &fetch!(self, product.b, vector));
        }
        columns
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    fn output(&self, source: Source, output: &mut [Fr]) {
        for (vector, elements) in output.chunks_exact_mut(8).enumerate() {
            let value = pack(&canonical::<Scalar>(&fetch!(self, source, vector)));
            // SAFETY: eight elements are 32 words, and the value is canonical.
            unsafe { store(elements.as_mut_ptr().cast(), &value) };
        }
    }
}
