//! Proofs of randomly drawn constraint systems: accepted by halo2's verifier and by snark-verifier's, equal to a plain
//! transcription of the protocol byte by byte, equal to halo2's prover wherever that is deterministic, and never made
//! for a witness that does not satisfy its circuit.

mod failing;
mod plain;
mod random;
#[path = "../../accel/tests/reference/mod.rs"]
#[allow(
    dead_code,
    reason = "its damaged installations are for the device's own tests"
)]
mod reference;

use accel::{CpuDevice, Device, DeviceError, IcicleDevice};
use engine::{
    Engine, EngineError, EngineOptions, MemoryNeed, Phase, Srs, Witness, WitnessError, lagrange_basis,
};
use failing::FailingDevice;
use halo2_proofs::plonk::{ProvingKey, create_proof, keygen_pk2, verify_proof};
use halo2_proofs::poly::commitment::ParamsProver;
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::{ProverSHPLONK, VerifierSHPLONK};
use halo2_proofs::poly::kzg::strategy::SingleStrategy;
use halo2_proofs::transcript::{
    Blake2bRead, Blake2bWrite, Challenge255, EncodedChallenge, Transcript, TranscriptReadBuffer,
    TranscriptWrite, TranscriptWriterBuffer,
};
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use halo2curves::ff::Field;
use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, RngAlgorithm, TestRng, TestRunner};
use rand::SeedableRng;
use rand::rngs::StdRng;
use random::{RandomCircuit, Source, System, Tamper};
use snark_verifier_sdk::halo2::{POSEIDON_SPEC, PoseidonTranscript};
use snark_verifier_sdk::snark_verifier::pcs::kzg::KzgDecidingKey;
use snark_verifier_sdk::snark_verifier::system::halo2::{Config, compile};
use snark_verifier_sdk::snark_verifier::verifier::SnarkVerifier;
use snark_verifier_sdk::{NativeLoader, PlonkVerifier, SHPLONK};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// A circuit with its keys.
struct Case {
    circuit: RandomCircuit,
    params: Rc<ParamsKZG<Bn256>>,
    pk: ProvingKey<G1Affine>,
}

thread_local! {
    static PARAMS: RefCell<HashMap<u32, Rc<ParamsKZG<Bn256>>>> = RefCell::default();
}

fn params(k: u32) -> Rc<ParamsKZG<Bn256>> {
    PARAMS.with_borrow_mut(|known| {
        let made = known
            .entry(k)
            .or_insert_with(|| Rc::new(ParamsKZG::setup(k, StdRng::seed_from_u64(1))));
        made.clone()
    })
}

impl Case {
    fn draw(seed: u64) -> Self {
        Self::new(System::draw(seed))
    }

    /// A system that halo2's own prover can prove: it panics at the end of a third phase.
    fn draw_for_halo2(seed: u64) -> Self {
        Self::new(System::draw_with_phases(seed, &[1, 1, 2]))
    }

    fn new(system: System) -> Self {
        let params = params(system.k);
        let circuit = RandomCircuit { system, tamper: None };
        let pk = keygen_pk2(&*params, &circuit, circuit.system.compress).expect("keys");
        Self { circuit, params, pk }
    }

    fn engine(&self, options: EngineOptions) -> Engine<CpuDevice> {
        self.engine_on(Arc::new(CpuDevice::new()), options)
            .expect("an engine")
    }

    fn engine_on<D: Device>(&self, device: Arc<D>, options: EngineOptions) -> Result<Engine<D>, EngineError> {
        let lagrange = lagrange_basis(&self.params);
        let srs = Srs {
            powers: self.params.get_g(),
            lagrange: &lagrange,
        };
        Engine::new(device, srs, &self.pk, options)
    }

    fn prove<D: Device>(&self, engine: &Engine<D>, circuit: &RandomCircuit) -> Result<Vec<u8>, EngineError> {
        let mut transcript = Blake2bWrite::<_, _, Challenge255<_>>::init(Vec::new());
        let instances = self.circuit.system.instances();
        let mut rng = StdRng::seed_from_u64(7);
        engine.prove_circuit(circuit, &instances, &mut rng, &mut transcript, &mut |_| {})?;
        Ok(transcript.finalize())
    }

