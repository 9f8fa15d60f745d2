//! Two sets of circuits at once.

use super::*;
use crate::core::explain::Reason;

const OTHERS: KeyId = KeyId {
    shard_vk: [8; 32],
    aggregation_vk: [9; 32],
};

impl World {
    fn submit_under(&mut self, keys: KeyId) -> BatchId {
        let submission = Submission {
            keys,
            shard_inputs: vec![vec![1]; 2],
            ..self.submission()
        };
        let (id, _, output) = self.core.submit(self.now, submission).expect("it is next");
        self.apply(output);
        id
    }

    fn join_with(&mut self, worker: &str, keys: KeyId) -> SessionId {
        let all = BTreeSet::from([TaskKind::Shard, TaskKind::Aggregation]);
        let (id, output) = self
            .core
            .open_session(self.now, nobody(worker), None, all, keys)
            .expect("below the limit");
        self.sessions.insert(id, nobody(worker));
        self.apply(output);
        id
    }
}

#[test]
fn a_worker_gets_the_tasks_of_the_batches_under_its_keys() {
    let mut world = World::new(0);
    world.faults = false;
    let old = world.submit_under(OTHERS);
    let new = world.submit_under(KEYS);
    let current = world.join_with("current", KEYS);
    let reasons = world.core.explain(world.now, old).expect("it exists");
    let nobody = Reason::NoWorker {
        kind: TaskKind::Shard,
        tasks: 2,
        draining: 0,
        others: 1,
    };
    assert_eq!(reasons, std::slice::from_ref(&nobody));
    assert!(nobody.to_string().contains("keys of this batch"), "{nobody}");
    let task = |lease: Option<(TaskId, Fence)>| lease.map(|(task, _)| task);
    assert_eq!(
        task(world.lease(current)),
        Some(TaskId::shard(new, 0)),
        "though the other is older"
    );
    let earlier = world.join_with("earlier", OTHERS);
    assert_eq!(task(world.lease(earlier)), Some(TaskId::shard(old, 0)));
    world.check();
    // Neither leaves the other a task, nor waits for it.
    assert_eq!(task(world.lease(current)), Some(TaskId::shard(new, 1)));
    let (failing, fence) = world.lease(earlier).expect("nobody else would take it");
    assert_eq!(failing, TaskId::shard(old, 1));
    world.fails(earlier, failing, fence, FailureClass::Resource);
    world.request(earlier);
    world.pass(limits().retry_ms_min);
    assert_eq!(world.newest[&failing], Fence(2), "no other has its keys");
    // After a restart the batches are still proven with the keys that they were accepted under.
    world.restart();
    world.pass(limits().restart_grace_ms + limits().avoid_ms);
    let current = world.join_with("current", KEYS);
    while let Some((task, _)) = world.lease(current) {
        assert_eq!(task.batch, new);
        assert!(world.prove(current, task));
    }
    let status = |id| world.core.batch(id).map(|batch| batch.status);
    assert_eq!(
        (status(old), status(new)),
        (Some(BatchStatus::Proving), Some(BatchStatus::Proven))
    );
}
