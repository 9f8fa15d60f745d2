//! The two calls of the CUDA driver that a preflight makes.

use core::ffi::{c_int, c_uint};

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