    fn accepts(&self, instances: &[&[Fr]], proof: &[u8]) -> bool {
        let mut transcript = Blake2bRead::<_, _, Challenge255<_>>::init(proof);
        let strategy = SingleStrategy::new(&self.params);
        verify_proof::<KZGCommitmentScheme<Bn256>, VerifierSHPLONK<'_, Bn256>, _, _, _>(
            self.params.verifier_params(),
            self.pk.get_vk(),
            strategy,
            &[instances],
            &mut transcript,
        )
        .is_ok()
    }
}

/// Runs a property on seeds from a fixed sequence; a failure prints its seed.
fn for_seeds(cases: u32, property: impl Fn(u64)) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&any::<u64>(), |seed| {
        println!("seed {seed}");
        property(seed);
        Ok(())
    });
    result.expect("the property holds");
}

#[test]
fn proofs_of_random_systems_are_accepted() {
    for_seeds(40, |seed| {
        let case = Case::draw(seed);
        let engine = case.engine(EngineOptions {
            debug: seed % 2 == 0,
            cosets_bytes_max: if seed % 3 == 0 { u64::MAX } else { 0 },
            ..EngineOptions::default()
        });
        let proof = case.prove(&engine, &case.circuit).expect("a proof");
        let instances = case.circuit.system.instances();
        assert!(case.accepts(&instances, &proof));
        let mut flipped = proof.clone();
        let at = seed as usize % proof.len();
        flipped[at] ^= 1;
        assert!(!case.accepts(&instances, &flipped), "byte {at} does not matter");
        if let Some(column) = case
            .circuit
            .system
            .instances
            .iter()
            .position(|column| !column.is_empty())
        {
            let mut wrong = case.circuit.system.instances.clone();
            wrong[column][0] += Fr::ONE;
            let wrong: Vec<&[Fr]> = wrong.iter().map(Vec::as_slice).collect();
            assert!(!case.accepts(&wrong, &proof), "another instance");
        }
    });
}

/// The proof, and the same by the plain transcription.
fn ours_and_plain(case: &Case) -> [Vec<u8>; 2] {
    let engine = case.engine(EngineOptions::default());
    let ours = case.prove(&engine, &case.circuit).expect("a proof");
    let mut transcript = Blake2bWrite::<_, _, Challenge255<_>>::init(Vec::new());
    let instances = case.circuit.system.instances();
    let mut rng = StdRng::seed_from_u64(7);
    plain::prove(
        &case.params,
        &case.pk,
        &case.circuit,
        &instances,
        &mut rng,
        &mut transcript,
    );
    [ours, transcript.finalize()]
}

#[test]
fn proofs_equal_a_plain_transcription_of_the_protocol() {
    for_seeds(16, |seed| {
        let [ours, plain] = ours_and_plain(&Case::draw_for_halo2(seed));
        assert!(ours == plain, "the proofs differ");
    });
}

/// Work is cut into chunks, of 4096 elements where their number is part of the protocol.
#[test]
fn proofs_of_many_rows_equal_the_transcription_too() {
    let seed = (0..).find(|seed| System::draw_with_phases(*seed, &[2]).lookups.len() == 2);
    let mut system = System::draw_with_phases(seed.expect("some system has two lookups"), &[2]);
    system.k = 13;
    let [ours, plain] = ours_and_plain(&Case::new(system));
    assert!(ours == plain, "the proofs differ");
}

