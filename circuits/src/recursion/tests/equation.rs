//! The equation accepts what stock verification accepts, and refuses what it refuses.

use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::{Field, PrimeField},
    group::{Curve, GroupEncoding},
};
use snark_verifier_sdk::{
    PlonkSuccinctVerifier, SHPLONK,
    halo2::{POSEIDON_SPEC, PoseidonTranscript},
    snark_verifier::{
        loader::native::NativeLoader, pcs::kzg::KzgSuccinctVerifyingKey, verifier::SnarkVerifier,
    },
};

use super::children::{instances, prove, verifier};
use crate::{
    aggregation::{
        ChildProof,
        stand_in::{child_verifier, opening_key},
    },
    recursion::{
        Equation, EquationError,
        arithmetic::{Native, Sponge},
    },
    verify::{ShardVerifier, VerifyError, decide},
};

/// Whether the equation holds for children.
fn holds(equation: &Equation, children: &[ChildProof]) -> Result<bool, EquationError> {
    let accumulator = equation.accumulate(children)?;
    Ok(decide(&opening_key(), &accumulator).is_ok())
}

fn stock(verifier: &ShardVerifier, child: &ChildProof) -> Result<(), VerifyError> {
    verifier.verify(&child.instances, &child.proof)
}

/// snark-verifier's accumulator of one child.
fn snark_verifiers(verifier: &ShardVerifier, child: &ChildProof) -> [G1Affine; 2] {
    let mut transcript =
        PoseidonTranscript::<NativeLoader, &[u8]>::from_spec(&child.proof, POSEIDON_SPEC.clone());
    let key = KzgSuccinctVerifyingKey::from(G1Affine::generator());
    let instances = [child.instances.clone()];
    let protocol = verifier.protocol();
    let proof =
        PlonkSuccinctVerifier::<SHPLONK>::read_proof(&key, protocol, &instances, &mut transcript).unwrap();
    let accumulators = PlonkSuccinctVerifier::<SHPLONK>::verify(&key, protocol, &instances, &proof).unwrap();
    [accumulators[0].lhs, accumulators[0].rhs]
}

#[test]
fn the_sponge_is_snark_verifiers() {
    use snark_verifier_sdk::snark_verifier::util::hash::Poseidon;
    let mut native = Native::default();
    let mut ours = Sponge::new(&mut native);
    let mut theirs = Poseidon::<Fr, Fr, 3, 2>::from_spec(&NativeLoader, POSEIDON_SPEC.clone());
    for (round, count) in [0, 1, 2, 3, 4, 7, 0].into_iter().enumerate() {
        let inputs: Vec<Fr> = (0..count).map(|i| Fr::from(1_000 * round as u64 + i)).collect();
        ours.absorb(&inputs);
        theirs.update(&inputs);
        assert_eq!(ours.squeeze(&mut native), theirs.squeeze());
    }
}

#[test]
fn a_valid_child_is_accepted_with_snark_verifiers_accumulator() {
    let equation = Equation::new(verifier());
    for seed in 0..3 {
        let child = prove(&instances(seed));
        assert_eq!(stock(verifier(), &child), Ok(()));
        let accumulator = equation.accumulate(std::slice::from_ref(&child)).unwrap();
        assert_eq!(accumulator, snark_verifiers(verifier(), &child));
        assert_eq!(decide(&opening_key(), &accumulator), Ok(()));
    }
}

/// The key of the other stand-in has no lookup and two opening sets less.
#[test]
fn another_key_is_another_equation() {
    let child = prove(&instances(0));
    let other = Equation::new(child_verifier());
    assert!(matches!(
        holds(&other, &[child]),
        Err(EquationError::Child { child: 0, .. })
    ));
    let placeholder = child_verifier().placeholder();
    let accumulator = other.accumulate(std::slice::from_ref(&placeholder)).unwrap();
    assert_eq!(accumulator, snark_verifiers(child_verifier(), &placeholder));
    assert_ne!(decide(&opening_key(), &accumulator), Ok(()));
}

