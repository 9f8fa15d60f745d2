//! The structs that cross the C boundary, as ICICLE v4.0.0 lays them out.

use core::ffi::{c_char, c_int, c_void};

#[repr(C)]
pub(crate) struct DeviceId {
    pub(crate) kind: [c_char; 64],
    pub(crate) index: c_int,
}

#[repr(C)]
pub(crate) struct MsmConfig {
    pub(crate) stream: *mut c_void,
    pub(crate) precompute_factor: c_int,
    pub(crate) c: c_int,
    pub(crate) bitsize: c_int,
    pub(crate) batch_size: c_int,
    pub(crate) points_shared: u8,
    pub(crate) scalars_on_device: u8,
    pub(crate) scalars_montgomery: u8,
    pub(crate) points_on_device: u8,
    /// Ignored, as the original's CPU backend ignores it.
    pub(crate) points_montgomery: u8,
    pub(crate) results_on_device: u8,
    pub(crate) is_async: u8,
    pub(crate) ext: *mut c_void,
}

#[repr(C)]
pub(crate) struct NttConfig {
    pub(crate) stream: *mut c_void,
    pub(crate) coset_generator: [u8; 32],
    pub(crate) batch_size: c_int,
    pub(crate) columns_batch: u8,
    pub(crate) ordering: c_int,
    pub(crate) inputs_on_device: u8,
    pub(crate) outputs_on_device: u8,
    pub(crate) is_async: u8,
    pub(crate) ext: *mut c_void,
}

#[repr(C)]
pub(crate) struct DomainConfig {
    pub(crate) stream: *mut c_void,
    pub(crate) is_async: u8,
    pub(crate) ext: *mut c_void,
}

#[repr(C)]
pub(crate) struct VectorConfig {
    pub(crate) stream: *mut c_void,
    pub(crate) a_on_device: u8,
    pub(crate) b_on_device: u8,
    pub(crate) result_on_device: u8,
    pub(crate) is_async: u8,
    pub(crate) batch_size: c_int,
    pub(crate) columns_batch: u8,
    pub(crate) ext: *mut c_void,
}

const _: () = assert!(size_of::<DeviceId>() == 68);
const _: () = assert!(size_of::<MsmConfig>() == 40);
const _: () = assert!(size_of::<NttConfig>() == 64);
const _: () = assert!(size_of::<DomainConfig>() == 24);
const _: () = assert!(size_of::<VectorConfig>() == 32);