#[test]
fn the_memory_budget_does_not_change_the_proof() {
    for_seeds(6, |seed| {
        let case = Case::draw(seed);
        let need: MemoryNeed = MemoryNeed::of(case.pk.get_vk()).expect("a need");
        let all = case.engine(EngineOptions::default());
        let proof = case.prove(&all, &case.circuit).expect("a proof");
        let half = need.cosets / 2;
        for (spare, cosets_bytes_max) in [
            (0, u64::MAX),
            (half, u64::MAX),
            (need.cosets, u64::MAX),
            (need.cosets, half),
        ] {
            let engine = case.engine(EngineOptions {
                memory_bytes_max: Some(need.least() + spare),
                cosets_bytes_max,
                ..EngineOptions::default()
            });
            engine.reserve().expect("memory");
            assert!(case.prove(&engine, &case.circuit).expect("a proof") == proof);
        }
        let lagrange = lagrange_basis(&case.params);
        let (powers, lagrange) = (case.params.get_g(), &lagrange[..]);
        let refused = |srs: Srs<'_>, memory_bytes_max: Option<u64>| {
            let options = EngineOptions {
                memory_bytes_max,
                ..EngineOptions::default()
            };
            Engine::new(Arc::new(CpuDevice::new()), srs, &case.pk, options).err()
        };
        let short = need.least() - 1;
        let error = refused(Srs { powers, lagrange }, Some(short));
        assert!(
            matches!(error, Some(EngineError::Budget { budget, .. }) if budget == short),
            "{error:?}"
        );
        let half = powers.len() / 2;
        for srs in [
            Srs {
                powers: &powers[..half],
                lagrange,
            },
            Srs {
                powers,
                lagrange: &lagrange[..half],
            },
        ] {
            let error = refused(srs, None);
            assert!(
                matches!(error, Some(EngineError::SrsTooSmall { found, expected, .. }) if (found, expected) == (half, 2 * half)),
                "{error:?}"
            );
        }
    });
}

#[test]
fn a_proof_by_icicle_is_that_of_the_cpu() {
    let installation = reference::Installation::new();
    let device = IcicleDevice::open(&installation.config("CPU", 0)).unwrap_or_else(|error| panic!("{error}"));
    let device = Arc::new(device);
    for_seeds(4, |seed| {
        let case = Case::draw(seed);
        let options = EngineOptions {
            debug: true,
            cosets_bytes_max: if seed % 2 == 0 { u64::MAX } else { 0 },
            ..EngineOptions::default()
        };
        let icicle = case.engine_on(device.clone(), options).expect("an engine");
        let proof = case.prove(&icicle, &case.circuit).expect("a proof");
        let cpu = case.engine(EngineOptions::default());
        assert!(
            proof == case.prove(&cpu, &case.circuit).expect("a proof"),
            "the proofs differ"
        );
    });
}

/// A transcript whose challenges are drawn beforehand, and which keeps what is written.
struct Scripted {
    challenges: StdRng,
    points: Vec<G1Affine>,
    scalars: Vec<Fr>,
}

impl Scripted {
    fn new() -> Self {
        Self {
            challenges: StdRng::seed_from_u64(3),
            points: Vec::new(),
            scalars: Vec::new(),
        }
    }
}

#[derive(Clone, Copy)]
struct Drawn(Fr);

impl EncodedChallenge<G1Affine> for Drawn {
    type Input = Fr;

    fn new(input: &Fr) -> Self {
        Self(*input)
    }

    fn get_scalar(&self) -> Fr {
        self.0
    }
}

impl Transcript<G1Affine, Drawn> for Scripted {
    fn squeeze_challenge(&mut self) -> Drawn {
        Drawn(Fr::random(&mut self.challenges))
    }

    fn common_point(&mut self, _: G1Affine) -> io::Result<()> {
        Ok(())
    }

    fn common_scalar(&mut self, _: Fr) -> io::Result<()> {
        Ok(())
    }
}

impl TranscriptWrite<G1Affine, Drawn> for Scripted {
    fn write_point(&mut self, point: G1Affine) -> io::Result<()> {
        self.points.push(point);
        Ok(())
    }

    fn write_scalar(&mut self, scalar: Fr) -> io::Result<()> {
        self.scalars.push(scalar);
        Ok(())
    }
}

