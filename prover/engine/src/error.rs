//! Why there is no proof.

use accel::DeviceError;
use thiserror::Error;

/// Why the engine could not be set up, or why there is no proof.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The device did not do what it was asked.
    #[error("device: {0}")]
    Device(#[from] DeviceError),
    /// The reference string holds fewer points than the circuit has rows.
    #[error("{basis}: {found} points, {expected} needed")]
    SrsTooSmall {
        /// Which of the two bases.
        basis: &'static str,
        /// Points there.
        found: usize,
        /// Points needed.
        expected: usize,
    },
    /// A constraint has a higher degree than the key's domain holds. halo2 caps the degree by the environment variable
    /// `MAX_DEGREE` when it makes keys; such a key proves nothing.
    #[error("{constraint} has degree {found}, the key's domain holds {allowed}")]
    Degree {
        /// The constraint.
        constraint: String,
        /// Its degree.
        found: usize,
        /// The domain's.
        allowed: usize,
    },
    /// Proving takes more memory than the budget, even without anything kept for speed.
    #[error("proving needs {needed} bytes on the device, the budget is {budget}")]
    Budget {
        /// Bytes needed at least.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The number of instance columns, or the length of one, is not the circuit's.
    #[error("instances: {reason}")]
    Instances {
        /// What was found and expected.
        reason: String,
    },
    /// The circuit could not be synthesized into a witness.
    #[error("witness: {0}")]
    Witness(#[from] WitnessError),
    /// An input of a lookup is not in its table.
    #[error("lookup {name}: the input of row {row} is not in the table")]
    Lookup {
        /// The lookup's name.
        name: String,
        /// The first such row.
        row: usize,
    },
    /// A gate does not hold. Only in debug mode.
    #[error("gate {gate}, constraint {constraint}: not satisfied in row {row}")]
    Gate {
        /// The gate's name.
        gate: String,
        /// The constraint's name, or its number.
        constraint: String,
        /// The first row in which it does not hold.
        row: usize,
    },
    /// Two cells that must be equal are not. Only in debug mode.
    #[error("copy constraint: {left} and {right} differ")]
    Copy {
        /// A cell.
        left: Cell,
        /// The next cell of its cycle.
        right: Cell,
    },
    /// The witness does not satisfy the circuit. Debug mode says where.
    #[error("the witness does not satisfy the circuit's {what}; debug mode says where")]
    Unsatisfied {
        /// `copy constraints` or `gates`.
        what: &'static str,
    },
    /// A challenge has one of the few values for which the protocol has no proof. Proving again helps.
    #[error("a challenge fell on the domain")]
    Challenge,
    /// The transcript refused an element.
    #[error("transcript: {0}")]
    Transcript(#[from] std::io::Error),
}

/// A cell of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `advice`, `fixed` or `instance`.
    pub kind: &'static str,
    /// The column's index among its kind.
    pub column: usize,
    /// The row.
    pub row: usize,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} row {}", self.kind, self.column, self.row)
    }
}

/// Why a circuit has no witness.
#[derive(Debug, Error)]
pub enum WitnessError {
    /// The circuit's own synthesis failed.
    #[error("synthesis: {0}")]
    Synthesis(halo2_proofs::plonk::Error),
    /// A cell was assigned a value that is not known in its phase.
    #[error("advice {column} row {row}: the value is not known in phase {phase}")]
    Unknown {
        /// The advice column.
        column: usize,
        /// The row.
        row: usize,
        /// The phase.
        phase: usize,
    },
    /// A cell lies outside the rows that a circuit may use.
    #[error("advice {column} row {row}: the circuit has {rows} usable rows")]
    Row {
        /// The advice column.
        column: usize,
        /// The row.
        row: usize,
        /// Usable rows.
        rows: usize,
    },
    /// The columns handed over are not the circuit's.
    #[error("witness of {found} columns of {found_rows} rows, expected {expected} of {expected_rows}")]
    Shape {
        /// Columns found.
        found: usize,
        /// Their rows, of the first that differs.
        found_rows: usize,
        /// Columns expected.
        expected: usize,
        /// Rows expected.
        expected_rows: usize,
    },
    /// The circuit has challenges between phases, so its witness cannot be made before the proof begins.
    #[error("the circuit has {phases} phases, a witness made beforehand can only have one")]
    Phases {
        /// Phases of the circuit.
        phases: usize,
    },
}
