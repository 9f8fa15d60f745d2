//! Devices, memory and copies: what `libicicle_device` exports.

use crate::devices::{Device, Kind, current, drain, set_current, state};
use crate::layout::DeviceId;
use crate::{code, code_of};
use core::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// The device that a caller names, where there is one.
///
/// # Safety
/// `id` is valid for reads.
unsafe fn named(id: *const DeviceId) -> Result<Device, c_int> {
    // SAFETY: the caller's promise.
    let id = unsafe { &*id };
    let name = id.kind.iter().map(|byte| *byte as u8);
    let name: Vec<u8> = name.take_while(|byte| *byte != 0).collect();
    let known = Kind::ALL.iter().find(|(known, _)| known.as_bytes() == name);
    match known {
        Some((_, Kind::Cuda)) if !state().backend_loaded => Err(code::INVALID_DEVICE),
        Some((_, kind)) => Ok(Device {
            kind: *kind,
            index: id.index,
        }),
        None => Err(code::INVALID_DEVICE),
    }
}

/// # Safety
/// `id` is valid for reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_is_device_available(id: *const DeviceId) -> c_int {
    // SAFETY: the caller's promise.
    code_of(unsafe { named(id) }.map(drop))
}

/// Ends the process for an unknown type, as the original does.
///
/// # Safety
/// `id` is valid for reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_set_device(id: *const DeviceId) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { named(id) } {
        Ok(device) => code_of(set_current(device)),
        Err(_) => std::process::abort(),
    }
}

/// # Safety
/// `count` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_get_device_count(count: *mut c_int) -> c_int {
    code_of(current().map(|device| {
        // SAFETY: the caller's promise.
        unsafe { count.write(device.count()) }
    }))
}

/// # Safety
/// `output` is valid for `size` bytes of writes.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_get_registered_devices(output: *mut c_char, size: usize) -> c_int {
    let loaded = state().backend_loaded;
    let kinds = Kind::ALL.iter().filter(|(_, kind)| loaded || *kind != Kind::Cuda);
    let names: Vec<&str> = kinds.map(|(name, _)| *name).collect();
    let names = names.join(",");
    if names.len() >= size {
        return code::OUT_OF_MEMORY;
    }
    // SAFETY: `size` is larger than the names with their end.
    unsafe {
        output
            .cast::<u8>()
            .copy_from_nonoverlapping(names.as_ptr(), names.len());
        output.add(names.len()).write(0);
    }
    code::SUCCESS
}

/// A backend is there where the directory, or one below it, has a file that is named like one.
///
/// # Safety
/// `path` is a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_load_backend(path: *const c_char, recursive: bool) -> c_int {
    fn has_backend(directory: &Path, depth: usize) -> bool {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return false;
        };
        entries.flatten().any(|entry| {
            let named = entry.file_name().to_string_lossy().contains("icicle_backend");
            named || (depth > 0 && has_backend(&entry.path(), depth - 1))
        })
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    if has_backend(Path::new(path.as_ref()), if recursive { 4 } else { 0 }) {
        state().backend_loaded = true;
    }
    code::SUCCESS
}

/// Refuses a second thread. In the original it would be let in, and could be given an address that the first has freed
/// but not yet forgotten: when that is done, the second's memory counts as the host's.
fn alone() -> Result<MutexGuard<'static, ()>, c_int> {
    static CALL: Mutex<()> = Mutex::new(());
    let guard = CALL.try_lock().map_err(|_| code::UNKNOWN_ERROR)?;
    // Time for another thread to come.
    std::thread::yield_now();
    Ok(guard)
}

/// # Safety
/// `pointer` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_malloc(pointer: *mut *mut c_void, bytes: usize) -> c_int {
    let allocated = alone().and_then(|_alone| state().allocate(bytes));
    code_of(allocated.map(|allocated| {
        // SAFETY: the caller's promise.
        unsafe { pointer.write(allocated) }
    }))
}

#[unsafe(no_mangle)]
extern "C" fn icicle_free(pointer: *mut c_void) -> c_int {
    code_of(alone().and_then(|_alone| {
        drain()?;
        state().free(pointer)
    }))
}

/// # Safety
/// Both are valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_get_available_memory(total: *mut usize, free: *mut usize) -> c_int {
    code_of(state().memory().map(|memory| {
        // SAFETY: the caller's promise.
        unsafe {
            total.write(memory.0);
            free.write(memory.1);
        }
    }))
}

/// # Safety
/// As for `memset`, on device memory.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_memset(pointer: *mut c_void, value: c_int, bytes: usize) -> c_int {
    let checked = drain().and_then(|()| state().check(pointer, bytes, true));
    code_of(checked.map(|()| {
        // SAFETY: the bytes lie in one allocation.
        unsafe { pointer.cast::<u8>().write_bytes(value as u8, bytes) }
    }))
}

/// # Safety
/// As for `memmove`.
unsafe fn copy(to: (*mut c_void, bool), from: (*const c_void, bool), bytes: usize) -> c_int {
    if let Err(code) = drain() {
        return code;
    }
    let state = state();
    let checked = state
        .check(to.0, bytes, to.1)
        .and_then(|()| state.check(from.0, bytes, from.1));
    code_of(checked.map(|()| {
        // SAFETY: device sides lie in one allocation each; for host sides the caller promises it.
        unsafe { to.0.cast::<u8>().copy_from(from.0.cast(), bytes) }
    }))
}

/// # Safety
/// `to` is device memory, `from` host memory, valid for `bytes`.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_copy_to_device(to: *mut c_void, from: *const c_void, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { copy((to, true), (from, false), bytes) }
}

/// # Safety
/// `to` is host memory, `from` device memory, valid for `bytes`.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_copy_to_host(to: *mut c_void, from: *const c_void, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { copy((to, false), (from, true), bytes) }
}

/// Between two places of the thread's device; the original finds the direction out, this one knows only this.
///
/// # Safety
/// Both are device memory, valid for `bytes`.
#[unsafe(no_mangle)]
unsafe extern "C" fn icicle_copy(to: *mut c_void, from: *const c_void, bytes: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { copy((to, true), (from, true), bytes) }
}

#[unsafe(no_mangle)]
extern "C" fn icicle_device_synchronize() -> c_int {
    code_of(current().and_then(|_| drain()))
}
