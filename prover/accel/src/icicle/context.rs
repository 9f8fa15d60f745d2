//! An open device: the calls into ICICLE, each with its sizes and places checked.
//!
//! ICICLE is C++: what it does not like it throws, and an exception that leaves C++ ends the process. So everything it
//! might not like is refused here first, by an assertion where only this crate could be wrong.

use super::abi::{self, DeviceId, DomainConfig, MsmConfig, NttConfig, VectorConfig};
use super::driver::DriverPool;
use super::library::{Functions, Library};
use super::memory::{Buffer, Pool, Span};
use super::sums::Windows;
use super::{CUDA, IcicleConfig, Installed, OpenError};
use crate::activity::{Activity, Meter, Metered};
use crate::{DeviceError, Direction, Memory};
use halo2curves::bn256::{Fr, G1Affine};
use halo2curves::ff::PrimeField;
use std::collections::HashSet;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

// What is copied to the device: four words in Montgomery form, and two coordinates of such.
const _: () = {
    assert!(size_of::<Fr>() == abi::SCALAR_BYTES);
    assert!(size_of::<G1Affine>() == abi::AFFINE_BYTES);
    assert!(offset_of!(G1Affine, x) == 0 && offset_of!(G1Affine, y) == 32);
};

/// The device, opened by this process.
pub(super) struct Context {
    library: &'static Library,
    id: DeviceId,
    key: OpenKey,
    pub(super) reserve_bytes: u64,
    domain_k: u32,
    /// How the windows of sums are chosen.
    pub(super) windows: Windows,
    /// Scalars that one batch of sums copies together, at most.
    pub(super) batch_scalars_max: usize,
    /// Where ICICLE allocates what it needs for a call, if that pool is the driver's.
    pub(super) driver_pool: Option<DriverPool>,
    /// Calls but for transfers and sums only put work into the device's queue; [`Context::finish`] waits for it.
    queues: bool,
    pub(super) pool: Mutex<Pool>,
    meter: Meter,
}

/// The device's functions, for one call from the calling thread; its time is taken until this is dropped.
pub(super) struct Entered<'a> {
    functions: &'a Functions,
    _metered: Metered<'a>,
}

impl Deref for Entered<'_> {
    type Target = Functions;

    fn deref(&self) -> &Functions {
        self.functions
    }
}

/// What makes a device one: its installation, type and index.
type OpenKey = (std::path::PathBuf, String, u32);

/// Devices that are open in this process. A device has one NTT domain, and a second would silently not be taken.
static OPEN: LazyLock<Mutex<HashSet<OpenKey>>> = LazyLock::new(Mutex::default);

/// An element-wise operation on two vectors, or on a scalar (first) and a vector.
#[derive(Clone, Copy)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
}

/// How bases lie on the device.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// Points per base, the base included.
    pub(super) factor: u32,
    /// Bits of a window; 0 lets ICICLE choose, which it may only for a factor of 1.
    pub(super) window: u32,
}

/// Of the device's memory, one part in so many may stay in the driver's pool between ICICLE's calls.
const KEPT_SHARE: u64 = 16;

/// The least room for constants.
const CONSTANTS_BYTES: usize = 1 << 12;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn checked(operation: &'static str, code: c_int, bytes: u64) -> Result<(), DeviceError> {
    match code {
        0 => Ok(()),
        code if abi::is_out_of_memory(code) => Err(DeviceError::OutOfMemory { operation, bytes }),
        code => Err(DeviceError::Failed {
            operation,
            reason: format!("ICICLE gives {code} ({})", abi::code_name(code)),
        }),
    }
}

/// An integer of C.
fn int(n: usize) -> c_int {
    c_int::try_from(n).expect("sizes are bounded by the callers")
}

/// The generator of the subgroup of `2^k` elements that halo2 uses.
fn omega(k: u32) -> Fr {
    (k..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega * omega)
}

