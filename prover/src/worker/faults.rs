//! When a device has failed too often to be given more work.

/// Different tasks lost in a row after which a device is given up.
const TASKS_MAX: usize = 3;
/// Losses in a row after which it is given up, though it were one bad task each time, or none at all.
const FAULTS_MAX: u32 = 6;

/// Tasks that a device lost since the last one that it proved.
#[derive(Debug, Default)]
pub(super) struct Faults {
    tasks: Vec<String>,
    count: u32,
}

impl Faults {
    /// The device lost a task, or failed without one.
    pub(super) fn note(&mut self, task_id: Option<&str>) {
        self.count += 1;
        if let Some(task_id) = task_id
            && !self.tasks.iter().any(|known| known == task_id)
        {
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
                "the device failed {} times in a row, on {} different tasks",
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
            faults.note(Some("bad"));
            assert_eq!(faults.verdict(), None);
        }
        faults.note(Some("bad"));
        assert!(faults.verdict().is_some());

        faults.clear();
        for task in ["a", "b", "a", "b"] {
            faults.note(Some(task));
            assert_eq!(faults.verdict(), None);
        }
        faults.clear();
        faults.note(Some("a"));
        faults.note(Some("b"));
        assert_eq!(faults.verdict(), None);
        faults.note(Some("c"));
        assert_eq!(
            faults.verdict().unwrap(),
            "the device failed 3 times in a row, on 3 different tasks"
        );
    }
}
