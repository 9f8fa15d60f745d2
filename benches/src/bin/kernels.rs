//! Times a device's kernels per size next to halo2curves' own: MSM, NTT, coset NTT and an element-wise program.
//!
//! With the feature `arkworks`, its MSM and NTT are timed too. Every answer is checked. Times are the least of the repetitions, all in one run, so that ratios
//! hold even where seconds depend on the machine's other load.

use accel::{CpuDevice, Device, Direction, IcicleConfig, IcicleDevice, Op, Operand, Program};
use anyhow::{Context, Result, bail, ensure};
use benches::{publish, report};
use clap::Parser;
use halo2curves::bn256::{Fr, G1, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::fft::best_fft;
use halo2curves::group::{Curve, Group};
use halo2curves::msm::msm_best;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Time the kernels of devices against halo2curves, and check what they compute.
#[derive(Parser)]
struct Args {
    /// Devices: cpu, portable (the CPU without its vector kernels), icicle, icicle:N, icicle-cpu.
    #[arg(long, value_delimiter = ',', default_values = ["cpu", "portable"])]
    device: Vec<String>,
    /// Smallest size, as a power of two.
    #[arg(long, default_value_t = 14)]
    k_min: u32,
    /// Largest size.
    #[arg(long, default_value_t = 20)]
    k_max: u32,
    /// Repetitions of each measurement.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// What multiples of the bases may take in a second measurement of MSM; 0 for none.
    #[arg(long, default_value_t = 1024)]
    table_mib: u64,
    /// ICICLE's installation.
    #[arg(long)]
    icicle_dir: Option<PathBuf>,
    /// Write the report to this file too.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(
        args.k_min <= args.k_max && args.k_max <= 24,
        "sizes from 2^{} to 2^{}",
        args.k_min,
        args.k_max
    );
    ensure!(args.repeat > 0, "no repetitions");
    let devices = args
        .device
        .iter()
        .map(|name| open(name, args.icicle_dir.as_deref()));
    let devices: Vec<Box<dyn Kernels>> = devices.collect::<Result<_>>()?;
    let mut rows = Vec::new();
    for k in args.k_min..=args.k_max {
        let sample = Sample::new(k);
        let peer = Peer::new(&sample, args.repeat);
        #[cfg(feature = "arkworks")]
        for row in arkworks::measure(&sample, &peer, args.repeat)? {
            eprintln!("{}", line(&row));
            rows.push(row);
        }
        for device in &devices {
            for row in device.measure(&sample, &peer, &args)? {
                eprintln!("{}", line(&row));
                rows.push(row);
            }
        }
    }
    publish(&report(json!(rows)), args.json.as_deref())
}

fn line(row: &Value) -> String {
    let seconds = row["seconds"].as_f64().unwrap_or(f64::NAN);
    let ratio = row["ratio"].as_f64().unwrap_or(f64::NAN);
    let table = row["table_mib"].as_u64().filter(|mib| *mib > 0);
    format!(
        "2^{} {:12} {:20} {:9.2} ms, {ratio:5.2} times as fast as halo2curves{}",
        row["k"],
        row["kernel"].as_str().unwrap_or_default(),
        row["device"].as_str().unwrap_or_default(),
        seconds * 1e3,
        table.map_or(String::new(), |mib| format!(", {mib} MiB of table")),
    )
}

fn open(name: &str, icicle: Option<&Path>) -> Result<Box<dyn Kernels>> {
    let icicle = |kind: &str, index: u32| -> Result<Box<dyn Kernels>> {
        let config = IcicleConfig::new(icicle, kind, index);
        Ok(Box::new(Backend(IcicleDevice::open(&config)?)))
    };
    Ok(match name {
        "cpu" => Box::new(Backend(CpuDevice::new())),
        "portable" => Box::new(Backend(CpuDevice::portable())),
        "icicle" => icicle("CUDA", 0)?,
        "icicle-cpu" => icicle("CPU", 0)?,
        name => match name.strip_prefix("icicle:") {
            Some(index) => icicle("CUDA", index.parse().context("a device's index")?)?,
            None => bail!("no device named {name}"),
        },
    })
}