#[test]
fn a_change_of_any_word_or_instance_is_refused() {
    let equation = Equation::new(verifier());
    let good = prove(&instances(1));
    let words = good.proof.len() / 32;
    let opening = equation.shape.points.total() - 2;
    let scalars = opening..opening + equation.shape.scalars;
    assert_eq!(words, opening + equation.shape.scalars + 2);
    for word in 0..words {
        let mut child = good.clone();
        let bytes: &mut [u8; 32] = (&mut child.proof[32 * word..][..32]).try_into().unwrap();
        if scalars.contains(&word) {
            *bytes = (Fr::from_repr(*bytes).unwrap() + Fr::ONE).to_repr();
        } else {
            let mut repr = <G1Affine as GroupEncoding>::Repr::default();
            repr.as_mut().copy_from_slice(bytes);
            let point = G1Affine::from_bytes(&repr).unwrap() + G1Affine::generator();
            bytes.copy_from_slice(point.to_affine().to_bytes().as_ref());
        }
        assert_eq!(stock(verifier(), &child), Err(VerifyError::Proof), "word {word}");
        assert_eq!(holds(&equation, &[child]), Ok(false), "word {word}");
    }
    for instance in 0..good.instances.len() {
        let mut child = good.clone();
        child.instances[instance] += Fr::ONE;
        assert_eq!(stock(verifier(), &child), Err(VerifyError::Proof));
        assert_eq!(holds(&equation, &[child]), Ok(false), "instance {instance}");
    }
}

#[test]
fn bytes_that_are_no_proof_are_refused_as_stock_refuses_them() {
    let equation = Equation::new(verifier());
    let good = prove(&instances(2));
    let refused = |child: ChildProof| {
        let expected = stock(verifier(), &child).unwrap_err();
        let found = equation.accumulate(&[good.clone(), child]).unwrap_err();
        assert_eq!(
            found,
            EquationError::Child {
                child: 1,
                source: expected
            }
        );
    };
    let changed = |change: &dyn Fn(&mut ChildProof)| {
        let mut child = good.clone();
        change(&mut child);
        child
    };
    refused(changed(&|child| {
        child.instances.pop();
    }));
    refused(changed(&|child| {
        child.proof.pop();
    }));
    refused(changed(&|child| child.proof.push(0)));
    refused(changed(&|child| child.proof[..32].fill(0xff)));
    refused(changed(&|child| child.proof[..32].fill(0)));
    let scalar = 32 * (equation.shape.points.total() - 2);
    refused(changed(&|child| child.proof[scalar..][..32].fill(0xff)));
}

#[test]
fn a_fold_holds_exactly_when_every_child_does() {
    let equation = Equation::new(verifier());
    let good: Vec<ChildProof> = (0..3).map(|seed| prove(&instances(10 + seed))).collect();
    for count in 1..=3 {
        assert_eq!(holds(&equation, &good[..count]), Ok(true));
    }
    for bad in 0..3 {
        let mut children = good.clone();
        children[bad].instances[3] += Fr::ONE;
        assert_eq!(holds(&equation, &children), Ok(false), "child {bad}");
    }
    // Points exchanged between children, and two errors that would cancel without weights.
    let mut children = good.clone();
    let (left, right) = children.split_at_mut(1);
    left[0].proof[..32].swap_with_slice(&mut right[0].proof[..32]);
    assert_eq!(holds(&equation, &children), Ok(false));
    let mut children = good;
    let last = children[0].proof.len() - 32;
    for (child, sign) in [(0, Fr::ONE), (1, -Fr::ONE)] {
        let bytes = &mut children[child].proof[last..];
        let mut repr = <G1Affine as GroupEncoding>::Repr::default();
        repr.as_mut().copy_from_slice(bytes);
        let point = G1Affine::from_bytes(&repr).unwrap() + G1Affine::generator() * sign;
        bytes.copy_from_slice(point.to_affine().to_bytes().as_ref());
    }
    assert_eq!(holds(&equation, &children), Ok(false));
}
