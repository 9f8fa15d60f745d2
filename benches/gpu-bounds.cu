// What bounds a GPU's kernels: how many multiply-adds of 32 by 32 bits into 64 it does in a second, and how many bytes it
// reads and writes. Prints one JSON object. See README.md, "What bounds a GPU's kernels".
//
//   nvcc -O3 -arch=native -o gpu-bounds gpu-bounds.cu && ./gpu-bounds

#include <cstdint>
#include <cstdio>
#include <cstdlib>

static void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "gpu-bounds: %s: %s\n", what, cudaGetErrorString(error));
  exit(1);
}

// Chains that do not wait for each other, so that the multiplier is what is waited for.
constexpr int CHAINS = 8;
constexpr int ROUNDS = 4096;

__global__ void multiply(uint64_t* results, uint32_t factor) {
  uint64_t sums[CHAINS];
  for (int chain = 0; chain < CHAINS; chain++) sums[chain] = threadIdx.x + chain;
  for (int round = 0; round < ROUNDS; round++) {
#pragma unroll
    for (int chain = 0; chain < CHAINS; chain++) {
      // The low half of the sum is the next factor: nothing is known before.
      uint32_t low = static_cast<uint32_t>(sums[chain]);
      asm volatile("mad.wide.u32 %0, %1, %2, %0;" : "+l"(sums[chain]) : "r"(low), "r"(factor));
    }
  }
  uint64_t total = 0;
  for (int chain = 0; chain < CHAINS; chain++) total += sums[chain];
  results[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

// The least time of several runs, in seconds.
template <typename Run> static double least(Run run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  double best = 1e9;
  for (int repeat = 0; repeat < 6; repeat++) {
    check(cudaEventRecord(begin), "record");
    run();
    check(cudaEventRecord(end), "record");
    check(cudaEventSynchronize(end), "run");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "time");
    if (milliseconds * 1e-3 < best) best = milliseconds * 1e-3;
  }
  return best;
}

// What the same chain gives on the host.
static uint64_t expected(uint32_t thread, uint32_t factor) {
  uint64_t total = 0;
  for (int chain = 0; chain < CHAINS; chain++) {
    uint64_t sum = thread + chain;
    for (int round = 0; round < ROUNDS; round++) sum += static_cast<uint64_t>(static_cast<uint32_t>(sum)) * factor;
    total += sum;
  }
  return total;
}

int main() {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "device");
  const int blocks = device.multiProcessorCount * 8, threads = 256;
  uint64_t* results;
  check(cudaMalloc(&results, sizeof(uint64_t) * blocks * threads), "memory");
  const uint32_t factor = 0x9e3779b9;
  const double multiplying = least([&] { multiply<<<blocks, threads>>>(results, factor); });
  uint64_t found = 0;
  check(cudaMemcpy(&found, results + 77, sizeof(found), cudaMemcpyDeviceToHost), "copy");
  if (found != expected(77, factor)) {
    fprintf(stderr, "gpu-bounds: a wrong sum\n");
    return 1;
  }
  const size_t bytes = size_t{4} << 30;
  void *from, *to;
  check(cudaMalloc(&from, bytes), "memory");
  check(cudaMalloc(&to, bytes), "memory");
  check(cudaMemset(from, 1, bytes), "memset");
  const double copying = least([&] { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice), "copy"); });
  printf("{\"device\": \"%s\", \"multiprocessors\": %d, \"multiply_adds_per_s\": %.4g, \"bytes_per_s\": %.4g}\n",
         device.name, device.multiProcessorCount,
         static_cast<double>(blocks) * threads * CHAINS * ROUNDS / multiplying, 2.0 * bytes / copying);
}
