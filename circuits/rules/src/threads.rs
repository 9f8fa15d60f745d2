//! The same work on many things: on all cores with the feature `threads`, else on the caller's thread, one after the other.

#[cfg(feature = "threads")]
use rayon::prelude::*;

/// What `work` makes of each of `0 … count - 1`, in their order.
#[cfg(feature = "threads")]
pub(crate) fn each<R: Send>(count: usize, work: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
    (0..count).into_par_iter().map(work).collect()
}

/// What `work` makes of each of `0 … count - 1`, in their order.
#[cfg(not(feature = "threads"))]
pub(crate) fn each<R: Send>(count: usize, work: impl Fn(usize) -> R + Send + Sync) -> Vec<R> {
    (0..count).map(work).collect()
}

/// What `work` makes of each, in their order.
#[cfg(feature = "threads")]
pub(crate) fn each_of<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    items.into_par_iter().map(work).collect()
}

/// What `work` makes of each, in their order.
#[cfg(not(feature = "threads"))]
pub(crate) fn each_of<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    items.into_iter().map(work).collect()
}