/// halo2 draws the random polynomial from a generator of its own, and permutes lookups in an order that differs from run
/// to run. Everything else is a function of challenges and blinding.
#[test]
fn with_the_same_challenges_commitments_and_evaluations_equal_those_of_halo2() {
    for_seeds(20, |seed| {
        let case = Case::draw_for_halo2(seed);
        let instances = case.circuit.system.instances();
        let mut ours = Scripted::new();
        let engine = case.engine(EngineOptions::default());
        engine
            .prove_circuit(
                &case.circuit,
                &instances,
                &mut StdRng::seed_from_u64(9),
                &mut ours,
                &mut |_| {},
            )
            .expect("a proof");
        let mut theirs = Scripted::new();
        create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, _, _, _, _>(
            &*case.params,
            &case.pk,
            std::slice::from_ref(&case.circuit),
            &[&instances],
            StdRng::seed_from_u64(9),
            &mut theirs,
        )
        .expect("a proof");

        let cs = case.pk.get_vk().cs();
        let domain = case.pk.get_vk().get_domain();
        let (advice, lookups) = (cs.num_advice_columns(), cs.lookups().len());
        let products = cs.permutation().get_columns().len().div_ceil(cs.degree() - 2);
        let pieces = domain.quotient_poly_degree as usize;
        let count = advice + 3 * lookups + products + 1 + pieces + 2;
        assert_eq!((ours.points.len(), theirs.points.len()), (count, count));
        let permutation = advice + 2 * lookups..advice + 2 * lookups + products;
        assert_eq!(ours.points[..advice], theirs.points[..advice], "advice");
        assert_eq!(
            ours.points[permutation.clone()],
            theirs.points[permutation],
            "permutation products"
        );
        if lookups == 0 {
            let quotient = advice + products + 1..count - 2;
            assert_eq!(ours.points[quotient.clone()], theirs.points[quotient], "quotient");
        }
        let columns = cs.advice_queries().len() + cs.fixed_queries().len();
        let rest = columns + 1..ours.scalars.len() - 5 * lookups;
        assert_eq!(ours.scalars.len(), theirs.scalars.len());
        assert_eq!(
            ours.scalars[..columns],
            theirs.scalars[..columns],
            "advice and fixed evaluations"
        );
        assert_eq!(
            ours.scalars[rest.clone()],
            theirs.scalars[rest],
            "permutation evaluations"
        );
    });
}

/// An advice cell that a constraint binds, and a fragment of what debug mode says when it changes.
fn bound_cells(system: &System) -> Vec<(Tamper, String)> {
    let add = Fr::from(1_000_003);
    let mut cells = Vec::new();
    for (index, gate) in system.gates.iter().enumerate() {
        if let Some(row) = gate.rows.first() {
            let column = system.output_column(index);
            cells.push((
                Tamper {
                    column,
                    row: *row,
                    add,
                },
                "not satisfied in row".to_owned(),
            ));
        }
    }
    for (index, lookup) in system.lookups.iter().enumerate() {
        if let Some((row, _)) = lookup.uses.first() {
            let column = system.lookup_column(index);
            let text = format!("lookup lookup {index}: the input of row {row} is not in the table");
            cells.push((
                Tamper {
                    column,
                    row: *row,
                    add,
                },
                text,
            ));
        }
    }
    for (column, row, source) in &system.copies {
        cells.push((
            Tamper {
                column: *column,
                row: *row,
                add,
            },
            format!("advice {column} row {row}"),
        ));
        if let Source::Input(column, row) = source {
            // A gate may read this cell too, and is checked first.
            cells.push((
                Tamper {
                    column: *column,
                    row: *row,
                    add,
                },
                String::new(),
            ));
        }
    }
    cells
}

#[test]
fn a_witness_that_does_not_satisfy_the_circuit_has_no_proof_and_debug_mode_says_why() {
    for_seeds(24, |seed| {
        let case = Case::draw(seed);
        let instances = case.circuit.system.instances();
        let plain = case.engine(EngineOptions::default());
        let debug = case.engine(EngineOptions {
            debug: true,
            ..EngineOptions::default()
        });
        for (tamper, expected) in bound_cells(&case.circuit.system) {
            let circuit = RandomCircuit {
                tamper: Some(tamper),
                ..case.circuit.clone()
            };
            if let Ok(proof) = case.prove(&plain, &circuit) {
                assert!(!case.accepts(&instances, &proof), "{tamper:?}");
                panic!("{tamper:?}: a proof that is rejected was made");
            }
            let error = case.prove(&debug, &circuit).expect_err("debug mode").to_string();
            assert!(
                error.contains(&expected),
                "{tamper:?}: {error}, expected {expected}"
            );
        }
    });
}

