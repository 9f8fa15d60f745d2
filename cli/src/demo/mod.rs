//! The demo: the whole service on one machine, from keys to batches that a local L1 accepts, and how people enter and leave by L1's rules.
//!
//! It supervises: a coordinator or worker that dies is started again, and the demo's own calls resume, so killing
//! any of them at any moment delays the batch and no more.

mod acts;
mod children;
mod lock;
mod people;
mod report;
mod sequencer;
mod service;
mod settle;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::keys::KeyConfig;
use anyhow::{Context, Result, anyhow};
use circuits::preset::Preset;
use coordinator::convert::batch_to_proto;
use prost::Message;
use proto::connection::{Connector, Credentials};
use proto::v1::GetProofResponse;
use rules::field;
use rules::layout::lay_out;
use rules::operation::RollupId;
use rules::record::Record;
use srs::SrsSource;
use verifier_contracts::events::Event;
use verifier_contracts::generator::Rendered;
use verifier_contracts::l1::{Deployment, L1Error, Standing};
use verifier_contracts::replica::{Step, Watch};
use verifier_contracts::tools::Tools;
use verifier_contracts::verifier;

use crate::args::DemoArgs;
use crate::client::{Client, Wishes};
use crate::commands::batch::{Show, check_proven, now, request_id, sample_transfers};
use crate::commands::keys;
use crate::derived::{Derivation, Start};
use crate::output::{Exit, Failure};
use crate::progress::Progress;
use crate::settlement;
use crate::signals::Signals;
use children::{Failures, Supervisor};
use lock::DemoLock;
use people::{People, Person};
use report::{Machine, Report};
use sequencer::{Made, Sequencer};
use service::{Addresses, Chain, ServiceConfig, WorkDir};
use settle::Compiled;

/// Tokens of the demo: ETH and one more.
const TOKENS: u16 = 2;
/// How long the coordinator may be out of reach: it is restarted meanwhile, and executes what it had accepted.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the demo.
///
/// # Errors
/// When any part fails, or on SIGINT or SIGTERM. Everything that was started is stopped first.
pub async fn run(args: &DemoArgs, progress: &Progress) -> Result<()> {
    let mut signals = Signals::take()?;
    let preset = args.preset;
    let _lock = DemoLock::take()?;
    let work_dir = WorkDir::new(args.work_dir.as_deref())?;
    let (mut supervisor, mut failures) = Supervisor::new(work_dir.path());
    let outcome = tokio::select! {
        outcome = Demo::new(args, preset, work_dir.path(), progress).run(&mut supervisor) => outcome,
        failure = failed(&mut failures) => Err(failure),
        () = signals.either() => Err(Failure::new(Exit::Interrupted, "interrupted").into()),
    };
    supervisor.stop().await;
    let result = outcome.and_then(|mut report| {
        let restarts = supervisor.records().into_iter();
        report.restarts = restarts.map(|(name, record)| (name, record.restarts)).collect();
        let memory = supervisor.memory();
        report.peak_memory_bytes = memory.each;
        report.peak_memory_together_bytes = memory.together;
        report.derive();
        progress.say(&report.summary());
        args.json.as_deref().map_or(Ok(()), |path| report.write(path))?;
        let missing = report.missing();
        anyhow::ensure!(missing.is_empty(), "the demo did not see: {}", missing.join("; "));
        Ok(())
    });
    if result.is_err() {
        progress.say(&format!("the logs are in {}", work_dir.keep().display()));
    }
    result
}

async fn failed(failures: &mut Failures) -> anyhow::Error {
    anyhow!(
        "a process of the demo cannot be kept running: {}",
        failures.next().await
    )
}

/// One run.
struct Demo<'a> {
    args: &'a DemoArgs,
    preset: Preset,
    directory: &'a Path,
    progress: &'a Progress,
    started: Instant,
    report: Report,
}

/// What is there while the acts are played.
struct Stage {
    client: Client,
    rollup_id: RollupId,
    /// The rollup's contract, called by the operator.
    deployment: Deployment,
    /// The number of its verifier.
    verifier: u8,
    sequencer: Sequencer,
    /// The state from L1's logs.
    derivation: Derivation,
}

/// A batch that L1 took.
struct Settled {
    number: u64,
    records: Vec<Record>,
}

impl<'a> Demo<'a> {
    fn new(args: &'a DemoArgs, preset: Preset, directory: &'a Path, progress: &'a Progress) -> Self {
        let report = Report {
            preset: preset.name.to_string(),
            tokens: TOKENS,
            machine: Machine::here(),
            commit: report::commit(),
            ..Report::default()
        };
        Self {
            args,
            preset,
            directory,
            progress,
            started: Instant::now(),
            report,
        }
    }

