//! ICICLE as a device: its v4 libraries for BN254, loaded at run time, with their CPU or CUDA backend.
//!
//! Scalars and bases are canonical on the device: they are converted there when they are uploaded and when they are
//! downloaded. So products are products, and the points' Montgomery flag, which ICICLE's CPU backend ignores, is
//! never set. Transforms use halo2's roots of unity; a coset is reached by multiplying with a table of powers before a
//! plain transform, since ICICLE computes the powers of a coset's generator on one core for each call.
//!
//! A call returns when the device has done what was asked. Within it, element-wise work and transforms only join the
//! device's queue, its default stream, which keeps their order: waiting for each would cost more than most of them take.
//! An exception in ICICLE ends the process (see [`IcicleDevice::open`]), so that proving on a GPU belongs in a process of
//! its own.

mod abi;
mod check;
mod context;
mod driver;
mod error;
mod library;
mod memory;
mod operations;
mod program;
mod report;
mod sums;

pub use error::OpenError;
pub use report::{CudaDriver, Report, doctor};

use crate::{Activity, Device, DeviceError, Direction, Memory, Program, arguments};
use context::{Context, Table};
use halo2curves::bn256::{Fr, G1, G1Affine};
use memory::Buffer;
use std::ffi::{CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which device to open, and how to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcicleConfig {
    /// ICICLE's installation, with its libraries in `lib` and its backends in `lib/backend`.
    pub directory: PathBuf,
    /// ICICLE's name of the type of device: `CPU` or `CUDA`.
    pub kind: String,
    /// Which device of that type, from 0.
    pub index: u32,
    /// Transforms have at most `2^domain_k` elements; the device keeps at least `2^domain_k` scalars for them. 1 to 28.
    pub domain_k: u32,
    /// Bytes of device memory that are left to ICICLE's own needs: an allocation that would leave less is refused.
    pub reserve_bytes: u64,
    /// Scalars that sums over the same bases may put together into one call. Longer ones go alone.
    pub batch_scalars_max: usize,
    /// Elements of which the intermediate results of a program are held at a time.
    pub block_elements: usize,
    /// The NVIDIA driver's library.
    pub driver: PathBuf,
}

impl IcicleConfig {
    /// A device with settings that fit most: transforms of up to 2^24 elements and 1 GiB left to ICICLE on a GPU, of
    /// up to 2^20 elements elsewhere.
    ///
    /// The directory is `directory`, else what `ICICLE_BACKEND_INSTALL_DIR` says, else `/opt/icicle`. What is empty says
    /// nothing: taken for a path, it would have the libraries of the current folder run.
    pub fn new(directory: Option<&Path>, kind: &str, index: u32) -> Self {
        let variable = std::env::var_os("ICICLE_BACKEND_INSTALL_DIR");
        Self {
            directory: installation(directory, variable.as_deref()),
            kind: kind.to_string(),
            index,
            // ICICLE's CPU backend keeps a hash map of all the domain's powers.
            domain_k: if kind == CUDA { 24 } else { 20 },
            reserve_bytes: if kind == CUDA { 1 << 30 } else { 0 },
            batch_scalars_max: if kind == CUDA { 1 << 24 } else { 1 << 22 },
            block_elements: 1 << 18,
            driver: PathBuf::from("libcuda.so.1"),
        }
    }

    fn check(&self) -> Result<(), OpenError> {
        let within = |fits, setting, found, allowed| {
            if fits {
                return Ok(());
            }
            Err(OpenError::Setting {
                setting,
                found,
                allowed,
            })
        };
        let name = self.kind.as_bytes();
        let named = (1..64).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
        within(
            named,
            "kind",
            self.kind.clone(),
            "1 to 63 visible ASCII characters",
        )?;
        let indexed = i32::try_from(self.index).is_ok();
        within(indexed, "index", self.index.to_string(), "0 to 2^31 - 1")?;
        let k = self.domain_k;
        within((1..=28).contains(&k), "domain_k", k.to_string(), "1 to 28")?;
        let block = self.block_elements;
        within(block > 0, "block_elements", block.to_string(), "1 and more")
    }
}

/// Where ICICLE is looked for.
fn installation(directory: Option<&Path>, variable: Option<&OsStr>) -> PathBuf {
    let named = [directory, variable.map(Path::new)];
    let named = named
        .into_iter()
        .flatten()
        .find(|path| !path.as_os_str().is_empty());
    named.unwrap_or(Path::new("/opt/icicle")).to_path_buf()
}

/// GPUs that the NVIDIA driver sees, whether or not ICICLE can use them; none where there is no driver that answers.
pub fn gpus(config: &IcicleConfig) -> Option<u32> {
    driver::preflight(&config.driver)
        .ok()
        .map(|driver| driver.devices)
}

const CPU: &str = "CPU";
const CUDA: &str = "CUDA";

/// A type of device that a loaded installation has.
struct Installed {
    library: &'static library::Library,
    kind: String,
}

impl Installed {
    /// Loads the libraries, and the backend where the type needs one.
    fn load(config: &IcicleConfig) -> Result<Self, OpenError> {
        config.check()?;
        let installed = Self {
            library: library::Library::load(&config.directory)?,
            kind: config.kind.clone(),
        };
        if config.kind == CUDA {
            driver::preflight(&config.driver)?;
            if !installed.available() {
                installed.load_backends();
            }
        }
        if installed.available() {
            return Ok(installed);
        }
        Err(OpenError::NoSuchType {
            available: installed.kinds().unwrap_or_default(),
            backends: installed.library.backends(),
            kind: installed.kind,
        })
    }

    fn id(&self, index: u32) -> abi::DeviceId {
        let mut kind = [0; 64];
        // The configuration's check leaves room for the end of the string.
        for (to, from) in kind.iter_mut().zip(self.kind.bytes().take(63)) {
            *to = from as c_char;
        }
        abi::DeviceId {
            kind,
            index: i32::try_from(index).unwrap_or(i32::MAX),
        }
    }

    fn available(&self) -> bool {
        let id = self.id(0);
        // SAFETY: `id` is a live struct with a terminated name.
        unsafe { (self.library.functions.is_device_available)(&raw const id) == 0 }
    }

    fn load_backends(&self) {
        let backends = self.library.backends();
        let Ok(path) = CString::new(backends.as_os_str().as_bytes()) else {
            return;
        };
        // Its answer is success even where nothing is there; whether a device came with it is asked next.
        // SAFETY: `path` is a C string; the driver was looked at, so that the backend's initialisers find it.
        unsafe { (self.library.functions.load_backend)(path.as_ptr(), true) };
    }

    /// The types that there are, separated by commas.
    fn kinds(&self) -> Result<String, DeviceError> {
        let mut names = [0u8; 1024];
        let room = names.len() - 1;
        // SAFETY: the buffer has more than `room` bytes, so that the text ends in it.
        let code = unsafe { (self.library.functions.registered_devices)(names.as_mut_ptr().cast(), room) };
        if code != 0 {
            return Err(DeviceError::Failed {
                operation: "registered_devices",
                reason: format!("ICICLE gives {code} ({})", abi::code_name(code)),
            });
        }
        let text = names.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Number of devices of the type.
    fn count(&self) -> Result<u32, DeviceError> {
        let (id, mut count) = (self.id(0), 0);
        // SAFETY: `id` is a device type that is available; ICICLE counts the devices of the thread's type.
        let code = unsafe { (self.library.functions.set_device)(&raw const id) };
        let code = match code {
            // SAFETY: the pointer is to a live integer.
            0 => unsafe { (self.library.functions.device_count)(&raw mut count) },
            code => code,
        };
        match u32::try_from(count) {
            Ok(count) if code == 0 => Ok(count),
            _ => Err(DeviceError::Failed {
                operation: "device_count",
                reason: format!("ICICLE gives {code} ({}), count {count}", abi::code_name(code)),
            }),
        }
    }
}

/// A device that ICICLE drives. Vectors and bases keep it open.
pub struct IcicleDevice {
    context: Arc<Context>,
    name: String,
    host_memory: bool,
    block_elements: usize,
}

/// Canonical scalars on an ICICLE device.
pub struct IcicleVector {
    context: Arc<Context>,
    /// There unless the vector is empty.
    buffer: Option<Buffer>,
    len: usize,
}

/// Canonical points on an ICICLE device, each followed by its precomputed multiples.
pub struct IcicleBases {
    context: Arc<Context>,
    buffer: Option<Buffer>,
    len: usize,
    table: Table,
    mask: Option<Box<sums::Mask>>,
}

impl IcicleVector {
    fn new(context: &Arc<Context>, operation: &'static str, len: usize) -> Result<Self, DeviceError> {
        let bytes = operations::bytes(operation, len, abi::SCALAR_BYTES)?;
        let buffer = match len {
            0 => None,
            _ => Some(context.allocate(operation, bytes)?),
        };
        Ok(Self {
            context: context.clone(),
            buffer,
            len,
        })
    }

    /// The memory of a vector that is not empty.
    fn memory(&self) -> &Buffer {
        self.buffer.as_ref().expect("only empty vectors have none")
    }
}

/// The vectors' numbers of elements.
fn lengths(vectors: &[&IcicleVector]) -> impl ExactSizeIterator<Item = usize> {
    vectors.iter().map(|vector| vector.len)
}

impl IcicleDevice {
    /// Loads ICICLE and its backend, opens the device, makes the NTT domain, and compares one MSM and one transform in
    /// each direction with the CPU's.
    ///
    /// # Errors
    /// Each reason has its own [`OpenError`]. Where ICICLE throws (a CUDA fault that cannot be recovered from, a lack
    /// of memory in the middle of an operation), the process ends instead.
    pub fn open(config: &IcicleConfig) -> Result<Self, OpenError> {
        let installed = Installed::load(config)?;
        let count = installed.count()?;
        if config.index >= count {
            return Err(OpenError::NoSuchDevice {
                kind: installed.kind,
                index: config.index,
                count,
            });
        }
        let context = Context::open(&installed, config)?;
        let device = Self {
            context,
            name: format!("icicle {}:{}", config.kind, config.index),
            host_memory: config.kind == CPU,
            block_elements: config.block_elements,
        };
        check::check(&device)?;
        Ok(device)
    }

    fn own(&self, operation: &'static str, vectors: &[&IcicleVector]) -> Result<(), DeviceError> {
        let foreign = vectors
            .iter()
            .position(|vector| !Arc::ptr_eq(&vector.context, &self.context));
        match foreign {
            None => Ok(()),
            Some(at) => Err(arguments::invalid(
                operation,
                format!("vector {at} is of another device"),
            )),
        }
    }
}

impl Device for IcicleDevice {
    type Vector = IcicleVector;
    type Bases = IcicleBases;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn memory(&self) -> Result<Memory, DeviceError> {
        match self.context.memory()? {
            Some(memory) => Ok(memory),
            // ICICLE's CPU backend does not tell, but works in the host's memory.
            None if self.host_memory => crate::CpuDevice::new().memory(),
            None => Err(DeviceError::Failed {
                operation: "memory",
                reason: "ICICLE's backend cannot tell".to_string(),
            }),
        }
    }

    fn activity(&self) -> Option<Activity> {
        Some(self.context.activity())
    }

    fn len(&self, vector: &IcicleVector) -> usize {
        vector.len
    }

    fn upload(&self, values: &[Fr]) -> Result<IcicleVector, DeviceError> {
        let vector = IcicleVector::new(&self.context, "upload", values.len())?;
        if let Some(buffer) = &vector.buffer {
            self.context
                .upload("upload", values, buffer.span(0, values.len()))?;
            self.context.finish("upload")?;
        }
        Ok(vector)
    }

    fn download(&self, vector: &IcicleVector) -> Result<Vec<Fr>, DeviceError> {
        self.own("download", &[vector])?;
        operations::download(&self.context, "download", vector, 0..vector.len)
    }

    fn read(&self, vector: &IcicleVector, at: usize, count: usize) -> Result<Vec<Fr>, DeviceError> {
        self.own("read", &[vector])?;
        let range = arguments::range("read", at, count, vector.len)?;
        operations::download(&self.context, "read", vector, range)
    }

    fn write(&self, vector: &mut IcicleVector, at: usize, values: &[Fr]) -> Result<(), DeviceError> {
        self.own("write", &[vector])?;
        let range = arguments::range("write", at, values.len(), vector.len)?;
        if range.is_empty() {
            return Ok(());
        }
        let span = vector.memory().span(range.start, range.len());
        self.context.upload("write", values, span)?;
        self.context.finish("write")
    }

    fn zeros(&self, n: usize) -> Result<IcicleVector, DeviceError> {
        let vector = IcicleVector::new(&self.context, "zeros", n)?;
        if let Some(buffer) = &vector.buffer {
            self.context.clear("zeros", buffer.span(0, n))?;
        }
        Ok(vector)
    }

    fn duplicate(&self, vector: &IcicleVector) -> Result<IcicleVector, DeviceError> {
        self.own("duplicate", &[vector])?;
        let copy = IcicleVector::new(&self.context, "duplicate", vector.len)?;
        if let (Some(from), Some(to)) = (&vector.buffer, &copy.buffer) {
            let (from, to) = (from.span(0, vector.len), to.span(0, vector.len));
            self.context.copy("duplicate", from, to)?;
        }
        Ok(copy)
    }

    fn bases(&self, points: &[G1Affine], table_bytes_max: u64) -> Result<IcicleBases, DeviceError> {
        sums::bases(&self.context, points, table_bytes_max)
    }

    fn msm(&self, bases: &IcicleBases, scalars: &[&IcicleVector]) -> Result<Vec<G1>, DeviceError> {
        self.own("msm", scalars)?;
        if !Arc::ptr_eq(&bases.context, &self.context) {
            return Err(arguments::invalid(
                "msm",
                "the bases are of another device".to_string(),
            ));
        }
        arguments::msm(lengths(scalars), bases.len)?;
        sums::msm(&self.context, bases, scalars)
    }

    fn ntt(&self, vectors: &mut [&mut IcicleVector], direction: Direction) -> Result<(), DeviceError> {
        let vectors: Vec<&IcicleVector> = vectors.iter().map(|vector| &**vector).collect();
        self.own("ntt", &vectors)?;
        arguments::ntt(lengths(&vectors), self.context.domain_k())?;
        // One element is its own transform.
        let vectors = vectors.iter().filter(|vector| vector.len > 1);
        vectors.into_iter().try_for_each(|vector| {
            self.context.make_room("ntt", vector.len)?;
            self.context.ntt(vector.memory().span(0, vector.len), direction)
        })?;
        self.context.finish("ntt")
    }

    /// The powers of the shift come from the device, which has them sooner than the host would send them.
    fn coset_ntt(
        &self,
        inputs: &[&IcicleVector],
        shift: Fr,
        outputs: &mut [&mut IcicleVector],
    ) -> Result<(), DeviceError> {
        let outputs: Vec<&IcicleVector> = outputs.iter().map(|output| &**output).collect();
        self.own("coset_ntt", inputs)?;
        self.own("coset_ntt", &outputs)?;
        let (from, to) = (lengths(inputs), lengths(&outputs));
        arguments::coset_ntt(from, to, self.context.domain_k())?;
        operations::coset_ntt(&self.context, inputs, shift, &outputs)
    }

    fn run(
        &self,
        program: &Program,
        inputs: &[&IcicleVector],
        constants: &[Fr],
        outputs: &mut [&mut IcicleVector],
    ) -> Result<(), DeviceError> {
        let outputs: Vec<&IcicleVector> = outputs.iter().map(|output| &**output).collect();
        self.own("run", inputs)?;
        self.own("run", &outputs)?;
        arguments::run(program, lengths(inputs), constants.len(), lengths(&outputs))?;
        if outputs.first().is_none_or(|output| output.len == 0) {
            return Ok(());
        }
        program::run(
            &self.context,
            program,
            inputs,
            constants,
            &outputs,
            self.block_elements,
        )
    }

    /// By a tree of products, since ICICLE inverts each element by itself.
    fn invert(&self, vector: &mut IcicleVector) -> Result<(), DeviceError> {
        self.own("invert", &[vector])?;
        operations::invert(&self.context, vector)
    }

    /// On the device, by `log2(n)` products of the vector with itself moved, in memory for a second vector.
    fn running_product(&self, vector: &mut IcicleVector, first: Fr) -> Result<(), DeviceError> {
        self.own("running_product", &[vector])?;
        operations::running_product(&self.context, vector, first)
    }

    /// On the device, by adding the upper half to the lower until little is left.
    fn evaluate(&self, polynomials: &[&IcicleVector], points: &[Fr]) -> Result<Vec<Fr>, DeviceError> {
        self.own("evaluate", polynomials)?;
        arguments::points("evaluate", polynomials.len(), points.len())?;
        operations::evaluate(&self.context, polynomials, points)
    }

    /// On the device, by `log2(n)` sums of the vector with itself moved.
    fn divide(&self, polynomials: &mut [&mut IcicleVector], points: &[Fr]) -> Result<(), DeviceError> {
        let own: Vec<&IcicleVector> = polynomials.iter().map(|polynomial| &**polynomial).collect();
        self.own("divide", &own)?;
        arguments::points("divide", polynomials.len(), points.len())?;
        let mut pairs = polynomials.iter_mut().zip(points);
        pairs.try_for_each(|(polynomial, point)| operations::divide(&self.context, polynomial, *point))
    }

    fn combine(
        &self,
        vectors: &[&IcicleVector],
        factors: &[Fr],
        n: usize,
    ) -> Result<IcicleVector, DeviceError> {
        self.own("combine", vectors)?;
        arguments::combine(lengths(vectors), factors.len(), n)?;
        let sum = self.zeros(n)?;
        operations::combine(&self.context, vectors, factors, &sum)?;
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_names_no_installation() {
        let empty = Some(Path::new(""));
        let found = |directory, variable: Option<&str>| installation(directory, variable.map(OsStr::new));
        assert_eq!(found(None, None), Path::new("/opt/icicle"));
        assert_eq!(found(None, Some("")), Path::new("/opt/icicle"));
        assert_eq!(found(empty, Some("")), Path::new("/opt/icicle"));
        assert_eq!(found(empty, Some("a")), Path::new("a"));
        assert_eq!(found(Some(Path::new("b")), Some("a")), Path::new("b"));
    }
}
