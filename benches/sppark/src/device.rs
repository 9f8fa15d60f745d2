//! What sppark does on the first GPU that it sees, behind safe functions. All field elements are in Montgomery form.

use anyhow::{Context, Result, anyhow, ensure};
// Linked for the host's part of sppark's fields.
use blst as _;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};

/// A field element: four limbs, the lowest first.
pub type Element = [u64; 4];

/// A point by its coordinates; two zeros are the identity.
pub type Point = [Element; 2];

/// A point (X/Z^2, Y/Z^3) as (X, Y, Z); Z = 0 is the identity.
pub type Jacobian = [Element; 3];

/// sppark counts in 31 bits.
const N_MAX: usize = 1 << 28;

/// Kept points and scalars, as the C++ side has them.
#[repr(C)]
struct Opaque([u8; 0]);

// The functions of cuda/sums.cu. An error owns its message, and frees it.
unsafe extern "C" {
    fn sums_device(name: *mut c_char, size: usize) -> sppark::Error;
    fn sums_whole(
        out: *mut Jacobian,
        points: *const Point,
        scalars: *const Element,
        n: usize,
    ) -> sppark::Error;
    fn sums_keep(
        kept: *mut *mut Opaque,
        points: *const Point,
        scalars: *const Element,
        n: usize,
    ) -> sppark::Error;
    fn sums_of_kept(kept: *mut Opaque, out: *mut Jacobian, scalars: *const Element) -> sppark::Error;
    fn sums_drop(kept: *mut Opaque);
    fn sums_pin(start: *const c_void, bytes: usize) -> sppark::Error;
    fn sums_unpin(start: *const c_void);
}

fn done(error: sppark::Error) -> Result<()> {
    match error.code {
        0 => Ok(()),
        code => Err(anyhow!("sppark: {error} ({code})")),
    }
}

fn check(points: &[Point], scalars: &[Element]) -> Result<()> {
    let (n, found) = (points.len(), scalars.len());
    ensure!(n == found, "{n} points and {found} scalars");
    ensure!((1..=N_MAX).contains(&n), "{n} points, of 1 to {N_MAX}");
    Ok(())
}

/// The name of the GPU.
///
/// # Errors
/// There is none that sppark can use.
pub fn name() -> Result<String> {
    let mut name: [c_char; 256] = [0; 256];
    // SAFETY: at most that many bytes are written, to an array of this frame.
    done(unsafe { sums_device(name.as_mut_ptr(), name.len()) }).context("no GPU for sppark")?;
    // SAFETY: what was written ends in a zero, as the array did.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}

/// One whole call, with points and scalars of the host.
///
/// # Errors
/// The lengths differ or are out of range; the device fails.
pub fn sum(points: &[Point], scalars: &[Element]) -> Result<Jacobian> {
    check(points, scalars)?;
    let mut sum = Jacobian::default();
    // SAFETY: both slices have the length that is passed, their types the layout of sppark's on the host (8-byte limbs
    // without padding), and nothing of them is used after the call.
    done(unsafe { sums_whole(&mut sum, points.as_ptr(), scalars.as_ptr(), points.len()) })?;
    Ok(sum)
}

/// Points and scalars that are on the device.
pub struct Kept {
    handle: NonNull<Opaque>,
    n: usize,
}

impl Kept {
    /// Puts them there.
    ///
    /// # Errors
    /// The lengths differ or are out of range; the device fails.
    pub fn new(points: &[Point], scalars: &[Element]) -> Result<Self> {
        check(points, scalars)?;
        let (mut handle, n) = (ptr::null_mut(), points.len());
        // SAFETY: as in `sum`; the copies are complete when the call returns.
        done(unsafe { sums_keep(&mut handle, points.as_ptr(), scalars.as_ptr(), n) })?;
        let handle = NonNull::new(handle).context("sppark kept nothing")?;
        Ok(Self { handle, n })
    }

    /// The sum with these scalars of the host, or with those that are kept.
    ///
    /// # Errors
    /// There is another number of scalars than of points; the device fails.
    pub fn sum(&mut self, scalars: Option<&[Element]>) -> Result<Jacobian> {
        let n = scalars.map_or(self.n, <[Element]>::len);
        ensure!(n == self.n, "{} points and {n} scalars", self.n);
        let scalars = scalars.map_or(ptr::null(), <[Element]>::as_ptr);
        let mut sum = Jacobian::default();
        // SAFETY: the handle is from `sums_keep` and not dropped; the scalars are none or as many as points.
        done(unsafe { sums_of_kept(self.handle.as_ptr(), &mut sum, scalars) })?;
        Ok(sum)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the handle is from `sums_keep`, and nobody has it after this.
        unsafe { sums_drop(self.handle.as_ptr()) };
    }
}

/// Keeps the pages of a slice in memory, so that the device copies from them directly.
pub struct Pinned<'a, T>(&'a [T]);

impl<'a, T> Pinned<'a, T> {
    /// Pins them.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(slice: &'a [T]) -> Result<Self> {
        // SAFETY: the range is that of the slice, which outlives its registration.
        done(unsafe { sums_pin(slice.as_ptr().cast(), size_of_val(slice)) })?;
        Ok(Self(slice))
    }
}

impl<T> Drop for Pinned<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `new` registered this address.
        unsafe { sums_unpin(self.0.as_ptr().cast()) };
    }
}
