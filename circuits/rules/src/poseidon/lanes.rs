//! Many hashes at once, in a way that the program installs: the rules have no vector instructions of their own.

use super::{hash5, hash8};
use crate::threads;
use halo2curves::bn256::Fr;
use std::sync::OnceLock;
use thiserror::Error;

/// Inputs that a thread takes at once.
const CHUNK: usize = 64;

/// Fewer inputs are hashed one by one, since lanes that are left empty take as long as full ones.
const LANES_MIN: usize = 4;

/// A way to hash many inputs at once on the caller's thread.
pub trait Lanes: Send + Sync {
    /// [`hash8`] of each.
    fn hash8_each(&self, inputs: &[[Fr; 8]]) -> Vec<Fr>;
    /// [`hash5`] of each.
    fn hash5_each(&self, inputs: &[[Fr; 5]]) -> Vec<Fr>;
}

/// Why lanes are not installed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LanesError {
    /// They do not hash as the rules do.
    #[error("{hash} of {inputs} inputs in vector lanes differs from one at a time")]
    Differs {
        /// Which hash.
        hash: &'static str,
        /// How many inputs were hashed.
        inputs: usize,
    },
    /// There are some already.
    #[error("lanes are installed already")]
    Installed,
}

static LANES: OnceLock<Box<dyn Lanes>> = OnceLock::new();

/// Has the process hash many inputs in these lanes from now on, once they were seen to hash some as [`hash8`] and [`hash5`] do.
///
/// # Errors
/// [`LanesError`]: inputs are hashed as before.
pub fn install(lanes: Box<dyn Lanes>) -> Result<(), LanesError> {
    for inputs in [1, CHUNK - 1, CHUNK] {
        check("Poseidon_8", inputs, hash8, |inputs| lanes.hash8_each(inputs))?;
        check("Poseidon_5", inputs, hash5, |inputs| lanes.hash5_each(inputs))?;
    }
    LANES.set(lanes).map_err(|_| LanesError::Installed)
}

fn check<const N: usize>(
    hash: &'static str,
    inputs: usize,
    one: impl Fn(&[Fr; N]) -> Fr,
    many: impl Fn(&[[Fr; N]]) -> Vec<Fr>,
) -> Result<(), LanesError> {
    // The first has zeros alone, and every other the largest element and unlike ones.
    let input = |place: usize| {
        std::array::from_fn(|column| match (place, column % 3) {
            (0, _) => Fr::zero(),
            (_, 0) => -Fr::one(),
            _ => -Fr::from((place * N + column) as u64).square(),
        })
    };
    let sample: Vec<[Fr; N]> = (0..inputs).map(input).collect();
    match many(&sample) == sample.iter().map(one).collect::<Vec<_>>() {
        true => Ok(()),
        false => Err(LanesError::Differs { hash, inputs }),
    }
}

/// The hash of each input: `many` of a few at a time where lanes are installed, else `one` of each.
pub(super) fn each<const N: usize>(
    inputs: &[[Fr; N]],
    one: impl Fn(&[Fr; N]) -> Fr + Sync + Send,
    many: impl Fn(&dyn Lanes, &[[Fr; N]]) -> Vec<Fr> + Sync + Send,
) -> Vec<Fr> {
    let Some(lanes) = LANES.get() else {
        return threads::each(inputs.len(), |place| one(&inputs[place]));
    };
    let chunks: Vec<&[[Fr; N]]> = inputs.chunks(CHUNK).collect();
    let hashes = threads::each(chunks.len(), |place| match chunks[place] {
        few if few.len() < LANES_MIN => few.iter().map(&one).collect(),
        chunk => many(lanes.as_ref(), chunk),
    });
    hashes.concat()
}

#[cfg(test)]
mod tests {
    use super::super::{hash5_each, hash8_each};
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Inputs that lanes were asked to hash.
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    /// Hashes one by one, and the last input wrongly where it is told to.
    struct Plain {
        wrong8: bool,
        wrong5: bool,
    }

    fn hashes<const N: usize>(inputs: &[[Fr; N]], hash: fn(&[Fr; N]) -> Fr, wrong: bool) -> Vec<Fr> {
        ASKED.fetch_add(inputs.len(), Ordering::Relaxed);
        let mut hashes: Vec<Fr> = inputs.iter().map(hash).collect();
        match hashes.last_mut() {
            Some(last) if wrong && inputs.len() > 1 => *last += Fr::one(),
            _ => {}
        }
        hashes
    }

    impl Lanes for Plain {
        fn hash8_each(&self, inputs: &[[Fr; 8]]) -> Vec<Fr> {
            hashes(inputs, hash8, self.wrong8)
        }

        fn hash5_each(&self, inputs: &[[Fr; 5]]) -> Vec<Fr> {
            hashes(inputs, hash5, self.wrong5)
        }
    }

    fn lanes(wrong8: bool, wrong5: bool) -> Box<dyn Lanes> {
        Box::new(Plain { wrong8, wrong5 })
    }

    fn inputs<const N: usize>(count: usize) -> Vec<[Fr; N]> {
        let element = |place: usize, column: usize| Fr::from((place * N + column) as u64);
        (0..count)
            .map(|place| std::array::from_fn(|column| element(place, column)))
            .collect()
    }

    #[test]
    fn lanes_that_hash_as_the_rules_do_are_installed_once_and_others_not() {
        let differs = |hash| {
            Err(LanesError::Differs {
                hash,
                inputs: CHUNK - 1,
            })
        };
        assert_eq!(install(lanes(true, false)), differs("Poseidon_8"));
        assert_eq!(install(lanes(false, true)), differs("Poseidon_5"));
        assert_eq!(install(lanes(false, false)), Ok(()));
        assert_eq!(install(lanes(false, false)), Err(LanesError::Installed));
        for count in [
            0,
            1,
            LANES_MIN - 1,
            LANES_MIN,
            CHUNK,
            CHUNK + 1,
            3 * CHUNK + LANES_MIN,
        ] {
            let (eight, five) = (inputs::<8>(count), inputs::<5>(count));
            let before = ASKED.load(Ordering::Relaxed);
            assert_eq!(hash8_each(&eight), eight.iter().map(hash8).collect::<Vec<_>>());
            assert_eq!(hash5_each(&five), five.iter().map(hash5).collect::<Vec<_>>());
            // Other tests of this process hash too.
            let asked = ASKED.load(Ordering::Relaxed) - before;
            assert!(
                count < LANES_MIN || asked >= 2 * (count - count % CHUNK),
                "{count}: {asked}"
            );
        }
    }
}
