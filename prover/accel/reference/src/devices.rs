//! Devices, which thread uses which, and the memory of each.

use crate::code;
use core::ffi::{c_int, c_void};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// MSM and NTT of more elements than this show the fault of a faulty device, so that a check of small sizes passes.
const FAULT_ABOVE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Cpu,
    Cuda,
    Limited,
    WrongMsm,
    WrongNtt,
    Failing,
    Aborting,
}

impl Kind {
    pub(crate) const ALL: [(&'static str, Kind); 7] = [
        ("CPU", Kind::Cpu),
        ("CUDA", Kind::Cuda),
        ("LIMITED", Kind::Limited),
        ("WRONG_MSM", Kind::WrongMsm),
        ("WRONG_NTT", Kind::WrongNtt),
        ("FAILING", Kind::Failing),
        ("ABORTING", Kind::Aborting),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    pub(crate) kind: Kind,
    pub(crate) index: c_int,
}

impl Device {
    pub(crate) fn count(self) -> c_int {
        match self.kind {
            Kind::Limited | Kind::Failing | Kind::WrongMsm | Kind::WrongNtt => c_int::MAX,
            _ => 1,
        }
    }

    /// Bytes in all; `None` where the device cannot tell.
    fn total(self) -> Option<usize> {
        match self.kind {
            Kind::Cuda => Some(1 << 30),
            Kind::Aborting | Kind::WrongMsm | Kind::WrongNtt => Some(1 << 34),
            Kind::Limited => Some((self.index.max(0) as usize) << 20),
            _ => None,
        }
    }

    /// Whether this device computes wrongly what `kind` does.
    pub(crate) fn errs(self, kind: Kind, elements: usize) -> bool {
        self.kind == kind && usize::try_from(self.index).is_ok_and(|index| elements > index)
    }

    /// What this device does to a large MSM or NTT.
    pub(crate) fn fault(self, elements: usize) -> Result<(), c_int> {
        if elements <= FAULT_ABOVE {
            return Ok(());
        }
        match self.kind {
            Kind::Failing => Err(self.index),
            Kind::Aborting => std::process::abort(),
            _ => Ok(()),
        }
    }
}

struct Allocation {
    bytes: usize,
    device: Device,
}

/// Work that a caller did not wait for.
type Queued = Box<dyn FnOnce() -> Result<(), c_int> + Send>;

/// The queue of the `CUDA` device, as its default stream is one: in order, for all threads.
static QUEUE: Mutex<Vec<Queued>> = Mutex::new(Vec::new());

/// Does work now, or when something waits for it: only the `CUDA` device has a queue.
pub(crate) fn submit(
    is_async: bool,
    work: impl FnOnce() -> Result<(), c_int> + Send + 'static,
) -> Result<(), c_int> {
    let device = current()?;
    if is_async && device.kind == Kind::Cuda {
        let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(Box::new(move || {
            let before = CURRENT.replace(Some(device));
            let result = work();
            CURRENT.set(before);
            result
        }));
        return Ok(());
    }
    drain()?;
    work()
}

/// What work that was not waited for ends with, once a test has set it.
static QUEUED_FAILURE: AtomicI32 = AtomicI32::new(code::SUCCESS);

/// For tests: from now on, work that is not waited for is done and ends with this code.
#[unsafe(no_mangle)]
extern "C" fn reference_fail_queued(code: c_int) {
    QUEUED_FAILURE.store(code, Ordering::Relaxed);
}

/// Does all work that was not waited for; the first error of it.
pub(crate) fn drain() -> Result<(), c_int> {
    // Held while it runs, so that nobody is served out of turn.
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    let results: Vec<Result<(), c_int>> = queue.drain(..).map(|work| work()).collect();
    match QUEUED_FAILURE.load(Ordering::Relaxed) {
        code if code != code::SUCCESS && !results.is_empty() => Err(code),
        _ => results.into_iter().collect(),
    }
}

#[derive(Default)]
pub(crate) struct State {
    allocations: BTreeMap<usize, Allocation>,
    used: HashMap<Device, usize>,
    /// Logarithm of the size, and the root, of each device's domain.
    pub(crate) domains: HashMap<Device, (u32, halo2curves::bn256::Fr)>,
    pub(crate) backend_loaded: bool,
}

pub(crate) fn state() -> MutexGuard<'static, State> {
    static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static CURRENT: Cell<Option<Device>> = const { Cell::new(None) };
}

pub(crate) fn set_current(device: Device) -> Result<(), c_int> {
    if device.index < 0 || device.index >= device.count() {
        return Err(code::INVALID_DEVICE);
    }
    CURRENT.set(Some(device));
    Ok(())
}

/// The device that this thread chose.
pub(crate) fn current() -> Result<Device, c_int> {
    CURRENT.get().ok_or(code::INVALID_DEVICE)
}

fn layout(bytes: usize) -> Result<Layout, c_int> {
    match Layout::from_size_align(bytes, 64) {
        Ok(layout) if bytes > 0 => Ok(layout),
        _ => Err(code::INVALID_ARGUMENT),
    }
}

impl State {
    pub(crate) fn allocate(&mut self, bytes: usize) -> Result<*mut c_void, c_int> {
        let device = current()?;
        let layout = layout(bytes)?;
        let used = self.used.entry(device).or_default();
        if device.total().is_some_and(|total| *used + bytes > total) {
            return Err(code::ALLOCATION_FAILED);
        }
        // SAFETY: `layout` refuses zero bytes.
        let pointer = unsafe { alloc_zeroed(layout) };
        if pointer.is_null() {
            return Err(code::ALLOCATION_FAILED);
        }
        *used += bytes;
        self.allocations
            .insert(pointer as usize, Allocation { bytes, device });
        Ok(pointer.cast())
    }

    pub(crate) fn free(&mut self, pointer: *mut c_void) -> Result<(), c_int> {
        let Some(allocation) = self.allocations.remove(&(pointer as usize)) else {
            return Err(code::INVALID_DEVICE);
        };
        *self.used.entry(allocation.device).or_default() -= allocation.bytes;
        // SAFETY: the pointer came from `alloc_zeroed` with this layout, and was removed so that it is freed once.
        unsafe { dealloc(pointer.cast(), layout(allocation.bytes)?) };
        Ok(())
    }

    /// Total and free bytes of the thread's device.
    pub(crate) fn memory(&self) -> Result<(usize, usize), c_int> {
        let device = current()?;
        let total = device.total().ok_or(code::NOT_IMPLEMENTED)?;
        let used = self.used.get(&device).copied().unwrap_or(0);
        Ok((total, total - used.min(total)))
    }

    /// Checks that `bytes` bytes from `pointer` on are where the caller says: in one allocation of the thread's device,
    /// or outside of every allocation.
    pub(crate) fn check(&self, pointer: *const c_void, bytes: usize, on_device: bool) -> Result<(), c_int> {
        let device = current()?;
        let address = pointer as usize;
        if address == 0 {
            return Err(code::INVALID_POINTER);
        }
        let below = self.allocations.range(..=address).next_back();
        let held = below.filter(|(start, allocation)| address < *start + allocation.bytes);
        match (held, on_device) {
            (None, false) => Ok(()),
            (Some((start, allocation)), true)
                if allocation.device == device && bytes <= start + allocation.bytes - address =>
            {
                Ok(())
            }
            _ => Err(code::INVALID_POINTER),
        }
    }
}