    async fn run(mut self, supervisor: &mut Supervisor) -> Result<Report> {
        self.progress.say(
            "this demo uses a development SRS whose secret everybody knows: its proofs show how the service works, \
             and prove nothing",
        );
        let tools = self.tools().await?;
        let (rendered, keys_dir) = self.keys().await?;
        let compiling = tokio::task::spawn_blocking({
            let tools = tools.clone();
            move || settle::compile(&tools, rendered)
        });

        let step = self.progress.step("start L1 and service");
        let chain = Chain::start(&tools).await?;
        let mut people = People::new(chain.url(), self.args.seed)?;
        let operator = &people.operator.l1;
        let rollup_id = RollupId {
            chain_id: operator.chain_id().await?,
            contract: operator.predict(1).await?.rollup.into_array(),
        };
        let config = ServiceConfig {
            directory: self.directory,
            preset: self.preset.name,
            keys_dir: &keys_dir,
            device: self.args.device,
            rollup_id,
        };
        let Addresses { url, metrics } = service::start(&config, supervisor)?;
        supervisor.watch_memory([("anvil", chain.pid()), ("demo", std::process::id())]);
        let client = Client::new(Connector::new(url.clone(), Credentials::default())?, PATIENCE)?;
        client
            .info("")
            .await
            .context("the coordinator does not come up")?;
        self.report.seconds.startup = step.finish(url.as_str()).as_secs_f64();

        let compiled = compiling.await.context("compiling panicked")??;
        let mut stage = self.deploy(&people, &compiled, client, rollup_id).await?;
        self.report.old_root = field::to_hex(&stage.sequencer.state().root());
        let transfers = self.transfers();
        acts::first(&mut self, &mut stage, &mut people, transfers).await?;
        acts::second(&mut self, &mut stage, &mut people, &compiled).await?;
        self.report.seconds.total = self.started.elapsed().as_secs_f64();
        let own = service::own_seconds(&metrics).await;
        self.report.coordinator_seconds = own.context("the coordinator's own time is not told")?;
        Ok(self.report)
    }

    /// How many transfers the first act has.
    fn transfers(&self) -> usize {
        self.args
            .transfers
            .map_or_else(|| sample_transfers(&self.preset), |transfers| transfers as usize)
    }

