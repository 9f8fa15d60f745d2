//! Who may call what: certificates, tokens, roles, tenants, and their reload.

use proto::connection::{self, ConnectError, Credentials};
use tonic::codegen::http::uri::PathAndQuery;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{secure::*, *};
use crate::{config::TlsFiles, server::access::methods::METHODS};

/// How a call of a method by its name begins, with an empty message.
async fn call(channel: connection::Channel, method: &str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("it is connected");
    let path: PathAndQuery = format!("/{method}").parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let begun = client
        .server_streaming(tonic::Request::new(()), path, codec)
        .await;
    begun.map(drop)
}

/// The roles that may call a method, as the interface's documentation has it.
fn expected(method: &str) -> &'static [&'static str] {
    let (service, name) = method.split_once('/').expect("service/method");
    match (service, name) {
        ("grpc.health.v1.Health", _) => &["", "sequencer", "worker", "operator", "reader"],
        ("zkrollup.prover.v1.WorkerService", _) => &["worker"],
        ("zkrollup.prover.v1.OperatorService", _) => &["operator"],
        (_, "SubmitBatch" | "CancelBatch" | "RetryBatch") => &["sequencer", "operator"],
        _ => &["sequencer", "operator", "reader"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_call_its_methods_and_no_others() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let nobody = Credentials {
        ca: Some(papers.path("ca.pem")),
        ..Credentials::default()
    };
    let callers = [
        ("", nobody),
        ("sequencer", papers.certificate("seq-a")),
        ("worker", papers.certificate("worker-1")),
        ("operator", papers.certificate("operator")),
        ("reader", papers.token("reader")),
    ];
    for (role, credentials) in callers {
        let channel = service.connect(credentials).await;
        for method in METHODS {
            let begun = call(channel.clone(), method.name).await;
            let code = begun.as_ref().err().map(Status::code);
            let refusal = match role {
                "" => (Code::Unauthenticated, "IDENTITY_MISSING"),
                _ => (Code::PermissionDenied, "ROLE_MISSING"),
            };
            let refused = matches!(code, Some(Code::Unauthenticated | Code::PermissionDenied));
            let may = expected(method.name).contains(&role);
            assert_eq!(!refused, may, "{role:?} and {}: {begun:?}", method.name);
            if let (false, Err(status)) = (may, &begun) {
                assert_eq!((status.code(), reason(status).as_str()), refusal, "{status:?}");
                let info = status.get_error_details().error_info().cloned().expect("details");
                let needed = expected(method.name).join(" or ");
                if !role.is_empty() {
                    assert!(
                        expected(method.name)
                            .iter()
                            .all(|role| info.metadata["role"].contains(role))
                    );
                    assert!(!needed.is_empty());
                }
            }
        }
        let unknown = call(channel, "zkrollup.prover.v1.ProverService/DropEverything").await;
        let status = unknown.expect_err("nobody may");
        assert!(
            matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied),
            "{status:?}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nothing_but_health_is_answered() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let nobody = Credentials {
        ca: Some(papers.path("ca.pem")),
        ..Credentials::default()
    };
    let channel = service.connect(nobody).await;
    let request = HealthCheckRequest::default();
    HealthClient::new(channel.clone())
        .check(request)
        .await
        .expect("health is for everybody");
    let status = info(&ProverServiceClient::new(channel))
        .await
        .expect_err("it is nobody");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "IDENTITY_MISSING")
    );
    info(&service.prover(papers.certificate("reader")).await)
        .await
        .expect("it is a reader");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_nobody_here_vouches_for_do_not_come_in() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let other = Authority::new("other");
    papers.write("other-ca.pem", &other.pem);
    papers.issue(&other, "forged", false);
    papers.issue(&papers.authority, "expired", true);
    papers.issue(&papers.authority, "stranger", false);
    for name in ["forged", "expired"] {
        // With TLS 1.3 the client learns at its first call that it was turned away.
        let connected = service.connector(papers.certificate(name)).connect().await;
        let told = match connected {
            Ok(channel) => info(&ProverServiceClient::new(channel)).await.map_err(drop),
            Err(_) => Err(()),
        };
        assert!(told.is_err(), "{name} came in");
    }
    let stranger = service.prover(papers.certificate("stranger")).await;
    let status = info(&stranger).await.expect_err("it is no identity's");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "CERTIFICATE_UNKNOWN")
    );
    // Nor does a client take a coordinator whose certificate another authority signed.
    let wary = Credentials {
        ca: Some(papers.path("other-ca.pem")),
        ..papers.certificate("reader")
    };
    let refused = service.connector(wary).connect().await;
    assert!(matches!(refused, Err(ConnectError::Fault { .. })), "{refused:?}");
    // Nor is plain text understood.
    let plain = Channel::from_shared(format!("http://{}", service.address)).expect("a URL");
    let plain = match plain.connect().await {
        Ok(channel) => ProverServiceClient::new(channel)
            .get_info(v1::GetInfoRequest::default())
            .await
            .is_ok(),
        Err(_) => false,
    };
    assert!(!plain);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_by_its_digest_is_an_identity() {
    let (papers, store) = (Papers::new(), store());
    let pem = std::fs::read(papers.path("reader.pem")).expect("readable");
    let chain = proto::pem::certificates("a certificate", &papers.path("reader.pem"), &pem).expect("one");
    let digest = hex::encode(Sha256::digest(&chain[0]));
    papers.write(
        "access.toml",
        &format!("[[identity]]\nname = \"r\"\nroles = [\"reader\"]\ncertificate_sha256 = [\"{digest}\"]\n"),
    );
    let service = Secure::start(papers.config(store.path())).await;
    info(&service.prover(papers.certificate("reader")).await)
        .await
        .expect("it is known");
    let other = service.prover(papers.certificate("reader-2")).await;
    assert_eq!(
        info(&other).await.expect_err("it is not").code(),
        Code::Unauthenticated
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_over_tls_and_on_loopback() {
    let papers = Papers::new();
    let encrypted = {
        let store = store();
        // Without a client CA nobody shows certificates.
        papers.write(
            "access.toml",
            &Papers::access(&IDENTITIES).replace("certificate_names", "# certificate_names"),
        );
        let config = Config {
            tls: Some(TlsFiles {
                client_ca: None,
                ..papers.tls()
            }),
            ..papers.config(store.path())
        };
        (store, config)
    };
    let plain = {
        let store = store();
        let config = Config {
            tls: None,
            ..papers.config(store.path())
        };
        (store, config)
    };
    for (_store, config) in [encrypted, plain] {
        let tls = config.tls.is_some();
        let ca = tls.then(|| papers.path("ca.pem"));
        let service = Secure::start(config).await;
        let with = |token: Option<&str>| Credentials {
            ca: ca.clone(),
            identity: None,
            token: token.map(|name| papers.path(&format!("{name}.token"))),
        };
        info(&service.prover(with(Some("reader"))).await)
            .await
            .expect("it is a reader");
        let worker = service.prover(with(Some("worker-1"))).await;
        let status = info(&worker).await.expect_err("it is a worker");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::PermissionDenied, "ROLE_MISSING")
        );
        papers.write("wrong.token", "token-of-nobody");
        for (token, told) in [(None, "IDENTITY_MISSING"), (Some("wrong"), "TOKEN_UNKNOWN")] {
            let client = service.prover(with(token)).await;
            let status = info(&client).await.expect_err("it is nobody");
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::Unauthenticated, told)
            );
            assert!(!status.message().contains("token-of"), "{status}");
        }
        join(&service, with(Some("worker-1")), "w").await;
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_cancelled_by_its_tenant_or_an_operator() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let batch = batch_of(&mut sample(), TIME, 1);
    let own = service.prover(papers.certificate("seq-a")).await;
    let other = service.prover(papers.certificate("seq-b")).await;
    let submitted = submit(&own, "secret-plan", &batch).await.expect("accepted");
    assert_eq!(submitted.request_id, "secret-plan");
    let request = v1::CancelBatchRequest {
        batch_id: submitted.batch_id.clone(),
    };
    let refused = other.clone().cancel_batch(request.clone()).await;
    let status = refused.expect_err("it is another's");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::PermissionDenied, "TENANT_MISMATCH")
    );
    let retry = v1::RetryBatchRequest {
        batch_id: submitted.batch_id.clone(),
    };
    let status = other.clone().retry_batch(retry.clone()).await;
    let status = status.expect_err("it is another's");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::PermissionDenied, "TENANT_MISMATCH")
    );
    let status = own
        .clone()
        .retry_batch(retry)
        .await
        .expect_err("it has not failed");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    // What the batch is called is its tenant's; so is whether an id was used.
    let get = v1::GetBatchRequest {
        batch_id: submitted.batch_id.clone(),
    };
    let seen = other
        .clone()
        .get_batch(get)
        .await
        .expect("it may look")
        .into_inner()
        .batch;
    assert_eq!(seen.expect("set").request_id, "");
    let list = other
        .clone()
        .list_batches(v1::ListBatchesRequest::default())
        .await;
    assert!(
        list.expect("it may look")
            .into_inner()
            .batches
            .iter()
            .all(|batch| batch.request_id.is_empty())
    );
    let status = submit(&other, "secret-plan", &batch_of(&mut sample(), TIME, 2)).await;
    let status = status.expect_err("it is not the next batch");
    assert_eq!(reason(&status), "WRONG_BATCH_NUMBER", "{status:?}");
    // Another identity of the tenant may, and an operator may.
    let second = service.prover(papers.certificate("seq-a2")).await;
    second
        .clone()
        .cancel_batch(request)
        .await
        .expect("it is its tenant's");
    let submitted = submit(&own, "again", &batch).await.expect("accepted");
    let operator = service.prover(papers.token("operator")).await;
    let cancelled = operator
        .clone()
        .cancel_batch(v1::CancelBatchRequest {
            batch_id: submitted.batch_id,
        })
        .await
        .expect("an operator may")
        .into_inner();
    assert_eq!(cancelled.batch.expect("set").request_id, "again");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_its_identitys_and_a_proof_is_anybodys() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let sequencer = service.prover(papers.certificate("seq-a")).await;
    submit(&sequencer, "a", &batch_of(&mut sample(), TIME, 1))
        .await
        .expect("accepted");
    let mut own = join(&service, papers.certificate("worker-1"), "w").await;
    let leased = own.lease().await;
    let (task_id, fence) = (leased.task.task_id.clone(), leased.task.fence);
    let renew = || {
        FromWorker::Renew(v1::Renew {
            task_id: task_id.clone(),
            fence,
        })
    };
    let fail = || {
        FromWorker::Fail(v1::Fail {
            task_id: task_id.clone(),
            fence,
            class: v1::FailureClass::Execution.into(),
            message: "it cannot be".into(),
        })
    };
    let mut other = join(&service, papers.certificate("worker-2"), "w").await;
    for message in [renew(), fail()] {
        other.send(message).await;
        let answer = other.next().await;
        assert!(
            matches!(&answer, Ok(ToWorker::LeaseLost(lost)) if lost.task_id == task_id),
            "{answer:?}"
        );
    }
    // A proof that does not verify takes nothing from the holder.
    let garbage = v1::Complete {
        proof: vec![1].into(),
        ..leased.prove()
    };
    assert_eq!(other.complete(garbage).await, v1::Verdict::Rejected);
    own.send(renew()).await;
    assert!(matches!(own.next().await, Ok(ToWorker::Renewed(_))));
    assert_eq!(other.complete(leased.prove()).await, v1::Verdict::Accepted);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_without_a_restart_and_broken_ones_are_not() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let before = service.prover(papers.certificate("reader")).await;
    info(&before).await.expect("it is a reader");
    let next = Authority::new("next");
    let comes_in = async |credentials: Credentials| match service.connector(credentials).connect().await {
        Ok(channel) => info(&ProverServiceClient::new(channel)).await.is_ok(),
        Err(_) => false,
    };

    // Files that do not read, or do not fit each other, change nothing; the access file is read meanwhile.
    let (certificate, ca) = (
        std::fs::read_to_string(papers.path("server.pem")).expect("readable"),
        std::fs::read_to_string(papers.path("ca.pem")).expect("readable"),
    );
    papers.write("server.pem", "no certificate");
    papers.write("ca.pem", "no certificate");
    papers.write("known-ca.pem", &ca);
    let known = |name: &str| Credentials {
        ca: Some(papers.path("known-ca.pem")),
        ..papers.certificate(name)
    };
    papers.write("access.toml", &Papers::access(&IDENTITIES[..7]));
    eventually("a removed identity is refused", async || {
        !comes_in(known("reader-2")).await
    })
    .await;
    assert!(comes_in(known("reader")).await, "what was in force stays");
    papers.write("access.toml", "roles = ");
    papers.write("server.pem", &certificate);
    papers.issue(&next, "other-server", false);
    std::fs::rename(papers.path("other-server.key"), papers.path("server.key")).expect("renamed");
    // Once the mended access file counts, the broken ones before it were looked at.
    papers.write("access.toml", &Papers::access(&IDENTITIES));
    eventually("a new identity is taken", async || {
        comes_in(known("reader-2")).await
    })
    .await;

    // Everything of the next authority.
    papers.issue(&next, "next-reader", false);
    papers.issue(&next, "server", false);
    papers.write("ca.pem", &next.pem);
    papers.write(
        "access.toml",
        &Papers::access(&[("reader", "reader", "r"), ("next-reader", "reader", "r")]),
    );
    eventually("the next authority's certificates are taken", async || {
        comes_in(papers.certificate("next-reader")).await
    })
    .await;
    let old_client = Credentials {
        ca: Some(papers.path("ca.pem")),
        ..papers.certificate("reader")
    };
    assert!(
        !comes_in(old_client).await,
        "the authority before has no say any more"
    );
    eventually("what was open over the authority before is closed", async || {
        info(&before).await.is_err()
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_taken_out_of_the_access_file_loses_its_streams_and_nobody_else_does() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let mut removed = join(&service, papers.certificate("worker-1"), "w").await;
    let mut kept = join(&service, papers.token("worker-2"), "w").await;
    let mut others = IDENTITIES.to_vec();
    others.retain(|(name, ..)| *name != "worker-1");
    papers.write("access.toml", &Papers::access(&others));
    let ended = removed.next().await;
    assert!(ended.is_err(), "{ended:?}");
    let again = session(&service, papers.certificate("worker-1"), "w")
        .await
        .map(drop);
    assert_eq!(again.expect_err("it is nobody").code(), Code::Unauthenticated);
    kept.request().await;
    let sequencer = service.prover(papers.certificate("seq-a")).await;
    submit(&sequencer, "a", &batch_of(&mut sample(), TIME, 1))
        .await
        .expect("accepted");
    kept.task().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_addresses_that_make_no_sense_are_refused_at_the_start() {
    let (papers, store) = (Papers::new(), store());
    papers.write("broken.toml", "[[identity]]\nname = \"x\"\nroles = [\"king\"]");
    papers.write("empty.pem", "");
    let file = |config: Config| async {
        match start(config).await {
            Err(Error::File(error)) => error.to_string(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it started"),
        }
    };
    let good = || papers.config(store.path());
    let told = file(Config {
        access: Some(papers.path("broken.toml")),
        ..good()
    });
    let told = told.await;
    assert!(told.contains("broken.toml") && told.contains("line 3"), "{told}");
    for (files, name) in [
        (
            TlsFiles {
                key: papers.path("reader.key"),
                ..papers.tls()
            },
            "reader.key",
        ),
        (
            TlsFiles {
                certificate: papers.path("missing.pem"),
                ..papers.tls()
            },
            "missing.pem",
        ),
        (
            TlsFiles {
                client_ca: Some(papers.path("empty.pem")),
                ..papers.tls()
            },
            "empty.pem",
        ),
    ] {
        let told = file(Config {
            tls: Some(files),
            ..good()
        });
        let told = told.await;
        assert!(told.contains(name), "{told}");
    }
    let told = file(Config { tls: None, ..good() }).await;
    assert!(told.contains("client CA"), "{told}");

    let remote = "0.0.0.0:0".parse().expect("an address");
    let everybody = Config {
        listen: remote,
        tls: Some(TlsFiles {
            client_ca: None,
            ..papers.tls()
        }),
        access: None,
        ..good()
    };
    let refused = start(everybody).await;
    assert!(matches!(
        refused,
        Err(Error::Config(ConfigError::Unauthenticated(_)))
    ));
    for config in [
        Config {
            listen: remote,
            access: None,
            ..good()
        },
        Config {
            listen: remote,
            tls: None,
            access: None,
            insecure_plaintext: true,
            ..good()
        },
    ] {
        drop(start(config).await.expect("it may"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_client_ca_alone_its_certificates_may_do_everything() {
    let (papers, store) = (Papers::new(), store());
    let config = Config {
        access: None,
        ..papers.config(store.path())
    };
    let service = Secure::start(config).await;
    info(&service.prover(papers.certificate("reader")).await)
        .await
        .expect("it is known");
    join(&service, papers.certificate("reader"), "w").await;
    let nobody = Credentials {
        ca: Some(papers.path("ca.pem")),
        ..Credentials::default()
    };
    let status = info(&service.prover(nobody).await)
        .await
        .expect_err("it is nobody");
    assert_eq!(status.code(), Code::Unauthenticated);
    service.stop().await;
}
