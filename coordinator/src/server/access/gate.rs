//! Stands before all services: looks who calls, whether that caller may, and how much that caller holds already.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Extensions, Status,
    body::Body,
    codegen::{Bytes, Service, http},
};

use super::{
    Access, Identity, Policy, Shown,
    methods::{self, Callers, Kind, Method},
    quota::{Held, Meter, Share},
};
use crate::config::Quotas;
use crate::server::{
    standing::Standing,
    status::{denied, exhausted, not_leader, too_large, unauthenticated, unfinished},
    told::Told,
    transport::connection::{Activity, Call, ConnectionInfo},
};

/// Most bytes of a request that is one small message.
pub(crate) const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Most bytes of an answer that wait for the peer after its call has ended.
pub(crate) const PIECE_BYTES_MAX: usize = 4 << 10;

/// Who makes a call; in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Everybody's identity where nobody proves one.
    pub identity: Identity,
    /// What the caller may take.
    pub share: Arc<Share>,
    /// What the call came over.
    pub connection: Arc<Activity>,
    /// What the call holds: until the caller has gone and the last copy of this is dropped.
    pub held: Arc<Held>,
}

impl Caller {
    /// Of a request that came through the gate.
    ///
    /// # Panics
    /// If the request came another way: services are served behind the gate only.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions
            .get::<Self>()
            .expect("the gate has put the caller there")
            .clone()
    }
}

/// What decides.
#[derive(Debug)]
pub(crate) struct Gate {
    access: Arc<Access>,
    meter: Arc<Meter>,
    times: Times,
    open: Arc<Mutex<Open>>,
    told: Told,
    standing: Arc<Standing>,
}

/// The calls of identities that are under way.
#[derive(Debug, Default)]
struct Open {
    calls: HashMap<u64, OpenCall>,
    next: u64,
}

#[derive(Debug)]
struct OpenCall {
    shown: Shown,
    identity: Identity,
    connection: Arc<Activity>,
}

/// A call's place among those that are under way.
#[derive(Debug)]
struct Entry {
    open: Arc<Mutex<Open>>,
    at: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.calls.remove(&self.at);
    }
}

/// Longest times of calls that are no submission and no worker's session; those have their own.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// For one message of a request to follow another, or to come at all.
    request: Duration,
    /// For a small answer to be made and taken.
    answer: Duration,
    /// For a large one.
    download: Duration,
}

/// A call that may be made.
struct Admitted {
    caller: Caller,
    kind: Kind,
    call: Call,
    watch: Option<OwnedSemaphorePermit>,
    entry: Option<Entry>,
}

impl Gate {
    pub(crate) fn new(
        access: Arc<Access>,
        meter: Arc<Meter>,
        quotas: &Quotas,
        standing: Arc<Standing>,
    ) -> Self {
        let times = Times {
            request: Duration::from_millis(quotas.request_ms_max),
            answer: Duration::from_millis(quotas.answer_ms_max),
            download: Duration::from_millis(quotas.download_ms_max),
        };
        Self {
            access,
            meter,
            times,
            open: Arc::default(),
            told: Told::default(),
            standing,
        }
    }

    fn admit(&self, request: &http::Request<Body>) -> Result<Admitted, Status> {
        let connection = request.extensions().get::<ConnectionInfo>();
        let ConnectionInfo { peer, activity } = connection.expect("every connection tells of itself");
        let address = peer.address.ip();
        let policy = self.access.policy();
        let (shown, known) = match policy.identify(peer, request.headers()) {
            Ok((shown, known)) => (shown, Ok(known)),
            Err(status) => (Shown::Nothing, Err(status)),
        };
        self.meter
            .count(known.as_ref().ok().and_then(Option::as_ref), address)?;
        let path = request.uri().path();
        let identity = authorize(&policy, path, methods::find(path), known).inspect_err(|status| {
            if let Some(more) = self.told.note(status.message(), std::time::Instant::now()) {
                let shown: String = path.chars().take(128).collect();
                tracing::info!(peer = %peer.address, method = shown, reason = status.message(), more, "a call is refused");
            }
        })?;
        // Only those who may call it are told where.
        if methods::find(path).is_some_and(Method::is_leaders)
            && let Some(leader) = self.standing.other()
        {
            return Err(not_leader(&leader));
        }
        // Of an unknown method, where everybody may do everything: the services say that there is none.
        let kind = methods::find(path).map_or(Kind::Quick, |method| method.kind);
        let (share, held) = self.meter.take(identity.as_ref(), address, kind)?;
        let watch = match kind {
            Kind::Watch => Some(activity.watch().ok_or_else(|| {
                exhausted(
                    "connection_watches_max",
                    "this connection has as many streams of this kind open as it may",
                )
            })?),
            _ => None,
        };
        let entry = identity.clone().map(|identity| {
            self.enter(OpenCall {
                shown,
                identity,
                connection: Arc::clone(activity),
            })
        });
        if let Some(entry) = &entry
            && !Arc::ptr_eq(&policy, &self.access.policy())
        {
            // It changed meanwhile, and the sweeper may have been there before this call was.
            self.confirm(entry)?;
        }
        Ok(Admitted {
            entry,
            caller: Caller {
                identity: identity.unwrap_or_else(Identity::anybody),
                share,
                connection: Arc::clone(activity),
                held: Arc::new(held),
            },
            kind,
            call: activity.begin(match kind {
                Kind::Quick => Some(self.times.answer),
                Kind::Download => Some(self.times.download),
                Kind::Submission | Kind::Watch | Kind::Session => None,
            }),
            watch,
        })
    }
}

