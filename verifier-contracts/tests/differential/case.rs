//! A verifying key with its contract, a true proof under it, and native verification of any other.

use std::{collections::BTreeMap, sync::Arc};

use accel::CpuDevice;
use alloy::{primitives::U256, sol_types::SolCall};
use circuits::{plonk::Shape, preset::Preset};
use engine::{Engine, EngineOptions, Srs, lagrange_basis};
use halo2_proofs::{
    plonk::{ProvingKey, VerifyingKey, create_proof, keygen_pk2, verify_proof},
    poly::{
        commitment::ParamsProver,
        kzg::{
            commitment::{KZGCommitmentScheme, ParamsKZG},
            multiopen::{ProverSHPLONK, VerifierSHPLONK},
            strategy::SingleStrategy,
        },
    },
    transcript::TranscriptWriterBuffer,
};
use halo2curves::{
    bn256::{Bn256, Fq, Fr, G1Affine},
    ff::{Field, PrimeField},
    group::{Curve, Group, prime::PrimeCurveAffine},
    pairing::{MillerLoopResult, MultiMillerLoop},
};
use keys::VerifyingKeys;
use prover::fixtures;
use rand::{SeedableRng, rngs::StdRng};
use rules::statement::ROOT_INSTANCES;
use snark_verifier_sdk::{NativeLoader, snark_verifier::system::halo2::transcript::evm::EvmTranscript};
use srs::OpeningKey;
use verifier_contracts::{
    generator::{self, Accumulator, GateNames, Key},
    rollup::{IVerifier, from_u256, to_u256},
    solc::Code,
    tools::Tools,
    verifier,
};

use crate::{
    evm,
    random::{RandomCircuit, Source, System},
};

pub struct Case {
    pub name: String,
    pub shape: Shape,
    pub accumulator: Accumulator,
    pub code: Code,
    pub proof: Vec<u8>,
    /// Another true proof of the same, by halo2's own prover.
    pub stock_proof: Option<Vec<u8>>,
    pub instances: Vec<U256>,
    /// Gas of the true proof: nothing costs more.
    pub gas: u64,
    native: Native,
}

/// Who judges natively: the service's own verification of root proofs, or halo2's with every check that the contract makes.
enum Native {
    Root(Arc<VerifyingKeys>),
    Stock(Box<Stock>),
}

struct Stock {
    opening: OpeningKey,
    params: ParamsKZG<Bn256>,
    vk: VerifyingKey<G1Affine>,
}

/// What an answer to `verify` says: one word that is 0 or 1, and nothing else is one.
pub fn accepts(answer: &[u8]) -> Option<bool> {
    let word = U256::from_be_bytes(<[u8; 32]>::try_from(answer).ok()?);
    match word.try_into() {
        Ok(0u8) => Some(false),
        Ok(1u8) => Some(true),
        _ => None,
    }
}

impl Case {
    /// The root proof of preset `tiny`.
    pub fn fixture(tools: &Tools) -> Self {
        let preset = Preset::by_name("tiny").expect("a preset");
        let fixture = fixtures::root_proof(preset).expect("the fixture's proof");
        let keys = fixtures::keys(preset).expect("the fixture's keys");
        let verifying = keys.verifying_keys();
        let accumulator = Accumulator {
            first: 0,
            limb_bits: vec![153, 102],
        };
        let names: Vec<&str> = ROOT_INSTANCES.to_vec();
        let instances = fixture.instances.iter().map(to_u256).collect();
        let key = Key {
            shape: &verifying.aggregation().shape,
            gates: &GateNames::of(keys.aggregation_vk().cs()),
            opening: &verifying.aggregation().opening_key(),
            instances: &names,
            accumulator: &accumulator,
            queue_capacity: preset.queue_capacity() as u64,
        };
        let native = Native::Root(verifying.clone());
        Self::new(tools, "fixture", &key, native, fixture.proof, instances)
    }

