// sppark's sums of multiples over BN254 for src/device.rs: whole calls, and with what a prover would keep on the device.
// Field elements are in Montgomery form.

#include <cuda.h>

#include <ff/alt_bn128.hpp>
#include <ec/jacobian_t.hpp>
#include <ec/xyzz_t.hpp>

// sppark's templates name these four.
using fp_t = alt_bn128::fp_t;
using scalar_t = alt_bn128::fr_t;
using point_t = jacobian_t<fp_t>;
using bucket_t = xyzz_t<fp_t>;
using affine_t = bucket_t::affine_t;

#include <msm/pippenger.cuh>

namespace {

// Runs what may throw. Nothing may leave for Rust but a code and its message.
template<class Work> RustError::by_value caught(Work work)
{
    try {
        return work();
    } catch (const cuda_error& error) {
        return RustError{error.code(), error.what()};
    } catch (const std::exception& error) {
        return RustError{-1, error.what()};
    }
}

class Kept {
    msm_t<bucket_t, point_t, affine_t, scalar_t> msm;
    dev_ptr_t<scalar_t> scalars;
    size_t n;

public:
    Kept(const affine_t points[], const scalar_t values[], size_t n) : msm(points, n), scalars(n), n(n)
    {
        const gpu_t& gpu = select_gpu();
        gpu.HtoD(scalars.data(), values, n);
        // Sums use other streams than the copies do.
        gpu.sync();
    }

    RustError sum(point_t& out, const scalar_t values[])
    {
        // No points stands for those that are kept.
        const affine_t* points = nullptr;
        return values ? msm.invoke(out, points, n, values) : msm.invoke(out, points, n, scalars);
    }
};

}

extern "C" {

// The name of the GPU that sums run on, which fits into `size` bytes with its zero or is cut.
RustError::by_value sums_device(char* name, size_t size)
{
    return caught([&] {
        snprintf(name, size, "%s", select_gpu().props().name);
        return RustError{cudaSuccess};
    });
}

RustError::by_value sums_whole(point_t* out, const affine_t points[], const scalar_t scalars[], size_t n)
{
    return caught([&] { return mult_pippenger<bucket_t>(out, points, n, scalars); });
}

RustError::by_value sums_keep(Kept** kept, const affine_t points[], const scalar_t scalars[], size_t n)
{
    return caught([&] {
        *kept = new Kept(points, scalars, n);
        return RustError{cudaSuccess};
    });
}

// The sum with these scalars, or with those kept if there are none.
RustError::by_value sums_of_kept(Kept* kept, point_t* out, const scalar_t scalars[])
{
    return caught([&] { return kept->sum(*out, scalars); });
}

void sums_drop(Kept* kept)
{
    delete kept;
}

RustError::by_value sums_pin(const void* start, size_t bytes)
{
    return caught([&] {
        CUDA_OK(cudaHostRegister(const_cast<void*>(start), bytes, cudaHostRegisterDefault));
        return RustError{cudaSuccess};
    });
}

void sums_unpin(const void* start)
{
    (void)cudaHostUnregister(const_cast<void*>(start));
}

}