/// What is computed at one size.
struct Sample {
    k: u32,
    bases: Vec<G1Affine>,
    /// Random scalars.
    dense: Vec<Fr>,
    /// As a witness has them: half zeros, a quarter small numbers, the others of 64 to 88 bits, a few random.
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
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(k));
        let step = G1::generator() * Fr::random(&mut rng);
        let mut point = step;
        let projective: Vec<G1> = (0..n)
            .map(|_| {
                point = point.double() + step;
                point
            })
            .collect();
        let mut bases = vec![G1Affine::default(); n];
        G1::batch_normalize(&projective, &mut bases);
        let mut random = |n: usize| -> Vec<Fr> { (0..n).map(|_| Fr::random(&mut rng)).collect() };
        let (dense, columns, challenge) =
            (random(n), (0..COLUMNS).map(|_| random(n)).collect(), random(1)[0]);
        let shift = Fr::from(1 << 24);
        let witness = |_| match rng.next_u32() % 16 {
            0..8 => Fr::ZERO,
            8..12 => Fr::from(u64::from(rng.next_u32() % 1000)),
            12..14 => Fr::from(rng.next_u64()),
            14 => Fr::from(rng.next_u64()) * shift,
            _ => Fr::random(&mut rng),
        };
        Self {
            k,
            bases,
            dense,
            witness: (0..n).map(witness).collect(),
            columns,
            challenge,
        }
    }

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

    /// The same in halo2curves' arithmetic.
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

/// halo2curves' answers and times.
struct Peer {
    dense: (G1, f64),
    witness: (G1, f64),
    transform: (Vec<Fr>, f64),
    coset: (Vec<Fr>, f64),
    gates: (Vec<Fr>, f64),
}

/// The least time of some repetitions, and the last answer.
fn least<T>(repeat: usize, mut run: impl FnMut() -> T) -> (T, f64) {
    let mut timed = || {
        let start = Instant::now();
        let answer = run();
        (answer, start.elapsed().as_secs_f64())
    };
    let mut best = timed();
    for _ in 1..repeat {
        let (answer, seconds) = timed();
        best = (answer, seconds.min(best.1));
    }
    best
}