    /// A randomly drawn circuit of one phase and one instance column, proven.
    pub fn draw(tools: &Tools, seed: u64, wanted: fn(&System) -> bool) -> Self {
        let accumulator = match seed % 2 {
            0 => Accumulator {
                first: (seed % 3) as usize,
                limb_bits: vec![153, 102],
            },
            _ => Accumulator {
                first: 0,
                limb_bits: vec![88; 3],
            },
        };
        let mut system = (1000 * seed..)
            .map(|seed| System::draw_with_phases(seed, &[1]))
            .find(|system| system.instances.len() == 1 && wanted(system))
            .expect("there are all kinds");
        let params = ParamsKZG::<Bn256>::setup(system.k, StdRng::seed_from_u64(seed));
        let instances = instances(&params, &accumulator, seed);
        system.instances = vec![instances.clone()];
        // What was copied from the instances before is copied from these.
        for (column, row, source) in system.copies.clone() {
            if let Source::Instance(_, from) = source {
                system.inputs[column][row] = system.instances[0][from];
            }
        }
        let circuit = RandomCircuit { system, tamper: None };
        let pk = keygen_pk2(&params, &circuit, circuit.system.compress).expect("keys");
        let proofs =
            [true, false].map(|by_engine| prove(&params, &pk, &circuit, &instances, seed, by_engine));
        let [proof, stock_proof] = proofs;
        let opening = OpeningKey {
            g1: G1Affine::generator(),
            g2: params.g2(),
            s_g2: params.s_g2(),
        };
        let names: Vec<String> = (0..instances.len()).map(|i| format!("instance {i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let words = instances.iter().map(to_u256).collect();
        let shape = Shape::new(pk.get_vk(), names.len());
        let key = Key {
            shape: &shape,
            gates: &GateNames::of(pk.get_vk().cs()),
            opening: &opening,
            instances: &names,
            accumulator: &accumulator,
            queue_capacity: seed,
        };
        let native = Native::Stock(Box::new(Stock {
            opening,
            params,
            vk: pk.get_vk().clone(),
        }));
        let mut case = Self::new(tools, &format!("seed {seed}"), &key, native, proof, words);
        case.stock_proof = Some(stock_proof);
        case
    }

    fn new(
        tools: &Tools,
        name: &str,
        key: &Key<'_>,
        native: Native,
        proof: Vec<u8>,
        instances: Vec<U256>,
    ) -> Self {
        let rendered = generator::render(key, &[]);
        assert_eq!(rendered.proof_bytes, proof.len(), "{name}");
        let code = verifier::compile(tools, rendered).expect("compiles").code;
        let mut case = Self {
            name: name.to_owned(),
            shape: key.shape.clone(),
            accumulator: key.accumulator.clone(),
            code,
            proof,
            stock_proof: None,
            instances,
            gas: 0,
            native,
        };
        case.gas = case.measure(&case.proof, &case.instances).1;
        println!(
            "{}: {} bytes of code, {} gas",
            case.name,
            case.code.runtime.len(),
            case.gas
        );
        case
    }

    /// Whether the contract accepts.
    pub fn call(&self, proof: &[u8], instances: &[U256]) -> bool {
        self.measure(proof, instances).0
    }

    /// Whether the contract accepts, and its gas. It answers a word that is 0 or 1, and nothing else.
    pub fn measure(&self, proof: &[u8], instances: &[U256]) -> (bool, u64) {
        let call = IVerifier::verifyCall {
            proof: proof.to_vec().into(),
            instances: instances.to_vec(),
        };
        let called = evm::call(&self.code.runtime, call.abi_encode());
        let answer = called.returned.expect("it never reverts");
        (accepts(&answer).expect("a word that is 0 or 1"), called.gas)
    }

    /// What the gas of the true proof is for.
    pub fn book(&self) -> BTreeMap<&'static str, u64> {
        let call = IVerifier::verifyCall {
            proof: self.proof.clone().into(),
            instances: self.instances.clone(),
        };
        evm::call(&self.code.runtime, call.abi_encode()).book
    }

    /// Native verification: every element canonical, the accumulator's pairing, halo2's own verifier.
    pub fn native(&self, proof: &[u8], instances: &[U256]) -> bool {
        let Some(instances) = instances.iter().map(from_u256).collect::<Option<Vec<Fr>>>() else {
            return false;
        };
        match &self.native {
            Native::Root(keys) => keys.verify_root(&instances, proof).is_ok(),
            Native::Stock(stock) => self.stock(stock, proof, &instances),
        }
    }

    fn stock(&self, stock: &Stock, proof: &[u8], instances: &[Fr]) -> bool {
        if instances.len() != self.shape.instances || !self.is_canonical(proof) {
            return false;
        }
        let Some([lhs, rhs]) = self.accumulator(instances) else {
            return false;
        };
        let terms = [
            (&lhs, &stock.opening.g2.into()),
            (&rhs, &(-stock.opening.s_g2).into()),
        ];
        let pairs = Bn256::multi_miller_loop(&terms)
            .final_exponentiation()
            .is_identity();
        if !bool::from(pairs) {
            return false;
        }
        let mut transcript = EvmTranscript::<G1Affine, NativeLoader, &[u8], Vec<u8>>::new(proof);
        verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<'_, Bn256>, _, _, _>(
            &stock.params,
            &stock.vk,
            SingleStrategy::new(&stock.params),
            &[&[instances]],
            &mut transcript,
        )
        .is_ok()
    }