/// snark-verifier takes the quotient's degree from the expressions, so it rejects all proofs of some systems whose domain
/// is larger, halo2's too.
#[test]
fn snark_verifier_accepts_proofs_as_it_does_those_of_halo2() {
    let accepted = Cell::new(0);
    for_seeds(24, |seed| {
        let case = Case::draw_for_halo2(seed);
        let instances = case.circuit.system.instances();
        let transcript =
            || PoseidonTranscript::<NativeLoader, Vec<u8>>::from_spec(Vec::new(), POSEIDON_SPEC.clone());
        let mut ours = transcript();
        let engine = case.engine(EngineOptions::default());
        engine
            .prove_circuit(
                &case.circuit,
                &instances,
                &mut StdRng::seed_from_u64(5),
                &mut ours,
                &mut |_| {},
            )
            .expect("a proof");
        let mut theirs = transcript();
        create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, _, _, _, _>(
            &*case.params,
            &case.pk,
            std::slice::from_ref(&case.circuit),
            &[&instances],
            StdRng::seed_from_u64(5),
            &mut theirs,
        )
        .expect("a proof");
        let (ours, theirs) = (ours.finalize(), theirs.finalize());

        let lengths = case.circuit.system.instances.iter().map(Vec::len).collect();
        let protocol = compile(
            &*case.params,
            case.pk.get_vk(),
            Config::kzg().with_num_instance(lengths),
        );
        let key: KzgDecidingKey<Bn256> =
            (case.params.get_g()[0], case.params.g2(), case.params.s_g2()).into();
        let accepts = |proof: &[u8]| {
            let mut transcript =
                PoseidonTranscript::<NativeLoader, &[u8]>::from_spec(proof, POSEIDON_SPEC.clone());
            let instances = &case.circuit.system.instances;
            let read = PlonkVerifier::<SHPLONK>::read_proof(&key, &protocol, instances, &mut transcript);
            read.and_then(|read| PlonkVerifier::<SHPLONK>::verify(&key, &protocol, instances, &read))
                .is_ok()
        };
        assert_eq!(accepts(&ours), accepts(&theirs));
        if accepts(&ours) {
            accepted.set(accepted.get() + 1);
            let mut flipped = ours.clone();
            let scalar = ours.len() - 3 * 32;
            flipped[scalar] ^= 1;
            assert!(!accepts(&flipped));
        }
    });
    assert!(
        accepted.get() >= 16,
        "only {} of 24 systems were of use",
        accepted.get()
    );
}

#[test]
fn a_witness_made_beforehand_gives_the_same_proof() {
    for_seeds(6, |seed| {
        let mut system = System::draw(seed);
        system.gates.retain(|gate| gate.phase == 0);
        system
            .lookups
            .iter_mut()
            .for_each(|lookup| lookup.by_challenge = false);
        system.phases = 1;
        let case = Case::new(system);
        let engine = case.engine(EngineOptions::default());
        let expected = case.prove(&engine, &case.circuit).expect("a proof");
        let instances = case.circuit.system.instances();
        let witness = Witness::synthesize(case.pk.get_vk(), &case.circuit, &instances).expect("a witness");
        let mut transcript = Blake2bWrite::<_, _, Challenge255<_>>::init(Vec::new());
        let mut phases = Vec::new();
        let timings = engine
            .prove(
                witness,
                &instances,
                &mut StdRng::seed_from_u64(7),
                &mut transcript,
                &mut |phase| {
                    phases.push(phase);
                },
            )
            .expect("a proof");
        assert!(transcript.finalize() == expected);
        assert_eq!(phases.first(), Some(&Phase::Commitments));
        assert_eq!(phases.last(), Some(&Phase::Opening));
        assert!(timings.total() >= timings.seconds(Phase::Quotient));

        let refuse = |witness: Witness, instances: &[&[Fr]]| {
            let mut transcript = Blake2bWrite::<_, _, Challenge255<_>>::init(Vec::new());
            let mut rng = StdRng::seed_from_u64(7);
            let result = engine.prove(witness, instances, &mut rng, &mut transcript, &mut |_| {});
            result.expect_err("refused")
        };
        let error = refuse(Witness::from_columns(vec![vec![Fr::ONE; 3]]), &instances);
        assert!(
            matches!(error, EngineError::Witness(WitnessError::Shape { .. })),
            "{error}"
        );
        let long = vec![Fr::ONE; 1 << case.circuit.system.k];
        let mut columns: Vec<&[Fr]> = instances.clone();
        columns.push(&long);
        let error = refuse(Witness::from_columns(Vec::new()), &columns);
        assert!(
            matches!(error, EngineError::Instances { .. }),
            "one column too many: {error}"
        );
        if !instances.is_empty() {
            columns.remove(0);
            let error = refuse(Witness::from_columns(Vec::new()), &columns);
            assert!(
                matches!(error, EngineError::Instances { .. }),
                "a column too long: {error}"
            );
        }
    });
}

