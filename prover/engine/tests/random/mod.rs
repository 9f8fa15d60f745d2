//! Randomly drawn constraint systems with a satisfying witness, as halo2 circuits.
//!
//! Advice columns, in order: free inputs, inputs and tables of lookups, outputs of gates by phase. A gate's output is a
//! random polynomial in free cells, fixed cells, instances, challenges and outputs of earlier gates, each at a rotation.

use halo2_proofs::circuit::{Layouter, Region, SimpleFloorPlanner, Value};
use halo2_proofs::plonk::{
    Advice, Assigned, Challenge, Circuit, Column, ConstraintSystem, Error, Expression, FirstPhase, Fixed,
    Instance, SecondPhase, Selector, ThirdPhase,
};
use halo2_proofs::poly::Rotation;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// Rows at the end that are left alone: more than any system drawn here blinds.
const MARGIN: usize = 16;
/// Rows at the start that hold the targets of copies.
const COPY_ROWS: usize = 8;
/// The first row in which gates are active: none reads the target of a copy.
const GATE_ROWS: usize = COPY_ROWS + 3;

#[derive(Clone, Copy, Debug)]
pub enum Factor {
    Input(usize, i32),
    Fixed(usize, i32),
    Instance(usize, i32),
    Output(usize, i32),
    Challenge(usize),
    Constant(u64),
}

