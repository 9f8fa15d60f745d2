//! When a device has failed too often to be given more work.

/// Different tasks lost in a row after which a device is given up: one bad task alone does not do that.
const TASKS_MAX: usize = 3;
/// Tasks lost in a row after which it is given up, whichever they were.
const FAULTS_MAX: u32 = 6;

/// Tasks that a device lost since the last one that it proved.
#[derive(Debug, Default)]
pub(super) struct Faults {
    tasks: Vec<String>,
    count: u32,
}

impl Faults {
    /// The device lost a task.
    pub(super) fn note(&mut self, task_id: &str) {
        self.count += 1;
        if !self.tasks.iter().any(|known| known == task_id) {
            self.tasks.push(task_id.to_string());
        }
    }

    /// The device did what it should.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the device is to be given up, and why.
    pub(super) fn verdict(&self) -> Option<String> {
        let too_many = self.tasks.len() >= TASKS_MAX || self.count >= FAULTS_MAX;
        too_many.then(|| {
            format!(
                "the device lost {} tasks in a row, {} different ones",
                self.count,
                self.tasks.len()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_given_up_for_several_tasks_and_not_for_one_bad_one() {
        let mut faults = Faults::default();
        for _ in 0..FAULTS_MAX - 1 {
            faults.note("bad");
            assert_eq!(faults.verdict(), None);
        }
        faults.note("bad");
        assert!(faults.verdict().is_some());

        faults.clear();
        for task in ["a", "b", "a", "b"] {
            faults.note(task);
            assert_eq!(faults.verdict(), None);
        }
        faults.clear();
        faults.note("a");
        faults.note("b");
        assert_eq!(faults.verdict(), None);
        faults.note("c");
        assert_eq!(
            faults.verdict().unwrap(),
            "the device lost 3 tasks in a row, 3 different ones"
        );
    }
}
