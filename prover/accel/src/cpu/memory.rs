//! Arrays in memory that the kernels like: aligned to cache lines, in huge pages where the system has them.

use crate::DeviceError;
use halo2curves::bn256::{Fq, Fr};
use rayon::prelude::*;
use std::alloc::{Layout, alloc, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a huge page, and the alignment of everything at least that large.
const HUGE_PAGE: usize = 2 << 20;

/// Elements that one task fills.
const CHUNK: usize = 1 << 14;

// The kernels read and write elements as four words. `Fr` is a struct of one field of that type, which fills it.
const _: () = assert!(size_of::<Fr>() == 32 && align_of::<Fr>() == align_of::<u64>());
const _: () = assert!(size_of::<Fq>() == 32 && align_of::<Fq>() == align_of::<u64>());

/// A scalar's four words: halo2curves' Montgomery form, least significant first.
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "only kernels take scalars apart")
)]
pub(super) fn words(scalar: &Fr) -> [u64; 4] {
    // SAFETY: `Fr` has the size and alignment of its only field, which is `[u64; 4]`.
    unsafe { *std::ptr::from_ref(scalar).cast() }
}

/// A coordinate's four words, as [`words`].
pub(super) fn coordinate_words(coordinate: &Fq) -> [u64; 4] {
    // SAFETY: as for `words`.
    unsafe { *std::ptr::from_ref(coordinate).cast() }
}

/// The coordinate with these words, which are below the modulus.
pub(super) fn coordinate(words: [u64; 4]) -> Fq {
    // SAFETY: as for `words`; every four words below the modulus are a value of `Fq`.
    unsafe { *std::ptr::from_ref(&words).cast() }
}

/// Asks for a value that will be read soon.
pub(super) fn prefetch<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has SSE, and a prefetch reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}

/// An array of plain values.
pub(super) struct Aligned<T> {
    start: NonNull<T>,
    len: usize,
}

/// An array of scalars.
pub(super) type Scalars = Aligned<Fr>;

// SAFETY: an `Aligned` owns its memory alone, as a boxed slice does.
unsafe impl<T: Send> Send for Aligned<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Sync> Sync for Aligned<T> {}

impl<T: Copy + Send + Sync> Aligned<T> {
    /// `n` times the same value.
    pub(super) fn filled(operation: &'static str, n: usize, value: T) -> Result<Self, DeviceError> {
        let array = Self::allocate(operation, n)?;
        let start = array.start.as_ptr() as usize;
        (0..n.div_ceil(CHUNK)).into_par_iter().for_each(|chunk| {
            let from = chunk * CHUNK;
            let chunk = (start as *mut T).wrapping_add(from);
            for at in 0..CHUNK.min(n - from) {
                // SAFETY: `from + at < n`, and every chunk is written by one task.
                unsafe { chunk.add(at).write(value) };
            }
        });
        Ok(array)
    }

    /// A copy of `values`.
    pub(super) fn copied(operation: &'static str, values: &[T]) -> Result<Self, DeviceError> {
        let array = Self::allocate(operation, values.len())?;
        let start = array.start.as_ptr() as usize;
        values.par_chunks(CHUNK).enumerate().for_each(|(at, chunk)| {
            let to = (start as *mut T).wrapping_add(at * CHUNK);
            // SAFETY: the chunks of `values` do not overlap and have `values.len()` elements together, as the copy has.
            unsafe { to.copy_from_nonoverlapping(chunk.as_ptr(), chunk.len()) };
        });
        Ok(array)
    }

    /// Memory for `n` values, which the caller fills before it gives them away.
    fn allocate(operation: &'static str, n: usize) -> Result<Self, DeviceError> {
        let out_of_memory = DeviceError::OutOfMemory {
            operation,
            bytes: (n as u64).saturating_mul(size_of::<T>() as u64),
        };
        if n == 0 {
            let start = NonNull::dangling();
            return Ok(Self { start, len: 0 });
        }
        let Some(layout) = Self::layout(n) else {
            return Err(out_of_memory);
        };
        // SAFETY: the layout has at least one value's bytes, and values have some.
        let start = NonNull::new(unsafe { alloc(layout) }).ok_or(out_of_memory)?;
        #[cfg(target_os = "linux")]
        if layout.align() == HUGE_PAGE {
            // SAFETY: the range is the allocation; the advice changes how it is backed, not what it holds. It is a hint, so
            // that its failure is none.
            unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        Ok(Self {
            start: start.cast(),
            len: n,
        })
    }
}

impl<T> Aligned<T> {
    fn layout(n: usize) -> Option<Layout> {
        let bytes = n.checked_mul(size_of::<T>())?;
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { 64 };
        Layout::from_size_align(bytes, align).ok()
    }
}

impl<T> Drop for Aligned<T> {
    fn drop(&mut self) {
        if let (true, Some(layout)) = (self.len > 0, Self::layout(self.len)) {
            // SAFETY: `allocate` got this memory with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the memory holds `len` values, which the constructors wrote.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the exclusive borrow of `self` makes the slice exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use halo2curves::ff::Field;
    use halo2curves::serde::SerdeObject;

    #[test]
    fn words_are_the_internal_form() {
        for scalar in [Fr::ZERO, Fr::ONE, -Fr::ONE, Fr::from(u64::MAX).square()] {
            let bytes: Vec<u8> = words(&scalar)
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect();
            assert_eq!(bytes, scalar.to_raw_bytes());
        }
        for value in [Fq::ZERO, Fq::ONE, -Fq::ONE, Fq::from(u64::MAX).square()] {
            let words = coordinate_words(&value);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes, value.to_raw_bytes());
            assert_eq!(coordinate(words), value);
        }
    }

    #[test]
    fn arrays_hold_what_they_are_given() {
        for n in [0, 1, CHUNK - 1, CHUNK + 1, HUGE_PAGE / 32 + 1] {
            let values: Vec<Fr> = (0..n as u64).map(Fr::from).collect();
            assert_eq!(*Scalars::copied("test", &values).expect("memory"), *values);
            assert_eq!(
                *Scalars::filled("test", n, Fr::ZERO).expect("memory"),
                *vec![Fr::ZERO; n]
            );
        }
    }

    #[test]
    fn absurd_sizes_are_out_of_memory() {
        for n in [usize::MAX, usize::MAX / 32, 1 << 56] {
            assert!(matches!(
                Scalars::filled("test", n, Fr::ZERO),
                Err(DeviceError::OutOfMemory { .. })
            ));
        }
    }
}
