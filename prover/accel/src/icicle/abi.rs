//! ICICLE v4's structs, function types and error codes, as its C interface for BN254 has them.
//!
//! Layouts are those of v3.9.2 and v4.0.0 on 64-bit Linux; the assertions below stop the build where they differ.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

/// `icicle::Device`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DeviceId {
    pub(super) kind: [c_char; 64],
    pub(super) index: c_int,
}

/// `icicle::MSMConfig`.
#[repr(C)]
pub(super) struct MsmConfig {
    pub(super) stream: *mut c_void,
    pub(super) precompute_factor: c_int,
    pub(super) c: c_int,
    pub(super) bitsize: c_int,
    pub(super) batch_size: c_int,
    pub(super) points_shared_in_batch: bool,
    pub(super) scalars_on_device: bool,
    pub(super) scalars_montgomery: bool,
    pub(super) points_on_device: bool,
    pub(super) points_montgomery: bool,
    pub(super) results_on_device: bool,
    pub(super) is_async: bool,
    pub(super) ext: *mut c_void,
}

/// `icicle::NTTConfig<scalar_t>`.
#[repr(C)]
pub(super) struct NttConfig {
    pub(super) stream: *mut c_void,
    pub(super) coset_generator: [u8; 32],
    pub(super) batch_size: c_int,
    pub(super) columns_batch: bool,
    pub(super) ordering: c_int,
    pub(super) inputs_on_device: bool,
    pub(super) outputs_on_device: bool,
    pub(super) is_async: bool,
    pub(super) ext: *mut c_void,
}

/// `icicle::NTTInitDomainConfig`.
#[repr(C)]
pub(super) struct DomainConfig {
    pub(super) stream: *mut c_void,
    pub(super) is_async: bool,
    pub(super) ext: *mut c_void,
}

/// `icicle::VecOpsConfig`.
#[repr(C)]
pub(super) struct VectorConfig {
    pub(super) stream: *mut c_void,
    pub(super) a_on_device: bool,
    pub(super) b_on_device: bool,
    pub(super) result_on_device: bool,
    pub(super) is_async: bool,
    pub(super) batch_size: c_int,
    pub(super) columns_batch: bool,
    pub(super) ext: *mut c_void,
}

const _: () = {
    assert!(size_of::<c_int>() == 4 && size_of::<usize>() == 8);
    assert!(size_of::<DeviceId>() == 68);
    assert!(offset_of!(DeviceId, index) == 64);
    assert!(size_of::<MsmConfig>() == 40);
    assert!(offset_of!(MsmConfig, precompute_factor) == 8);
    assert!(offset_of!(MsmConfig, c) == 12);
    assert!(offset_of!(MsmConfig, bitsize) == 16);
    assert!(offset_of!(MsmConfig, batch_size) == 20);
    assert!(offset_of!(MsmConfig, points_shared_in_batch) == 24);
    assert!(offset_of!(MsmConfig, scalars_on_device) == 25);
    assert!(offset_of!(MsmConfig, scalars_montgomery) == 26);
    assert!(offset_of!(MsmConfig, points_on_device) == 27);
    assert!(offset_of!(MsmConfig, points_montgomery) == 28);
    assert!(offset_of!(MsmConfig, results_on_device) == 29);
    assert!(offset_of!(MsmConfig, is_async) == 30);
    assert!(offset_of!(MsmConfig, ext) == 32);
    assert!(size_of::<NttConfig>() == 64);
    assert!(offset_of!(NttConfig, coset_generator) == 8);
    assert!(offset_of!(NttConfig, batch_size) == 40);
    assert!(offset_of!(NttConfig, columns_batch) == 44);
    assert!(offset_of!(NttConfig, ordering) == 48);
    assert!(offset_of!(NttConfig, inputs_on_device) == 52);
    assert!(offset_of!(NttConfig, outputs_on_device) == 53);
    assert!(offset_of!(NttConfig, is_async) == 54);
    assert!(offset_of!(NttConfig, ext) == 56);
    assert!(size_of::<DomainConfig>() == 24);
    assert!(offset_of!(DomainConfig, is_async) == 8);
    assert!(offset_of!(DomainConfig, ext) == 16);
    assert!(size_of::<VectorConfig>() == 32);
    assert!(offset_of!(VectorConfig, a_on_device) == 8);
    assert!(offset_of!(VectorConfig, b_on_device) == 9);
    assert!(offset_of!(VectorConfig, result_on_device) == 10);
    assert!(offset_of!(VectorConfig, is_async) == 11);
    assert!(offset_of!(VectorConfig, batch_size) == 12);
    assert!(offset_of!(VectorConfig, columns_batch) == 16);
    assert!(offset_of!(VectorConfig, ext) == 24);
};

