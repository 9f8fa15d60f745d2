//! Keys of another constraint system than those that new batches get: real proofs, verified by the keys' files alone.

use std::fs;

use ::keys::{
    AGGREGATION_KEY_FILE, MANIFEST_FILE, SHARD_KEY_FILE, VerifyingKeys, VerifyingKeysError, generate,
};
use circuits::{
    plonk::{Transcript, VerifyingKey},
    preset::TINY,
};
use halo2_proofs::{
    circuit::{Layouter, SimpleFloorPlanner, Value},
    plonk::{
        Advice, Circuit as Halo2Circuit, Column, ConstraintSystem, Error as Halo2Error, Instance, ProvingKey,
        Selector,
    },
    poly::{Rotation, commitment::ParamsProver as _},
};
use halo2curves::{
    bn256::{Fq, G1Affine},
    ff::{Field as _, PrimeField as _},
};
use rules::statement::{ROOT_INSTANCES, SHARD_INSTANCE_NAMES};
use snark_verifier_sdk::{evm::gen_evm_proof_shplonk, halo2::gen_proof_shplonk};
use srs::{Srs, development};

use super::{operator::proof, *};
use crate::{
    keyring::{Keys, KeysError},
    verifier::KeyVerifier,
};

const K: u32 = 7;

/// Any instances: each is an advice cell, whose power is another. The power makes it another constraint system.
#[derive(Clone)]
struct Powers<const POWER: usize>(Vec<Fr>);

#[derive(Clone)]
struct PowersConfig {
    advice: [Column<Advice>; 2],
    instance: Column<Instance>,
    selector: Selector,
}

impl<const POWER: usize> Halo2Circuit<Fr> for Powers<POWER> {
    type Config = PowersConfig;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = ();

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn configure(meta: &mut ConstraintSystem<Fr>) -> PowersConfig {
        let advice = [meta.advice_column(), meta.advice_column()];
        let (instance, selector) = (meta.instance_column(), meta.selector());
        meta.enable_equality(advice[0]);
        meta.enable_equality(instance);
        meta.create_gate("power", |cells| {
            let [a, b] = advice.map(|column| cells.query_advice(column, Rotation::cur()));
            let power = (1..POWER).fold(a.clone(), |power, _| power * a.clone());
            vec![cells.query_selector(selector) * (power - b)]
        });
        PowersConfig {
            advice,
            instance,
            selector,
        }
    }

    fn synthesize(&self, config: PowersConfig, mut layouter: impl Layouter<Fr>) -> Result<(), Halo2Error> {
        let cells = layouter.assign_region(
            || "powers",
            |mut region| {
                let cells = self.0.iter().enumerate().map(|(row, value)| {
                    config.selector.enable(&mut region, row)?;
                    let power = Value::known(value.pow_vartime([POWER as u64]));
                    region.assign_advice(config.advice[1], row, power);
                    Ok(region
                        .assign_advice(config.advice[0], row, Value::known(*value))
                        .cell())
                });
                cells.collect::<Result<Vec<_>, Halo2Error>>()
            },
        )?;
        for (row, cell) in cells.into_iter().enumerate() {
            layouter.constrain_instance(cell, config.instance, row);
        }
        Ok(())
    }
}

/// Proves for a version whose circuits are `Powers<POWER>`.
struct Prover<const POWER: usize> {
    srs: Srs,
    shard: ProvingKey<G1Affine>,
    aggregation: ProvingKey<G1Affine>,
}

impl<const POWER: usize> Prover<POWER> {
    fn new() -> Self {
        let srs = development(K, true, &|_| ()).expect("it is allowed");
        let key = |instances: usize| {
            let circuit = Powers::<POWER>(vec![Fr::zero(); instances]);
            generate(&srs.params, &circuit, "powers", true).expect("it fits")
        };
        let (shard, aggregation) = (key(SHARD_INSTANCE_NAMES.len()), key(ROOT_INSTANCES.len()));
        Self {
            srs,
            shard,
            aggregation,
        }
    }

