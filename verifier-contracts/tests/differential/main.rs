//! The rendered contract against native verification: both take or refuse the same proofs and instances, whatever was done to
//! them. Circuits are the fixture's aggregation and randomly drawn ones; the contract runs in an EVM of this process.

mod case;
mod evm;
mod hostile;
mod mutation;
#[path = "../../../prover/engine/tests/random/mod.rs"]
#[allow(dead_code, reason = "its tampering and phases are for the engine's own tests")]
mod random;

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use alloy::{
    primitives::{Address, Bytes},
    providers::{Provider, ProviderBuilder},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use case::Case;
use circuits::plonk::{Node, Query};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use random::{Factor, System};
use serde_json::json;
use verifier_contracts::{anvil::Anvil, rollup::IVerifier, solc::RUNTIME_BYTES_MAX, tools::Tools};

/// Mutations in all, at least.
const MUTATIONS: usize = 10_000;

/// What the drawn circuits are to have, so that they differ in what can go wrong.
const DRAWN: [fn(&System) -> bool; 5] = [
    |system| system.lookups.is_empty() && system.copies.is_empty(),
    |system| system.lookups.len() == 2,
    |system| system.lookups.iter().any(|lookup| lookup.width == 2) && !system.copies.is_empty(),
    |system| system.minimum_degree >= Some(7) && !system.copies.is_empty(),
    |system| {
        let mut factors = system.gates.iter().flat_map(|gate| gate.terms.iter().flatten());
        factors.any(|factor| matches!(factor, Factor::Instance(_, 0)))
    },
];

/// Mutations of each case that anvil judges too.
const ON_ANVIL: usize = 60;

/// Compiling takes seconds each: side by side.
static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    thread::scope(|scope| {
        let fixture = scope.spawn(|| Case::fixture(&tools));
        let drawn = DRAWN.iter().zip(0..).map(|(wanted, seed)| {
            let tools = &tools;
            scope.spawn(move || Case::draw(tools, seed, *wanted))
        });
        let handles: Vec<_> = std::iter::once(fixture).chain(drawn).collect();
        handles
            .into_iter()
            .map(|case| case.join().expect("a case"))
            .collect()
    })
});

#[test]
fn true_proofs_are_taken() {
    for case in CASES.iter() {
        for proof in std::iter::once(&case.proof).chain(&case.stock_proof) {
            let called = case.call(proof, &case.instances);
            assert!(called, "{}: the contract refuses a true proof", case.name);
            assert!(
                case.native(proof, &case.instances),
                "{}: so does native code",
                case.name
            );
        }
        assert!(case.code.runtime.len() <= RUNTIME_BYTES_MAX, "{}", case.name);
    }
}

/// The cases differ in what can go wrong: otherwise the tests below would say less than they seem to.
#[test]
fn the_drawn_circuits_have_every_kind_of_argument() {
    let any = |what: fn(&Case) -> bool| CASES.iter().any(what);
    assert!(any(|case| case.shape.lookups.is_empty()));
    assert!(any(|case| case.shape.lookups.len() > 1));
    assert!(any(|case| case
        .shape
        .lookups
        .iter()
        .any(|lookup| lookup.inputs.len() > 1)));
    assert!(any(|case| case.shape.permutation.is_empty()));
    assert!(any(|case| case.shape.permutation.len() > 1));
    assert!(any(|case| case.shape.sets.len() > 4));
    assert!(any(|case| case.shape.points.quotient > 4));
    assert!(any(|case| case.accumulator.limb_bits.len() == 2));
    assert!(any(|case| case.accumulator.first > 0));
    let gates_read = |case: &Case, rotation: i32| {
        let is_read = |node: &Node| match node {
            Node::Query(Query::Instance(i)) => case.shape.instance_rotations[*i] == rotation,
            _ => false,
        };
        case.shape.program.nodes().iter().any(is_read)
    };
    for rotation in [0, 1] {
        assert!(CASES.iter().any(|case| gates_read(case, rotation)), "{rotation}");
    }
}

