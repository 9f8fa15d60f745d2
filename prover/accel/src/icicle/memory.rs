//! Memory of a device: allocation with a reserve, freed memory kept for reuse, and places in it.

use super::abi;
use super::context::{Context, checked, lock, vector_config};
use super::library::Functions;
use crate::{DeviceError, Memory};
use std::collections::HashMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};

/// Allocations below this are not worth a question for free memory.
const SMALL_BYTES: usize = 1 << 20;

/// Held while ICICLE allocates or frees. It forgets an address after it has freed it: another thread that was given the
/// same address in between would have it forgotten, and then its memory is taken for the host's.
static ALLOCATING: Mutex<()> = Mutex::new(());

/// Freed memory by size, kept since `cudaMalloc` and `cudaFree` wait for the whole device.
#[derive(Default)]
pub(super) struct Pool {
    free: HashMap<usize, Vec<usize>>,
    pub(super) bytes: usize,
}

/// Device memory, given back when dropped.
pub(super) struct Buffer {
    context: Arc<Context>,
    pub(super) address: usize,
    pub(super) bytes: usize,
}

/// A run of scalars in a buffer.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    address: usize,
    pub(super) len: usize,
    buffer: PhantomData<&'a Buffer>,
}

impl Context {
    /// Memory for `bytes` bytes, which are not zero; what is in it is undefined.
    pub(super) fn allocate(
        self: &Arc<Self>,
        operation: &'static str,
        bytes: usize,
    ) -> Result<Buffer, DeviceError> {
        assert!(bytes > 0, "ICICLE's answer to an empty allocation is not defined");
        let kept = {
            let mut pool = lock(&self.pool);
            let address = pool.free.get_mut(&bytes).and_then(Vec::pop);
            pool.bytes -= address.map_or(0, |_| bytes);
            address
        };
        let address = match kept {
            Some(address) => address,
            None => {
                self.keep_reserve(operation, bytes)?;
                match self.malloc(operation, bytes) {
                    Err(DeviceError::OutOfMemory { .. }) => {
                        self.release_kept();
                        self.malloc(operation, bytes)?
                    }
                    other => other?,
                }
            }
        };
        Ok(Buffer {
            context: self.clone(),
            address,
            bytes,
        })
    }

    /// Refuses an allocation that would leave less than the reserve, and gives kept memory back before it refuses.
    ///
    /// ICICLE's CUDA backend does not check its own allocations: where one fails it writes to a null pointer and the
    /// process ends. The reserve is for those.
    fn keep_reserve(&self, operation: &'static str, bytes: usize) -> Result<(), DeviceError> {
        if self.reserve_bytes == 0 || bytes < SMALL_BYTES {
            return Ok(());
        }
        let needed = self.reserve_bytes.saturating_add(bytes as u64);
        let fits = |memory: Option<Memory>| memory.is_none_or(|memory| memory.free >= needed);
        if fits(self.available(operation)?) {
            return Ok(());
        }
        self.release_kept();
        if fits(self.available(operation)?) {
            return Ok(());
        }
        Err(DeviceError::OutOfMemory {
            operation,
            bytes: bytes as u64,
        })
    }

    /// Gives kept memory back where ICICLE might lack it for an operation on `elements` elements.
    pub(super) fn make_room(&self, operation: &'static str, elements: usize) -> Result<(), DeviceError> {
        if self.reserve_bytes == 0 || elements * abi::SCALAR_BYTES < SMALL_BYTES {
            return Ok(());
        }
        let memory = self.available(operation)?;
        if memory.is_some_and(|memory| memory.free < self.reserve_bytes) {
            self.release_kept();
        }
        Ok(())
    }

    fn malloc(&self, operation: &'static str, bytes: usize) -> Result<usize, DeviceError> {
        let functions = self.enter(operation)?;
        let mut pointer: *mut c_void = null_mut();
        let _alone = lock(&ALLOCATING);
        // SAFETY: the pointer is to a live pointer; `bytes` is not zero.
        let code = unsafe { (functions.malloc)(&raw mut pointer, bytes) };
        if abi::is_out_of_memory(code) {
            self.clear_error(&functions);
        }
        checked(operation, code, bytes as u64)?;
        if pointer.is_null() {
            return Err(DeviceError::Failed {
                operation,
                reason: "ICICLE gives a null pointer".to_string(),
            });
        }
        Ok(pointer as usize)
    }

    /// Takes CUDA's note of a failed allocation away: ICICLE looks at it at the start of its next call, which it would
    /// fail in its turn.
    fn clear_error(&self, functions: &Functions) {
        let (one, mut sum) = ([1u8; abi::SCALAR_BYTES], [0u8; abi::SCALAR_BYTES]);
        let config = vector_config(false, false, false);
        let (from, to) = (one.as_ptr().cast(), sum.as_mut_ptr().cast());
        // SAFETY: one element in host memory each, as the configuration says. The answer does not matter.
        unsafe { (functions.vector_add)(from, from, 1, &raw const config, to) };
    }

    fn free(&self, address: usize) {
        let freed = self.enter("free").and_then(|functions| {
            let _alone = lock(&ALLOCATING);
            // SAFETY: the address came from `malloc`, is in neither pool nor buffer any more, and is freed once.
            checked("free", unsafe { (functions.free)(address as *mut c_void) }, 0)
        });
        if let Err(error) = freed {
            tracing::error!(%error, "device memory was not freed");
        }
    }

    /// Gives kept memory back to the device.
    pub(super) fn release_kept(&self) {
        let pool = std::mem::take(&mut *lock(&self.pool));
        pool.free
            .into_values()
            .flatten()
            .for_each(|address| self.free(address));
        if let Some(pool) = &self.driver_pool {
            pool.trim();
        }
    }
}

impl Buffer {
    /// `len` scalars from the `start`-th on.
    pub(super) fn span(&self, start: usize, len: usize) -> Span<'_> {
        let end = start.checked_add(len).expect("indices of elements");
        assert!(
            end <= self.bytes / abi::SCALAR_BYTES,
            "{end} elements of {} bytes",
            self.bytes
        );
        Span {
            address: self.address + start * abi::SCALAR_BYTES,
            len,
            buffer: PhantomData,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = lock(&self.context.pool);
        pool.free.entry(self.bytes).or_default().push(self.address);
        pool.bytes += self.bytes;
    }
}

impl Span<'_> {
    pub(super) fn bytes(self) -> usize {
        self.len * abi::SCALAR_BYTES
    }

    pub(super) fn pointer(self) -> *const c_void {
        self.address as *const c_void
    }

    pub(super) fn pointer_mut(self) -> *mut c_void {
        self.address as *mut c_void
    }

    /// The first `len` scalars.
    pub(super) fn first(self, len: usize) -> Self {
        assert!(len <= self.len);
        Self { len, ..self }
    }

    pub(super) fn assert_apart(self, other: Span) {
        let apart =
            self.address + self.bytes() <= other.address || other.address + other.bytes() <= self.address;
        assert!(apart, "the device reads and writes in any order");
    }

    /// Element-wise calls may work in place, but not at an offset.
    pub(super) fn assert_same_or_apart(self, other: Span) {
        if self.address != other.address {
            self.assert_apart(other);
        }
    }
}
