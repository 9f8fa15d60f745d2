//! What clients and a worker saw of a service, and whether a service that keeps its promises can have been seen so.
//!
//! Every observation has the moments between which it was made: one that began after another had ended must not say less.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Mutex,
    time::Instant,
};

use proto::v1::{BatchInfo, BatchStatus, TaskStatus};

/// When an observation was made, since the history's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub began: u128,
    pub ended: u128,
}

/// What was seen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A batch was acknowledged.
    Accepted(Batch),
    /// A batch as it is.
    Batch(Batch),
    /// The number that the next batch must have.
    Next(u64),
    /// A lease, as its worker got it.
    Granted { task: String, fence: u64 },
    /// A proof that was fetched and found right, by the digest of the whole answer.
    Proof { batch: String, digest: [u8; 32] },
}

/// A batch as far as its promises go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub id: String,
    pub request: String,
    pub number: u64,
    pub sha256: Vec<u8>,
    pub roots: (Vec<u8>, Vec<u8>),
    pub status: BatchStatus,
    pub revision: u64,
    /// Its tasks, with their fences and states. Lists leave them out.
    pub tasks: Vec<(String, u32, TaskStatus)>,
}

impl From<&BatchInfo> for Batch {
    fn from(info: &BatchInfo) -> Self {
        let tasks = info.tasks.iter();
        Self {
            id: info.batch_id.clone(),
            request: info.request_id.clone(),
            number: info.batch_number,
            sha256: info.sha256.to_vec(),
            roots: (info.old_root.to_vec(), info.new_root.to_vec()),
            status: info.status(),
            revision: info.revision,
            tasks: tasks
                .map(|task| (task.task_id.clone(), task.attempts, task.status()))
                .collect(),
        }
    }
}

/// The history of one service.
#[derive(Debug)]
pub struct History {
    origin: Instant,
    seen: Mutex<Vec<(Span, Seen)>>,
}

impl History {
    pub fn begin() -> Self {
        Self {
            origin: Instant::now(),
            seen: Mutex::default(),
        }
    }

    pub fn now(&self) -> u128 {
        self.origin.elapsed().as_nanos()
    }

    /// Notes what was seen by a call that began at `began` and has just ended.
    pub fn note(&self, began: u128, seen: Seen) {
        let ended = self.now();
        let mut all = self.seen.lock().expect("not poisoned");
        all.push((Span { began, ended }, seen));
    }

    /// The ids of the batches that were acknowledged, by number.
    pub fn acknowledged(&self) -> BTreeMap<u64, String> {
        let all = self.seen.lock().expect("not poisoned");
        let accepted = all.iter().filter_map(|(_, seen)| match seen {
            Seen::Accepted(batch) => Some((batch.number, batch.id.clone())),
            _ => None,
        });
        accepted.collect()
    }

    /// Everything that the history breaks; `last` is all that the service lists in the end. Where several coordinators answered, one that
    /// stands by tells what is stored, which the leader's unstored revisions are ahead of.
    pub fn faults(&self, last: &[Batch], several: bool) -> Vec<String> {
        let mut faults = faults(&self.seen.lock().expect("not poisoned"), last);
        faults.retain(|fault| !several || !fault.contains("the revision of"));
        faults
    }
}

/// Everything that observations break.
fn faults(seen: &[(Span, Seen)], last: &[Batch]) -> Vec<String> {
    let mut faults = Vec::new();
    identities(seen, last, &mut faults);
    growth(seen, &mut faults);
    fences(seen, &mut faults);
    proofs(seen, &mut faults);
    ending(seen, last, &mut faults);
    faults
}

fn batches(seen: &[(Span, Seen)]) -> impl Iterator<Item = (Span, &Batch)> {
    seen.iter().filter_map(|(span, seen)| match seen {
        Seen::Accepted(batch) | Seen::Batch(batch) => Some((*span, batch)),
        _ => None,
    })
}

/// A batch stays what it is, and none is there twice.
fn identities(seen: &[(Span, Seen)], last: &[Batch], faults: &mut Vec<String>) {
    let mut by_id: HashMap<&str, &Batch> = HashMap::new();
    let (mut by_number, mut by_request) = (HashMap::new(), HashMap::new());
    for batch in batches(seen).map(|(_, batch)| batch).chain(last) {
        let first = *by_id.entry(&batch.id).or_insert(batch);
        let identity = |batch: &Batch| {
            let Batch {
                request,
                number,
                sha256,
                roots,
                ..
            } = batch.clone();
            (request, number, sha256, roots)
        };
        if identity(first) != identity(batch) {
            faults.push(format!("{} changed: {first:?}, then {batch:?}", batch.id));
        }
        for (what, other) in [
            ("number", *by_number.entry(batch.number).or_insert(&batch.id)),
            ("request", *by_request.entry(&batch.request).or_insert(&batch.id)),
        ] {
            if *other != batch.id {
                faults.push(format!("doubled: {other} and {} have one {what}", batch.id));
            }
        }
    }
}

