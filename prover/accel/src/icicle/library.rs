//! ICICLE's libraries, loaded at run time and kept for the life of the process.

use super::OpenError;
use super::abi;
use libloading::os::unix::{Library as Handle, RTLD_GLOBAL, RTLD_NOW};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The libraries' files, in the order in which they are loaded: each needs the ones before.
const DEVICE: &str = "libicicle_device.so";
const FIELD: &str = "libicicle_field_bn254.so";
const CURVE: &str = "libicicle_curve_bn254.so";

struct Opened {
    path: PathBuf,
    /// Never closed, whatever is wrong with the library: what may have started threads is not unloaded.
    handle: ManuallyDrop<Handle>,
}

macro_rules! functions {
    ($($file:ident { $($field:ident: $kind:ident = $symbol:literal,)* })*) => {
        /// The functions that are called, each with its type in ICICLE's headers.
        pub(super) struct Functions {
            $($(pub(super) $field: abi::$kind,)*)*
        }

        impl Functions {
            fn resolve(device: &Opened, field: &Opened, curve: &Opened) -> Result<Self, OpenError> {
                let _ = (device, field, curve);
                Ok(Self {
                    $($(
                        // SAFETY: `abi` has this symbol's type as ICICLE's headers declare it, and the library is
                        // never unloaded.
                        $field: unsafe { functions!(@file $file device field curve).symbol($symbol)? },
                    )*)*
                })
            }
        }
    };
    (@file device $device:ident $field:ident $curve:ident) => { $device };
    (@file field $device:ident $field:ident $curve:ident) => { $field };
    (@file curve $device:ident $field:ident $curve:ident) => { $curve };
}

functions! {
    device {
        is_device_available: OnDevice = "icicle_is_device_available",
        set_device: OnDevice = "icicle_set_device",
        device_count: DeviceCount = "icicle_get_device_count",
        registered_devices: RegisteredDevices = "icicle_get_registered_devices",
        load_backend: LoadBackend = "icicle_load_backend",
        malloc: Malloc = "icicle_malloc",
        free: Free = "icicle_free",
        available_memory: AvailableMemory = "icicle_get_available_memory",
        memset: Memset = "icicle_memset",
        copy: Copy = "icicle_copy",
        copy_to_device: Copy = "icicle_copy_to_device",
        copy_to_host: Copy = "icicle_copy_to_host",
        device_synchronize: Synchronize = "icicle_device_synchronize",
    }
    field {
        init_domain: InitDomain = "bn254_ntt_init_domain",
        release_domain: ReleaseDomain = "bn254_ntt_release_domain",
        ntt: Ntt = "bn254_ntt",
        vector_add: Binary = "bn254_vector_add",
        vector_sub: Binary = "bn254_vector_sub",
        vector_mul: Binary = "bn254_vector_mul",
        vector_inv: Unary = "bn254_vector_inv",
        scalar_add: Binary = "bn254_scalar_add_vec",
        scalar_sub: Binary = "bn254_scalar_sub_vec",
        scalar_mul: Binary = "bn254_scalar_mul_vec",
        convert_scalars: Convert = "bn254_scalar_convert_montgomery",
    }
    curve {
        msm: Msm = "bn254_msm",
        precompute_bases: PrecomputeBases = "bn254_msm_precompute_bases",
        convert_points: Convert = "bn254_affine_convert_montgomery",
    }
}

impl Opened {
    fn open(directory: &Path, name: &'static str) -> Result<Self, OpenError> {
        let path = directory.join(name);
        // Global, as for a program that is linked to them: ICICLE's backends look their symbols up in these libraries.
        // SAFETY: the libraries' initialisers register devices and take no argument; the directory is the user's.
        match unsafe { Handle::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(handle) => Ok(Self {
                path,
                handle: ManuallyDrop::new(handle),
            }),
            Err(error) => Err(OpenError::LibraryUnloadable {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `T` is the function's type.
    unsafe fn symbol<T: Copy>(&self, symbol: &'static str) -> Result<T, OpenError> {
        // SAFETY: the caller's promise.
        match unsafe { self.handle.get::<T>(symbol.as_bytes()) } {
            Ok(function) => Ok(*function),
            Err(_) => Err(OpenError::SymbolMissing {
                path: self.path.clone(),
                symbol,
            }),
        }
    }
}

/// A loaded installation.
pub(super) struct Library {
    /// Directory of the three libraries.
    pub(super) directory: PathBuf,
    pub(super) functions: Functions,
}

impl Library {
    /// Loads an installation, or gives the one that was loaded before. It stays loaded: ICICLE has threads of its own.
    pub(super) fn load(installation: &Path) -> Result<&'static Self, OpenError> {
        static LOADED: LazyLock<Mutex<HashMap<PathBuf, &'static Library>>> = LazyLock::new(Mutex::default);
        let directory = find(installation)?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.get(&directory) {
            return Ok(library);
        }
        let device = Opened::open(&directory, DEVICE)?;
        let field = Opened::open(&directory, FIELD)?;
        let curve = Opened::open(&directory, CURVE)?;
        let functions = Functions::resolve(&device, &field, &curve)?;
        let library: &'static Self = Box::leak(Box::new(Self {
            directory: directory.clone(),
            functions,
        }));
        loaded.insert(directory, library);
        Ok(library)
    }

    /// Where ICICLE installs its backends, each in a directory of its own.
    pub(super) fn backends(&self) -> PathBuf {
        self.directory.join("backend")
    }
}

/// The directory with all three libraries: the installation's `lib`, itself, or, where it is the directory of the
/// backends, the one above.
fn find(installation: &Path) -> Result<PathBuf, OpenError> {
    let tried = vec![
        installation.join("lib"),
        installation.to_path_buf(),
        installation.join(".."),
    ];
    let Some(directory) = tried.iter().find(|directory| directory.join(DEVICE).is_file()) else {
        return Err(OpenError::LibraryAbsent { name: DEVICE, tried });
    };
    for name in [FIELD, CURVE] {
        if !directory.join(name).is_file() {
            let tried = vec![directory.clone()];
            return Err(OpenError::LibraryAbsent { name, tried });
        }
    }
    // One name per place, so that a directory is not loaded twice.
    Ok(directory.canonicalize().unwrap_or_else(|_| directory.clone()))
}