impl Gate {
    fn enter(&self, call: OpenCall) -> Entry {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.next += 1;
        let at = open.next;
        open.calls.insert(at, call);
        Entry {
            open: Arc::clone(&self.open),
            at,
        }
    }

    /// Whether a call's identity is what it was.
    fn confirm(&self, entry: &Entry) -> Result<(), Status> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(call) = open.calls.get(&entry.at) else {
            return Ok(());
        };
        match self.access.policy().whose(&call.shown)? {
            Some(now) if now == call.identity => Ok(()),
            _ => Err(unauthenticated(
                "IDENTITY_CHANGED",
                "what this identity may do has just changed; call again",
            )),
        }
    }

    /// Ends what is under way of those that are not any more who they were, at each change of the policy, until the
    /// coordinator stops.
    pub(crate) fn sweeper(&self, stopping: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (mut changes, open) = (self.access.changes(), Arc::clone(&self.open));
        async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
                let policy = Arc::clone(&changes.borrow_and_update());
                let open = open.lock().unwrap_or_else(PoisonError::into_inner);
                for call in open.calls.values() {
                    let now = policy.whose(&call.shown).ok().flatten();
                    if now.as_ref() != Some(&call.identity) {
                        tracing::info!(identity = %call.identity.principal, "its access changed; its connection is closed");
                        call.connection.close();
                    }
                }
            }
        }
    }
}

/// Whether a method may be called, and as whom.
fn authorize(
    policy: &Policy,
    path: &str,
    method: Option<&Method>,
    known: Result<Option<Identity>, Status>,
) -> Result<Option<Identity>, Status> {
    let roles = match method.map(|method| method.callers) {
        Some(Callers::Everybody) => return Ok(known.ok().flatten()),
        _ if policy.is_open() => return Ok(None),
        Some(Callers::Roles(roles)) => roles,
        None => &[],
    };
    let Some(identity) = known? else {
        let message = "expected a client certificate or a bearer token, found neither";
        return Err(unauthenticated("IDENTITY_MISSING", message));
    };
    if roles.iter().any(|role| identity.roles.has(*role)) {
        return Ok(Some(identity));
    }
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(denied(&identity.principal, path, &roles))
}

/// The services behind a gate.
#[derive(Debug, Clone)]
pub(crate) struct Gated<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S> Gated<S> {
    pub(crate) fn new(gate: Gate, inner: S) -> Self {
        Self {
            gate: Arc::new(gate),
            inner,
        }
    }
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Admitted {
            caller,
            kind,
            call,
            watch,
            entry,
        } = match self.gate.admit(&request) {
            Ok(admitted) => admitted,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        let held = Arc::clone(&caller.held);
        let request_max = self.gate.times.request;
        request.extensions_mut().insert(caller);
        let answer = self
            .inner
            .call(request.map(|body| Body::new(Incoming::new(body, kind, request_max))));
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| {
                Body::new(Outgoing {
                    body,
                    rest: Bytes::new(),
                    _held: held,
                    _watch: watch,
                    _entry: entry,
                    _call: call,
                })
            }))
        })
    }
}

/// A request as it comes in, which ends with an error where it is too large or stands still.
struct Incoming {
    body: Body,
    /// Bytes that may still come.
    left: Option<u64>,
    silence: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Incoming {
    fn new(body: Body, kind: Kind, silence_max: Duration) -> Self {
        // The others have times of their own, and messages of a megabyte.
        let silence = kind.requests_are_small().then_some(silence_max);
        Self {
            body,
            left: silence.is_some().then_some(REQUEST_BYTES_MAX),
            silence: silence.map(|max| (max, Box::pin(tokio::time::sleep(max)))),
        }
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            let silent = this.silence.as_mut();
            let over = silent.is_some_and(|(_, timer)| timer.as_mut().poll(context).is_ready());
            return if over {
                Poll::Ready(Some(Err(unfinished())))
            } else {
                Poll::Pending
            };
        };
        if let Some((max, timer)) = &mut this.silence {
            timer.as_mut().reset(Instant::now() + *max);
        }
        if let (Some(Ok(frame)), Some(left)) = (&frame, &mut this.left)
            && let Some(data) = frame.data_ref()
        {
            match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Some(Err(too_large(REQUEST_BYTES_MAX)))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer as it goes out, with what its call holds.
///
/// It goes in small pieces: a piece is asked for when the one before has found room, so the call holds what it holds until all but
/// the last have.
struct Outgoing {
    body: Body,
    /// Of a piece that was too large.
    rest: Bytes,
    _held: Arc<Held>,
    _watch: Option<OwnedSemaphorePermit>,
    _entry: Option<Entry>,
    _call: Call,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES_MAX));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