/// Stock halo2 takes any number, and a value that no constraint reads is part of the proof all the same.
#[test]
fn an_engine_for_a_number_of_instances_refuses_others() {
    let of_one_column = |seed: &u64| System::draw(*seed).instances.len() == 1;
    let seed = (0..).find(of_one_column).expect("some system has one column");
    let mut system = System::draw(seed);
    let count = system.instances[0].len();
    let case = Case::new(system.clone());
    let strict = |count| {
        case.engine(EngineOptions {
            instances: Some(count),
            ..EngineOptions::default()
        })
    };
    case.prove(&strict(count), &case.circuit).expect("a proof");
    for wrong in [count - 1, count + 1] {
        let error = case.prove(&strict(wrong), &case.circuit).unwrap_err();
        assert!(
            matches!(&error, EngineError::Instances { reason } if reason.contains(&format!("takes {wrong}"))),
            "{error}"
        );
    }
    // One that is 0, as all rows without a value are.
    system.instances[0].push(Fr::ZERO);
    let more = Case::new(system);
    assert!(
        more.prove(&more.engine(EngineOptions::default()), &more.circuit)
            .is_ok()
    );
    let error = more.prove(&strict(count), &more.circuit).unwrap_err();
    assert!(matches!(error, EngineError::Instances { .. }), "{error}");
}

#[test]
fn whatever_call_the_device_fails_the_error_is_the_devices_and_the_engine_goes_on() {
    let seed = (0..).find(|seed| System::draw_with_phases(*seed, &[2]).lookups.len() == 2);
    let case = Case::new(System::draw_with_phases(
        seed.expect("some system has two lookups"),
        &[2],
    ));
    let expect_failure = |result: Option<EngineError>, call: usize| {
        assert!(
            matches!(result, Some(EngineError::Device(DeviceError::OutOfMemory { .. }))),
            "call {call}: {result:?}"
        );
    };
    let options = EngineOptions {
        cosets_bytes_max: u64::MAX,
        debug: true,
        ..EngineOptions::default()
    };
    let device = Arc::new(FailingDevice::new());
    let engine = case.engine_on(device.clone(), options).expect("an engine");
    let proof = {
        let setup = device.calls();
        for call in 0..setup {
            device.fail_at(call);
            expect_failure(case.engine_on(device.clone(), options).err(), call);
        }
        device.fail_at(usize::MAX);
        case.prove(&engine, &case.circuit).expect("a proof")
    };
    let calls = device.calls();
    assert!(calls > 50, "only {calls} calls");
    for call in 0..calls {
        device.fail_at(call);
        expect_failure(case.prove(&engine, &case.circuit).err(), call);
    }
    device.fail_at(usize::MAX);
    assert!(case.prove(&engine, &case.circuit).expect("a proof") == proof);
}

#[test]
fn a_circuit_of_several_phases_has_no_witness_beforehand() {
    let seed = (0..)
        .find(|seed| System::draw(*seed).phases == 3)
        .expect("some system has three phases");
    let case = Case::draw(seed);
    let error = Witness::synthesize(case.pk.get_vk(), &case.circuit, &case.circuit.system.instances());
    let error = error.expect_err("three phases");
    assert!(
        matches!(error, EngineError::Witness(WitnessError::Phases { phases: 3 })),
        "{error}"
    );
}
