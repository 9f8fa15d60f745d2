//! Kernels for processors with AVX-512 IFMA: eight field elements side by side.

pub(super) mod curve;
pub(super) mod field;
pub(super) mod ntt;
pub(super) mod program;
pub(super) mod quotients;
pub(super) mod scan;

/// That this processor runs the kernels of this module, which whoever calls one shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Available(());

impl Available {
    /// Asks the processor.
    pub(super) fn detect() -> Option<Self> {
        let available = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512ifma")
            && std::is_x86_feature_detected!("avx512vbmi2");
        available.then_some(Self(()))
    }
}
