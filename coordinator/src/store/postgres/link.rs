//! Calls of a PostgreSQL server, each of which ends in time.

use std::{
    str::FromStr as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::super::StoreError;

/// Longest time of a statement.
pub(super) const CALL_MAX: Duration = Duration::from_secs(30);
/// Longest time until a connection is there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Connections that are kept while nobody uses them.
const IDLE_MAX: usize = 4;

/// What the server is to hold a session to: a process that is stopped in the middle of something holds up nobody for long.
const SESSION: [(&str, &str); 3] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "5s"),
];
/// Commits that do not survive a loss of power are none.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// A database, by connections that are made when they are needed.
#[derive(Debug)]
pub(super) struct Link {
    /// None once it is dropped: what waits for it must not hold up an async thread.
    runtime: Option<Runtime>,
    options: PgConnectOptions,
    name: String,
    idle: Mutex<Vec<PgConnection>>,
}

impl Link {
    /// A way to the database of `url`. Nothing is called yet.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let malformed = |what: String| StoreError::PostgresUrl { what };
        let form = || malformed("expected postgres://USER:PASSWORD@HOST:PORT/DATABASE".into());
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err(form());
        }
        // The error of a URL that does not parse may hold the password.
        let options = PgConnectOptions::from_str(url).map_err(|_| form())?;
        let database = options.get_database().map(str::to_owned);
        let database = database.ok_or_else(|| malformed("it names no database".into()))?;
        let socket = options.get_socket().map(|socket| socket.display().to_string());
        let host = socket.unwrap_or_else(|| format!("{}:{}", options.get_host(), options.get_port()));
        let options = options
            .application_name("rollup-prover")
            .options(SESSION)
            .disable_statement_logging();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| malformed(format!("no thread to call it from ({error})")))?;
        Ok(Self {
            runtime: Some(runtime),
            options,
            name: format!("postgres://{host}/{database}"),
            idle: Mutex::default(),
        })
    }

    /// Its name in errors, without what is secret.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether what is sent to it can be read on the way.
    pub(super) fn is_plain(&self) -> bool {
        let local = self.options.get_socket().is_some() || self.options.get_host().starts_with('/');
        !local
            && matches!(
                self.options.get_ssl_mode(),
                PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
            )
    }

    /// Does `work` over a connection. One that was kept may have ended meanwhile, so that the same is done again over a new one:
    /// all that is done here may be done twice.
    pub(super) fn call<T>(
        &self,
        longest: Duration,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        runtime.block_on(async {
            let kept = self.idle().pop();
            if let Some(mut connection) = kept {
                match timeout(longest, work(&mut connection)).await {
                    Ok(Err(error)) if is_lost(&error) => {}
                    Ok(done) => return self.done(connection, done),
                    Err(_) => return Err(self.slow(longest)),
                }
            }
            let mut connection = timeout(CONNECT_MAX, self.connect())
                .await
                .map_err(|_| self.slow(CONNECT_MAX))?
                .map_err(self.failed())?;
            match timeout(longest, work(&mut connection)).await {
                Ok(done) => self.done(connection, done),
                Err(_) => Err(self.slow(longest)),
            }
        })
    }

    /// Lets go of all connections that nobody uses.
    pub(super) fn forget(&self) {
        self.idle().clear();
    }

    /// An error of this database.
    pub(super) fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        let store = self.name.clone();
        move |source| StoreError::Postgres {
            store: store.clone(),
            source: Box::new(source),
        }
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        sqlx::query(DURABLE).execute(&mut connection).await?;
        Ok(connection)
    }

    fn done<T>(&self, connection: PgConnection, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        let value = done.map_err(self.failed())?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(value)
    }

    fn slow(&self, longest: Duration) -> StoreError {
        self.failed()(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer within {} s", longest.as_secs()),
        )))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.forget();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether the connection is at fault.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        // The server was told to end the session.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

/// Whether the same may succeed once server, network or disk are well again.
pub(in crate::store) fn may_pass(error: &sqlx::Error) -> bool {
    /// Classes of SQLSTATE: connection, transaction state (a server that only reads), rollback, resources, not in the state for it,
    /// intervention, the system's own errors.
    const CLASSES: [&str; 7] = ["08", "25", "40", "53", "55", "57", "58"];
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            CLASSES.iter().any(|class| code.starts_with(class))
        }
        error => is_lost(error),
    }
}
