//! Kernels for processors with AVX-512 IFMA: eight field elements side by side.

pub(super) mod curve;
pub(super) mod field;
pub(super) mod ntt;
pub(super) mod program;
pub(super) mod scan;

/// Whether this processor runs the kernels of this module.
pub(super) fn available() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512ifma")
        && std::is_x86_feature_detected!("avx512vbmi2")
}
