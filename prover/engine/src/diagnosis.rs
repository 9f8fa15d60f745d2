//! Which gate, or which cells, a witness breaks. Reads every row: for finding mistakes, not for proving.

use accel::{Device, Operand};
use halo2curves::bn256::Fr;
use halo2curves::ff::{Field, PrimeField};
use std::collections::HashMap;

use crate::error::{Cell, EngineError};
use crate::graph::{Graph, Poly};
use crate::key::zeros;
use crate::prove::Proof;

impl<D: Device> Proof<'_, '_, D> {
    /// Checks gates and copy constraints on the values of the domain. Lookups are checked when they are permuted.
    pub fn diagnose(&mut self) -> Result<(), EngineError> {
        self.lend_fixed_values()?;
        let result = self.gates().and_then(|()| self.copies());
        self.polys.retain(|poly, _| !matches!(poly, Poly::Fixed(_)));
        result
    }

    /// Gates read fixed columns that the key keeps in coefficients only.
    fn lend_fixed_values(&mut self) -> Result<(), EngineError> {
        let (device, key) = (&*self.engine.device, &self.engine.key);
        for (poly, coefficients) in &key.coefficients {
            if matches!(poly, Poly::Fixed(_)) && !key.values.contains_key(poly) {
                let mut values = device.duplicate(coefficients)?;
                device.ntt(&mut [&mut values], accel::Direction::Forward)?;
                self.polys.insert(*poly, values);
            }
        }
        Ok(())
    }

    fn gates(&self) -> Result<(), EngineError> {
        for gate in self.engine.system.cs.gates() {
            let mut graph = Graph::default();
            let outputs: Vec<Operand> = gate.polynomials().iter().map(|p| graph.expression(p)).collect();
            let compiled = graph.compile(&outputs);
            let mut outputs = zeros(&*self.engine.device, self.engine.system.domain.n, outputs.len())?;
            self.run_on_domain(&compiled, &mut outputs)?;
            for (index, output) in outputs.iter().enumerate() {
                let values = self.engine.device.download(output)?;
                if let Some(row) = values.iter().position(|value| *value != Fr::ZERO) {
                    let constraint = match gate.constraint_name(index) {
                        "" => index.to_string(),
                        name => name.to_owned(),
                    };
                    return Err(EngineError::Gate {
                        gate: gate.name().to_owned(),
                        constraint,
                        row,
                    });
                }
            }
        }
        Ok(())
    }

    /// Each cell must equal the next of its cycle, which `delta^column · omega^row` names.
    fn copies(&self) -> Result<(), EngineError> {
        let (device, system, key) = (&*self.engine.device, &self.engine.system, &self.engine.key);
        let domain = device.download(&key.values[&Poly::Identity])?;
        let mut columns = Vec::new();
        let mut names = HashMap::new();
        let mut delta = Fr::ONE;
        for (at, poly) in system.permuted.iter().enumerate() {
            let values = self.polys.get(poly).unwrap_or_else(|| &key.values[poly]);
            columns.push((
                device.download(values)?,
                device.download(&key.values[&Poly::Sigma(at)])?,
            ));
            names.extend(
                domain
                    .iter()
                    .enumerate()
                    .map(|(row, power)| (delta * power, (at, row))),
            );
            delta *= Fr::DELTA;
        }
        for (at, (values, sigma)) in columns.iter().enumerate() {
            for (row, (value, image)) in values.iter().zip(sigma).take(system.usable_rows()).enumerate() {
                let (to, to_row) = names[image];
                if *value != columns[to].0[to_row] {
                    return Err(EngineError::Copy {
                        left: cell(system.permuted[at], row),
                        right: cell(system.permuted[to], to_row),
                    });
                }
            }
        }
        Ok(())
    }
}

fn cell(poly: Poly, row: usize) -> Cell {
    let (kind, column) = match poly {
        Poly::Advice(column) => ("advice", column),
        Poly::Fixed(column) => ("fixed", column),
        Poly::Instance(column) => ("instance", column),
        _ => unreachable!("the permutation is over columns"),
    };
    Cell { kind, column, row }
}