/// What never goes back: revisions, states and attempts of a batch, the next number. Equal revisions show equal batches.
fn growth(seen: &[(Span, Seen)], faults: &mut Vec<String>) {
    let mut values: BTreeMap<String, Vec<(Span, u64)>> = BTreeMap::new();
    let mut by_revision: HashMap<(&str, u64), &Batch> = HashMap::new();
    for (span, batch) in batches(seen) {
        let id = &batch.id;
        let mut value = |what: String, value| values.entry(what).or_default().push((span, value));
        value(format!("the revision of {id}"), batch.revision);
        value(format!("the status of {id}"), rank(batch.status));
        for (task, fence, _) in &batch.tasks {
            value(format!("the attempts of {task}"), u64::from(*fence));
        }
        if rank(batch.status) == ENDED {
            faults.push(format!("nobody helps {id}, which is {:?}", batch.status));
        }
        if batch.tasks.is_empty() {
            continue;
        }
        let same = *by_revision.entry((id, batch.revision)).or_insert(batch);
        if same != batch {
            faults.push(format!("one revision, two batches: {same:?} and {batch:?}"));
        }
    }
    let next = seen.iter().filter_map(|(span, seen)| match seen {
        Seen::Next(number) => Some((*span, *number)),
        _ => None,
    });
    values.insert("the next number".into(), next.collect());
    for (what, values) in values {
        regressions(&what, values, |before, after| before <= after, faults);
    }
}

/// Of states that nobody but an operator brings about, or helps out of.
const ENDED: u64 = 5;

fn rank(status: BatchStatus) -> u64 {
    match status {
        BatchStatus::Unspecified => 0,
        BatchStatus::Queued => 1,
        BatchStatus::Proving => 2,
        BatchStatus::Aggregating => 3,
        BatchStatus::Proven => 4,
        BatchStatus::Failed | BatchStatus::Cancelled | BatchStatus::RolledBack => ENDED,
    }
}

/// Reports each value that does not follow the greatest of those whose observation had ended when its own began.
fn regressions(
    what: &str,
    mut values: Vec<(Span, u64)>,
    follows: impl Fn(u64, u64) -> bool,
    faults: &mut Vec<String>,
) {
    let mut by_end = values.clone();
    by_end.sort_by_key(|(span, _)| span.ended);
    values.sort_by_key(|(span, _)| span.began);
    let (mut ended, mut greatest) = (by_end.into_iter().peekable(), None);
    for (span, value) in values {
        while let Some((_, before)) = ended.next_if(|(other, _)| other.ended < span.began) {
            greatest = greatest.max(Some(before));
        }
        if let Some(before) = greatest.filter(|before| !follows(*before, value)) {
            faults.push(format!("{what} was {before}, then {value}"));
        }
    }
}

/// No two leases have one fence, and a later one has a greater fence than any seen before.
fn fences(seen: &[(Span, Seen)], faults: &mut Vec<String>) {
    let mut grants: BTreeMap<&str, Vec<(Span, u64)>> = BTreeMap::new();
    for (span, seen) in seen {
        if let Seen::Granted { task, fence } = seen {
            grants.entry(task).or_default().push((*span, *fence));
        }
    }
    for (task, granted) in grants {
        let mut unique: Vec<u64> = granted.iter().map(|(_, fence)| *fence).collect();
        unique.sort_unstable();
        unique.dedup();
        if unique.len() != granted.len() {
            faults.push(format!("two leases of {task} have one fence: {granted:?}"));
        }
        let what = format!("the fence of {task}");
        regressions(&what, granted, |before, after| before < after, faults);
    }
}

/// A proof that was given out is given out unchanged.
fn proofs(seen: &[(Span, Seen)], faults: &mut Vec<String>) {
    let mut known = HashMap::new();
    for (_, seen) in seen {
        if let Seen::Proof { batch, digest } = seen
            && *known.entry(batch).or_insert(*digest) != *digest
        {
            faults.push(format!("{batch} has two proofs"));
        }
    }
}