/// Bytes of a scalar, of an affine point and of a projective point.
pub(super) const SCALAR_BYTES: usize = 32;
pub(super) const AFFINE_BYTES: usize = 64;
pub(super) const PROJECTIVE_BYTES: usize = 96;

/// Codes that mean a lack of memory: `OUT_OF_MEMORY`, and `ALLOCATION_FAILED`, which `icicle_malloc` gives.
pub(super) fn is_out_of_memory(code: c_int) -> bool {
    matches!(code, 2 | 4)
}

/// `API_NOT_IMPLEMENTED`.
pub(super) const NOT_IMPLEMENTED: c_int = 10;

/// The code's name in ICICLE's `errors.h`.
pub(super) fn code_name(code: c_int) -> &'static str {
    match code {
        0 => "success",
        1 => "invalid device",
        2 => "out of memory",
        3 => "invalid pointer",
        4 => "allocation failed",
        5 => "deallocation failed",
        6 => "copy failed",
        7 => "synchronization failed",
        8 => "stream creation failed",
        9 => "stream destruction failed",
        10 => "not implemented",
        11 => "invalid argument",
        12 => "backend load failed",
        13 => "license check error",
        14 => "unknown error",
        _ => "a code that ICICLE does not define",
    }
}

type Call2<A, B> = unsafe extern "C" fn(A, B) -> c_int;
type Call3<A, B, C> = unsafe extern "C" fn(A, B, C) -> c_int;

pub(super) type OnDevice = unsafe extern "C" fn(*const DeviceId) -> c_int;
pub(super) type DeviceCount = unsafe extern "C" fn(*mut c_int) -> c_int;
pub(super) type RegisteredDevices = Call2<*mut c_char, usize>;
pub(super) type LoadBackend = Call2<*const c_char, bool>;
pub(super) type Malloc = Call2<*mut *mut c_void, usize>;
pub(super) type Free = unsafe extern "C" fn(*mut c_void) -> c_int;
pub(super) type AvailableMemory = Call2<*mut usize, *mut usize>;
pub(super) type Memset = Call3<*mut c_void, c_int, usize>;
pub(super) type Copy = Call3<*mut c_void, *const c_void, usize>;
pub(super) type Synchronize = unsafe extern "C" fn() -> c_int;
pub(super) type InitDomain = Call2<*const c_void, *const DomainConfig>;
pub(super) type ReleaseDomain = unsafe extern "C" fn() -> c_int;
pub(super) type Ntt =
    unsafe extern "C" fn(*const c_void, c_int, c_int, *const NttConfig, *mut c_void) -> c_int;
pub(super) type Binary =
    unsafe extern "C" fn(*const c_void, *const c_void, u64, *const VectorConfig, *mut c_void) -> c_int;
pub(super) type Unary = unsafe extern "C" fn(*const c_void, u64, *const VectorConfig, *mut c_void) -> c_int;
pub(super) type Convert =
    unsafe extern "C" fn(*const c_void, u64, bool, *const VectorConfig, *mut c_void) -> c_int;
pub(super) type Msm =
    unsafe extern "C" fn(*const c_void, *const c_void, c_int, *const MsmConfig, *mut c_void) -> c_int;
pub(super) type PrecomputeBases =
    unsafe extern "C" fn(*const c_void, c_int, *const MsmConfig, *mut c_void) -> c_int;
