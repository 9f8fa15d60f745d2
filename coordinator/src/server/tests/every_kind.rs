//! Batches with operations of every kind, from their submission to their rollback.

use rules::{
    derive::replay,
    gas::Posted,
    operation::{Queued, SignedCreation},
    record::{Coordinate, Kind, Record},
    stream,
};

use super::{
    operator::{proof, prove_all, roll_back},
    *,
};

/// A sample after some batches, these, and one more that has every kind of operation, which makes accounts by a deposit and by a creation.
fn with_every_kind() -> (Sample, Vec<Batch>, Batch) {
    let mut sample = sample();
    let mut before = founded(&mut sample);
    loop {
        let at = sample.clone();
        let mut batch = sample.batch(ROLLUP, TIME, draw(2, 8, Mix::All));
        let has = |is: fn(&Operation) -> bool| batch.operations.iter().any(is);
        let all = has(|operation| matches!(operation, Operation::Transfer(_)))
            && has(|operation| matches!(operation, Operation::Withdrawal(_)))
            && has(|operation| matches!(operation, Operation::Creation(_)))
            && has(
                |operation| matches!(operation, Operation::Queued(queued) if queued.record().kind == Kind::DepositNew),
            );
        if all {
            batch.operations.push(Operation::NoOp);
            return (at, before, batch);
        }
        before.push(batch);
    }
}

