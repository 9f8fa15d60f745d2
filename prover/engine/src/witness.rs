//! Advice columns from a circuit.

use halo2_proofs::circuit::Value;
use halo2_proofs::plonk::{
    Advice, Any, Assigned, Assignment, Challenge, Circuit, Column, ConstraintSystem, Error, Fixed,
    FloorPlanner, Instance, Selector, VerifyingKey,
};
use halo2curves::bn256::{Fr, G1Affine};
use halo2curves::ff::{BatchInvert, Field};
use std::collections::HashMap;

use crate::error::{EngineError, WitnessError};

/// The advice columns of a circuit of one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    columns: Vec<Vec<Fr>>,
}

impl Witness {
    /// Takes columns as they are, each of `2^k` rows. The last rows, which blind, are overwritten.
    pub fn from_columns(columns: Vec<Vec<Fr>>) -> Self {
        Self { columns }
    }

    /// Runs the circuit's synthesis. This needs no device, so it may be done while another proof is made.
    ///
    /// # Errors
    /// [`WitnessError`]: the circuit has more than one phase, or its synthesis fails. Cells read back from
    /// `assign_advice` have no known value here, unlike in halo2's own prover; a circuit must assign the values it has.
    pub fn synthesize<C: Circuit<Fr>>(
        vk: &VerifyingKey<G1Affine>,
        circuit: &C,
        instances: &[&[Fr]],
    ) -> Result<Self, EngineError> {
        let cs = vk.cs();
        let phases = cs
            .advice_column_phase()
            .iter()
            .max()
            .map_or(1, |last| usize::from(*last) + 1);
        if phases > 1 {
            return Err(WitnessError::Phases { phases }.into());
        }
        let mut columns = Vec::new();
        let mut keep = |_: usize, made: Vec<Vec<Fr>>| {
            columns = made;
            Ok(Vec::new())
        };
        let rows = 1 << vk.get_domain().k();
        synthesize(cs, rows, circuit, instances, &mut keep)?;
        Ok(Self { columns })
    }

    /// The columns, if they are as many and as long as the circuit's.
    pub(crate) fn into_columns(
        self,
        expected: usize,
        expected_rows: usize,
    ) -> Result<Vec<Vec<Fr>>, WitnessError> {
        let odd = self
            .columns
            .iter()
            .map(Vec::len)
            .find(|rows| *rows != expected_rows);
        if self.columns.len() != expected || odd.is_some() {
            return Err(WitnessError::Shape {
                found: self.columns.len(),
                found_rows: odd.unwrap_or(expected_rows),
                expected,
                expected_rows,
            });
        }
        Ok(self.columns)
    }
}

/// Takes the advice columns of a phase, in order, and gives the challenges that follow, with their indices.
pub(crate) type EndPhase<'a> =
    &'a mut dyn FnMut(usize, Vec<Vec<Fr>>) -> Result<Vec<(usize, Fr)>, EngineError>;

/// Runs a circuit's synthesis phase by phase.
pub(crate) fn synthesize<C: Circuit<Fr>>(
    cs: &ConstraintSystem<Fr>,
    rows: usize,
    circuit: &C,
    instances: &[&[Fr]],
    end_phase: EndPhase<'_>,
) -> Result<(), EngineError> {
    let config = C::configure_with_params(&mut ConstraintSystem::default(), circuit.params());
    let phase_of: Vec<usize> = cs.advice_column_phase().into_iter().map(usize::from).collect();
    let phases = phase_of.iter().max().map_or(1, |last| last + 1);
    let mut collector = Collector {
        columns: vec![vec![Fr::ZERO; rows]; phase_of.len()],
        denominators: HashMap::new(),
        phase_of,
        phases,
        phase: 0,
        challenges: HashMap::new(),
        instances,
        usable_rows: rows - cs.blinding_factors() - 1,
        end_phase,
        error: None,
    };
    // A circuit that never calls `next_phase` is synthesized once for each phase.
    while collector.phase < phases {
        let result =
            C::FloorPlanner::synthesize(&mut collector, circuit, config.clone(), cs.constants().clone());
        if let Some(error) = collector.error.take() {
            return Err(error);
        }
        result.map_err(WitnessError::Synthesis)?;
        collector.next_phase();
    }
    collector.error.map_or(Ok(()), Err)
}

