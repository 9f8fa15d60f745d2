//! Division by polynomials of several roots: eight segments of coefficients side by side.

use super::Available;
use super::field::*;
use super::scan::{TERMS_MAX, read, read_across, write, write_across};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

/// Values of the recurrence that are computed before those that the next ones read are moved back to the room's end.
const ROOM: usize = 256;

/// What the tasks of a division share.
pub(in crate::cpu) struct Kernel {
    _available: Available,
    /// The polynomial's factor, in our form.
    factor: [u64; 5],
    /// `-z_0 … -z_{d-1}`, in our form: highest first, the order of the values that they multiply.
    taps: Vec<[u64; 5]>,
    /// Elements of a segment.
    len: usize,
}

impl Kernel {
    /// For segments of `len` elements, not fewer than the divisor's degree, which is below [`TERMS_MAX`].
    pub(in crate::cpu) fn new(available: Available, factor: Fr, divisor: &[Fr], len: usize) -> Self {
        assert!(divisor.len() <= len && divisor.len() < TERMS_MAX);
        let taps = divisor.iter().rev();
        Self {
            _available: available,
            factor: split(own_form(&factor)),
            taps: taps.map(|z| split(own_form(&-z))).collect(),
            len,
        }
    }

    /// The lowest values that eight segments give with zeros above them, by element and segment.
    pub(in crate::cpu) fn states(&self, segments: &[Fr]) -> Vec<[Fr; 8]> {
        assert_eq!(segments.len(), 8 * self.len, "there are eight segments");
        let mut states = vec![[Fr::ZERO; 8]; self.taps.len()];
        // SAFETY: the processor has the kernels' features, as this struct's `Available` shows, and the segments are checked above.
        unsafe { self.run(segments, &mut states, None) };
        states
    }

    /// Adds the quotient's coefficients that stand at eight segments' places to `sum`, given the states above the segments.
    pub(in crate::cpu) fn add(&self, segments: &[Fr], states: &[[Fr; 8]], sum: &mut [Fr]) {
        assert!(segments.len() == 8 * self.len && sum.len() == segments.len());
        assert_eq!(states.len(), self.taps.len(), "a state for each degree");
        let mut states = states.to_vec();
        // SAFETY: as above.
        unsafe { self.run(segments, &mut states, Some(sum)) };
    }

    /// Runs the recurrence down from the given states. Without a `sum` it leaves the lowest ones in their place; with one, it
    /// adds the states and all values but the lowest, which are the states of the segments below.
    #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
    unsafe fn run(&self, segments: &[Fr], states: &mut [[Fr; 8]], sum: Option<&mut [Fr]>) {
        let (len, degree) = (self.len, self.taps.len());
        let sum = sum.map(|sum| sum.as_mut_ptr());
        let mut values = buffer(ROOM + degree);
        let mut at = ROOM;
        for (value, state) in values[ROOM..].iter_mut().zip(&*states) {
            *value = read(state);
        }
        if let Some(sum) = sum {
            for (above, value) in values[ROOM..].iter().enumerate() {
                // SAFETY: a segment has as many elements as the degree at least.
                unsafe { add_across(sum, len, len - degree + above, value) };
            }
        }
        let lowest = if sum.is_some() { degree } else { 0 };
        for i in (lowest..len).rev() {
            if at == 0 {
                values.copy_within(..degree, ROOM);
                at = ROOM;
            }
            // SAFETY: the caller vouches for eight segments.
            let coefficient = unsafe { read_across(segments.as_ptr(), len, 0, i) };
            let mut total = no_columns();
            multiply_add(&mut total, &coefficient, &broadcast(&self.factor));
            // The value that was computed last comes last, so that nothing waits for it long.
            for (value, tap) in values[at..at + degree].iter().zip(&self.taps).rev() {
                multiply_add(&mut total, value, &broadcast(tap));
            }
            at -= 1;
            let value = below_2p::<Scalar>(&tidy(&montgomery::<Scalar>(total)));
            values[at] = value;
            if let Some(sum) = sum {
                // SAFETY: `i` is not below the degree, and the caller vouches for eight segments.
                unsafe { add_across(sum, len, i - degree, &value) };
            }
        }
        if sum.is_none() {
            for (state, value) in states.iter_mut().zip(&values[at..]) {
                write(state, value);
            }
        }
    }
}

/// Adds eight elements to element `at` of eight segments of `len` elements each.
///
/// # Safety
/// All of them are there.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi2")]
unsafe fn add_across(sum: *mut Fr, len: usize, at: usize, value: &Lanes) {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        let total = tidy(&add(&read_across(sum, len, 0, at), value));
        write_across(sum, len, 0, at, &total);
    }
}
