//! The kernels of devices, timed and checked next to halo2curves' own: MSM, NTT, coset NTT and an element-wise program.

use crate::bounds::{Rates, Work};
use crate::cpu_seconds;
use crate::device::OpenDevice;
use crate::sample;
use accel::{Device, Direction, Op, Operand, Program};
use anyhow::{Context, Result, ensure};
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;
use halo2curves::msm::msm_best;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;

/// What is measured of each size.
#[derive(Clone, Copy, Debug)]
pub struct Measurement<'a> {
    /// Repetitions, of which the least time counts.
    pub repeat: usize,
    /// What multiples of the bases may take in a second measurement of MSM, in MiB; 0 for none.
    pub table_mib: u64,
    /// What one of the devices does in a second: its rows then say how much of their time that explains.
    pub rates: Option<&'a Rates>,
}

/// Measures all devices at `2^k` elements, in turn with halo2curves: a row for each device and kernel. Every answer is checked.
///
/// # Errors
/// A device fails or computes wrongly.
pub fn measure(devices: &[OpenDevice], k: u32, measurement: Measurement<'_>) -> Result<Vec<Value>> {
    let sample = Sample::new(k);
    let answers = Answers::new(&sample);
    let mut contenders: Vec<Box<dyn Contender + '_>> = vec![Box::new(Stock(&sample))];
    #[cfg(feature = "arkworks")]
    contenders.push(Box::new(arkworks::Arkworks::new(&sample)?));
    for device in devices {
        contenders.push(enter(device, &sample, 0)?);
        if measurement.table_mib > 0 {
            contenders.push(enter(device, &sample, measurement.table_mib)?);
        }
    }
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..measurement.repeat {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            keep_least(times, contender.run(&answers)?);
        }
    }
    let (stock, others) = times.split_first().context("nobody ran")?;
    let mut rows = Vec::new();
    for (contender, times) in contenders.iter().skip(1).zip(others) {
        for (kernel, time) in times {
            let stock = stock.iter().find(|(name, _)| name == kernel);
            let (_, stock) = stock.context("halo2curves did not run a kernel")?;
            let mut row = row(k, kernel, contender.as_ref(), *time, *stock);
            let rates = measurement.rates.filter(|rates| rates.device == contender.name());
            if let (Some(rates), Some(work)) = (rates, contender.work(kernel)) {
                row["bounds"] = rates.shares(work, time.wall);
            }
            eprintln!("{}", line(&row));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// One measurement next to halo2curves'.
fn row(k: u32, kernel: &str, contender: &dyn Contender, time: Time, stock: Time) -> Value {
    let mut row = json!({
        "kernel": kernel,
        "k": k,
        "device": contender.name(),
        "seconds": time.wall,
        "halo2curves_s": stock.wall,
        "ratio": stock.wall / time.wall,
        "cpu_seconds": time.cpu,
        "cpu_ratio": stock.cpu / time.cpu,
    });
    for (key, value) in contender.notes() {
        row[key] = value;
    }
    row
}

fn line(row: &Value) -> String {
    let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    let share = |key: &str| row["bounds"][key].as_f64().map(|share| 100.0 * share);
    let bounds = share("arithmetic").zip(share("memory"));
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
    let table = row["table_mib"].as_u64().filter(|mib| *mib > 0);
    format!(
        "2^{} {:11} {:18} {:9.2} ms, {:5.2} times as fast as halo2curves ({:.2} by processor time){}{}",
        row["k"],
        text("kernel"),
        text("device"),
        number("seconds") * 1e3,
        number("ratio"),
        number("cpu_ratio"),
        table.map_or(String::new(), |mib| format!(", {mib} MiB of table")),
        bounds.map_or(String::new(), |(arithmetic, memory)| format!(
            "; arithmetic {arithmetic:.0} %, memory {memory:.0} %"
        )),
    )
}

/// Seconds on the clock, and of all processors.
#[derive(Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Time) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let answer = run();
    let wall = start.elapsed().as_secs_f64();
    let time = Time {
        wall,
        cpu: cpu_seconds() - cpu,
    };
    (answer, time)
}

/// Times by kernel.
type Times = Vec<(&'static str, Time)>;

fn keep_least(kept: &mut Times, times: Times) {
    for (kernel, time) in times {
        match kept.iter_mut().find(|(name, _)| *name == kernel) {
            None => kept.push((kernel, time)),
            Some((_, least)) => {
                least.wall = least.wall.min(time.wall);
                least.cpu = least.cpu.min(time.cpu);
            }
        }
    }
}

/// What is computed at one size.
struct Sample {
    k: u32,
    bases: Vec<G1Affine>,
    /// Random scalars.
    dense: Vec<Fr>,
    /// As a witness has them ([`sample::witness`]).
    witness: Vec<Fr>,
    /// Inputs of the program.
    columns: Vec<Vec<Fr>>,
    challenge: Fr,
}

/// Columns of the program, in pairs of selector and advice.
const COLUMNS: usize = 8;

impl Sample {
    fn new(k: u32) -> Self {
        let n = 1 << k;
        // Each part has a seed of its own.
        let seed = |part: usize| (u64::from(k) << 8) | part as u64;
        Self {
            k,
            bases: sample::points(n, seed(0)),
            dense: sample::scalars(n, seed(1)),
            witness: sample::witness(n, seed(2)),
            columns: (0..COLUMNS)
                .map(|column| sample::scalars(n, seed(4 + column)))
                .collect(),
            challenge: sample::scalars(1, seed(3))[0],
        }
    }

    /// Multiplications of the program for an element: 11 products and 8 reductions, each half of one.
    const MULTIPLICATIONS: f64 = 9.5;

    /// Gates `q (a + b c - d)` of vertical columns, folded with powers of the challenge.
    fn program() -> Result<Program> {
        let input = |column: usize, rotation: i32| Operand::Input {
            column: column as u32,
            rotation,
        };
        let mut ops = Vec::new();
        let mut push = |op: Op| {
            ops.push(op);
            Operand::Result(ops.len() as u32 - 1)
        };
        let mut folded: Option<Operand> = None;
        for selector in (0..COLUMNS).step_by(2) {
            let cell = |rotation: i32| input(selector + 1, rotation);
            let product = push(Op::Mul(cell(1), cell(2)));
            let sum = push(Op::Add(cell(0), product));
            let difference = push(Op::Sub(sum, cell(3)));
            let gate = push(Op::Mul(input(selector, 0), difference));
            folded = Some(match folded {
                None => gate,
                Some(others) => {
                    let scaled = push(Op::Mul(others, Operand::Constant(0)));
                    push(Op::Add(scaled, gate))
                }
            });
        }
        Ok(Program::new(ops, folded.into_iter().collect())?)
    }

    /// The transform of the dense scalars, by halo2curves.
    fn transform(&self) -> Vec<Fr> {
        let mut values = self.dense.clone();
        self.best_fft(&mut values);
        values
    }

    /// The same on a coset.
    fn coset(&self) -> Vec<Fr> {
        let mut values = self.dense.clone();
        scale(&mut values, self.challenge);
        self.best_fft(&mut values);
        values
    }

    fn best_fft(&self, values: &mut [Fr]) {
        let omega = (self.k..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
        best_fft(values, omega, self.k);
    }

    /// The program in halo2curves' arithmetic.
    fn gates(&self) -> Vec<Fr> {
        let n = self.dense.len();
        let rows = (0..n).into_par_iter().with_min_len(1024).map(|row| {
            let mut folded = Fr::ZERO;
            for pair in self.columns.chunks_exact(2) {
                let cell = |rotation: usize| pair[1][(row + rotation) % n];
                let gate = pair[0][row] * (cell(0) + cell(1) * cell(2) - cell(3));
                folded = folded * self.challenge + gate;
            }
            folded
        });
        rows.collect()
    }
}

/// What the kernels must compute, by halo2curves.
struct Answers {
    dense: G1,
    witness: G1,
    transform: Vec<Fr>,
    coset: Vec<Fr>,
    gates: Vec<Fr>,
}

impl Answers {
    fn new(sample: &Sample) -> Self {
        Self {
            dense: msm_best(&sample.dense, &sample.bases),
            witness: msm_best(&sample.witness, &sample.bases),
            transform: sample.transform(),
            coset: sample.coset(),
            gates: sample.gates(),
        }
    }
}

/// Somebody who computes the kernels of one size.
trait Contender {
    fn name(&self) -> String;

    /// What else belongs into its rows.
    fn notes(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// What a kernel takes, where that is known.
    fn work(&self, _kernel: &str) -> Option<Work> {
        None
    }

    /// Computes every kernel once, and checks what came out.
    fn run(&mut self, answers: &Answers) -> Result<Times>;
}

/// halo2curves.
struct Stock<'a>(&'a Sample);

impl Contender for Stock<'_> {
    fn name(&self) -> String {
        "halo2curves".to_string()
    }

    fn run(&mut self, answers: &Answers) -> Result<Times> {
        let sample = self.0;
        let (dense, dense_time) = timed(|| msm_best(&sample.dense, &sample.bases));
        let (witness, witness_time) = timed(|| msm_best(&sample.witness, &sample.bases));
        ensure!(
            dense == answers.dense && witness == answers.witness,
            "two answers of one sum"
        );
        Ok(vec![
            ("msm", dense_time),
            ("msm witness", witness_time),
            ("ntt", timed(|| sample.transform()).1),
            ("coset ntt", timed(|| sample.coset()).1),
            ("gates", timed(|| sample.gates()).1),
            // Where there is no device, a copy.
            ("upload", timed(|| sample.dense.clone()).1),
            ("download", timed(|| sample.dense.clone()).1),
        ])
    }
}

/// Multiplies element `i` by `shift^i`.
fn scale(values: &mut [Fr], shift: Fr) {
    const CHUNK: usize = 1 << 12;
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(at, chunk)| {
        let mut power = shift.pow_vartime([(at * CHUNK) as u64]);
        for value in chunk {
            *value *= power;
            power *= shift;
        }
    });
}

/// Prepares a device for one size.
fn enter<'a>(device: &'a OpenDevice, sample: &'a Sample, table_mib: u64) -> Result<Box<dyn Contender + 'a>> {
    Ok(match device {
        OpenDevice::Cpu(device) => {
            let mut entered = Entered::new(device, sample, table_mib)?;
            entered.work = vec![
                ("msm", Work::msm(&entered.bases, &entered.dense)),
                ("msm witness", Work::msm(&entered.bases, &entered.witness)),
                ("ntt", Work::ntt(sample.k, false)),
                ("coset ntt", Work::ntt(sample.k, true)),
                ("gates", Work::program(sample.k, COLUMNS, Sample::MULTIPLICATIONS)),
            ];
            Box::new(entered)
        }
        OpenDevice::Icicle(device) => Box::new(Entered::new(device, sample, table_mib)?),
    })
}

/// A device with everything of one size on it.
struct Entered<'a, D: Device> {
    device: &'a D,
    table_mib: u64,
    prepare_s: f64,
    bases: D::Bases,
    dense: D::Vector,
    witness: D::Vector,
    columns: Vec<D::Vector>,
    room: D::Vector,
    program: Program,
    challenge: Fr,
    work: Vec<(&'static str, Work)>,
}

impl<'a, D: Device> Entered<'a, D> {
    fn new(device: &'a D, sample: &Sample, table_mib: u64) -> Result<Self> {
        let dense = device.upload(&sample.dense)?;
        let (bases, prepare) = timed(|| {
            let bases = device.bases(&sample.bases, table_mib << 20)?;
            // What is done once for a size belongs to the preparation.
            device.msm(&bases, &[&dense])?;
            Ok::<_, accel::DeviceError>(bases)
        });
        let columns = sample.columns.iter().map(|column| device.upload(column));
        Ok(Self {
            device,
            table_mib,
            prepare_s: prepare.wall,
            bases: bases?,
            dense,
            witness: device.upload(&sample.witness)?,
            columns: columns.collect::<Result<_, _>>()?,
            room: device.zeros(sample.dense.len())?,
            program: Sample::program()?,
            challenge: sample.challenge,
            work: Vec::new(),
        })
    }
}

impl<D: Device> Contender for Entered<'_, D> {
    fn name(&self) -> String {
        self.device.name()
    }

    fn notes(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("table_mib", json!(self.table_mib)),
            ("prepare_s", json!(self.prepare_s)),
        ]
    }

    fn work(&self, kernel: &str) -> Option<Work> {
        let (_, work) = self.work.iter().find(|(name, _)| *name == kernel)?;
        Some(*work)
    }

    fn run(&mut self, answers: &Answers) -> Result<Times> {
        let device = self.device;
        let (dense, dense_time) = timed(|| device.msm(&self.bases, &[&self.dense]));
        ensure!(dense? == [answers.dense], "a wrong sum");
        let (witness, witness_time) = timed(|| device.msm(&self.bases, &[&self.witness]));
        ensure!(
            witness? == [answers.witness],
            "a wrong sum of witness-like scalars"
        );
        let mut times = vec![("msm", dense_time), ("msm witness", witness_time)];
        if self.table_mib > 0 {
            return Ok(times);
        }
        let (values, time) = timed(|| device.download(&self.dense));
        let values = values?;
        times.push(("download", time));
        let (copy, time) = timed(|| device.upload(&values));
        times.push(("upload", time));
        let mut values = copy?;
        let (done, time) = timed(|| device.ntt(&mut [&mut values], Direction::Forward));
        done?;
        ensure!(
            device.download(&values)? == answers.transform,
            "a wrong transform"
        );
        times.push(("ntt", time));
        let mut outputs = [&mut self.room];
        let (done, time) = timed(|| device.coset_ntt(&[&self.dense], self.challenge, &mut outputs));
        done?;
        ensure!(
            device.download(&self.room)? == answers.coset,
            "a wrong transform on a coset"
        );
        times.push(("coset ntt", time));
        let inputs: Vec<&D::Vector> = self.columns.iter().collect();
        let mut outputs = [&mut self.room];
        let (done, time) = timed(|| device.run(&self.program, &inputs, &[self.challenge], &mut outputs));
        done?;
        ensure!(device.download(&self.room)? == answers.gates, "wrong gates");
        times.push(("gates", time));
        Ok(times)
    }
}

