//! What a worker tells of its tasks as spans: each as a part of its lease, whose span the coordinator names, with its phases as parts.

use std::collections::HashMap;

use proto::v1::Task;
use telemetry::traces::{Context, Span, Traces, now_ns};

use super::ledger::{LeaseId, Outcome};
use super::meters;

/// Phases of a task that are told, the first; an engine has a dozen, some more than once.
const PHASES_MAX: usize = 64;

/// What is under way, and where it is told.
#[derive(Debug, Default)]
pub(super) struct Spans {
    traces: Traces,
    /// Of the task whose payload arrives.
    arriving: Option<(LeaseId, Context)>,
    /// By lease: as many as the worker holds.
    held: HashMap<LeaseId, Held>,
}

#[derive(Debug)]
struct Held {
    lease: Context,
    began_ns: u64,
    phases: Vec<(String, u64)>,
}

impl Spans {
    pub(super) fn new(traces: Traces) -> Self {
        Self {
            traces,
            ..Self::default()
        }
    }

    /// A task is announced. A coordinator that does not trace names no span.
    pub(super) fn announced(&mut self, task: &Task) {
        let lease = LeaseId {
            task_id: task.task_id.clone(),
            fence: task.fence,
        };
        let context = task.traceparent.parse().ok();
        self.arriving = context
            .filter(|_| self.traces.is_on())
            .map(|context| (lease, context));
    }

    /// Its payload is there.
    pub(super) fn began(&mut self, lease: &LeaseId) {
        if let Some((id, context)) = self.arriving.take()
            && id == *lease
        {
            let held = Held {
                lease: context,
                began_ns: now_ns(),
                phases: Vec::new(),
            };
            self.held.insert(id, held);
        }
    }

    pub(super) fn phase(&mut self, lease: &LeaseId, name: &str) {
        if let Some(held) = self.held.get_mut(lease)
            && held.phases.len() < PHASES_MAX
        {
            held.phases.push((name.to_owned(), now_ns()));
        }
    }

    pub(super) fn ended(&mut self, lease: &LeaseId, outcome: &Outcome) {
        let Some(held) = self.held.remove(lease) else {
            return;
        };
        let ended_ns = now_ns();
        let whole = Span::part_of(held.lease, "prove", held.began_ns, ended_ns)
            .with("task", &lease.task_id)
            .with("attempt", lease.fence)
            .with("outcome", meters::name(outcome));
        let context = whole.context;
        self.traces.tell(match outcome {
            Outcome::Failed { message, .. } => whole.failed(message),
            Outcome::Proven { .. } | Outcome::Abandoned => whole,
        });
        let ends = held.phases.iter().skip(1).map(|(_, began_ns)| *began_ns);
        let ends = ends.chain([ended_ns]);
        for ((phase, began_ns), ended_ns) in held.phases.iter().zip(ends) {
            let span = Span::part_of(context, "phase", *began_ns, ended_ns);
            self.traces
                .tell(span.with("phase", phase).with("task", &lease.task_id));
        }
    }

    /// All that is held was given up.
    pub(super) fn gave_up(&mut self, outcome: &Outcome) {
        let held: Vec<LeaseId> = self.held.keys().cloned().collect();
        held.iter().for_each(|lease| self.ended(lease, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FailureClass;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn lease(fence: u64) -> LeaseId {
        LeaseId {
            task_id: "b1-s0".into(),
            fence,
        }
    }

    fn task(fence: u64, traceparent: &str) -> Task {
        Task {
            task_id: "b1-s0".into(),
            fence,
            traceparent: traceparent.into(),
            ..Task::default()
        }
    }

    #[test]
    fn a_task_is_told_as_part_of_its_lease_with_its_phases() {
        let (traces, mut told) = Traces::queue();
        let mut spans = Spans::new(traces);
        spans.announced(&task(1, PARENT));
        spans.began(&lease(1));
        spans.phase(&lease(1), "witness");
        spans.phase(&lease(1), "quotient");
        spans.phase(&lease(2), "of no task");
        spans.ended(&lease(1), &Outcome::Abandoned);
        let parent: Context = PARENT.parse().unwrap();
        let whole = told.try_recv().unwrap();
        assert_eq!((whole.name, whole.parent), ("prove", Some(parent.span)));
        assert_eq!(whole.context.trace, parent.trace);
        for phase in ["witness", "quotient"] {
            let part = told.try_recv().unwrap();
            assert_eq!((part.name, part.parent), ("phase", Some(whole.context.span)));
            assert_eq!(part.attributes[0], ("phase", phase.to_owned()));
            assert!(part.began_ns <= part.ended_ns && part.ended_ns <= whole.ended_ns);
        }
        assert!(told.try_recv().is_err());
        // What comes to nothing says why.
        spans.announced(&task(2, PARENT));
        spans.began(&lease(2));
        let failed = Outcome::Failed {
            class: FailureClass::Resource,
            message: "memory".into(),
        };
        spans.gave_up(&failed);
        let whole = told.try_recv().unwrap();
        assert_eq!(whole.error.as_deref(), Some("memory"));
        assert_eq!(whole.attributes[2], ("outcome", "resource".to_owned()));
    }

    #[test]
    fn a_coordinator_that_names_no_span_or_nonsense_is_told_nothing_of() {
        let (traces, mut told) = Traces::queue();
        let mut spans = Spans::new(traces);
        for traceparent in ["", "nonsense", "00-0-0-01"] {
            spans.announced(&task(1, traceparent));
            spans.began(&lease(1));
            spans.ended(&lease(1), &Outcome::Abandoned);
        }
        // Nor of a task that was announced and never came.
        spans.announced(&task(1, PARENT));
        spans.announced(&task(2, ""));
        spans.began(&lease(1));
        spans.ended(&lease(1), &Outcome::Abandoned);
        assert!(told.try_recv().is_err() && spans.held.is_empty());
    }
}