    /// Places of the proof's scalars, in words: points come before and after.
    pub fn scalars(&self) -> std::ops::Range<usize> {
        let first = 2 * (self.shape.points.total() - 2);
        first..first + self.shape.scalars
    }

    fn is_canonical(&self, proof: &[u8]) -> bool {
        let scalars = self.scalars();
        if proof.len() != 32 * (scalars.end + 4) {
            return false;
        }
        let words: Vec<U256> = proof.chunks(32).map(U256::from_be_slice).collect();
        let (before, rest) = words.split_at(scalars.start);
        let (values, after) = rest.split_at(scalars.len());
        let points = before.chunks(2).chain(after.chunks(2));
        values.iter().all(|value| from_u256(value).is_some())
            && points.into_iter().all(|p| point(p[0], p[1]).is_some())
    }

    fn accumulator(&self, instances: &[Fr]) -> Option<[G1Affine; 2]> {
        let Accumulator { first, limb_bits } = &self.accumulator;
        let mut coordinates = instances[*first..].chunks(limb_bits.len()).map(|limbs| {
            let (mut value, mut shift) = (U256::ZERO, 0);
            for (limb, bits) in limbs.iter().zip(limb_bits) {
                let limb = to_u256(limb);
                let shifted = limb << shift;
                if limb >> *bits != U256::ZERO || shifted >> shift != limb {
                    return None;
                }
                value += shifted;
                shift += bits;
            }
            Some(value)
        });
        let mut next = || coordinates.next().flatten();
        let lhs = point(next()?, next()?)?;
        let rhs = point(next()?, next()?)?;
        Some([lhs, rhs])
    }
}

/// A proof by our engine, or by halo2.
fn prove(
    params: &ParamsKZG<Bn256>,
    pk: &ProvingKey<G1Affine>,
    circuit: &RandomCircuit,
    instances: &[Fr],
    seed: u64,
    by_engine: bool,
) -> Vec<u8> {
    let mut transcript = EvmTranscript::<G1Affine, NativeLoader, Vec<u8>, Vec<u8>>::init(vec![]);
    let mut rng = StdRng::seed_from_u64(seed);
    if by_engine {
        let lagrange = lagrange_basis(params);
        let srs = Srs {
            powers: params.get_g(),
            lagrange: &lagrange,
        };
        let engine = Engine::new(Arc::new(CpuDevice::new()), srs, pk, EngineOptions::default());
        engine
            .expect("an engine")
            .prove_circuit(circuit, &[instances], &mut rng, &mut transcript, &mut |_| {})
            .expect("a proof");
    } else {
        create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, _, _, _, _>(
            params,
            pk,
            std::slice::from_ref(circuit),
            &[&[instances]],
            rng,
            &mut transcript,
        )
        .expect("a proof");
    }
    transcript.finalize()
}

/// A point of the curve but the identity, from canonical coordinates.
fn point(x: U256, y: U256) -> Option<G1Affine> {
    let coordinate = |of: U256| Option::<Fq>::from(Fq::from_repr(of.to_le_bytes::<32>()));
    let point = Option::<G1Affine>::from(<G1Affine as halo2curves::CurveAffine>::from_xy(
        coordinate(x)?,
        coordinate(y)?,
    ))?;
    (!bool::from(point.is_identity())).then_some(point)
}

/// Instances that hold an accumulator whose pairing holds, and some more.
fn instances(params: &ParamsKZG<Bn256>, accumulator: &Accumulator, seed: u64) -> Vec<Fr> {
    let mut rng = StdRng::seed_from_u64(seed);
    let factor = Fr::random(&mut rng);
    let [lhs, rhs] = [params.get_g()[1], params.get_g()[0]].map(|point| (point * factor).to_affine());
    let mut instances: Vec<Fr> = (0..accumulator.first).map(|_| Fr::random(&mut rng)).collect();
    for coordinate in [lhs.x, lhs.y, rhs.x, rhs.y] {
        let mut rest = U256::from_le_bytes(coordinate.to_repr());
        for bits in &accumulator.limb_bits {
            let limb = rest & ((U256::from(1) << *bits) - U256::from(1));
            instances.push(from_u256(&limb).expect("a limb is short"));
            rest >>= *bits;
        }
    }
    instances.extend((0..3).map(|_| Fr::random(&mut rng)));
    instances
}
