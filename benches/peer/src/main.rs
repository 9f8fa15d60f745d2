//! The peer, halo2-axiom-gpu, proves the benchmarks' shard or aggregation: the same circuit, key, reference string and
//! transcript as the workspace's engine has, so that the same verifiers accept its proofs.

use anyhow::{Context, Result, anyhow, ensure};
use benches::proving::{aggregation_input, keys, shard_inputs};
use benches::{cpu_seconds, peak_memory_bytes, report};
use circuits::plonk::{Challenge, ProofWriter, Transcript};
use circuits::preset::Preset;
use circuits::recursion::prover_circuit;
use circuits::shard::ShardCircuit;
use clap::{Parser, ValueEnum};
use halo2_axiom_gpu::SerdeFormat;
use halo2_axiom_gpu::halo2curves::bn256::{Bn256, G1Affine};
use halo2_axiom_gpu::plonk::{self, ProvingKey, create_proof};
use halo2_axiom_gpu::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_axiom_gpu::poly::kzg::multiopen::ProverSHPLONK;
use keys::{KEYS_VARIABLE, KeyStore, default_dir};
use openvm_cuda_common::memory_manager::device_memory_used;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rules::Fr;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Let halo2-axiom-gpu prove what the benchmarks prove, on the first GPU that it sees.
#[derive(Parser)]
struct Args {
    /// What to prove.
    #[arg(long, value_enum)]
    circuit: Circuit,
    /// Sizes of the circuits: tiny, ci, server or gpu.
    #[arg(long, default_value = "ci", value_parser = preset)]
    preset: Preset,
    /// Proofs. The first puts the reference string on the device.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Folder of the keys, which are made if need be; default: as for the prover.
    #[arg(long, env = KEYS_VARIABLE)]
    keys_dir: Option<PathBuf>,
    /// Write the report to this file.
    #[arg(long)]
    json: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Circuit {
    Shard,
    Aggregation,
}

fn preset(name: &str) -> Result<Preset> {
    Preset::by_name(name).with_context(|| format!("no preset named {name}"))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let keys = keys(&args.preset, args.keys_dir.clone().unwrap_or_else(default_dir))?;
    let (name, k, results) = match args.circuit {
        Circuit::Shard => ("shard", args.preset.shard.k, shard(&args, &keys)?),
        Circuit::Aggregation => {
            let results = aggregation(&args, &keys)?;
            ("aggregation", args.preset.aggregation_k, results)
        }
    };
    let best = results["seconds"].as_f64().context("no proof was made")?;
    let first = results["proofs"][0]["seconds"]
        .as_f64()
        .context("no proof was made")?;
    let report = report(json!({
        "peer": "halo2-axiom-gpu 1.0.1",
        "circuit": name,
        "preset": args.preset.name,
        "k": k,
        "measured": results,
    }));
    // The line is for the table of gpu-check.sh.
    benches::write(&args.json, &report)?;
    println!("peer {name:11} passed             k = {k}: {best:.3} s, first {first:.3} s");
    Ok(())
}

fn shard(args: &Args, keys: &Arc<KeyStore>) -> Result<Value> {
    let inputs = shard_inputs(&args.preset)?;
    let input = inputs.first().context("a batch without shards")?;
    let instances = input.instances();
    let (srs, pk) = (reference_string(&*keys.shard_srs()?)?, keys.shard_pk()?);
    measure(args.repeat, || {
        let circuit = ShardCircuit::new(args.preset.shard, Some(input))?;
        let (proof, seconds) = prove(&srs, &pk, circuit, &instances, Transcript::Poseidon)?;
        keys.verifying_keys().verify_shard(&instances, &proof)?;
        Ok(seconds)
    })
}

fn aggregation(args: &Args, keys: &Arc<KeyStore>) -> Result<Value> {
    let input = aggregation_input(keys.clone())?;
    let (srs, pk) = (
        reference_string(&*keys.aggregation_srs()?)?,
        keys.aggregation_pk()?,
    );
    measure(args.repeat, || {
        let circuit = prover_circuit(&args.preset, keys.verifying_keys().shard(), &input)?;
        let instances = circuit.instances().to_vec();
        let (proof, seconds) = prove(&srs, &pk, circuit, &instances, Transcript::Evm)?;
        keys.verifying_keys().verify_root(&instances, &proof)?;
        Ok(seconds)
    })
}

/// The workspace's reference string in the peer's type: its bytes are the same.
fn reference_string(srs: &halo2_proofs::poly::kzg::commitment::ParamsKZG<Bn256>) -> Result<ParamsKZG<Bn256>> {
    let mut bytes = Vec::new();
    srs.write_custom(&mut bytes, SerdeFormat::RawBytesUnchecked)?;
    Ok(ParamsKZG::read_custom(
        &mut bytes.as_slice(),
        SerdeFormat::RawBytesUnchecked,
    )?)
}

/// Wall time and processor time of one proof: synthesizing the witness is part of it, building the circuit is not.
type Seconds = (f64, f64);

fn prove<C: plonk::Circuit<Fr>>(
    srs: &ParamsKZG<Bn256>,
    pk: &ProvingKey<G1Affine>,
    circuit: C,
    instances: &[Fr],
    transcript: Transcript,
) -> Result<(Vec<u8>, Seconds)> {
    let mut proof = ProofWriter::new(transcript);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    create_proof::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, Challenge, _, ProofWriter, C>(
        srs,
        pk,
        &[circuit],
        &[&[instances]],
        StdRng::from_entropy(),
        &mut proof,
    )
    .map_err(|error| anyhow!("{error:?}"))?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((proof.finish(), (seconds, cpu_seconds() - cpu)))
}

/// Makes proofs, which `prove` verifies, and follows how much of the device's memory is in use.
fn measure(repeat: usize, mut prove: impl FnMut() -> Result<Seconds>) -> Result<Value> {
    ensure!(repeat > 0, "no proofs");
    let (peak, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let before = device_memory_used();
    let seconds = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(device_memory_used(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let seconds: Result<Vec<Seconds>> = (0..repeat)
            .map(|proof| {
                let seconds = prove()?;
                eprintln!("  proof {proof}: {:.3} s", seconds.0);
                Ok(seconds)
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        seconds
    })?;
    let best = seconds
        .iter()
        .map(|(wall, _)| *wall)
        .fold(f64::INFINITY, f64::min);
    let proofs = seconds
        .iter()
        .map(|(wall, cpu)| json!({ "seconds": wall, "cpu_seconds": cpu }));
    Ok(json!({
        "seconds": best,
        "proofs": proofs.collect::<Vec<_>>(),
        "device_memory_before_bytes": before,
        "device_memory_peak_bytes": peak.into_inner(),
        "host_memory_peak_bytes": peak_memory_bytes(),
    }))
}