/// Receives the assignments of a circuit.
struct Collector<'a> {
    /// Columns of phases that have ended are empty.
    columns: Vec<Vec<Fr>>,
    /// Denominators by column and row, of cells assigned as fractions: inverted together at the end of a phase.
    denominators: HashMap<(usize, usize), Fr>,
    phase_of: Vec<usize>,
    phases: usize,
    phase: usize,
    challenges: HashMap<usize, Fr>,
    instances: &'a [&'a [Fr]],
    usable_rows: usize,
    end_phase: EndPhase<'a>,
    /// The first error: assignments cannot return one.
    error: Option<EngineError>,
}

impl Collector<'_> {
    fn refuse(&mut self, error: impl Into<EngineError>) {
        self.error.get_or_insert(error.into());
    }

    fn set(&mut self, column: usize, row: usize, value: Assigned<Fr>) {
        self.columns[column][row] = value.numerator();
        match value.denominator() {
            Some(denominator) => {
                self.denominators.insert((column, row), denominator);
            }
            None if self.denominators.is_empty() => {}
            None => {
                self.denominators.remove(&(column, row));
            }
        }
    }

    /// Divides the cells of the columns of this phase that were assigned as fractions. `x / 0` is 0.
    fn divide(&mut self) {
        let phase = self.phase;
        let (cells, mut denominators): (Vec<(usize, usize)>, Vec<Fr>) = self
            .denominators
            .iter()
            .filter(|((column, _), _)| self.phase_of[*column] == phase)
            .map(|(cell, denominator)| (*cell, *denominator))
            .unzip();
        denominators.iter_mut().batch_invert();
        for (cell @ (column, row), inverse) in cells.into_iter().zip(denominators) {
            self.columns[column][row] *= inverse;
            self.denominators.remove(&cell);
        }
    }
}

impl Assignment<Fr> for Collector<'_> {
    fn enter_region<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn annotate_column<A, AR>(&mut self, _: A, _: Column<Any>)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
    }

    fn exit_region(&mut self) {}

    fn enable_selector<A, AR>(&mut self, _: A, _: &Selector, _: usize) -> Result<(), Error>
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        Ok(())
    }

    fn query_instance(&self, column: Column<Instance>, row: usize) -> Result<Value<Fr>, Error> {
        let column = self.instances.get(column.index());
        let value = column.and_then(|values| values.get(row));
        value
            .map(|value| Value::known(*value))
            .ok_or(Error::BoundsFailure)
    }

    fn assign_advice<'v>(
        &mut self,
        column: Column<Advice>,
        row: usize,
        to: Value<Assigned<Fr>>,
    ) -> Value<&'v Assigned<Fr>> {
        let (column, phase) = (column.index(), self.phase);
        let mut value = None;
        to.map(|known| value = Some(known));
        if row >= self.usable_rows {
            let rows = self.usable_rows;
            self.refuse(WitnessError::Row { column, row, rows });
        } else if let Some(value) = value {
            if self.phase_of[column] >= phase {
                self.set(column, row, value);
            }
        } else if self.phase_of[column] == phase {
            self.refuse(WitnessError::Unknown { column, row, phase });
        }
        // The reference would have to outlive the collector.
        Value::unknown()
    }

    fn assign_fixed(&mut self, _: Column<Fixed>, _: usize, _: Assigned<Fr>) {}

    fn copy(&mut self, _: Column<Any>, _: usize, _: Column<Any>, _: usize) {}

    fn fill_from_row(&mut self, _: Column<Fixed>, _: usize, _: Value<Assigned<Fr>>) -> Result<(), Error> {
        Ok(())
    }

    fn get_challenge(&self, challenge: Challenge) -> Value<Fr> {
        let challenge = self.challenges.get(&challenge.index());
        challenge.map_or_else(Value::unknown, |value| Value::known(*value))
    }

    fn push_namespace<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn pop_namespace(&mut self, _: Option<String>) {}

    fn next_phase(&mut self) {
        if self.phase >= self.phases || self.error.is_some() {
            return;
        }
        self.divide();
        let phase = self.phase;
        let columns = self.columns.iter_mut().zip(&self.phase_of);
        let ended = columns
            .filter(|(_, of)| **of == phase)
            .map(|(column, _)| std::mem::take(column));
        let ended = ended.collect();
        self.phase += 1;
        match (self.end_phase)(phase, ended) {
            Ok(challenges) => self.challenges.extend(challenges),
            Err(error) => self.refuse(error),
        }
    }
}