/// arkworks' MSM and NTT.
#[cfg(feature = "arkworks")]
mod arkworks {
    use super::*;
    use ark_bn254::{Fq as ArkFq, Fr as ArkFr, G1Affine as ArkAffine, G1Projective};
    use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM};
    use ark_ff::{PrimeField as ArkField, Zero};
    use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};
    use halo2curves::group::Curve;

    fn scalar(value: &Fr) -> ArkFr {
        ArkFr::from_le_bytes_mod_order(value.to_repr().as_ref())
    }

    fn point(point: &G1Affine) -> ArkAffine {
        let coordinate =
            |value: &halo2curves::bn256::Fq| ArkFq::from_le_bytes_mod_order(value.to_repr().as_ref());
        let (x, y) = (coordinate(&point.x), coordinate(&point.y));
        if x.is_zero() && y.is_zero() {
            ArkAffine::zero()
        } else {
            ArkAffine::new_unchecked(x, y)
        }
    }

    pub(super) struct Arkworks {
        bases: Vec<ArkAffine>,
        dense: Vec<ArkFr>,
        witness: Vec<ArkFr>,
        domain: Radix2EvaluationDomain<ArkFr>,
    }

    impl Arkworks {
        pub(super) fn new(sample: &Sample) -> Result<Self> {
            let domain = Radix2EvaluationDomain::new(sample.dense.len());
            Ok(Self {
                bases: sample.bases.par_iter().map(point).collect(),
                dense: sample.dense.par_iter().map(scalar).collect(),
                witness: sample.witness.par_iter().map(scalar).collect(),
                domain: domain.context("arkworks has no such domain")?,
            })
        }

        fn sum(&self, scalars: &[ArkFr], expected: &G1) -> Result<Time> {
            let (sum, time) = timed(|| G1Projective::msm(&self.bases, scalars));
            let sum = sum.map_err(|len| anyhow::anyhow!("arkworks took only {len} scalars"))?;
            ensure!(
                sum.into_affine() == point(&expected.to_affine()),
                "a wrong sum of arkworks"
            );
            Ok(time)
        }
    }

    impl Contender for Arkworks {
        fn name(&self) -> String {
            "arkworks".to_string()
        }

        fn run(&mut self, answers: &Answers) -> Result<Times> {
            let (dense, witness) = (
                self.sum(&self.dense, &answers.dense)?,
                self.sum(&self.witness, &answers.witness)?,
            );
            let mut values = self.dense.clone();
            let ((), transform) = timed(|| self.domain.fft_in_place(&mut values));
            // Its root of unity is another one, so that its values cannot be compared; it must undo what it did.
            ensure!(
                self.domain.ifft(&values) == self.dense,
                "a wrong transform of arkworks"
            );
            Ok(vec![("msm", dense), ("msm witness", witness), ("ntt", transform)])
        }
    }
}
