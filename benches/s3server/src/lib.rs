//! A server of a test's own that speaks S3 (`s3s-fs`, over a folder) on loopback, in this process, and that can be away, slow or broken.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    Body, HttpError,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    task::JoinHandle,
};

/// The bucket that there is.
pub const BUCKET: &str = "artifacts";
const ACCESS_KEY: &str = "trial";
const SECRET_KEY: &str = "trial-secret";

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every answer has this status.
    Status(u16),
    /// Of requests by this method.
    StatusOf(&'static str, u16),
    /// Nothing is answered.
    Hangs,
    /// Every answer takes so long.
    Slow(Duration),
    /// Every answer's content ends before its end, and the connection with it.
    CutShort,
}

/// The server.
pub struct S3Server {
    runtime: Option<Runtime>,
    folder: TempDir,
    address: SocketAddr,
    wrong: Arc<Wrong>,
    serving: Mutex<Option<JoinHandle<()>>>,
    service: S3Service,
}

/// What is wrong, and how many requests have met it.
struct Wrong {
    fault: Mutex<Fault>,
    met: AtomicU64,
}

impl Wrong {
    /// What is wrong for a request by this method.
    fn meet(&self, method: &Method) -> Fault {
        let fault = match *self.fault.lock().expect("not poisoned") {
            Fault::StatusOf(only, _) if method != only => Fault::None,
            fault => fault,
        };
        if fault != Fault::None {
            self.met.fetch_add(1, Ordering::SeqCst);
        }
        fault
    }
}

impl S3Server {
    /// Starts one with an empty bucket.
    ///
    /// # Panics
    /// Where nothing can be listened on.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(BUCKET)).expect("made");
        let files = FileSystem::new(folder.path()).expect("it opens");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let mut server = Self {
            runtime: Some(Runtime::new().expect("a runtime")),
            folder,
            address: "127.0.0.1:0".parse().expect("an address"),
            wrong: Arc::new(Wrong {
                fault: Mutex::new(Fault::None),
                met: AtomicU64::new(0),
            }),
            serving: Mutex::default(),
            service: builder.build(),
        };
        server.address = server.listen();
        server
    }

    /// The URL of a prefix in the bucket.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// What says where the server is. A request's time is shorter than a coordinator's.
    pub fn variables(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
            ("AWS_TIMEOUT", "2s".into()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// The file of an object.
    pub fn file(&self, prefix: &str, name: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(prefix).join(name)
    }

    /// Changes what is wrong.
    ///
    /// # Panics
    /// Never.
    pub fn set(&self, fault: Fault) {
        *self.wrong.fault.lock().expect("not poisoned") = fault;
    }

    /// How many requests have met a fault so far.
    pub fn met(&self) -> u64 {
        self.wrong.met.load(Ordering::SeqCst)
    }

    /// Nobody listens any more, and all connections are closed.
    ///
    /// # Panics
    /// Never.
    pub fn go_away(&self) {
        let serving = self.serving.lock().expect("not poisoned").take();
        if let (Some(serving), Some(runtime)) = (serving, &self.runtime) {
            serving.abort();
            std::thread::scope(|scope| {
                let ended = scope.spawn(|| runtime.block_on(serving)).join();
                drop(ended.expect("it ends"));
            });
        }
    }

    /// Listens again where it did.
    ///
    /// # Panics
    /// Where the port is taken.
    pub fn come_back(&self) {
        self.listen();
    }

    fn listen(&self) -> SocketAddr {
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let _context = runtime.enter();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("it is set");
        socket.bind(self.address).expect("a port");
        let listener = socket.listen(64).expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        let serving = runtime.spawn(serve(listener, self.service.clone(), Arc::clone(&self.wrong)));
        *self.serving.lock().expect("not poisoned") = Some(serving);
        address
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves connections, which end with this.
async fn serve(listener: TcpListener, service: S3Service, wrong: Arc<Wrong>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("it listens");
        let (service, wrong) = (service.clone(), Arc::clone(&wrong));
        connections.spawn(async move {
            let answering = service_fn(move |request: Request<Incoming>| {
                let fault = wrong.meet(request.method());
                answer(service.clone(), fault, request)
            });
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), answering).await;
        });
    }
}

async fn answer(
    service: S3Service,
    fault: Fault,
    request: Request<Incoming>,
) -> Result<Response<Answer>, HttpError> {
    let failing = |status: u16| {
        let code = if status == 403 {
            "AccessDenied"
        } else {
            "InternalError"
        };
        let text = format!("<Error><Code>{code}</Code><Message>as the test wants</Message></Error>");
        let mut response = Response::new(Answer::whole(Body::from(Bytes::from(text))));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    };
    match fault {
        Fault::Status(status) | Fault::StatusOf(_, status) => return Ok(failing(status)),
        Fault::Hangs => std::future::pending().await,
        Fault::Slow(pause) => tokio::time::sleep(pause).await,
        Fault::None | Fault::CutShort => {}
    }
    let response = service.call(request.map(Body::from)).await?;
    Ok(response.map(|body| Answer {
        body,
        is_cut: fault == Fault::CutShort,
    }))
}

/// An answer's content, whole or not.
struct Answer {
    body: Body,
    is_cut: bool,
}

impl Answer {
    fn whole(body: Body) -> Self {
        Self { body, is_cut: false }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let is_cut = self.is_cut;
        Pin::new(&mut self.body)
            .poll_frame(context)
            .map(|frame| match frame {
                Some(Ok(_)) if is_cut => Some(Err("cut short".into())),
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(error)) => Some(Err(error.to_string().into())),
                None => None,
            })
    }

    fn size_hint(&self) -> http_body::SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