#[derive(Clone, Debug)]
pub struct Gate {
    pub phase: usize,
    /// A fixed column stands in for the selector.
    pub by_fixed: bool,
    pub terms: Vec<Vec<Factor>>,
    pub rows: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct Lookup {
    /// One column, or two: looked up side by side, or added up by a challenge.
    pub width: usize,
    pub by_challenge: bool,
    pub selected: bool,
    pub advice_table: bool,
    pub table: Vec<Vec<Fr>>,
    /// Row of the circuit, row of the table.
    pub uses: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Source {
    Input(usize, usize),
    Fixed(usize, usize),
    Instance(usize, usize),
}

#[derive(Clone, Debug, Default)]
pub struct System {
    pub k: u32,
    pub phases: usize,
    pub compress: bool,
    pub minimum_degree: Option<usize>,
    pub inputs: Vec<Vec<Fr>>,
    pub fixed: Vec<Vec<Fr>>,
    pub instances: Vec<Vec<Fr>>,
    pub gates: Vec<Gate>,
    pub lookups: Vec<Lookup>,
    /// Target input column and row, and what is copied there.
    pub copies: Vec<(usize, usize, Source)>,
}

impl System {
    pub fn draw(seed: u64) -> Self {
        Self::draw_with_phases(seed, &[1, 1, 2, 3])
    }

    /// A system whose number of phases is one of those.
    pub fn draw_with_phases(seed: u64, phases: &[usize]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let k = rng.gen_range(6..=7);
        let rows = (1usize << k) - MARGIN;
        let phases = *phases.choose(&mut rng).expect("not empty");
        let column = |rng: &mut StdRng, rows: usize| -> Vec<Fr> {
            let cell = |rng: &mut StdRng| {
                if rng.gen_bool(0.3) {
                    Fr::from(rng.gen_range(0..4))
                } else {
                    Fr::random(rng)
                }
            };
            (0..rows).map(|_| cell(rng)).collect()
        };
        let inputs = (0..rng.gen_range(1..=4))
            .map(|_| column(&mut rng, rows))
            .collect();
        let fixed = (0..rng.gen_range(0..=2))
            .map(|_| column(&mut rng, rows))
            .collect();
        let instance_columns = rng.gen_range(0..=3);
        let instances = (0..instance_columns)
            .map(|_| {
                let rows = rng.gen_range(1..=12);
                column(&mut rng, rows)
            })
            .collect();
        let mut system = System {
            k,
            phases,
            compress: rng.gen_bool(0.5),
            inputs,
            fixed,
            instances,
            ..System::default()
        };
        system.draw_gates(&mut rng, rows);
        for _ in 0..*[0, 0, 1, 2].choose(&mut rng).expect("not empty") {
            let lookup = system.draw_lookup(&mut rng, rows);
            system.lookups.push(lookup);
        }
        system.draw_copies(&mut rng, rows);
        if rng.gen_bool(0.2) {
            system.minimum_degree = system.minimum_degree.max(Some(rng.gen_range(3..=7)));
        }
        system
    }

    fn draw_gates(&mut self, rng: &mut StdRng, rows: usize) {
        let mut phases: Vec<usize> = (0..self.phases).collect();
        phases.extend((0..rng.gen_range(0..=3)).map(|_| rng.gen_range(0..self.phases)));
        phases.sort_unstable();
        let degree = *[2, 3, 4, 5, 5, 7, 9].choose(rng).expect("not empty");
        // The constraint is selector · (output - terms).
        self.minimum_degree = (degree > 5).then_some(degree);
        for phase in phases {
            let mut terms = Vec::new();
            for term in 0..rng.gen_range(1..=4) {
                let factors = if term == 0 {
                    degree - 1
                } else {
                    rng.gen_range(1..degree)
                };
                let mut term: Vec<Factor> = (0..factors).map(|_| self.draw_factor(rng, phase)).collect();
                if phase > 0 {
                    term.push(Factor::Challenge(rng.gen_range(0..phase)));
                }
                term.push(Factor::Constant(rng.gen_range(0..4)));
                terms.push(term);
            }
            self.gates.push(Gate {
                phase,
                by_fixed: rng.gen_bool(0.3),
                terms,
                rows: (GATE_ROWS..rows - 4).filter(|_| rng.gen_bool(0.4)).collect(),
            });
        }
    }

    fn draw_factor(&self, rng: &mut StdRng, phase: usize) -> Factor {
        let rotation = *[-3, -1, 0, 0, 0, 1, 2].choose(rng).expect("not empty");
        let earlier: Vec<usize> = (0..self.gates.len())
            .filter(|gate| self.gates[*gate].phase <= phase)
            .collect();
        match rng.gen_range(0..6) {
            0 if !self.fixed.is_empty() => Factor::Fixed(rng.gen_range(0..self.fixed.len()), rotation),
            1 if !self.instances.is_empty() => {
                Factor::Instance(rng.gen_range(0..self.instances.len()), rotation)
            }
            2 if !earlier.is_empty() => Factor::Output(*earlier.choose(rng).expect("not empty"), rotation),
            _ => Factor::Input(rng.gen_range(0..self.inputs.len()), rotation),
        }
    }

    fn draw_lookup(&self, rng: &mut StdRng, rows: usize) -> Lookup {
        let width = rng.gen_range(1..=2);
        let entries = rng.gen_range(2..20);
        let mut table: Vec<Vec<Fr>> = (0..entries)
            .map(|_| (0..width).map(|_| Fr::from(rng.gen_range(0..50))).collect())
            .collect();
        table[0] = vec![Fr::ZERO; width];
        let used: Vec<usize> = (0..rows).filter(|_| rng.gen_bool(0.6)).collect();
        Lookup {
            width,
            by_challenge: width == 2 && self.phases > 1 && rng.gen_bool(0.5),
            selected: rng.gen_bool(0.5),
            advice_table: rng.gen_bool(0.4),
            uses: used
                .into_iter()
                .map(|row| (row, rng.gen_range(0..entries)))
                .collect(),
            table,
        }
    }

    fn draw_copies(&mut self, rng: &mut StdRng, rows: usize) {
        for row in 0..rng.gen_range(0..COPY_ROWS) {
            let from = rng.gen_range(COPY_ROWS..rows);
            let source = match rng.gen_range(0..3) {
                0 if !self.fixed.is_empty() => Source::Fixed(rng.gen_range(0..self.fixed.len()), from),
                1 if !self.instances.is_empty() => {
                    let column = rng.gen_range(0..self.instances.len());
                    Source::Instance(column, rng.gen_range(0..self.instances[column].len()))
                }
                _ => Source::Input(rng.gen_range(0..self.inputs.len()), from),
            };
            let column = rng.gen_range(0..self.inputs.len());
            self.inputs[column][row] = match source {
                Source::Input(column, row) => self.inputs[column][row],
                Source::Fixed(column, row) => self.fixed[column][row],
                Source::Instance(column, row) => self.instances[column][row],
            };
            self.copies.push((column, row, source));
        }
    }

    pub fn instances(&self) -> Vec<&[Fr]> {
        self.instances.iter().map(Vec::as_slice).collect()
    }

    /// Index of a lookup's first input column among the advice columns; its table follows if that is advice.
    pub fn lookup_column(&self, lookup: usize) -> usize {
        let width = |lookup: &Lookup| lookup.width * (1 + usize::from(lookup.advice_table));
        self.inputs.len() + self.lookups[..lookup].iter().map(width).sum::<usize>()
    }

    pub fn output_column(&self, gate: usize) -> usize {
        self.lookup_column(self.lookups.len()) + gate
    }

    /// A gate's output on a row, given the outputs of the gates before it.
    fn output(&self, gate: &Gate, row: usize, outputs: &[Vec<Fr>], challenges: &[Fr]) -> Fr {
        let at = |column: &Vec<Fr>, rotation: i32| -> Fr {
            let row = (row as i32 + rotation) as usize;
            column.get(row).copied().unwrap_or(Fr::ZERO)
        };
        let factor = |factor: &Factor| match *factor {
            Factor::Input(column, rotation) => at(&self.inputs[column], rotation),
            Factor::Fixed(column, rotation) => at(&self.fixed[column], rotation),
            Factor::Instance(column, rotation) => at(&self.instances[column], rotation),
            Factor::Output(gate, rotation) => at(&outputs[gate], rotation),
            Factor::Challenge(index) => challenges[index],
            Factor::Constant(value) => Fr::from(value),
        };
        gate.terms
            .iter()
            .map(|term| term.iter().map(factor).product::<Fr>())
            .sum()
    }

    fn outputs(&self, phase: usize, outputs: &mut Vec<Vec<Fr>>, challenges: &[Fr]) {
        for gate in self.gates.iter().filter(|gate| gate.phase == phase) {
            let mut column = vec![Fr::ZERO; (1 << self.k) - MARGIN];
            for row in &gate.rows {
                column[*row] = self.output(gate, *row, outputs, challenges);
            }
            outputs.push(column);
        }
    }
}

/// A change to one advice cell.
#[derive(Clone, Copy, Debug)]
pub struct Tamper {
    pub column: usize,
    pub row: usize,
    pub add: Fr,
}

#[derive(Clone, Debug)]
pub struct RandomCircuit {
    pub system: System,
    pub tamper: Option<Tamper>,
}

#[derive(Clone, Debug)]
pub struct Config {
    advice: Vec<Column<Advice>>,
    fixed: Vec<Column<Fixed>>,
    tables: Vec<Vec<Column<Fixed>>>,
    instances: Vec<Column<Instance>>,
    challenges: Vec<Challenge>,
    selectors: Vec<Result<Selector, Column<Fixed>>>,
    lookup_selectors: Vec<Option<Selector>>,
}

impl Config {
    fn new(meta: &mut ConstraintSystem<Fr>, system: &System) -> Self {
        let phase0 = system.output_column(0);
        let mut advice: Vec<Column<Advice>> = (0..phase0).map(|_| meta.advice_column()).collect();
        let mut challenges = Vec::new();
        for phase in 0..system.phases {
            for _ in system.gates.iter().filter(|gate| gate.phase == phase) {
                advice.push(match phase {
                    0 => meta.advice_column_in(FirstPhase),
                    1 => meta.advice_column_in(SecondPhase),
                    _ => meta.advice_column_in(ThirdPhase),
                });
            }
            if phase + 1 < system.phases {
                challenges.push(match phase {
                    0 => meta.challenge_usable_after(FirstPhase),
                    _ => meta.challenge_usable_after(SecondPhase),
                });
            }
        }
        let table = |meta: &mut ConstraintSystem<Fr>, lookup: &Lookup| {
            let width = if lookup.advice_table { 0 } else { lookup.width };
            (0..width).map(|_| meta.fixed_column()).collect()
        };
        Self {
            advice,
            fixed: system.fixed.iter().map(|_| meta.fixed_column()).collect(),
            tables: system.lookups.iter().map(|lookup| table(meta, lookup)).collect(),
            instances: system.instances.iter().map(|_| meta.instance_column()).collect(),
            challenges,
            selectors: system
                .gates
                .iter()
                .map(|gate| {
                    if gate.by_fixed {
                        Err(meta.fixed_column())
                    } else {
                        Ok(meta.selector())
                    }
                })
                .collect(),
            lookup_selectors: system
                .lookups
                .iter()
                .map(|lookup| lookup.selected.then(|| meta.complex_selector()))
                .collect(),
        }
    }

    fn equalities(&self, meta: &mut ConstraintSystem<Fr>, system: &System) {
        for (column, _, source) in &system.copies {
            meta.enable_equality(self.advice[*column]);
            match source {
                Source::Input(column, _) => meta.enable_equality(self.advice[*column]),
                Source::Fixed(column, _) => meta.enable_equality(self.fixed[*column]),
                Source::Instance(column, _) => meta.enable_equality(self.instances[*column]),
            }
        }
    }

    fn gates(&self, meta: &mut ConstraintSystem<Fr>, system: &System) {
        for (index, gate) in system.gates.iter().enumerate() {
            meta.create_gate(format!("gate {index}"), |cells| {
                let mut factor = |factor: &Factor| match *factor {
                    Factor::Input(column, rotation) => {
                        cells.query_advice(self.advice[column], Rotation(rotation))
                    }
                    Factor::Fixed(column, rotation) => {
                        cells.query_fixed(self.fixed[column], Rotation(rotation))
                    }
                    Factor::Instance(column, rotation) => {
                        cells.query_instance(self.instances[column], Rotation(rotation))
                    }
                    Factor::Output(gate, rotation) => {
                        cells.query_advice(self.advice[system.output_column(gate)], Rotation(rotation))
                    }
                    Factor::Challenge(index) => cells.query_challenge(self.challenges[index]),
                    Factor::Constant(value) => Expression::Constant(Fr::from(value)),
                };
                let mut sum = Expression::Constant(Fr::ZERO);
                for term in &gate.terms {
                    let mut product = factor(&term[0]);
                    for next in &term[1..] {
                        product = product * factor(next);
                    }
                    sum = sum + product;
                }
                let output = cells.query_advice(self.advice[system.output_column(index)], Rotation::cur());
                let selector = match self.selectors[index] {
                    Ok(selector) => cells.query_selector(selector),
                    Err(column) => cells.query_fixed(column, Rotation::cur()),
                };
                vec![("output", selector * (output - sum))]
            });
        }
    }

    fn lookups(&self, meta: &mut ConstraintSystem<Fr>, system: &System) {
        for (index, lookup) in system.lookups.iter().enumerate() {
            meta.lookup_any(format!("lookup {index}"), |cells| {
                let first = system.lookup_column(index);
                let mut pairs = Vec::new();
                for at in 0..lookup.width {
                    let mut input = cells.query_advice(self.advice[first + at], Rotation::cur());
                    if let Some(selector) = self.lookup_selectors[index] {
                        input = cells.query_selector(selector) * input;
                    }
                    let table = match self.tables[index].get(at) {
                        Some(column) => cells.query_fixed(*column, Rotation::cur()),
                        None => cells.query_advice(self.advice[first + lookup.width + at], Rotation::cur()),
                    };
                    pairs.push((input, table));
                }
                if lookup.by_challenge {
                    let challenge = cells.query_challenge(self.challenges[0]);
                    let (input, table) = pairs.pop().expect("two columns");
                    let (first_input, first_table) = pairs.pop().expect("two columns");
                    pairs.push((
                        first_input + challenge.clone() * input,
                        first_table + challenge * table,
                    ));
                }
                pairs
            });
        }
    }
}

impl RandomCircuit {
    fn advice(
        &self,
        region: &mut Region<'_, Fr>,
        config: &Config,
        column: usize,
        row: usize,
        value: Value<Fr>,
    ) {
        let add = self
            .tamper
            .filter(|tamper| (tamper.column, tamper.row) == (column, row));
        let value = value.map(|value| value + add.map_or(Fr::ZERO, |tamper| tamper.add));
        // Some cells as fractions.
        let fraction = (column + row) % 7 == 3;
        let value = value.map(|value| match fraction {
            true => Assigned::Rational(value * Fr::from(row as u64 + 2), Fr::from(row as u64 + 2)),
            false => Assigned::Trivial(value),
        });
        region.assign_advice(config.advice[column], row, value);
    }

    fn lookups(&self, region: &mut Region<'_, Fr>, config: &Config) -> Result<(), Error> {
        for (index, lookup) in self.system.lookups.iter().enumerate() {
            let first = self.system.lookup_column(index);
            for (row, entry) in lookup.table.iter().enumerate() {
                for (at, value) in entry.iter().enumerate() {
                    match config.tables[index].get(at) {
                        Some(column) => {
                            region.assign_fixed(*column, row, *value);
                        }
                        None => {
                            self.advice(
                                region,
                                config,
                                first + lookup.width + at,
                                row,
                                Value::known(*value),
                            );
                        }
                    }
                }
            }
            for (row, entry) in &lookup.uses {
                if let Some(selector) = config.lookup_selectors[index] {
                    selector.enable(region, *row)?;
                }
                for (at, value) in lookup.table[*entry].iter().enumerate() {
                    self.advice(region, config, first + at, *row, Value::known(*value));
                }
            }
        }
        Ok(())
    }

    fn assign(&self, mut region: Region<'_, Fr>, config: &Config) -> Result<(), Error> {
        let region = &mut region;
        let system = &self.system;
        for (index, values) in system.inputs.iter().enumerate() {
            for (row, value) in values.iter().enumerate() {
                self.advice(region, config, index, row, Value::known(*value));
            }
        }
        for (column, values) in config.fixed.iter().zip(&system.fixed) {
            for (row, value) in values.iter().enumerate() {
                region.assign_fixed(*column, row, *value);
            }
        }
        for (gate, selector) in system.gates.iter().zip(&config.selectors) {
            for row in &gate.rows {
                match selector {
                    Ok(selector) => selector.enable(region, *row)?,
                    Err(column) => {
                        region.assign_fixed(*column, *row, Fr::from(3));
                    }
                }
            }
        }
        self.lookups(region, config)?;
        let mut outputs: Vec<Vec<Fr>> = Vec::new();
        let mut challenges: Option<Vec<Fr>> = Some(Vec::new());
        for phase in 0..system.phases {
            let first = system.gates.iter().filter(|gate| gate.phase < phase).count();
            let last = system.gates.iter().filter(|gate| gate.phase <= phase).count();
            if let Some(challenges) = &challenges {
                system.outputs(phase, &mut outputs, challenges);
            }
            let rows = (1 << system.k) - MARGIN;
            for gate in first..last {
                let known = outputs
                    .get(gate)
                    .map(|values| values.iter().map(|value| Value::known(*value)));
                let values: Vec<Value<Fr>> = match known {
                    Some(values) => values.collect(),
                    None => vec![Value::unknown(); rows],
                };
                for (row, value) in values.into_iter().enumerate() {
                    self.advice(region, config, system.output_column(gate), row, value);
                }
            }
            if phase + 1 < system.phases {
                region.next_phase();
                let mut drawn = None;
                region
                    .get_challenge(config.challenges[phase])
                    .map(|value| drawn = Some(value));
                challenges = challenges.zip(drawn).map(|(mut challenges, drawn)| {
                    challenges.push(drawn);
                    challenges
                });
            }
        }
        Ok(())
    }
}

impl Circuit<Fr> for RandomCircuit {
    type Config = Config;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = System;

    fn without_witnesses(&self) -> Self {
        self.clone()
    }

    fn params(&self) -> System {
        self.system.clone()
    }

    fn configure_with_params(meta: &mut ConstraintSystem<Fr>, system: System) -> Config {
        if let Some(degree) = system.minimum_degree {
            meta.set_minimum_degree(degree);
        }
        let config = Config::new(meta, &system);
        config.equalities(meta, &system);
        config.gates(meta, &system);
        config.lookups(meta, &system);
        config
    }

    fn configure(_: &mut ConstraintSystem<Fr>) -> Config {
        unreachable!("the circuit has parameters")
    }

    fn synthesize(&self, config: Config, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
        layouter.assign_region(|| "all", |region| self.assign(region, &config))?;
        layouter.assign_region(
            || "copies",
            |mut region| {
                use halo2_proofs::circuit::Cell;
                use halo2_proofs::plonk::Any;
                let cell = |column: Column<Any>, row: usize| Cell {
                    row_offset: row,
                    column,
                };
                for (column, row, source) in &self.system.copies {
                    let source = match *source {
                        Source::Input(column, row) => cell(config.advice[column].into(), row),
                        Source::Fixed(column, row) => cell(config.fixed[column].into(), row),
                        Source::Instance(column, row) => cell(config.instances[column].into(), row),
                    };
                    region.constrain_equal(cell(config.advice[*column].into(), *row), source);
                }
                Ok(())
            },
        )
    }
}