impl Context {
    /// Opens a device that `installed` has, and makes its NTT domain.
    pub(super) fn open(installed: &Installed, config: &IcicleConfig) -> Result<Arc<Self>, OpenError> {
        let (library, domain_k) = (installed.library, config.domain_k);
        let key = (library.directory.clone(), installed.kind.clone(), config.index);
        if !lock(&OPEN).insert(key.clone()) {
            let (_, kind, index) = key;
            return Err(OpenError::AlreadyOpen { kind, index });
        }
        // From here on dropping the context takes the key back.
        let mut context = Self {
            library,
            id: installed.id(config.index),
            key,
            reserve_bytes: config.reserve_bytes,
            domain_k,
            windows: if installed.kind == CUDA {
                Windows::Even
            } else {
                Windows::Any
            },
            batch_scalars_max: config.batch_scalars_max,
            driver_pool: None,
            // The device's default stream keeps the order of calls, of all threads. A CPU has no such queue.
            queues: installed.kind == CUDA,
            pool: Mutex::default(),
            meter: Meter::default(),
        };
        if installed.kind == CUDA {
            let total = context.available("memory")?.map_or(0, |memory| memory.total);
            let kept = config.reserve_bytes.max(total / KEPT_SHARE);
            context.driver_pool = DriverPool::keep(&config.driver, config.index, kept);
        }
        context.enter("set_device")?;
        let root = omega(domain_k).to_repr();
        let config = DomainConfig {
            stream: null_mut(),
            is_async: false,
            ext: null_mut(),
        };
        // SAFETY: the root is 32 canonical bytes of order `2^domain_k`; both outlive the call, which is synchronous.
        let code = unsafe { (library.functions.init_domain)(root.as_ptr().cast(), &raw const config) };
        checked("ntt_init_domain", code, (abi::SCALAR_BYTES as u64) << domain_k)?;
        Ok(Arc::new(context))
    }

    pub(super) fn domain_k(&self) -> u32 {
        self.domain_k
    }

