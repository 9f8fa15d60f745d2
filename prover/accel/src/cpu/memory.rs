//! Arrays in memory that the kernels like: aligned to cache lines, in huge pages where the system has them.

use super::kept::Kept;
use crate::DeviceError;
use halo2curves::bn256::{Fq, Fr};
use rayon::prelude::*;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a huge page, and the alignment of everything at least that large.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes of a cache line, and the alignment of what is smaller.
const LINE: usize = 64;

/// Elements that one task fills.
const CHUNK: usize = 1 << 14;

/// Large arrays that were dropped.
static KEPT: Kept = Kept::new();

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

/// Types of which all bytes zero are a value, and any bytes are one as far as the language goes: nothing but words.
///
/// # Safety
/// They are.
pub(super) unsafe trait Zero: Copy + Send + Sync {}

// SAFETY: a struct of one array of words; all zeros are the number 0.
unsafe impl Zero for Fr {}

impl<T: Zero> Aligned<T> {
    /// `n` zeros. Large arrays that are new are zeroed by the system when they are first touched.
    pub(super) fn zeros(operation: &'static str, n: usize) -> Result<Self, DeviceError> {
        let (mut array, is_zero) = Self::unfilled(operation, n)?;
        if !is_zero {
            array.clear();
        }
        Ok(array)
    }

    /// `n` zeros that were written, so that the system has given all of the memory.
    pub(super) fn touched(operation: &'static str, n: usize) -> Result<Self, DeviceError> {
        let (mut array, _) = Self::unfilled(operation, n)?;
        array.clear();
        Ok(array)
    }

    fn clear(&mut self) {
        // SAFETY: `Zero` says that these bytes are values.
        let clear = |chunk: &mut [T]| unsafe { chunk.as_mut_ptr().write_bytes(0, chunk.len()) };
        self.par_chunks_mut(CHUNK).for_each(clear);
    }

    /// `n` values of any content.
    pub(super) fn of_any(operation: &'static str, n: usize) -> Result<Self, DeviceError> {
        Self::unfilled(operation, n).map(|(array, _)| array)
    }

    /// A copy of `values`.
    pub(super) fn copied(operation: &'static str, values: &[T]) -> Result<Self, DeviceError> {
        let (mut array, _) = Self::unfilled(operation, values.len())?;
        let chunks = array.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
        chunks.for_each(|(copy, values)| copy.copy_from_slice(values));
        Ok(array)
    }

    /// `n` elements of any value, and whether they are zeros.
    fn unfilled(operation: &'static str, n: usize) -> Result<(Self, bool), DeviceError> {
        let out_of_memory = DeviceError::OutOfMemory {
            operation,
            bytes: (n as u64).saturating_mul(size_of::<T>() as u64),
        };
        if n == 0 {
            let start = NonNull::dangling();
            return Ok((Self { start, len: 0 }, true));
        }
        let (start, is_zero) = Self::layout(n).and_then(allocate).ok_or(out_of_memory)?;
        let start = start.cast();
        Ok((Self { start, len: n }, is_zero))
    }
}

impl<T> Aligned<T> {
    fn layout(n: usize) -> Option<Layout> {
        const {
            assert!(
                size_of::<T>() > 0 && align_of::<T>() <= LINE,
                "other types do not fit the alignment"
            )
        };
        let bytes = n.checked_mul(size_of::<T>())?;
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { LINE };
        Layout::from_size_align(bytes, align).ok()
    }
}

impl<T> Drop for Aligned<T> {
    fn drop(&mut self) {
        if let (true, Some(layout)) = (self.len > 0, Self::layout(self.len)) {
            // SAFETY: `allocate` gave this memory for the same layout.
            unsafe { release(self.start.cast(), layout) };
        }
    }
}

/// Bytes of arrays that were dropped and are kept for the next.
pub(super) fn kept_bytes() -> usize {
    KEPT.bytes()
}

/// Gives what is kept back to the system.
pub(super) fn release_kept() {
    unmap_all(KEPT.release());
}

