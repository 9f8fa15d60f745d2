//! Certificates that are not taken any more while connections are open that showed them.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};
use tokio_rustls::rustls::pki_types::UnixTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{secure::*, *};
use crate::{config::TlsFiles, server::transport::tls::in_force};

impl Papers {
    /// A list of the authority in which these are revoked, PEM.
    fn list(&self, authority: &Authority, revoked: &[&str]) -> String {
        let revoked_certs = revoked.iter().map(|name| {
            let chain = self.chain(name);
            let (_, certificate) = X509Certificate::from_der(&chain[0]).expect("a certificate");
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(certificate.raw_serial()),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(authority.issuer())
            .expect("signed")
            .pem()
            .expect("PEM")
    }

    fn chain(&self, name: &str) -> Vec<tokio_rustls::rustls::pki_types::CertificateDer<'static>> {
        let path = self.path(&format!("{name}.pem"));
        let text = std::fs::read(&path).expect("readable");
        proto::pem::certificates("a certificate", &path, &text).expect("one")
    }
}

/// Whether the connection of a client that was answered before is still answered.
async fn is_open(client: &ProverServiceClient<proto::connection::Channel>) -> bool {
    info(client).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_not_taken_and_its_connection_closed_and_no_others() {
    let (papers, store) = (Papers::new(), store());
    papers.write("crl.pem", &papers.list(&papers.authority, &["reader-2"]));
    let mut config = papers.config(store.path());
    config.tls = Some(TlsFiles {
        client_crl: Some(papers.path("crl.pem")),
        ..papers.tls()
    });
    let service = Secure::start(config).await;
    let revoked = service.connector(papers.certificate("reader-2"));
    let told = match revoked.connect().await {
        Ok(channel) => info(&ProverServiceClient::new(channel))
            .await
            .map_err(|_| revoked.fault()),
        Err(error) => Err(Some(error)),
    };
    let told = told.expect_err("it is revoked").expect("a fault").to_string();
    assert!(told.contains("it was revoked"), "{told}");

    let reader = service.prover(papers.certificate("reader")).await;
    let operator = service.prover(papers.certificate("operator")).await;
    assert!(is_open(&reader).await && is_open(&operator).await);
    // A stream that would last is closed, too.
    let mut worker = join(&service, papers.certificate("worker-1"), "w").await;
    let list = papers.list(&papers.authority, &["reader-2", "reader", "worker-1"]);
    papers.write("crl.pem", &list);
    let ended = tokio::time::timeout(PATIENCE, worker.receiver.message()).await;
    assert!(!matches!(ended, Ok(Ok(Some(_)))), "{ended:?}");
    eventually("the connection of a revoked certificate is closed", async || {
        !is_open(&reader).await
    })
    .await;
    assert!(is_open(&operator).await);
    // A list that does not read changes nothing.
    papers.write("crl.pem", "no list");
    papers.write("access.toml", &Papers::access(&IDENTITIES[..7]));
    eventually("the files were looked at", async || {
        let removed = service.connector(papers.certificate("reader-2")).connect().await;
        match removed {
            Ok(channel) => info(&ProverServiceClient::new(channel)).await.is_err(),
            Err(_) => true,
        }
    })
    .await;
    assert!(is_open(&operator).await);
    service.stop().await;
}

#[test]
fn a_broken_revocation_list_is_told_under_its_own_name() {
    let papers = Papers::new();
    let files = TlsFiles {
        client_crl: Some(papers.path("crl.pem")),
        ..papers.tls()
    };
    for (list, said) in [
        ("no list", "no revocation list"),
        // PEM around what is no list.
        (
            "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
            "expected X.509 CRLs of version 2",
        ),
    ] {
        papers.write("crl.pem", list);
        let told = in_force(&files).expect_err("it is no list").to_string();
        let named = told.contains("the revocation lists") && told.contains("crl.pem");
        assert!(named && told.contains(said), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_an_authority_that_was_taken_out_are_closed_and_no_others() {
    let (papers, store) = (Papers::new(), store());
    let next = Authority::new("next");
    papers.issue(&next, "operator", false);
    papers.write("ca.pem", &format!("{}{}", papers.authority.pem, next.pem));
    let service = Secure::start(papers.config(store.path())).await;
    let (reader, operator) = (
        service.prover(papers.certificate("reader")).await,
        service.prover(papers.certificate("operator")).await,
    );
    let token = service.prover(papers.token("seq-a")).await;
    assert!(is_open(&reader).await && is_open(&operator).await && is_open(&token).await);
    papers.write("ca.pem", &next.pem);
    eventually("the authority's connection is closed", async || {
        !is_open(&reader).await
    })
    .await;
    assert!(is_open(&operator).await, "another authority's");
    assert!(is_open(&token).await, "nobody has to vouch for a token");
    service.stop().await;
}

#[test]
fn a_chain_counts_while_its_authority_and_its_time_do() {
    let papers = Papers::new();
    let reader = papers.chain("reader");
    let judged = |files: &TlsFiles, at: UnixTime| {
        let in_force = in_force(files).expect("the files are right");
        in_force
            .vouches_for(&reader, at)
            .map_err(|error| error.to_string())
    };
    let now = UnixTime::now();
    assert_eq!(judged(&papers.tls(), now), Ok(()));
    // rcgen's certificates last until the year 4096.
    let late = UnixTime::since_unix_epoch(Duration::from_secs(80_000_000_000));
    assert!(
        judged(&papers.tls(), late)
            .expect_err("its time is over")
            .contains("xpired")
    );
    let other = Authority::new("other");
    papers.write("other.pem", &other.pem);
    let others = TlsFiles {
        client_ca: Some(papers.path("other.pem")),
        ..papers.tls()
    };
    assert!(judged(&others, now).is_err());
    let nobody = TlsFiles {
        client_ca: None,
        ..papers.tls()
    };
    assert!(judged(&nobody, now).is_err());
    // A list of another authority says nothing of this one, and what is not known is not taken.
    papers.write("crl.pem", &papers.list(&other, &[]));
    let listed = TlsFiles {
        client_crl: Some(papers.path("crl.pem")),
        ..papers.tls()
    };
    assert!(judged(&listed, now).is_err());
    papers.write("crl.pem", &papers.list(&papers.authority, &[]));
    assert_eq!(judged(&listed, now), Ok(()));
}