impl Peer {
    fn new(sample: &Sample, repeat: usize) -> Self {
        let omega = (sample.k..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
        let transform = || {
            let mut values = sample.dense.clone();
            best_fft(&mut values, omega, sample.k);
            values
        };
        let on_coset = || {
            let mut values = sample.dense.clone();
            scale(&mut values, sample.challenge);
            best_fft(&mut values, omega, sample.k);
            values
        };
        Self {
            dense: least(repeat, || msm_best(&sample.dense, &sample.bases)),
            witness: least(repeat, || msm_best(&sample.witness, &sample.bases)),
            transform: least(repeat, transform),
            coset: least(repeat, on_coset),
            gates: least(repeat, || sample.gates()),
        }
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

/// What is measured of a device.
trait Kernels {
    fn measure(&self, sample: &Sample, peer: &Peer, args: &Args) -> Result<Vec<Value>>;
}

struct Backend<D>(D);

/// One measurement next to halo2curves'.
fn row(kernel: &str, k: u32, device: &str, seconds: f64, stock: f64) -> Value {
    json!({
        "kernel": kernel,
        "k": k,
        "device": device,
        "seconds": seconds,
        "halo2curves_s": stock,
        "ratio": stock / seconds,
    })
}

impl<D: Device> Kernels for Backend<D> {
    fn measure(&self, sample: &Sample, peer: &Peer, args: &Args) -> Result<Vec<Value>> {
        let name = self.0.name();
        let row = |kernel: &str, seconds: f64, stock: f64| row(kernel, sample.k, &name, seconds, stock);
        let mut rows = Vec::new();
        for table_mib in [0, args.table_mib] {
            if table_mib == 0 && !rows.is_empty() {
                break;
            }
            let (dense, witness, prepare) = self.multiply(sample, peer, args.repeat, table_mib << 20)?;
            for (name, seconds, stock) in [
                ("msm", dense, peer.dense.1),
                ("msm witness", witness, peer.witness.1),
            ] {
                let mut row = row(name, seconds, stock);
                row["table_mib"] = json!(table_mib);
                row["prepare_s"] = json!(prepare);
                rows.push(row);
            }
        }
        let (forward, coset) = self.transform(sample, peer, args.repeat)?;
        rows.push(row("ntt", forward, peer.transform.1));
        rows.push(row("coset ntt", coset, peer.coset.1));
        rows.push(row("gates", self.gates(sample, peer, args.repeat)?, peer.gates.1));
        Ok(rows)
    }
}

impl<D: Device> Backend<D> {
    /// Seconds of an MSM of random and of witness-like scalars, and of preparing the bases.
    fn multiply(&self, sample: &Sample, peer: &Peer, repeat: usize, table: u64) -> Result<(f64, f64, f64)> {
        let device = &self.0;
        let (bases, prepare) = least(1, || device.bases(&sample.bases, table));
        let bases = bases?;
        let mut seconds = [0.0; 2];
        let vectors = [(&sample.dense, &peer.dense), (&sample.witness, &peer.witness)];
        for (seconds, (scalars, (expected, _))) in seconds.iter_mut().zip(vectors) {
            let vector = device.upload(scalars)?;
            let (sum, least) = least(repeat, || device.msm(&bases, &[&vector]));
            ensure!(sum?[0] == *expected, "a wrong sum of 2^{}", sample.k);
            *seconds = least;
        }
        Ok((seconds[0], seconds[1], prepare))
    }

    /// Seconds of a transform in place and of one on a coset.
    fn transform(&self, sample: &Sample, peer: &Peer, repeat: usize) -> Result<(f64, f64)> {
        let device = &self.0;
        let input = device.upload(&sample.dense)?;
        let mut values = device.duplicate(&input)?;
        let mut forward = f64::INFINITY;
        for _ in 0..repeat {
            values = device.duplicate(&input)?;
            let (done, seconds) = least(1, || device.ntt(&mut [&mut values], Direction::Forward));
            done?;
            forward = forward.min(seconds);
        }
        ensure!(
            device.download(&values)? == peer.transform.0,
            "a wrong transform of 2^{}",
            sample.k
        );
        let (done, coset) = least(repeat, || {
            device.coset_ntt(&[&input], sample.challenge, &mut [&mut values])
        });
        done?;
        ensure!(
            device.download(&values)? == peer.coset.0,
            "a wrong transform of 2^{} on a coset",
            sample.k
        );
        Ok((forward, coset))
    }

    /// Seconds of the program.
    fn gates(&self, sample: &Sample, peer: &Peer, repeat: usize) -> Result<f64> {
        let device = &self.0;
        let columns = sample.columns.iter().map(|column| device.upload(column));
        let columns: Vec<D::Vector> = columns.collect::<Result<_, _>>()?;
        let inputs: Vec<&D::Vector> = columns.iter().collect();
        let mut output = device.zeros(sample.dense.len())?;
        let program = Sample::program()?;
        let constants = [sample.challenge];
        let (done, seconds) = least(repeat, || {
            device.run(&program, &inputs, &constants, &mut [&mut output])
        });
        done?;
        ensure!(
            device.download(&output)? == peer.gates.0,
            "wrong gates over 2^{}",
            sample.k
        );
        Ok(seconds)
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

    pub(super) fn measure(sample: &Sample, peer: &Peer, repeat: usize) -> Result<Vec<Value>> {
        let bases: Vec<ArkAffine> = sample.bases.par_iter().map(point).collect();
        let mut rows = Vec::new();
        let vectors = [
            ("msm", &sample.dense, &peer.dense),
            ("msm witness", &sample.witness, &peer.witness),
        ];
        for (name, scalars, (expected, stock)) in vectors {
            let scalars: Vec<ArkFr> = scalars.par_iter().map(scalar).collect();
            let (sum, seconds) = least(repeat, || G1Projective::msm(&bases, &scalars));
            let sum = sum.map_err(|len| anyhow::anyhow!("arkworks took only {len} scalars"))?;
            ensure!(
                sum.into_affine() == point(&expected.to_affine()),
                "a wrong sum of arkworks"
            );
            rows.push(row(name, sample.k, "arkworks", seconds, *stock));
        }
        let values: Vec<ArkFr> = sample.dense.par_iter().map(scalar).collect();
        let domain =
            Radix2EvaluationDomain::<ArkFr>::new(values.len()).context("arkworks has no such domain")?;
        let mut transformed = values.clone();
        let mut least_seconds = f64::INFINITY;
        for _ in 0..repeat {
            transformed.clone_from(&values);
            let ((), seconds) = least(1, || domain.fft_in_place(&mut transformed));
            least_seconds = least_seconds.min(seconds);
        }
        // Its root of unity is another one, so that its values cannot be compared; it must undo what it did.
        ensure!(
            domain.ifft(&transformed) == values,
            "a wrong transform of arkworks"
        );
        rows.push(row("ntt", sample.k, "arkworks", least_seconds, peer.transform.1));
        Ok(rows)
    }
}