async fn submit_all(service: &Service, batches: &[Batch]) {
    for batch in batches {
        accepted(service.submit(&format!("f{}", batch.number), batch).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_operation_is_proven_kept_and_taken_back() {
    let store = store();
    let service = Service::start(store.path()).await;
    let (mut at, before, batch) = with_every_kind();
    submit_all(&service, &before).await;
    let state = at.state().clone();
    let info = accepted(service.submit("a", &batch).await);
    let counts = info.counts.expect("always set");
    let of = |is: fn(&Operation) -> bool| {
        let operations = batch.operations.iter().copied();
        operations.filter(is).count() as u32
    };
    let expected = v1::OperationCounts {
        transfers: of(|operation| matches!(operation, Operation::Transfer(_))),
        withdrawals: of(|operation| matches!(operation, Operation::Withdrawal(_))),
        creations: of(|operation| matches!(operation, Operation::Creation(_))),
        queued: 2,
        no_ops: of(|operation| matches!(operation, Operation::NoOp)),
        ..counts
    };
    assert_eq!(counts, expected);
    assert_eq!(info.operations as usize, batch.operations.len());
    let billing = info.billing.clone().expect("it was counted");
    assert_eq!(billing.fees, fees_of(&batch));
    assert_eq!(billing.fee_tokens as usize, billing.fees.len());

    // What it is proven with leads whoever reads L1 to the same state (P-15.2).
    prove_all(&service).await;
    let proven = proof(&service, &info.batch_id).await.expect("it is proven");
    let records = stream::records(&proven.posted_a).expect("as L1 takes it");
    assert_eq!(
        records.len() as u32,
        counts.withdrawals + counts.creations + counts.queued
    );
    let posted = Posted::of(&proven.posted_a, &proven.posted_b).expect("as L1 takes it");
    assert_eq!(
        (billing.posted_bytes, billing.l1_gas_estimate),
        (posted.bytes, posted.gas())
    );
    let derived = replay(&state, &proven.posted_a, &proven.posted_b).expect("as L1 takes it");
    let after: Vec<_> = derived
        .changes
        .iter()
        .map(|change| (change.index, change.after))
        .collect();
    assert_eq!(state.root_with(&after), batch.new_root);
    let made = derived.changes.iter().filter(|change| change.before.is_none());
    assert!(made.count() >= 2, "by a deposit and by a creation");
    assert_eq!(proven.c_a, proven.instances[13]);
    let c_a = stream::commitment_a(&records);
    assert_eq!(proven.c_a[..], field::to_be(&c_a));

    // It is there after a restart, and its accounts are gone after it was taken back.
    service.stop().await;
    let service = Service::start(store.path()).await;
    let again = service.batch(&info.batch_id).await;
    assert_eq!(again.counts, Some(counts));
    assert_eq!(again.billing.as_ref(), Some(&billing));
    let mut client = service.client();
    let listed = client.list_batches(v1::ListBatchesRequest::default()).await;
    let listed = listed.expect("it serves").into_inner().batches;
    assert_eq!(listed[0].billing.as_ref(), Some(&billing));
    assert_eq!(proof(&service, &info.batch_id).await.expect("it is kept"), proven);
    let taken = roll_back(&service, batch.number, &info.batch_id).await;
    let taken = taken.expect("it is the newest");
    assert_eq!(taken.head_root[..], field::to_be(&batch.old_root));
    service.stop().await;

    // A start compares the accounts with the end of the chain; only a ledger that went back takes another batch in its place.
    let service = Service::start(store.path()).await;
    let other = at.batch(ROLLUP, TIME + 1, draw(1, 6, Mix::All));
    let other = accepted(service.submit("a", &other).await).batch_id;
    let cancel = v1::CancelBatchRequest { batch_id: other };
    let cancelled = service.client().cancel_batch(cancel).await;
    cancelled.expect("nothing is built on it");
    accepted(service.submit("a", &batch).await);
    prove_all(&service).await;
    service.stop().await;
}

/// What a batch's operations pay, by token: one by one, as whoever signed them said.
fn fees_of(batch: &Batch) -> Vec<v1::TokenFees> {
    let paid = batch.operations.iter().filter_map(|operation| match operation {
        Operation::Transfer(signed) => Some((signed.transfer.token, signed.transfer.fee)),
        Operation::Withdrawal(signed) => Some((signed.withdrawal.token, signed.withdrawal.fee)),
        _ => None,
    });
    let paid: Vec<_> = paid.map(|(token, fee)| (token.0, fee.value())).collect();
    let sum = |token: u16| {
        let of_it = paid.iter().filter(|(of, _)| *of == token);
        of_it.map(|(_, fee)| fee).sum::<u128>()
    };
    let sums = (1..=2).map(|token| (token, sum(token)));
    let fees: Vec<_> = sums
        .filter(|(_, sum)| *sum > 0)
        .map(|(token, sum)| v1::TokenFees {
            token: token.into(),
            amount: sum.to_be_bytes().to_vec().into(),
        })
        .collect();
    assert!(!fees.is_empty(), "the sample pays some");
    fees
}

/// A batch of entries that lead nowhere.
fn of_entries(old_root: Fr, number: u64, entries: &[Record]) -> Batch {
    let queued = entries.iter().map(|entry| Queued::new(*entry));
    let queued = queued.map(|queued| queued.expect("as in the queue").into());
    Batch {
        rollup_id: ROLLUP,
        number,
        time: TIME,
        old_root,
        new_root: old_root,
        operations: queued.collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_an_entry_is_found_by_executing_it() {
    let store = store();
    let service = Service::start(store.path()).await;
    let mut sample = sample();
    let before = founded(&mut sample);
    submit_all(&service, &before).await;
    let root = sample.state().root();
    let (index, account) = sample
        .state()
        .accounts()
        .find(|(_, account)| account.balance > 0)
        .expect("someone has something");
    let exit = Record {
        kind: Kind::ForcedExit,
        code: 0,
        token: account.token,
        index,
        amount: 0,
        address: [0xee; 20],
        u: Coordinate::ZERO,
        v: Coordinate::ZERO,
    };
    let nobody = AccountIndex::new((1 << 33) - 1).expect("33 bits");
    let entries = [
        exit,
        Record {
            index: nobody,
            ..exit
        },
    ];
    let batch = of_entries(root, 3, &entries);
    let info = accepted(service.submit("a", &batch).await);
    let counts = info.counts.expect("always set");
    assert_eq!((counts.queued, counts.queued_without_effect), (2, 2));
    prove_all(&service).await;
    let proven = proof(&service, &info.batch_id).await.expect("it is proven");
    let records = stream::records(&proven.posted_a).expect("as L1 takes it");
    let told: Vec<_> = records
        .iter()
        .map(|record| (record.code, record.amount))
        .collect();
    assert_eq!(told, [(3, 0), (1, 0)], "P-4.11");

    // With effect the state is another, whatever the batch says of it.
    let fits = Record {
        address: account.l1_address,
        ..exit
    };
    let batch = of_entries(root, 4, &[fits]);
    refused(
        service.submit("b", &batch).await,
        Code::InvalidArgument,
        "WRONG_NEW_ROOT",
        "batch.new_root",
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rule_is_named_by_its_clause_and_the_field_of_its_kind() {
    let store = store();
    let service = Service::start(store.path()).await;
    let (_, before, good) = with_every_kind();
    submit_all(&service, &before).await;
    let place = |is: fn(&Operation) -> bool| good.operations.iter().position(is).expect("every kind");
    let creation = place(|operation| matches!(operation, Operation::Creation(_)));
    let withdrawal = place(|operation| matches!(operation, Operation::Withdrawal(_)));
    let rejected = async |batch: &Batch, reason: &str, place: usize, field: &str, rule: &str| {
        let field = format!("batch.operations[{place}].{field}");
        let result = service.submit("a", batch).await;
        let status = refused(result, Code::InvalidArgument, reason, &field);
        let details = status.get_error_details();
        let metadata = &details.error_info().expect("set").metadata;
        let place = place.to_string();
        assert_eq!((&metadata["operation"], &metadata["rule"][..]), (&place, rule));
        assert!(metadata.contains_key("expected") && metadata.contains_key("found"));
    };
    let with_creation = |change: &dyn Fn(&mut SignedCreation)| {
        let mut batch = good.clone();
        match &mut batch.operations[creation] {
            Operation::Creation(signed) => change(signed),
            other => panic!("{other:?}"),
        }
        batch
    };
    for index in [65_535, 1 << 32] {
        let batch = with_creation(&|signed| {
            signed.creation.index = AccountIndex::new(index).expect("33 bits");
        });
        rejected(&batch, "CREATION_INDEX", creation, "creation.index", "P-4.9.1").await;
    }
    let batch = with_creation(&|signed| signed.creation.l1_address[0] ^= 1);
    rejected(&batch, "BAD_SIGNATURE", creation, "signature", "P-4.9.4").await;
    let mut twice = good.clone();
    twice.operations.truncate(creation + 1);
    twice.operations.push(good.operations[creation]);
    let again = creation + 1;
    rejected(&twice, "CREATION_OCCUPIED", again, "creation.index", "P-4.9.2").await;

    let mut batch = good.clone();
    match &mut batch.operations[withdrawal] {
        Operation::Withdrawal(signed) => signed.withdrawal.amount = u128::MAX,
        other => panic!("{other:?}"),
    }
    rejected(&batch, "BALANCE", withdrawal, "withdrawal.amount", "P-4.7.6").await;
    accepted(service.submit("a", &good).await);
    service.stop().await;
}