    /// Writes a folder of verifying keys, as another version of the program would.
    fn export(&self, folder: &Path, preset: &str) {
        let opening = self.srs.opening_key();
        let keys = [
            (
                &self.shard,
                SHARD_INSTANCE_NAMES.len(),
                Transcript::Poseidon,
                SHARD_KEY_FILE,
            ),
            (
                &self.aggregation,
                ROOT_INSTANCES.len(),
                Transcript::Evm,
                AGGREGATION_KEY_FILE,
            ),
        ];
        let [shard, aggregation] = keys.map(|(pk, instances, transcript, file)| {
            let key = VerifyingKey::new(pk.get_vk(), instances, transcript, &opening);
            fs::write(folder.join(file), key.to_bytes()).expect("it is written");
            key
        });
        let manifest = Manifest {
            preset: preset.into(),
            shard_k: TINY.shard.k,
            shard_places: TINY.shard.shape.places,
            shard_rooms: TINY.shard.shape.rooms,
            children: TINY.children,
            srs_digest: self.srs.id.digest,
            shard_vk_digest: shard.transcript_digest(),
            aggregation_vk_digest: aggregation.transcript_digest(),
            shard_verifying_key_digest: shard.digest(),
            aggregation_verifying_key_digest: aggregation.digest(),
            ..manifest()
        };
        let json = serde_json::to_vec(&manifest).expect("plain data");
        fs::write(folder.join(MANIFEST_FILE), json).expect("it is written");
    }

    fn prove(&self, lease: &Leased) -> v1::Complete {
        let (proof, accumulator) = match lease.task.kind() {
            v1::TaskKind::Shard => {
                let input = ShardInput::from_bytes(&lease.payload).expect("a shard's input");
                let instances = input.instances();
                let circuit = Powers::<POWER>(instances.clone());
                let proof = gen_proof_shplonk(&self.srs.params, &self.shard, circuit, vec![instances], None);
                (proof, vec![])
            }
            _ => {
                let input = AggregationInput::from_bytes(&lease.payload).expect("an aggregation's input");
                let children: Vec<&[Fr]> = input.children.iter().map(|child| &child.instances[..]).collect();
                let stated = root_statement(&children, TINY.children).expect("the shards chain");
                let limbs = self.accumulator();
                let instances: Vec<Fr> = limbs.iter().copied().chain(stated.to_instances()).collect();
                let circuit = Powers::<POWER>(instances.clone());
                let proof =
                    gen_evm_proof_shplonk(&self.srs.params, &self.aggregation, circuit, vec![instances]);
                let limbs = limbs.iter().map(|limb| field::to_be(limb).to_vec().into());
                (proof, limbs.collect())
            }
        };
        v1::Complete {
            task_id: lease.task.task_id.clone(),
            fence: lease.task.fence,
            proof: proof.into(),
            accumulator,
            prove_ms: 1,
        }
    }

    /// The limbs of `(s·G, G)`, whose pairing holds.
    fn accumulator(&self) -> Vec<Fr> {
        let [g, s_g] = [0, 1].map(|power| self.srs.params.get_g()[power]);
        let limbs = |coordinate: Fq| {
            let bytes = coordinate.to_repr();
            // 153 bits: 19 bytes and a bit.
            let [mut low, mut high] = [[0; 32]; 2];
            low[..20].copy_from_slice(&bytes[..20]);
            low[19] &= 1;
            for at in 19..32 {
                high[at - 19] = bytes[at] >> 1 | bytes.get(at + 1).map_or(0, |next| next << 7);
            }
            [low, high].map(|limb| Fr::from_repr(limb).expect("fewer bits than r"))
        };
        [s_g.x, s_g.y, g.x, g.y].into_iter().flat_map(limbs).collect()
    }

