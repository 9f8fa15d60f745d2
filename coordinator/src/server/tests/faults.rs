//! What is wrong with a connection and does not pass is told at once, with the remedy.

use std::error::Error as _;

use proto::connection::{ConnectError, Connector, Credentials, Fault};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, server::WebPkiClientVerifier},
};

use super::{secure::*, *};

/// What a client finds wrong when it connects and calls; none if it is answered.
async fn fault(url: &str, credentials: Credentials) -> Option<Fault> {
    let connector = Connector::new(url.parse().expect("a URL"), credentials).expect("the files are right");
    let fault = |error: Option<ConnectError>| match error {
        Some(ConnectError::Fault { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let channel = match connector.connect().await {
        Ok(channel) => channel,
        Err(error) => return Some(fault(Some(error))),
    };
    match info(&ProverServiceClient::new(channel)).await {
        // What is shown of a client's certificate comes after its handshake.
        Err(status) if status.source().is_some() || status.code() == Code::Unavailable => {
            Some(fault(connector.fault()))
        }
        _ => {
            assert!(connector.fault().is_none());
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_waiting_mends_is_told_apart_with_its_remedy() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(papers.config(store.path())).await;
    let url = format!("https://{}", service.address);
    let reader = papers.certificate("reader");
    assert_eq!(fault(&url, reader.clone()).await, None, "the twin of all others");
    let other = Authority::new("other");
    papers.write("other-ca.pem", &other.pem);
    papers.issue(&other, "forged", false);
    papers.issue(&papers.authority, "expired", true);
    let wary = Credentials {
        ca: Some(papers.path("other-ca.pem")),
        ..reader.clone()
    };
    assert_eq!(fault(&url, wary).await, Some(Fault::UnknownAuthority));
    let named = format!("https://localhost:{}", service.address.port());
    let found = fault(&named, reader.clone()).await;
    assert!(
        matches!(&found, Some(Fault::OtherName { host, names }) if host == "localhost" && names.contains("server.example")),
        "{found:?}"
    );
    let plain = format!("http://{}", service.address);
    assert_eq!(
        fault(&plain, Credentials::default()).await,
        Some(Fault::SpeaksTls)
    );
    for (name, part) in [("forged", "--tls-client-ca"), ("expired", "expired")] {
        let found = fault(&url, papers.certificate(name)).await;
        assert!(
            matches!(&found, Some(Fault::CertificateRefused(why)) if why.contains(part)),
            "{name}: {found:?}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinators_expired_certificate_is_told() {
    let (papers, store) = (Papers::new(), store());
    papers.issue(&papers.authority, "server", true);
    let service = Secure::start(papers.config(store.path())).await;
    let found = fault(
        &format!("https://{}", service.address),
        papers.certificate("reader"),
    )
    .await;
    assert_eq!(found, Some(Fault::Expired));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_port_of_plain_text_is_told() {
    let (papers, store) = (Papers::new(), store());
    let service = Secure::start(config(store.path())).await;
    let found = fault(
        &format!("https://{}", service.address),
        papers.certificate("reader"),
    )
    .await;
    assert_eq!(found, Some(Fault::SpeaksNoTls));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_wanted_is_told() {
    let papers = Papers::new();
    let roots =
        proto::pem::authorities(&papers.path("ca.pem"), papers.authority.pem.as_bytes()).expect("one");
    let read = |name: &str| std::fs::read(papers.path(name)).expect("readable");
    let chain = proto::pem::certificates("a certificate", &papers.path("server.pem"), &read("server.pem"));
    let key = proto::pem::private_key(&papers.path("server.key"), &read("server.key")).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_client_cert_verifier(clients.build().expect("an authority"))
        .with_single_cert(chain.expect("one"), key)
        .expect("they fit");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("it is bound"));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let served = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            drop(acceptor.accept(stream).await);
        }
    });
    let nobody = Credentials {
        identity: None,
        ..papers.certificate("reader")
    };
    assert_eq!(fault(&url, nobody).await, Some(Fault::CertificateWanted));
    served.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_no_fault() {
    let papers = Papers::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("it is bound"));
    let served = tokio::spawn(async move {
        loop {
            // As a coordinator does that has too many connections.
            drop(listener.accept().await);
        }
    });
    let connector = Connector::new(url.parse().expect("a URL"), papers.certificate("reader")).expect("right");
    let refused = connector.connect().await;
    assert!(
        matches!(refused, Err(ConnectError::Unreachable { .. })),
        "{refused:?}"
    );
    assert!(connector.fault().is_none());
    served.abort();
    let _ = served.await;
    let refused = connector.connect().await;
    assert!(
        matches!(refused, Err(ConnectError::Unreachable { .. })),
        "{refused:?}"
    );
}
