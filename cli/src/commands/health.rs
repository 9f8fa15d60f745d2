//! Asks a coordinator or a worker whether it serves, for whatever starts and watches it and cannot ask over TLS itself.

use std::time::Duration;

use anyhow::Result;
use proto::connection::ConnectError;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::args::HealthArgs;
use crate::output::{self, Exit, Failure};

/// Longest time for an answer, the connection included. Probes come every few seconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Ends well where the answer is SERVING.
///
/// # Errors
/// [`Exit::Unavailable`] where it is another or none comes in time; [`Exit::Refused`] for a service that is not there.
pub async fn run(args: &HealthArgs) -> Result<()> {
    // Of several, the first: a probe asks one process.
    let connector = args.client.credentials.connector(&args.client.coordinator[..1])?;
    let (url, service) = (connector.url(), &args.service);
    let asked = async {
        let mut health = HealthClient::new(connector.connect().await?);
        let service = service.clone();
        Ok::<_, ConnectError>(health.check(HealthCheckRequest { service }).await)
    };
    let unavailable = |message: String| Failure::new(Exit::Unavailable, message);
    let answer = tokio::time::timeout(ANSWER_MAX, asked).await;
    let answer = answer.map_err(|_| unavailable(format!("{url} says nothing within {ANSWER_MAX:?}")))?;
    let status = match answer {
        Ok(Ok(answer)) => answer.into_inner().status(),
        Ok(Err(status)) if status.code() == Code::NotFound => {
            return Err(Failure::new(Exit::Refused, format!("{url} has no service {service:?}")).into());
        }
        Ok(Err(status)) => {
            let unreachable = || unavailable(format!("{url}: {}", status.message())).into();
            return Err(connector.fault().map_or_else(unreachable, Into::into));
        }
        Err(error @ ConnectError::Unreachable { .. }) => return Err(unavailable(error.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    let name = status.as_str_name();
    if status != ServingStatus::Serving {
        return Err(unavailable(format!("{url} is {name}")).into());
    }
    match args.client.json {
        true => output::json(&serde_json::json!({ "status": name.to_lowercase() })),
        false => output::line(name),
    }
}