/// Memory for a layout of at least one byte, and whether it is zeroed. All of it was written or zeroed before.
fn allocate(layout: Layout) -> Option<(NonNull<u8>, bool)> {
    if cfg!(target_os = "linux") && layout.align() == HUGE_PAGE {
        let bytes = layout.size().checked_next_multiple_of(HUGE_PAGE)?;
        return match KEPT.take(bytes) {
            Ok(start) => {
                NonNull::new(std::ptr::with_exposed_provenance_mut(start)).map(|start| (start, false))
            }
            Err(excess) => {
                unmap_all(excess);
                let start = map(bytes);
                if start.is_none() {
                    KEPT.missed(bytes);
                }
                start.map(|start| (start, true))
            }
        };
    }
    // SAFETY: the layout has at least one byte.
    NonNull::new(unsafe { alloc_zeroed(layout) }).map(|start| (start, true))
}

/// Gives memory back, or keeps it for the next array.
///
/// # Safety
/// [`allocate`] gave it for the same layout, and nothing refers to it.
unsafe fn release(start: NonNull<u8>, layout: Layout) {
    if cfg!(target_os = "linux") && layout.align() == HUGE_PAGE {
        let bytes = layout.size().next_multiple_of(HUGE_PAGE);
        KEPT.keep(start.as_ptr().expose_provenance(), bytes);
        return;
    }
    // SAFETY: the caller vouches for the layout.
    unsafe { dealloc(start.as_ptr(), layout) };
}

/// Unmaps blocks that were kept.
fn unmap_all(blocks: Vec<(usize, usize)>) {
    for (start, bytes) in blocks {
        // SAFETY: `release` keeps what `map` mapped, in whole huge pages, when nothing refers to it, and it is taken out once.
        #[cfg(target_os = "linux")]
        unsafe {
            libc::munmap(std::ptr::with_exposed_provenance_mut(start), bytes);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, bytes);
    }
}

/// Elsewhere arrays come from the allocator.
#[cfg(not(target_os = "linux"))]
fn map(_: usize) -> Option<NonNull<u8>> {
    None
}

/// Maps zeroed memory, whole huge pages that start at one, and asks for huge pages.
#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    use libc::{MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE};
    let room = bytes.checked_add(HUGE_PAGE)?;
    let null = std::ptr::null_mut();
    // SAFETY: a new mapping touches no memory of the program.
    let mapped = unsafe {
        libc::mmap(
            null,
            room,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if mapped == MAP_FAILED {
        return None;
    }
    let mapped: *mut u8 = mapped.cast();
    let before = mapped.align_offset(HUGE_PAGE);
    let start = mapped.wrapping_add(before);
    // SAFETY: all three ranges are parts of the mapping and whole pages, as a huge page is a multiple of every other; nothing
    // refers to the parts before and after. The advice is a hint, so that its failure is none.
    unsafe {
        if before > 0 {
            libc::munmap(mapped.cast(), before);
        }
        if before + bytes < room {
            libc::munmap(start.wrapping_add(bytes).cast(), room - before - bytes);
        }
        libc::madvise(start.cast(), bytes, MADV_HUGEPAGE);
    }
    NonNull::new(start)
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the memory holds `len` values: zeros or what was written since.
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
            assert_eq!(*Scalars::zeros("test", n).expect("memory"), *vec![Fr::ZERO; n]);
        }
    }

    /// Dropped arrays are kept by the process, so other tests may take this one's; whatever is taken holds what is asked for.
    #[test]
    fn what_was_used_before_holds_what_it_is_given() {
        let n = HUGE_PAGE / 32 + 7;
        let values: Vec<Fr> = (1..=n as u64).map(Fr::from).collect();
        for _ in 0..4 {
            let dirty = Scalars::copied("test", &values).expect("memory");
            drop(dirty);
            let zeros = Scalars::zeros("test", n).expect("memory");
            assert!(zeros.iter().all(|value| *value == Fr::ZERO));
            drop(zeros);
            assert_eq!(
                *Scalars::copied("test", &values[..n - 1]).expect("memory"),
                values[..n - 1]
            );
        }
        release_kept();
    }

    #[test]
    fn absurd_sizes_are_out_of_memory() {
        for n in [usize::MAX, usize::MAX / 32, 1 << 56] {
            assert!(matches!(
                Scalars::zeros("test", n),
                Err(DeviceError::OutOfMemory { .. })
            ));
        }
    }
}