/// Where the gas goes, beside the least that the equation allows: its precompiles, each called once a term.
#[test]
fn the_gas_is_booked() {
    let case = &CASES[0];
    let book = case.book();
    let shape = &case.shape;
    // A multiple of every point of proof and key and of the generator, but for the first, whose factor is 1; and of the accumulator's two.
    let multiples = (shape.points.total() + shape.commitments.len() + 2) as u64;
    // A call is 100 gas; prices of EIP-1108 and EIP-7883.
    let least = multiples * (6_000 + 150 + 2 * 100) + (113_000 + 100) + (4_048 + 100);
    let total: u64 = book.values().sum();
    assert!(
        (total..total + 100).contains(&case.gas),
        "{total} of {}",
        case.gas
    );
    let precompiles = ["multiples of points", "sums of points", "pairing", "inversion"];
    let precompiles: u64 = precompiles.iter().map(|name| book[name]).sum();
    assert_eq!(
        precompiles, least,
        "the contract calls what the equation needs and no more"
    );
    let costs = json!({
        "gas": book,
        "least": least,
        "multiples_of_points": multiples,
        "total": total,
    });
    golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/verifier.json", &costs);
    let figures = book.values().copied().chain([least, total]);
    golden::quotes(
        "verifier-contracts/GAS.md",
        figures.map(golden::thousands).collect::<Vec<_>>(),
    );
}

/// Every mutation has a seed of its own, so that one that differs can be made again.
#[test]
fn mutated_proofs_and_instances_are_judged_alike() {
    let planned: Vec<(&Case, u64)> = {
        let listed = CASES.iter().map(mutation::listed).max().expect("a case");
        let each = MUTATIONS.div_ceil(CASES.len()).max(listed);
        CASES
            .iter()
            .flat_map(|case| (0..each as u64).map(move |at| (case, at)))
            .collect()
    };
    assert!(planned.len() >= MUTATIONS);
    let (next, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let judge = || {
        while let Some((case, at)) = planned.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut rng = ChaCha20Rng::seed_from_u64(*at);
            let (what, proof, instances) = mutation::mutate(case, *at as usize, &mut rng);
            let native = case.native(&proof, &instances);
            let (contract, gas) = case.measure(&proof, &instances);
            assert_eq!(
                contract, native,
                "{}, mutation {at}: {what}: the contract says {contract}",
                case.name
            );
            assert!(gas <= case.gas, "{}, mutation {at}: {what}: {gas} gas", case.name);
            let is_same = proof == case.proof && instances == case.instances;
            assert_eq!(
                native, is_same,
                "{}, mutation {at}: {what}: one proof of one statement",
                case.name
            );
            taken.fetch_add(usize::from(native), Ordering::Relaxed);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(judge))));
    println!("{} mutations, {} taken", planned.len(), taken.into_inner());
}

/// Some of them once more, on a node.
#[tokio::test]
async fn some_mutated_proofs_are_judged_alike_on_anvil() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let provider = ProviderBuilder::new().connect_http(anvil.url().parse().expect("anvil's URL"));
    let mut judged = 0;
    for (place, case) in CASES.iter().enumerate() {
        let address = Address::repeat_byte(0x20 + place as u8);
        let code = Bytes::copy_from_slice(&case.code.runtime);
        let set: Result<(), _> = provider
            .raw_request("anvil_setCode".into(), (address, code))
            .await;
        set.expect("anvil takes code");
        let take = async |proof: &[u8], instances: &[alloy::primitives::U256]| {
            let call = IVerifier::verifyCall {
                proof: proof.to_vec().into(),
                instances: instances.to_vec(),
            };
            let request = TransactionRequest::default()
                .to(address)
                .input(call.abi_encode().into());
            let answer = provider.call(request).await.expect("it never reverts");
            case::accepts(&answer).expect("a word that is 0 or 1")
        };
        assert!(take(&case.proof, &case.instances).await, "{}", case.name);
        // Evenly among those that are listed, and a few random ones.
        let step = (mutation::listed(case) + ON_ANVIL).div_ceil(ON_ANVIL);
        for at in (0..ON_ANVIL).map(|i| i * step) {
            let mut rng = ChaCha20Rng::seed_from_u64(at as u64);
            let (what, proof, instances) = mutation::mutate(case, at, &mut rng);
            let native = case.native(&proof, &instances);
            let contract = take(&proof, &instances).await;
            assert_eq!(contract, native, "{}, mutation {at}: {what}", case.name);
            judged += 1;
        }
    }
    assert!(judged >= 300, "{judged}");
}
