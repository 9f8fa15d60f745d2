//! Hashes of many inputs at once are those of the rules.

use accel::CpuDevice;
use halo2curves::ff::Field;
use prover::hashing::{Lanes, install};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rules::Fr;
use rules::poseidon::lanes::{Lanes as _, LanesError};
use rules::poseidon::{hash5, hash8, hash8_each};

/// Random elements, and such as are at an edge: 0, 1, the largest, and powers of two where limbs meet.
fn element(rng: &mut StdRng) -> Fr {
    match rng.gen_range(0..8) {
        0 => Fr::zero(),
        1 => Fr::one(),
        2 => -Fr::one(),
        3 => Fr::from(2).pow([rng.gen_range(0..254)]),
        4 => -Fr::from(2).pow([rng.gen_range(0..254)]),
        _ => Fr::random(rng),
    }
}

fn inputs<const N: usize>(rng: &mut StdRng, count: usize) -> Vec<[Fr; N]> {
    let mut inputs: Vec<_> = (0..count)
        .map(|_| std::array::from_fn(|_| element(rng)))
        .collect();
    inputs.extend([[Fr::zero(); N], [-Fr::one(); N]]);
    inputs
}

#[test]
fn hashes_of_many_are_the_rules_with_lanes_and_without() {
    for device in [CpuDevice::new(), CpuDevice::portable()] {
        let lanes = Lanes::new(&device);
        let mut rng = StdRng::seed_from_u64(11);
        for count in [0, 1, 13, 14, 15, 62, 63, 500] {
            let (eight, five) = (inputs::<8>(&mut rng, count), inputs::<5>(&mut rng, count));
            assert_eq!(
                lanes.hash8_each(&eight),
                eight.iter().map(hash8).collect::<Vec<_>>()
            );
            assert_eq!(
                lanes.hash5_each(&five),
                five.iter().map(hash5).collect::<Vec<_>>()
            );
        }
        assert_eq!(lanes.hash8_each(&[]), []);
    }
}

#[test]
fn lanes_are_installed_where_the_processor_has_them_and_once() {
    let has = CpuDevice::new().has_lanes();
    assert_eq!(install(), Ok(has));
    let again = if has {
        Err(LanesError::Installed)
    } else {
        Ok(false)
    };
    assert_eq!(install(), again);
    let inputs = inputs::<8>(&mut StdRng::seed_from_u64(12), 300);
    assert_eq!(hash8_each(&inputs), inputs.iter().map(hash8).collect::<Vec<_>>());
}