/// In the end every acknowledged batch is there, proven, once; the batches are a chain without a gap; and each proof was
/// fetched and found right.
fn ending(seen: &[(Span, Seen)], last: &[Batch], faults: &mut Vec<String>) {
    let mut listed: HashMap<&str, Vec<&Batch>> = HashMap::new();
    for batch in last {
        listed.entry(&batch.id).or_default().push(batch);
    }
    for (_, seen) in seen {
        let Seen::Accepted(accepted) = seen else { continue };
        let found = listed.get(&*accepted.id).map_or(&[][..], Vec::as_slice);
        match found {
            [batch] if batch.status == BatchStatus::Proven => {}
            [batch] => faults.push(format!("{} is {:?} in the end", batch.id, batch.status)),
            [] => faults.push(format!("lost: {accepted:?}")),
            _ => faults.push(format!("{} is listed {} times", accepted.id, found.len())),
        }
    }
    let fetched: HashSet<&String> = seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Proof { batch, .. } => Some(batch),
            _ => None,
        })
        .collect();
    let mut chain: Vec<&Batch> = last.iter().collect();
    chain.sort_by_key(|batch| batch.number);
    for (number, batch) in (0..).zip(&chain) {
        if batch.number != number {
            faults.push(format!("number {number} is missing before {batch:?}"));
        }
        if !fetched.contains(&batch.id) {
            faults.push(format!("no proof of {} was fetched", batch.id));
        }
    }
    for pair in chain.windows(2) {
        if pair[0].roots.1 != pair[1].roots.0 {
            faults.push(format!("{:?} does not follow {:?}", pair[1], pair[0]));
        }
    }
}

/// Shows that each fault is seen, in a history that is right otherwise.
pub fn test() {
    let batch = |number: u8, revision, status, attempts| Batch {
        id: format!("b{number}"),
        request: format!("r{number}"),
        number: number.into(),
        sha256: vec![number],
        roots: (vec![number], vec![number + 1]),
        status,
        revision,
        tasks: vec![(format!("b{number}-s0"), attempts, TaskStatus::Leased)],
    };
    let at = |began, ended, seen| (Span { began, ended }, seen);
    let granted = |began, fence| {
        let task = "b0-s0".into();
        at(began, began + 1, Seen::Granted { task, fence })
    };
    let proof = |number: u8, digest| Seen::Proof {
        batch: format!("b{number}"),
        digest: [digest; 32],
    };
    let proven = BatchStatus::Proven;
    let last = vec![batch(0, 9, proven, 2), batch(1, 9, proven, 1)];
    let right = vec![
        at(0, 1, Seen::Accepted(batch(0, 1, BatchStatus::Queued, 0))),
        at(2, 3, Seen::Accepted(batch(1, 2, BatchStatus::Queued, 0))),
        at(4, 5, Seen::Batch(batch(0, 5, BatchStatus::Proving, 1))),
        // At the same time as the one above.
        at(4, 6, Seen::Batch(batch(0, 4, BatchStatus::Proving, 1))),
        granted(4, 1),
        granted(7, 3),
        at(7, 8, Seen::Batch(batch(0, 9, proven, 2))),
        at(7, 8, Seen::Next(2)),
        at(9, 10, proof(0, 1)),
        at(9, 10, proof(1, 2)),
        at(11, 12, proof(1, 2)),
    ];
    assert_eq!(faults(&right, &last), [""; 0]);
    let wrong = |more: Vec<(Span, Seen)>, last: &[Batch], expected: &str| {
        let found = faults(&[right.clone(), more].concat(), last);
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{expected}: {found:?}"
        );
    };
    let seen = |batch| vec![at(20, 21, Seen::Batch(batch))];
    wrong(vec![], &last[..1], "lost");
    wrong(vec![], &[last.clone(), last.clone()].concat(), "listed 2 times");
    let other = Batch {
        id: "b7".into(),
        ..batch(1, 3, proven, 0)
    };
    wrong(seen(other), &last, "doubled");
    wrong(
        vec![],
        &[batch(0, 9, proven, 2), batch(1, 9, BatchStatus::Proving, 1)],
        "in the end",
    );
    wrong(
        seen(batch(0, 8, proven, 2)),
        &last,
        "the revision of b0 was 9, then 8",
    );
    wrong(
        seen(batch(0, 10, BatchStatus::Aggregating, 2)),
        &last,
        "the status",
    );
    wrong(seen(batch(0, 10, proven, 1)), &last, "the attempts");
    wrong(seen(batch(0, 9, proven, 3)), &last, "one revision");
    wrong(seen(batch(0, 10, BatchStatus::Failed, 3)), &last, "nobody helps");
    wrong(vec![at(20, 21, Seen::Next(1))], &last, "the next number");
    wrong(vec![granted(20, 2)], &last, "the fence");
    wrong(vec![granted(20, 3)], &last, "one fence");
    wrong(vec![at(20, 21, proof(0, 2))], &last, "two proofs");
    wrong(
        vec![],
        &[last.clone(), vec![batch(3, 1, proven, 0)]].concat(),
        "missing",
    );
    wrong(
        vec![],
        &[last.clone(), vec![batch(2, 1, proven, 0)]].concat(),
        "no proof",
    );
    let mut apart = last.clone();
    apart[1].roots.0 = vec![77];
    wrong(vec![], &apart, "does not follow");
}
