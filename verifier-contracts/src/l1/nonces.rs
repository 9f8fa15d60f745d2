//! Which nonces of an account are in use by this program.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The nonces of transactions that are on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Nonces(Arc<Mutex<BTreeSet<u64>>>);

/// A nonce that nobody else of this program uses while this lives.
#[derive(Debug)]
pub(super) struct Reservation {
    nonces: Nonces,
    nonce: u64,
}

impl Nonces {
    /// The lowest nonce from `least` on that is not reserved. So a nonce that was given up, which would hold up all
    /// that come after it, is used by the next transaction.
    pub fn reserve(&self, least: u64) -> Reservation {
        let mut reserved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nonce = least;
        for taken in reserved.range(least..) {
            if *taken != nonce {
                break;
            }
            // An account has no such nonce: only an endpoint that makes numbers up answers it.
            nonce = nonce.saturating_add(1);
        }
        reserved.insert(nonce);
        Reservation {
            nonces: self.clone(),
            nonce,
        }
    }
}

impl Reservation {
    pub fn nonce(&self) -> u64 {
        self.nonce
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.nonces.0.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.remove(&self.nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_own_and_what_is_given_up_is_filled_first() {
        let nonces = Nonces::default();
        let [first, second, third] = [5, 5, 5].map(|least| nonces.reserve(least));
        assert_eq!([first.nonce(), second.nonce(), third.nonce()], [5, 6, 7]);
        drop(second);
        let again = nonces.reserve(5);
        assert_eq!(again.nonce(), 6);
        // A node that has the first two already.
        assert_eq!(nonces.reserve(7).nonce(), 8);
        assert_eq!(nonces.reserve(20).nonce(), 20);
        drop((first, again, third));
        assert_eq!(nonces.reserve(5).nonce(), 5);
    }
}
