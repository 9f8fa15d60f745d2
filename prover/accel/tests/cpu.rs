//! The CPU device against the suite that every device passes, with each of its arithmetics.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use accel::conformance::{Extent, run};
use accel::{CpuDevice, Device, Direction};
use halo2curves::bn256::Fr;
use halo2curves::ff::PrimeField;

/// Far enough to meet every border between tasks.
const EXTENT: Extent = Extent {
    k_max: 14,
    seed: 1,
    threads: 4,
};

#[test]
fn the_portable_arithmetic_conforms() {
    let device = CpuDevice::portable();
    run(&device, EXTENT).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Where the machine has AVX-512 IFMA this is another path; elsewhere it is the portable one again.
#[test]
fn the_fastest_arithmetic_conforms() {
    let device = CpuDevice::new();
    println!("{}", accel::Device::name(&device));
    run(&device, EXTENT).unwrap_or_else(|failure| panic!("{failure}"));
}

/// More threads than scratch arrays are kept for, and arrays that were used before, which rayon's threads fill together: a
/// thread that waits for the others takes up another transform meanwhile, and must hold nothing that this one needs.
#[test]
fn transforms_of_many_vectors_on_many_threads_end() {
    const N: usize = 1 << 16;
    const VECTORS: usize = 24;
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(16).build();
        pool.expect("threads").install(|| {
            let device = CpuDevice::new();
            let values: Vec<Fr> = (0..N as u64).map(Fr::from).collect();
            let inputs: Vec<_> = (0..VECTORS)
                .map(|_| device.upload(&values).expect("memory"))
                .collect();
            let inputs: Vec<_> = inputs.iter().collect();
            let mut expected = None;
            for _ in 0..20 {
                let mut outputs: Vec<_> = (0..VECTORS).map(|_| device.zeros(N).expect("memory")).collect();
                let mut places: Vec<_> = outputs.iter_mut().collect();
                device
                    .coset_ntt(&inputs, Fr::MULTIPLICATIVE_GENERATOR, &mut places)
                    .expect("transforms");
                device.ntt(&mut places, Direction::Inverse).expect("transforms");
                for output in &outputs {
                    let found = device.download(output).expect("memory");
                    assert_eq!(*expected.get_or_insert_with(|| found.clone()), found);
                }
            }
        });
        done.send(()).expect("somebody waits");
    });
    // Under a second; a thread that never ends says nothing.
    ended
        .recv_timeout(Duration::from_secs(120))
        .expect("the transforms stand still, or failed");
}