    async fn tools(&mut self) -> Result<Tools> {
        let mut step = self.progress.step("L1 tools");
        let (notes, mut note) = tokio::sync::mpsc::unbounded_channel();
        let directory = self.args.tools_dir.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Nobody listens once the demo was interrupted.
            keys::l1_tools(directory.as_deref(), &mut |line| {
                drop(notes.send(line.to_string()))
            })
        });
        while let Some(line) = note.recv().await {
            step.set(0, line);
        }
        let tools = work.await.context("fetching the L1 tools panicked")??;
        self.report.seconds.tools = step.finish("").as_secs_f64();
        Ok(tools)
    }

    /// Sees to the keys; returns the source of their verifier, and where they are.
    ///
    /// They are made by another process: the gigabytes that it takes are free again when proving begins.
    async fn keys(&mut self) -> Result<(Rendered, PathBuf)> {
        let started = Instant::now();
        let directory = keys::directory(self.args.keys_dir.as_deref());
        service::make_keys(self.preset.name, &directory).await?;
        let (dir, preset, progress) = (directory.clone(), self.preset, self.progress.clone());
        let work = tokio::task::spawn_blocking(move || -> Result<Rendered> {
            let config = KeyConfig {
                dir,
                preset,
                srs: SrsSource::Development,
                allow_insecure: true,
                srs_digest: None,
            };
            let keys = keys::ensured_of(config, &progress)?;
            Ok(verifier::render(&keys))
        });
        let rendered = work.await.context("rendering the verifier panicked")??;
        self.report.seconds.keys = started.elapsed().as_secs_f64();
        Ok((rendered, directory))
    }

    async fn deploy(
        &mut self,
        people: &People,
        compiled: &Compiled,
        client: Client,
        rollup_id: RollupId,
    ) -> Result<Stage> {
        let step = self.progress.step("deploy contracts");
        let deployment = settle::deploy(&people.operator, compiled).await?;
        let rollup = deployment.rollup();
        anyhow::ensure!(
            rollup.into_array() == rollup_id.contract,
            "the rollup contract is at {rollup}, not where operations are signed for"
        );
        let start = Start {
            contract: rollup_id.contract,
            block: 0,
            confirmations: 1,
        };
        let derivation = Derivation::begin(&people.stranger.l1, &start, Watch::Nobody, None).await?;
        self.report.seconds.deploy = step.finish(&rollup.to_string()).as_secs_f64();
        Ok(Stage {
            client,
            rollup_id,
            deployment,
            verifier: 0,
            sequencer: Sequencer::new(rollup_id, self.preset),
            derivation,
        })
    }

    /// Notes what a transaction took: of several of a kind the last, since the first pays for storage that the others find.
    fn gas(&mut self, what: &str, gas: u64) {
        self.report.gas.insert(what.to_owned(), gas);
    }

    /// Notes by which error L1 refused something. Whether it did.
    fn refused<T>(&mut self, what: &str, answer: Result<T, L1Error>) -> Result<bool> {
        let error = settle::refused(answer)?;
        let error = error.with_context(|| format!("L1 would accept {what}"))?;
        self.progress.say(&format!("L1 refuses {what}: {error}"));
        self.report.refused.insert(what.to_owned(), error);
        Ok(true)
    }

    /// Makes batches of all that waits, has them proven, and brings them to L1 by somebody's transactions.
    async fn prove_all(&mut self, stage: &mut Stage, submitter: &Person) -> Result<Vec<Settled>> {
        let mut made = Vec::new();
        while let Some(batch) = stage.sequencer.batch(now()?)? {
            let batch_id = self.submit(stage, &batch).await?;
            made.push((batch_id, batch));
        }
        let deployment = submitter.at(&stage.deployment).await?;
        let mut settled = Vec::new();
        for (batch_id, batch) in made {
            let proof = self.prove(&stage.client, &batch_id, &batch).await?;
            self.settle(&deployment, &proof).await?;
            settled.push(Settled {
                number: batch.batch.number,
                records: batch.records,
            });
        }
        stage.take_entries().await?;
        Ok(settled)
    }

    /// Hands a batch to the coordinator.
    async fn submit(&mut self, stage: &Stage, made: &Made) -> Result<String> {
        let step = self.progress.step("submit batch");
        let batch = &made.batch;
        let bytes = batch_to_proto(batch).encode_to_vec();
        let submitted = stage
            .client
            .submit(
                &request_id(batch.number, &bytes),
                batch.number,
                &bytes,
                &Wishes::default(),
            )
            .await?;
        let info = submitted
            .batch
            .context("the coordinator accepted the batch without naming it")?;
        self.report.seconds.submit += step.finish(&info.batch_id).as_secs_f64();
        Ok(info.batch_id)
    }

    /// Follows a batch until it is proven.
    async fn prove(&mut self, client: &Client, batch_id: &str, made: &Made) -> Result<GetProofResponse> {
        let (mut show, watched, mut shards_done) = (Show::new(self.progress), Instant::now(), None);
        let info = client
            .watch(batch_id, |info| {
                if info.shards_done == info.shards_total && shards_done.is_none() {
                    shards_done = Some(watched.elapsed());
                }
                show.change(info);
            })
            .await?;
        check_proven(&info)?;
        let shards = shards_done.unwrap_or_default();
        self.report.seconds.shards += shards.as_secs_f64();
        self.report.seconds.aggregation += (watched.elapsed() - shards).as_secs_f64();
        let report = &mut self.report;
        report.transfers += made.transfers;
        let groups = lay_out(&made.batch.operations, self.preset.shard.shape)?.len();
        report.shards += groups.div_ceil(self.preset.shard.shape.groups()) as u64;
        report.shard_proofs += u64::from(info.shards_total);
        client.proof(batch_id).await
    }

    /// Brings a proven batch to L1. With the first one, tampered versions are tried before it.
    async fn settle(&mut self, deployment: &Deployment, proof: &GetProofResponse) -> Result<()> {
        let batch = settlement::of_response(proof)?;
        let Standing::Next(submission) = deployment.examine(&batch).await? else {
            return Err(anyhow!("L1 has batch {} already", proof.batch_number));
        };
        if self.report.batches == 0 {
            self.report.tampered_errors = settle::refuse_tampered(deployment, &submission).await?;
            self.report.tampered_rejected = true;
            for (what, error) in &self.report.tampered_errors {
                self.progress.say(&format!("L1 refuses {what}: {error}"));
            }
            self.report.verify_gas = settle::verify_gas(deployment, proof).await?;
        }
        let step = self.progress.step("submit to L1");
        let settled = deployment.settle(&batch).await;
        let settled = settled.context("L1 does not take the batch")?;
        let gas_used = settled.done().gas_used;
        anyhow::ensure!(
            deployment.state_root().await? == submission.new_root,
            "L1 took the batch but does not have its new root"
        );
        self.report.seconds.l1 += step.finish(&format!("{gas_used} gas")).as_secs_f64();
        if let Some(error) = settle::refusal(deployment, &submission).await? {
            self.report
                .tampered_errors
                .insert("the same batch again".into(), error);
        } else {
            return Err(anyhow!("L1 would accept the same batch twice"));
        }

        let report = &mut self.report;
        report.batches += 1;
        report.proof_bytes = submission.proof.len() as u64;
        report.data_bytes += (submission.data_a.len() + submission.data_b.len()) as u64;
        report.l1_gas += gas_used;
        report.new_root = field::to_hex(&settled.new_root());
        report.accepted_on_l1 = true;
        Ok(())
    }
}

impl Stage {
    /// Follows L1: entries go to the sequencer, batches to the derived state.
    async fn take_entries(&mut self) -> Result<()> {
        let sequencer = &mut self.sequencer;
        self.derivation
            .catch_up(|step| match step {
                Step::Event(Event::Queued(entry)) => sequencer.enter(entry),
                Step::Undone { .. } => Err(anyhow!("the local chain went back")),
                Step::Batch(_) | Step::Event(_) | Step::Reached(_) => Ok(()),
            })
            .await
    }
}