    /// Makes the device the calling thread's; to be done before every call, since threads come and go.
    pub(super) fn enter(&self, operation: &'static str) -> Result<Entered<'_>, DeviceError> {
        let entered = Entered {
            functions: &self.library.functions,
            _metered: self.meter.begin(operation),
        };
        // SAFETY: `id` is a device that was available when the context was opened, which is never undone.
        let code = unsafe { (entered.set_device)(&raw const self.id) };
        checked(operation, code, 0)?;
        Ok(entered)
    }

    /// Waits for what was put into the device's queue. An error of any of it shows here, or in a call before.
    pub(super) fn finish(&self, operation: &'static str) -> Result<(), DeviceError> {
        if !self.queues {
            return Ok(());
        }
        let functions = self.enter(operation)?;
        // SAFETY: the function takes nothing.
        checked(operation, unsafe { (functions.device_synchronize)() }, 0)
    }

    pub(super) fn activity(&self) -> Activity {
        self.meter.activity()
    }

    /// Memory as ICICLE sees it; `None` where its backend cannot tell.
    pub(super) fn available(&self, operation: &'static str) -> Result<Option<Memory>, DeviceError> {
        let functions = self.enter(operation)?;
        let (mut total, mut free) = (0, 0);
        // SAFETY: both pointers are to live integers of C's `size_t`.
        match unsafe { (functions.available_memory)(&raw mut total, &raw mut free) } {
            abi::NOT_IMPLEMENTED => Ok(None),
            code => checked(operation, code, 0).map(|()| {
                Some(Memory {
                    total: total as u64,
                    free: free as u64,
                })
            }),
        }
    }

    /// Memory of the device, where it can tell; what is kept for reuse counts as free.
    pub(super) fn memory(&self) -> Result<Option<Memory>, DeviceError> {
        let kept = lock(&self.pool).bytes as u64;
        let memory = self.available("memory")?;
        Ok(memory.map(|memory| Memory {
            free: memory.free + kept,
            ..memory
        }))
    }

    /// Fills with zeros.
    pub(super) fn clear(&self, operation: &'static str, to: Span) -> Result<(), DeviceError> {
        let functions = self.enter(operation)?;
        // SAFETY: a span lies within a live buffer of a device, and the bytes are its.
        let code = unsafe { (functions.memset)(to.pointer_mut(), 0, to.bytes()) };
        checked(operation, code, 0)
    }

    /// Copies scalars to the device and makes them canonical there.
    pub(super) fn upload(&self, operation: &'static str, from: &[Fr], to: Span) -> Result<(), DeviceError> {
        assert_eq!(from.len(), to.len);
        let functions = self.enter(operation)?;
        // SAFETY: the slice and the span both have `to.bytes()` bytes, by the assertions here and on `Fr`'s size.
        let code = unsafe { (functions.copy_to_device)(to.pointer_mut(), from.as_ptr().cast(), to.bytes()) };
        checked(operation, code, 0)?;
        drop(functions);
        self.meter.to_device(to.bytes());
        self.convert(operation, to, to, false)
    }

    /// Puts scalars on the device as they are there: canonical. For the few that element-wise calls take from the device,
    /// since one from the host's memory would wait for the queue to be empty.
    pub(super) fn constants(
        self: &Arc<Self>,
        operation: &'static str,
        scalars: &[Fr],
    ) -> Result<Buffer, DeviceError> {
        let canonical: Vec<[u8; abi::SCALAR_BYTES]> = scalars.iter().map(Fr::to_repr).collect();
        let bytes = size_of_val(&canonical[..]);
        // Few sizes, so that what is kept for reuse is reused.
        let buffer = self.allocate(operation, bytes.next_power_of_two().max(CONSTANTS_BYTES))?;
        if bytes == 0 {
            return Ok(buffer);
        }
        let functions = self.enter(operation)?;
        let to = buffer.address as *mut c_void;
        // SAFETY: the buffer has room for the slice's bytes.
        let code = unsafe { (functions.copy_to_device)(to, canonical.as_ptr().cast(), bytes) };
        checked(operation, code, 0)?;
        self.meter.to_device(bytes);
        drop(functions);
        Ok(buffer)
    }

    /// Copies scalars in Montgomery form from the device. `n` of them are appended.
    pub(super) fn download(
        &self,
        operation: &'static str,
        from: Span,
        to: &mut Vec<Fr>,
    ) -> Result<(), DeviceError> {
        let functions = self.enter(operation)?;
        let room = to.spare_capacity_mut();
        assert!(room.len() >= from.len);
        // SAFETY: the vector has room for `from.len` scalars, which are `from.bytes()` bytes.
        let code =
            unsafe { (functions.copy_to_host)(room.as_mut_ptr().cast(), from.pointer(), from.bytes()) };
        checked(operation, code, 0)?;
        self.meter.to_host(from.bytes());
        // SAFETY: the call wrote that many scalars; any bytes are four words.
        unsafe { to.set_len(to.len() + from.len) };
        Ok(())
    }

    /// Copies points to the device and makes their coordinates canonical there.
    pub(super) fn upload_points(
        &self,
        operation: &'static str,
        from: &[G1Affine],
        to: &Buffer,
    ) -> Result<(), DeviceError> {
        let functions = self.enter(operation)?;
        assert_eq!(size_of_val(from), to.bytes);
        let pointer = to.address as *mut c_void;
        // SAFETY: slice and buffer have the same number of bytes.
        let code = unsafe { (functions.copy_to_device)(pointer, from.as_ptr().cast(), to.bytes) };
        checked(operation, code, 0)?;
        self.meter.to_device(to.bytes);
        let config = vector_config(true, true, true);
        let n = from.len() as u64;
        // SAFETY: the buffer holds `n` points; the conversion reads and writes each coordinate in its place.
        let code = unsafe { (functions.convert_points)(pointer, n, false, &raw const config, pointer) };
        checked(operation, code, 0)
    }

    /// Copies within the device.
    pub(super) fn copy(&self, operation: &'static str, from: Span, to: Span) -> Result<(), DeviceError> {
        assert_eq!(from.len, to.len);
        if from.len == 0 {
            return Ok(());
        }
        from.assert_apart(to);
        let functions = self.enter(operation)?;
        // SAFETY: both spans lie in live buffers, have the same length and do not overlap.
        let code = unsafe { (functions.copy)(to.pointer_mut(), from.pointer(), from.bytes()) };
        checked(operation, code, 0)
    }

    /// Converts between canonical and Montgomery form.
    pub(super) fn convert(
        &self,
        operation: &'static str,
        from: Span,
        to: Span,
        into_montgomery: bool,
    ) -> Result<(), DeviceError> {
        assert_eq!(from.len, to.len);
        from.assert_same_or_apart(to);
        let functions = self.enter(operation)?;
        let config = self.on_device();
        // SAFETY: the spans lie in live buffers of this device and have `n` scalars each.
        let code = unsafe {
            (functions.convert_scalars)(
                from.pointer(),
                from.len as u64,
                into_montgomery,
                &raw const config,
                to.pointer_mut(),
            )
        };
        checked(operation, code, from.bytes() as u64)
    }

    /// `to = a (+ - ·) b`, element by element.
    pub(super) fn vector(
        &self,
        operation: &'static str,
        arithmetic: Arithmetic,
        a: Span,
        b: Span,
        to: Span,
    ) -> Result<(), DeviceError> {
        assert!(a.len == to.len && b.len == to.len);
        if to.len == 0 {
            return Ok(());
        }
        a.assert_same_or_apart(to);
        b.assert_same_or_apart(to);
        let functions = self.enter(operation)?;
        let function = match arithmetic {
            Arithmetic::Add => functions.vector_add,
            Arithmetic::Sub => functions.vector_sub,
            Arithmetic::Mul => functions.vector_mul,
        };
        let config = self.on_device();
        let n = to.len as u64;
        // SAFETY: the spans lie in live buffers of this device and have `n` scalars each.
        let code = unsafe { function(a.pointer(), b.pointer(), n, &raw const config, to.pointer_mut()) };
        checked(operation, code, to.bytes() as u64)
    }

    /// `to = scalar (+ - ·) vector`, element by element; the scalar is the one of its span.
    pub(super) fn scalar(
        &self,
        operation: &'static str,
        arithmetic: Arithmetic,
        scalar: Span,
        vector: Span,
        to: Span,
    ) -> Result<(), DeviceError> {
        assert!(scalar.len == 1 && vector.len == to.len);
        if to.len == 0 {
            return Ok(());
        }
        scalar.assert_apart(to);
        vector.assert_same_or_apart(to);
        let functions = self.enter(operation)?;
        let function = match arithmetic {
            Arithmetic::Add => functions.scalar_add,
            Arithmetic::Sub => functions.scalar_sub,
            Arithmetic::Mul => functions.scalar_mul,
        };
        let config = self.on_device();
        let n = to.len as u64;
        // SAFETY: the spans lie in live buffers of this device and have one and `n` scalars.
        let code = unsafe {
            function(
                scalar.pointer(),
                vector.pointer(),
                n,
                &raw const config,
                to.pointer_mut(),
            )
        };
        checked(operation, code, to.bytes() as u64)
    }

    /// Replaces every element by its inverse, 0 by 0.
    pub(super) fn invert(&self, operation: &'static str, span: Span) -> Result<(), DeviceError> {
        let functions = self.enter(operation)?;
        let config = self.on_device();
        let n = span.len as u64;
        // SAFETY: the span lies in a live buffer of this device; elements are read and written one by one.
        let code =
            unsafe { (functions.vector_inv)(span.pointer(), n, &raw const config, span.pointer_mut()) };
        checked(operation, code, span.bytes() as u64)
    }

    /// Transforms `2^k` elements in place, `1 <= k <= domain_k`.
    pub(super) fn ntt(&self, span: Span, direction: Direction) -> Result<(), DeviceError> {
        assert!(span.len.is_power_of_two() && (1..=self.domain_k).contains(&span.len.ilog2()));
        let functions = self.enter("ntt")?;
        let mut one = [0; abi::SCALAR_BYTES];
        one[0] = 1;
        let config = NttConfig {
            stream: null_mut(),
            coset_generator: one,
            batch_size: 1,
            columns_batch: false,
            ordering: 0,
            inputs_on_device: true,
            outputs_on_device: true,
            is_async: self.queues,
            ext: null_mut(),
        };
        let direction = match direction {
            Direction::Forward => 0,
            Direction::Inverse => 1,
        };
        let (pointer, n) = (span.pointer_mut(), int(span.len));
        // SAFETY: the span lies in a live buffer of this device; its length is a power of two within the domain.
        let code = unsafe { (functions.ntt)(pointer, n, direction, &raw const config, pointer) };
        checked("ntt", code, span.bytes() as u64)
    }

    /// For element-wise calls on the device's memory.
    fn on_device(&self) -> VectorConfig {
        VectorConfig {
            is_async: self.queues,
            ..vector_config(true, true, true)
        }
    }

    /// Multiples of `n` canonical bases, `table.factor` points for each base, side by side.
    pub(super) fn precompute(
        &self,
        bases: &Buffer,
        n: usize,
        table: Table,
        to: &Buffer,
    ) -> Result<(), DeviceError> {
        assert!(table.factor > 1 && table.window > 0 && n > 0);
        assert_eq!(bases.bytes, n * abi::AFFINE_BYTES);
        assert_eq!(to.bytes, bases.bytes * table.factor as usize);
        let functions = self.enter("bases")?;
        let config = MsmConfig {
            results_on_device: true,
            ..msm_config(table, 1)
        };
        let (from, to_pointer) = (bases.address as *const c_void, to.address as *mut c_void);
        // SAFETY: the buffers hold `n` and `n · factor` points, which the configuration says to be on the device.
        let code = unsafe { (functions.precompute_bases)(from, int(n), &raw const config, to_pointer) };
        checked("bases", code, to.bytes as u64)
    }

    /// One sum for each run of `n` canonical scalars, homogeneous and canonical.
    pub(super) fn msm(
        &self,
        bases: &Buffer,
        table: Table,
        scalars: Span,
        n: usize,
    ) -> Result<Vec<[u8; abi::PROJECTIVE_BYTES]>, DeviceError> {
        assert!(n > 0 && scalars.len > 0 && scalars.len.is_multiple_of(n));
        assert!(bases.bytes >= n * table.factor as usize * abi::AFFINE_BYTES);
        let batch = scalars.len / n;
        let functions = self.enter("msm")?;
        let mut sums = vec![[0; abi::PROJECTIVE_BYTES]; batch];
        let config = msm_config(table, int(batch));
        let from = bases.address as *const c_void;
        let to = sums.as_mut_ptr().cast();
        // SAFETY: `batch · n` scalars and `n · factor` points lie in live buffers of this device, and `batch` results
        // fit in host memory, as the configuration says.
        let code = unsafe { (functions.msm)(scalars.pointer(), from, int(n), &raw const config, to) };
        checked("msm", code, scalars.bytes() as u64)?;
        self.meter.to_host(size_of_val(&sums[..]));
        Ok(sums)
    }
}

pub(super) fn vector_config(a_on_device: bool, b_on_device: bool, result_on_device: bool) -> VectorConfig {
    VectorConfig {
        stream: null_mut(),
        a_on_device,
        b_on_device,
        result_on_device,
        is_async: false,
        batch_size: 1,
        columns_batch: false,
        ext: null_mut(),
    }
}

fn msm_config(table: Table, batch_size: c_int) -> MsmConfig {
    MsmConfig {
        stream: null_mut(),
        precompute_factor: int(table.factor as usize),
        c: int(table.window as usize),
        bitsize: 0,
        batch_size,
        points_shared_in_batch: true,
        scalars_on_device: true,
        scalars_montgomery: false,
        points_on_device: true,
        points_montgomery: false,
        results_on_device: false,
        is_async: false,
        ext: null_mut(),
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.release_kept();
        if let Ok(functions) = self.enter("ntt_release_domain") {
            // SAFETY: no buffer, and so no call, is left: each holds the context.
            unsafe { (functions.release_domain)() };
        }
        lock(&OPEN).remove(&self.key);
    }
}
