//! A look at the NVIDIA driver before any CUDA backend is loaded.
//!
//! ICICLE's CUDA backend asks for the GPU in a static initialiser; without a driver that throws, and the process ends.

use super::OpenError;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{c_int, c_uint, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr::null_mut;

/// What the driver says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Driver {
    /// CUDA's version, `1000 major + 10 minor`.
    pub(super) cuda_version: i32,
    /// GPUs that it sees.
    pub(super) devices: u32,
}

/// Starts the driver and counts its devices; an error if there is none.
pub(super) fn preflight(library: &Path) -> Result<Driver, OpenError> {
    let absent = |error: libloading::Error| OpenError::DriverAbsent {
        library: library.display().to_string(),
        reason: error.to_string(),
    };
    // SAFETY: the NVIDIA driver's initialisers take no argument and make no demand; a file in its place is the user's.
    let driver = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }.map_err(absent)?;
    // The driver keeps threads and state: it stays loaded, also where it lacks something.
    let driver = ManuallyDrop::new(driver);
    // SAFETY: this is the function's type in cuda.h; the library is loaded as long as the pointer is used.
    let init = unsafe { driver.get::<unsafe extern "C" fn(c_uint) -> c_int>(b"cuInit\0") }.map_err(absent)?;
    type Query = unsafe extern "C" fn(*mut c_int) -> c_int;
    // SAFETY: as above.
    let count = unsafe { driver.get::<Query>(b"cuDeviceGetCount\0") }.map_err(absent)?;
    // SAFETY: as above.
    let version = unsafe { driver.get::<Query>(b"cuDriverGetVersion\0") }.map_err(absent)?;
    let checked = |call, code| match code {
        0 => Ok(()),
        code => Err(OpenError::DriverFailed { call, code }),
    };
    // SAFETY: 0 is the only flag that is allowed.
    checked("cuInit", unsafe { init(0) })?;
    let (mut devices, mut cuda_version) = (0, 0);
    // SAFETY: the pointer is to a live integer, and the driver was started.
    checked("cuDeviceGetCount", unsafe { count(&raw mut devices) })?;
    // SAFETY: as above.
    checked("cuDriverGetVersion", unsafe { version(&raw mut cuda_version) })?;
    match u32::try_from(devices) {
        Ok(devices) if devices > 0 => Ok(Driver {
            cuda_version,
            devices,
        }),
        _ => Err(OpenError::DriverWithoutDevice),
    }
}

/// A device's default pool of memory, which ICICLE allocates from in each sum. By default all of it goes back to the system
/// whenever the device has nothing to do, and has to come from there again in the next call.
pub(super) struct DriverPool {
    /// The driver's handle, which is valid for the life of the process.
    pool: usize,
    trim: TrimTo,
}

type GetDevice = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type GetPool = unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int;
type SetAttribute = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> c_int;
type TrimTo = unsafe extern "C" fn(*mut c_void, usize) -> c_int;

impl DriverPool {
    /// Lets the pool of a device keep up to `bytes` of what was freed; `library` is the driver that [`preflight`] started.
    ///
    /// It is for speed alone, so that a driver without pools is only told of.
    pub(super) fn keep(library: &Path, index: u32, bytes: u64) -> Option<Self> {
        let kept = Self::find(library, index).and_then(|(pool, set_attribute)| {
            /// `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD` of cuda.h.
            const RELEASE_THRESHOLD: c_int = 4;
            let mut bytes = bytes;
            let value = (&raw mut bytes).cast();
            // SAFETY: the pool is the driver's, and the value of this attribute is eight bytes.
            let code = unsafe { set_attribute(pool.pool as *mut c_void, RELEASE_THRESHOLD, value) };
            checked("cuMemPoolSetAttribute", code).map(|()| pool)
        });
        match kept {
            Ok(pool) => Some(pool),
            Err(reason) => {
                tracing::warn!(reason, "the driver keeps no freed memory: sums take longer");
                None
            }
        }
    }

    fn find(library: &Path, index: u32) -> Result<(Self, SetAttribute), String> {
        let text = |error: libloading::Error| error.to_string();
        // SAFETY: the library was loaded by `preflight` and stays so; this is one more handle to it.
        let driver = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }.map_err(text)?;
        // SAFETY: these are the functions' types in cuda.h; the library stays loaded.
        let (get_device, get_pool, set_attribute, trim) = unsafe {
            (
                *driver.get::<GetDevice>(b"cuDeviceGet\0").map_err(text)?,
                *driver
                    .get::<GetPool>(b"cuDeviceGetDefaultMemPool\0")
                    .map_err(text)?,
                *driver
                    .get::<SetAttribute>(b"cuMemPoolSetAttribute\0")
                    .map_err(text)?,
                *driver.get::<TrimTo>(b"cuMemPoolTrimTo\0").map_err(text)?,
            )
        };
        let (mut device, mut pool) = (0, null_mut());
        let index = c_int::try_from(index).map_err(|_| "no such device".to_string())?;
        // SAFETY: the pointer is to a live integer.
        checked("cuDeviceGet", unsafe { get_device(&raw mut device, index) })?;
        // SAFETY: the pointer is to a live pointer.
        checked("cuDeviceGetDefaultMemPool", unsafe {
            get_pool(&raw mut pool, device)
        })?;
        let pool = Self {
            pool: pool as usize,
            trim,
        };
        Ok((pool, set_attribute))
    }

    /// Gives back to the system what the pool keeps and nobody uses.
    pub(super) fn trim(&self) {
        // SAFETY: the pool is the driver's; what is in use stays.
        if let Err(reason) = checked("cuMemPoolTrimTo", unsafe {
            (self.trim)(self.pool as *mut c_void, 0)
        }) {
            tracing::warn!(reason, "the driver's freed memory is not given back");
        }
    }
}

fn checked(call: &str, code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        code => Err(format!("{call} gives {code}")),
    }
}
