//! A sequencer, watchers and readers of a service that is disturbed: they go on through every failure that passes, note what
//! they saw in a history, and tell what no service may answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use circuits::preset::Preset;
use coordinator::convert::batch_to_proto;
use keys::VerifyingKeys;
use prost::Message;
use proto::{
    connection::{Channel, Connector, CoordinatorUrl},
    v1::{self, BatchStatus, prover_service_client::ProverServiceClient},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rules::statement::{RootStatement, root_statement};
use rules::{
    Fr,
    batch::{Batch, execute},
    field,
    shards::shards,
    state::State,
};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::{
    history::{self, History, Seen},
    standin,
};

/// Longest wait for one answer; a service may stand still for less.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Between a reader's rounds: a caller may make 100 calls a second, and workers are at the same address.
const READ_PAUSE: Duration = Duration::from_millis(60);

/// What proofs are held against.
#[derive(Clone)]
pub enum Judge {
    /// Digests of [`standin`].
    StandIn,
    /// The verifying keys.
    Keys(Arc<VerifyingKeys>),
}

impl Judge {
    fn verify(&self, instances: &[Fr], proof: &[u8]) -> Result<(), String> {
        use coordinator::Verifier as _;
        match self {
            Judge::StandIn => standin::DigestVerifier.root(instances, proof),
            Judge::Keys(keys) => keys
                .verify_root(instances, proof)
                .map(drop)
                .map_err(|error| error.to_string()),
        }
    }
}

/// What the proof of a batch must state.
struct Expected {
    time: u64,
    stated: RootStatement,
    posted_a: Vec<u8>,
    posted_b: Vec<u8>,
}

/// The clients of one service.
pub struct Clients {
    connector: Connector,
    channel: Mutex<Channel>,
    pub history: History,
    judge: Judge,
    preset: Preset,
    /// Batches that may be accepted and not proven.
    open_max: usize,
    /// What was never to be answered.
    faults: Mutex<Vec<String>>,
    expected: Mutex<BTreeMap<u64, Expected>>,
    /// Numbers of the batches whose proof was fetched and is right.
    proven: Mutex<BTreeMap<u64, String>>,
    submitting: AtomicBool,
    ended: AtomicBool,
}

impl Clients {
    /// Clients of the service at an address.
    pub fn new(address: &str, judge: Judge, preset: Preset, open_max: usize) -> Arc<Self> {
        Self::of(&standin::connector(address), judge, preset, open_max)
    }

    /// Clients of the service that is reached so.
    pub fn of(connector: &Connector, judge: Judge, preset: Preset, open_max: usize) -> Arc<Self> {
        Arc::new(Self {
            channel: Mutex::new(connector.channel().expect("the files are there")),
            connector: connector.clone(),
            history: History::begin(),
            judge,
            preset,
            open_max,
            faults: Mutex::default(),
            expected: Mutex::default(),
            proven: Mutex::default(),
            submitting: AtomicBool::new(true),
            ended: AtomicBool::new(false),
        })
    }

    /// Starts submitting, watching and reading.
    pub fn start(self: &Arc<Self>, seed: u64) {
        tokio::spawn(Arc::clone(self).submit(seed));
        tokio::spawn(Arc::clone(self).read(seed));
    }

    /// Waits until every batch that was acknowledged is proven and its proof fetched, with no new ones meanwhile.
    ///
    /// # Panics
    /// After `limit`, with what was missing.
    pub async fn calm(&self, limit: Duration) {
        self.submitting.store(false, Ordering::SeqCst);
        let began = Instant::now();
        loop {
            self.assert_faultless();
            let acknowledged = self.history.acknowledged();
            let proven = self.proven.lock().expect("not poisoned").clone();
            let submitted = self.expected.lock().expect("not poisoned").len();
            if proven == acknowledged && submitted == acknowledged.len() {
                break;
            }
            if began.elapsed() > limit {
                let open = acknowledged
                    .iter()
                    .find(|(number, _)| !proven.contains_key(number));
                let mut client = self.client();
                let mut info = None;
                if let Some((_, id)) = open {
                    let request = v1::GetBatchRequest { batch_id: id.clone() };
                    info = Some(client.get_batch(request).await);
                }
                panic!(
                    "after {limit:?} {} of {} are proven; {info:?}",
                    proven.len(),
                    submitted
                );
            }
            sleep(PAUSE).await;
        }
        self.submitting.store(true, Ordering::SeqCst);
    }

    /// Ends the clients after [`Clients::calm`]; returns how many batches there were.
    ///
    /// # Panics
    /// If anything that was seen is wrong.
    pub async fn end(&self, limit: Duration) -> usize {
        self.calm(limit).await;
        self.ended.store(true, Ordering::SeqCst);
        let listed = self.list().await;
        self.assert_faultless();
        let faults = self.history.faults(&listed, self.connector.has_others());
        assert!(faults.is_empty(), "{:#?}", &faults[..faults.len().min(5)]);
        listed.len()
    }

    /// How many batches are proven, their proofs fetched.
    pub fn proven(&self) -> usize {
        self.proven.lock().expect("not poisoned").len()
    }

    fn assert_faultless(&self) {
        let faults = self.faults.lock().expect("not poisoned");
        assert!(faults.is_empty(), "{faults:#?}");
    }

    /// Notes what was never to be answered.
    pub fn fault(&self, what: String) {
        self.faults.lock().expect("not poisoned").push(what);
    }

    fn client(&self) -> ProverServiceClient<Channel> {
        ProverServiceClient::new(self.channel.lock().expect("not poisoned").clone())
    }

    /// Turns to another coordinator, where there are several.
    fn turn_from(&self, url: &CoordinatorUrl, said: Option<&Status>) {
        if self.connector.has_others() {
            self.connector.turn_from(url, said);
            let channel = self.connector.channel().expect("the files are there");
            *self.channel.lock().expect("not poisoned") = channel;
        }
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// An answer; none where the failure may pass.
    async fn answer<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Option<T> {
        let url = self.connector.url().clone();
        match timeout(ANSWER_MAX, call).await {
            Err(_) => {
                self.turn_from(&url, None);
                None
            }
            Ok(Ok(answer)) => Some(answer.into_inner()),
            Ok(Err(status)) => {
                let lasts = matches!(
                    status.code(),
                    Code::InvalidArgument
                        | Code::NotFound
                        | Code::AlreadyExists
                        | Code::FailedPrecondition
                        | Code::OutOfRange
                        | Code::DataLoss
                );
                if lasts {
                    self.fault(format!("{what}: {status:?}"));
                } else {
                    self.turn_from(&url, Some(&status));
                }
                None
            }
        }
    }

    /// Submits batch after batch, each until it is acknowledged.
    async fn submit(self: Arc<Self>, seed: u64) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut sample = standin::sample();
        let mut state = State::default();
        while !self.ended() {
            let open = {
                let proven = self.proven.lock().expect("not poisoned").len();
                self.expected.lock().expect("not poisoned").len() - proven
            };
            if !self.submitting.load(Ordering::SeqCst) || open >= self.open_max {
                sleep(PAUSE).await;
                continue;
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let time = now.expect("it is after 1970").as_secs();
            let queued = rng.gen_range(0..=self.preset.queue_capacity());
            let signed = rng.gen_range(usize::from(queued == 0)..=self.preset.places_max());
            let draw = standin::draw(&self.preset, queued, signed);
            let batch = sample.batch(standin::ROLLUP, time, draw);
            self.expect(&mut state, &batch);
            self.acknowledge(&batch, rng.gen_ratio(1, 4)).await;
        }
    }

    fn expect(&self, state: &mut State, batch: &Batch) {
        let executed = execute(state, batch).expect("a sample's batch is right");
        let Preset { shard, children, .. } = self.preset;
        let sharded = shards(batch, &executed, shard.shape, children).expect("it fits");
        let instances: Vec<Vec<Fr>> = sharded.shards.iter().map(|shard| shard.instances()).collect();
        let instances: Vec<&[Fr]> = instances.iter().map(Vec::as_slice).collect();
        let expected = Expected {
            time: batch.time,
            stated: root_statement(&instances, children).expect("the shards chain"),
            posted_a: sharded.posted_a,
            posted_b: sharded.posted_b,
        };
        let mut all = self.expected.lock().expect("not poisoned");
        all.insert(batch.number, expected);
    }

    /// Submits a batch until it is acknowledged; then, if `twice`, once more, and once under another request id.
    async fn acknowledge(self: &Arc<Self>, batch: &Batch, twice: bool) {
        let request = format!("r{}", batch.number);
        let mut known = false;
        loop {
            let began = self.history.now();
            let messages = tokio_stream::iter(submission(&request, batch));
            let answer = self
                .answer("a submission", self.client().submit_batch(messages))
                .await;
            if let Some(batch) = answer.and_then(|answer| answer.batch) {
                let id = batch.batch_id.clone();
                self.history.note(began, Seen::Accepted((&batch).into()));
                if !known {
                    tokio::spawn(Arc::clone(self).watch(id));
                }
                if known || !twice {
                    break;
                }
                known = true;
            } else {
                sleep(PAUSE).await;
            }
            if self.ended() {
                return;
            }
        }
        if twice {
            let messages = tokio_stream::iter(submission(&format!("{request}-again"), batch));
            let again = timeout(ANSWER_MAX, self.client().submit_batch(messages)).await;
            if let Ok(Ok(answer)) = again {
                self.fault(format!("one batch, acknowledged twice: {answer:?}"));
            }
        }
    }

    /// Watches a batch until it is proven, then fetches its proof.
    async fn watch(self: Arc<Self>, id: String) {
        let mut after_revision = 0;
        loop {
            let request = v1::WatchBatchRequest {
                batch_id: id.clone(),
                after_revision,
            };
            // What a stream tells may have been so at any time since it began.
            let began = self.history.now();
            let stream = self.answer("a watch", self.client().watch_batch(request)).await;
            let Some(mut stream) = stream else {
                if self.ended() {
                    return;
                }
                sleep(PAUSE).await;
                continue;
            };
            loop {
                let Ok(Ok(Some(v1::WatchBatchResponse { batch: Some(batch) }))) =
                    timeout(ANSWER_MAX, stream.message()).await
                else {
                    break;
                };
                if batch.revision <= after_revision {
                    self.fault(format!(
                        "a watch of {id} after {after_revision} tells {}",
                        batch.revision
                    ));
                }
                after_revision = batch.revision;
                self.history.note(began, Seen::Batch((&batch).into()));
                if batch.status() == BatchStatus::Proven {
                    return self.fetch_until_right(&id).await;
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn fetch_until_right(&self, id: &str) {
        while !self.fetch(id).await && !self.ended() {
            sleep(PAUSE).await;
        }
    }

    /// Fetches a proof and checks it; false if there is no answer now.
    async fn fetch(&self, id: &str) -> bool {
        let began = self.history.now();
        let request = v1::GetProofRequest {
            batch_id: id.to_owned(),
        };
        let Some(proof) = self
            .answer("a proven batch's proof", self.client().get_proof(request))
            .await
        else {
            return false;
        };
        if let Err(error) = self.check(&proof) {
            self.fault(format!("the proof of {id}: {error}"));
        }
        let digest = Sha256::digest(proof.encode_to_vec()).into();
        let batch = id.to_owned();
        self.history.note(began, Seen::Proof { batch, digest });
        let mut proven = self.proven.lock().expect("not poisoned");
        proven.insert(proof.batch_number, id.to_owned());
        true
    }

    /// Whether an answer proves the batch that was submitted under its number.
    fn check(&self, proof: &v1::GetProofResponse) -> Result<(), String> {
        let expected = self.expected.lock().expect("not poisoned");
        let expected = expected
            .get(&proof.batch_number)
            .ok_or("it is of no batch of ours")?;
        let instances = proof.instances.iter().map(|bytes| {
            let bytes = bytes[..].try_into().map_err(|_| "an instance's size")?;
            field::from_be(&bytes).map_err(|_| "an instance above the modulus")
        });
        let instances = instances.collect::<Result<Vec<Fr>, _>>()?;
        self.judge.verify(&instances, &proof.proof)?;
        let stated = RootStatement::from_instances(&instances).map_err(|error| error.to_string())?;
        let posted = proof.posted_a == expected.posted_a && proof.posted_b == expected.posted_b;
        if stated != expected.stated || !posted || proof.time != expected.time {
            return Err("it states another batch".into());
        }
        Ok(())
    }

    /// Asks this and that, again and again.
    async fn read(self: Arc<Self>, seed: u64) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 1);
        while !self.ended() {
            sleep(READ_PAUSE).await;
            let began = self.history.now();
            let info = self
                .answer("info", self.client().get_info(v1::GetInfoRequest::default()))
                .await;
            if let Some(info) = info {
                self.history.note(began, Seen::Next(info.next_batch_number));
            }
            let acknowledged = self.history.acknowledged();
            let Some((last, _)) = acknowledged.last_key_value() else {
                continue;
            };
            let id = |number: u64| acknowledged.get(&number).cloned();
            if let Some(id) = id(rng.gen_range(last.saturating_sub(5)..=*last)) {
                let began = self.history.now();
                let request = v1::GetBatchRequest { batch_id: id };
                let batch = self
                    .answer("an acknowledged batch", self.client().get_batch(request))
                    .await;
                if let Some(batch) = batch.and_then(|answer| answer.batch) {
                    self.history.note(began, Seen::Batch((&batch).into()));
                }
            }
            let number = rng.gen_range(0..=*last);
            let proven = self.proven.lock().expect("not poisoned").get(&number).cloned();
            if let Some(id) = proven {
                self.fetch(&id).await;
            }
        }
    }

    /// All batches of the service.
    async fn list(&self) -> Vec<history::Batch> {
        let mut batches = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListBatchesRequest {
                page_size: 100,
                page_token: page_token.clone(),
                ..Default::default()
            };
            let Some(page) = self.answer("a list", self.client().list_batches(request)).await else {
                self.assert_faultless();
                sleep(PAUSE).await;
                continue;
            };
            batches.extend(page.batches.iter().map(history::Batch::from));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return batches;
            }
        }
    }
}

/// The messages that submit a batch.
pub fn submission(request_id: &str, batch: &Batch) -> Vec<v1::SubmitBatchRequest> {
    use v1::submit_batch_request::Part;
    let bytes = batch_to_proto(batch).encode_to_vec();
    let header = v1::SubmitBatchHeader {
        request_id: request_id.into(),
        batch_number: batch.number,
        total_bytes: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).to_vec().into(),
        ..Default::default()
    };
    [Part::Header(header), Part::Chunk(bytes.into())]
        .map(|part| v1::SubmitBatchRequest { part: Some(part) })
        .into()
}
