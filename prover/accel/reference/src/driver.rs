//! The calls of the CUDA driver that a preflight makes, and those that tell it to keep memory.

use core::ffi::{c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU64, Ordering};

/// `cuInit`'s code in three digits, then the number of devices in two. A test edits them in a copy of the file.
static ANSWERS: [u8; 32] = *b"reference driver answers: 000,01";

/// A number in `ANSWERS`, read so that the compiler cannot settle it.
fn answer(start: usize, digits: usize) -> c_int {
    // SAFETY: a reference to a static is valid for reads; volatile because the file may have been edited.
    let answers = unsafe { core::ptr::read_volatile(&raw const ANSWERS) };
    let digits = answers[start..start + digits].iter();
    digits.fold(0, |number, digit| {
        number * 10 + c_int::from(digit.wrapping_sub(b'0'))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    answer(26, 3)
}

/// # Safety
/// `count` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { count.write(answer(30, 2)) };
    0
}

/// # Safety
/// `version` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { version.write(13_000) };
    0
}

/// # Safety
/// `device` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, index: c_int) -> c_int {
    const INVALID_DEVICE: c_int = 101;
    if !(0..answer(30, 2)).contains(&index) {
        return INVALID_DEVICE;
    }
    // SAFETY: the caller's promise.
    unsafe { device.write(index) };
    0
}

/// What `cuMemPoolSetAttribute` was told to keep: the only pool there is.
static KEPT_BYTES: AtomicU64 = AtomicU64::new(0);

/// # Safety
/// `pool` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, _device: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { pool.write((&raw const KEPT_BYTES).cast_mut().cast()) };
    0
}

/// # Safety
/// `value` is valid for a read of eight bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolSetAttribute(pool: *mut c_void, attribute: c_int, value: *mut c_void) -> c_int {
    const INVALID_VALUE: c_int = 1;
    const RELEASE_THRESHOLD: c_int = 4;
    if pool != (&raw const KEPT_BYTES).cast_mut().cast() || attribute != RELEASE_THRESHOLD {
        return INVALID_VALUE;
    }
    // SAFETY: the caller's promise.
    KEPT_BYTES.store(unsafe { value.cast::<u64>().read() }, Ordering::Relaxed);
    0
}

/// How often `cuMemPoolTrimTo` was called.
static TRIMMED: AtomicU64 = AtomicU64::new(0);

#[unsafe(no_mangle)]
extern "C" fn cuMemPoolTrimTo(_pool: *mut c_void, _bytes: usize) -> c_int {
    TRIMMED.fetch_add(1, Ordering::Relaxed);
    0
}

/// For tests: how often the driver was told to give memory back.
#[unsafe(no_mangle)]
extern "C" fn reference_trimmed() -> u64 {
    TRIMMED.load(Ordering::Relaxed)
}

/// For tests: what the driver was told to keep.
#[unsafe(no_mangle)]
extern "C" fn reference_kept_bytes() -> u64 {
    KEPT_BYTES.load(Ordering::Relaxed)
}