    async fn join(&self, service: &Service, name: &str) -> Worker {
        let digest =
            |pk: &ProvingKey<G1Affine>| circuits::fingerprint::vk_digest(pk.get_vk()).0.to_vec().into();
        let hello = v1::Hello {
            shard_vk_digest: digest(&self.shard),
            aggregation_vk_digest: digest(&self.aggregation),
            ..hello(name)
        };
        let mut worker = Worker::open(service, FromWorker::Hello(hello)).await;
        assert!(matches!(worker.next().await, Ok(ToWorker::Welcome(_))));
        worker
    }
}

fn open(folder: &Path) -> Arc<VerifyingKeys> {
    Arc::new(VerifyingKeys::open(folder).expect("a folder of verifying keys"))
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_an_earlier_circuit_are_proven_without_its_code() {
    let (before, now) = (Prover::<2>::new(), Prover::<4>::new());
    let [before_keys, now_keys] = [store(), store()];
    before.export(before_keys.path(), "before");
    now.export(now_keys.path(), TINY.name);
    let [before_keys, now_keys] = [before_keys, now_keys].map(|folder| open(folder.path()));
    assert_ne!(
        before_keys.shard().shape.points.quotient,
        now_keys.shard().shape.points.quotient,
        "another shape"
    );

    let config = |store: &Path| {
        let mut config = config(store);
        config.limits.failures_max = 100;
        config.limits.retry_ms_max = 1;
        config
    };
    // A coordinator of the earlier version, whose preset this one does not know.
    let store = store();
    let mut sample = sample();
    let keyring = Keyring {
        preset: TINY,
        current: Circuits {
            manifest: before_keys.manifest().clone(),
            verifier: Box::new(KeyVerifier(Arc::clone(&before_keys))),
        },
        previous: Vec::new(),
    };
    let service = Coordinator::start_with(config(store.path()), keyring).await;
    let service = Service::of(service.expect("it starts")).await;
    let old = accepted(service.submit("a", &batch_of(&mut sample, TIME, 2)).await);
    service.stop().await;
    let refused = Coordinator::start(config(store.path()), Arc::clone(&before_keys)).await;
    assert!(matches!(refused, Err(Error::Keys(KeysError::Preset { .. }))));

    let keys = Keys {
        current: now_keys,
        previous: vec![before_keys],
    };
    let service = Coordinator::start(config(store.path()), keys).await;
    let service = Service::of(service.expect("it starts")).await;
    let new = accepted(service.submit("b", &batch_of(&mut sample, TIME, 2)).await);
    let mut earlier = before.join(&service, "earlier").await;
    let mut current = now.join(&service, "current").await;

    // Each kind of task: refused with the other version's proof, with one of other instances, and taken with its own.
    let lease = current.lease().await;
    assert_eq!(lease.task.batch_id, new.batch_id);
    let shard = now.prove(&lease);
    for round in 0..2 {
        let lease = earlier.lease().await;
        assert_eq!(lease.task.batch_id, old.batch_id);
        let mut wrong = before.prove(&lease);
        let last = wrong.proof.len() - 1;
        wrong.proof = [&wrong.proof[..last], &[wrong.proof[last] ^ 1]].concat().into();
        assert_eq!(earlier.complete(wrong).await, v1::Verdict::Rejected, "{round}");
        let lease = earlier.lease().await;
        let other = v1::Complete {
            proof: shard.proof.clone(),
            ..before.prove(&lease)
        };
        assert_eq!(earlier.complete(other).await, v1::Verdict::Rejected, "{round}");
        let lease = earlier.lease().await;
        let verdict = earlier.complete(before.prove(&lease)).await;
        assert_eq!(verdict, v1::Verdict::Accepted, "{round}");
    }
    assert_eq!(current.complete(shard).await, v1::Verdict::Accepted);
    let lease = current.lease().await;
    assert_eq!(current.complete(now.prove(&lease)).await, v1::Verdict::Accepted);
    for batch in [old, new] {
        let root = proof(&service, &batch.batch_id).await.expect("it is proven");
        assert_eq!(root.aggregation_vk_digest, batch.aggregation_vk_digest);
    }
    drop((earlier, current));
    service.stop().await;
}

#[test]
fn a_folder_that_is_no_set_of_verifying_keys_is_refused_by_its_file() {
    let prover = Prover::<3>::new();
    let folder = store();
    prover.export(folder.path(), "before");
    let good = open(folder.path());
    let spoil = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = folder.path().join(file);
        let bytes = fs::read(&path).expect("it is there");
        let mut changed = bytes.clone();
        change(&mut changed);
        fs::write(&path, changed).expect("it is written");
        let error = VerifyingKeys::open(folder.path()).expect_err("it is spoiled");
        fs::write(&path, bytes).expect("it is written");
        let text = error.to_string();
        assert!(text.contains(file), "{text}");
        text
    };
    for file in [SHARD_KEY_FILE, AGGREGATION_KEY_FILE] {
        for at in [0, 20, 150, 400] {
            assert!(spoil(file, &|bytes| bytes[at] ^= 1).contains("SHA-256"));
        }
        assert!(spoil(file, &|bytes| bytes.truncate(100)).contains("SHA-256"));
        assert!(spoil(file, &|bytes| bytes.resize(5 << 20, 0)).contains("more than 4194304 bytes"));
    }
    assert!(spoil(MANIFEST_FILE, &|bytes| bytes.truncate(9)).contains("no manifest"));
    // Of before there were files of verifying keys.
    let without = |bytes: &mut Vec<u8>| {
        let mut manifest: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
        let fields = manifest.as_object_mut().expect("an object");
        fields.remove("shard_verifying_key_digest");
        *bytes = serde_json::to_vec(&manifest).expect("JSON");
    };
    assert!(spoil(MANIFEST_FILE, &without).contains("export-keys"));
    // Each key in the other's place, the manifest alike; and a manifest that says what the keys are not.
    let swapped = store();
    for (from, to) in [
        (SHARD_KEY_FILE, AGGREGATION_KEY_FILE),
        (AGGREGATION_KEY_FILE, SHARD_KEY_FILE),
    ] {
        fs::copy(folder.path().join(from), swapped.path().join(to)).expect("it is copied");
    }
    let say = |folder: &Path, change: &dyn Fn(&mut Manifest)| {
        let mut manifest = good.manifest().clone();
        change(&mut manifest);
        let json = serde_json::to_vec(&manifest).expect("plain data");
        fs::write(folder.join(MANIFEST_FILE), json).expect("it is written");
        VerifyingKeys::open(folder)
            .expect_err("it says what is not")
            .to_string()
    };
    let error = say(swapped.path(), &|manifest| {
        std::mem::swap(&mut manifest.shard_vk_digest, &mut manifest.aggregation_vk_digest);
        std::mem::swap(
            &mut manifest.shard_verifying_key_digest,
            &mut manifest.aggregation_verifying_key_digest,
        );
    });
    assert!(
        error.contains("the transcript is L1's, expected Poseidon's"),
        "{error}"
    );
    for (change, said) in [
        (
            (&|manifest: &mut Manifest| manifest.insecure_srs = false) as &dyn Fn(&mut Manifest),
            "whether the reference string is insecure is true, expected false",
        ),
        (
            &|manifest| manifest.srs_digest.0[0] ^= 1,
            "the reference string is",
        ),
        (
            &|manifest| manifest.shard_vk_digest.0[0] ^= 1,
            "the key's digest is",
        ),
    ] {
        let error = say(folder.path(), change);
        assert!(error.contains(said), "{error}");
    }
    fs::remove_file(folder.path().join(SHARD_KEY_FILE)).expect("it is there");
    let error = VerifyingKeys::open(folder.path()).expect_err("it is gone");
    assert!(matches!(&error, VerifyingKeysError::Io { .. }), "{error}");
}
