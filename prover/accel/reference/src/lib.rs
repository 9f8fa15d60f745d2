//! A stand-in for ICICLE's C libraries, over halo2curves: the same symbols, struct layouts, number forms and error
//! codes, so that loading, layouts and error paths are tested on machines without ICICLE or a GPU.
//!
//! It is stricter than the original where that catches a caller's mistake: every pointer that is said to be on the
//! device must lie in an allocation of the thread's device, every host pointer outside of all, every number must be
//! canonical, a thread that has not chosen a device is refused, and so are two threads that allocate or free at once. It
//! implements what the project calls, no more.
//!
//! One file plays all three libraries (device, field, curve) when it is reached by three names, and the CUDA driver by
//! a fourth. Faults are chosen with the device:
//!
//! | device type | what it does |
//! |---|---|
//! | `CPU` | everything right; memory is unlimited and cannot be asked for, as in the original |
//! | `CUDA` | as `CPU`, with 1 GiB of memory; there once a backend was loaded from a directory that has one. Work that is not waited for is done when something waits, and not before |
//! | `LIMITED` | the index is its memory in MiB |
//! | `WRONG_MSM`, `WRONG_NTT` | success, with a wrong result where there are more elements than the index; 16 GiB of memory |
//! | `FAILING` | the index is the code that MSM and NTT of more than 1,024 elements return |
//! | `ABORTING` | MSM and NTT of more than 1,024 elements end the process, as an exception thrown in C++ would; 16 GiB of memory |
//!
//! The driver answers what the bytes of a marker in the file say, so that a copy of the file can be made to fail.

mod arithmetic;
mod devices;
mod driver;
mod layout;
mod runtime;

/// Codes of the original's error enumeration.
mod code {
    use core::ffi::c_int;

    pub(crate) const SUCCESS: c_int = 0;
    pub(crate) const INVALID_DEVICE: c_int = 1;
    pub(crate) const OUT_OF_MEMORY: c_int = 2;
    pub(crate) const INVALID_POINTER: c_int = 3;
    pub(crate) const ALLOCATION_FAILED: c_int = 4;
    pub(crate) const NOT_IMPLEMENTED: c_int = 10;
    pub(crate) const INVALID_ARGUMENT: c_int = 11;
    pub(crate) const UNKNOWN_ERROR: c_int = 14;
}

/// The code of a result, as the C functions return it.
fn code_of(result: Result<(), core::ffi::c_int>) -> core::ffi::c_int {
    match result {
        Ok(()) => code::SUCCESS,
        Err(code) => code,
    }
}
