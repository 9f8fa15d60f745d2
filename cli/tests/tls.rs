//! The program over TLS, as a client and as a coordinator. That work is done over it, `clients.rs` shows.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use sha2::{Digest, Sha256};
use support::tls::Papers;
use support::{KEYS, Service, program, run};

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command on a coordinator.
fn at(url: &str, command: &[&str], credentials: &[String]) -> Output {
    let mut program = program();
    program
        .args(command)
        .args(["--coordinator", url])
        .args(credentials);
    program.output().unwrap()
}

#[test]
fn roles_are_heeded_and_refusals_told() {
    let directory = tempfile::tempdir().unwrap();
    let papers = Papers::new(directory.path());
    let token = papers.path("sequencer.token");
    let entry = run(program().args(["token", "--out", &token]), "");
    let made = fs::read_to_string(&token).unwrap();
    let digest = Sha256::digest(made.trim());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(entry.trim(), format!("token_sha256 = [\"{digest}\"]"));
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    let again = program().args(["token", "--out", &token]).output().unwrap();
    assert_eq!(again.status.code(), Some(1), "a token is not written over");
    let access = fs::read_to_string(papers.path("access.toml")).unwrap();
    let with_token = format!("{access}[[identity]]\nname = \"bearer\"\nroles = [\"sequencer\"]\n{entry}");
    papers.write("access.toml", &with_token);

    let service = Service::start_with_tls(directory.path(), &papers);
    let url = service.url.as_str();
    let submit = ["submit", "--batch", &service.batch];
    let nobody = ["--tls-ca".to_string(), papers.path("ca.pem")];
    for (credentials, told) in [
        (nobody.to_vec(), "expected a client certificate or a bearer token"),
        (
            papers.client("reader"),
            "needs the role sequencer or operator, which reader has not",
        ),
        (papers.client("worker"), "which worker has not"),
    ] {
        let output = at(url, &submit, &credentials);
        assert_eq!(output.status.code(), Some(3), "{}", error(&output));
        assert!(error(&output).contains(told), "{}", error(&output));
    }
    let bearer = [nobody.to_vec(), vec!["--token-file".into(), token]].concat();
    let submitted = at(url, &submit, &bearer);
    assert!(submitted.status.success(), "{}", error(&submitted));
    let batch_id = String::from_utf8(submitted.stdout).unwrap();
    // Another tenant's request ids are its own, so this is no repetition, and not the next batch.
    let output = at(url, &submit, &papers.client("sequencer"));
    assert_eq!(output.status.code(), Some(3), "{}", error(&output));
    let output = at(
        url,
        &["proof", batch_id.trim(), "--out", "/dev/null"],
        &papers.client("reader"),
    );
    assert!(error(&output).contains("is not proven"), "{}", error(&output));

    // A worker with another's role does not come to a session, and says so.
    let mut worker = program();
    worker
        .args(["worker", "--coordinator", url, "--device", "cpu"])
        .args(KEYS);
    let output = worker.args(papers.client("reader")).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", error(&output));
    assert!(
        error(&output).contains("needs the role worker"),
        "{}",
        error(&output)
    );
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let papers = Papers::new(directory.path());
    papers.write("token", "s3cret\n");
    let option = |name: &str, file: &str| vec![name.to_string(), papers.path(file)];
    for (url, credentials, told) in [
        (
            "https://127.0.0.1:1",
            option("--tls-ca", "missing.pem"),
            "missing.pem",
        ),
        (
            "https://127.0.0.1:1",
            option("--tls-ca", "token"),
            "no certificate",
        ),
        ("http://127.0.0.1:1", option("--tls-ca", "ca.pem"), "https://"),
        (
            "http://192.0.2.1:1",
            option("--token-file", "token"),
            "unencrypted",
        ),
        (
            "https://127.0.0.1:1",
            [option("--tls-cert", "reader.pem"), option("--tls-key", "token")].concat(),
            "no unencrypted private key",
        ),
        (
            "https://127.0.0.1:1",
            [
                option("--tls-cert", "reader.pem"),
                option("--tls-key", "worker.key"),
            ]
            .concat(),
            "with the key",
        ),
    ] {
        for command in [
            &["watch", "b1"][..],
            &[&["worker", "--device", "cpu"][..], &KEYS].concat(),
        ] {
            let output = at(url, command, &credentials);
            assert_eq!(output.status.code(), Some(1), "{}", error(&output));
            assert!(error(&output).contains(told), "{}", error(&output));
            assert!(!error(&output).contains("s3cret"), "{}", error(&output));
        }
    }
    let output = at(
        "https://127.0.0.1:1",
        &["watch", "b1"],
        &option("--tls-cert", "reader.pem"),
    );
    assert_eq!(
        output.status.code(),
        Some(2),
        "a certificate needs its key: {}",
        error(&output)
    );
}

#[test]
fn what_no_waiting_mends_ends_a_command_and_a_worker_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let papers = Papers::new(directory.path());
    let others = tempfile::tempdir().unwrap();
    let others = Papers::new(others.path());
    papers.write("unknown.token", "nobodys-token\n");
    let service = Service::start_with_tls(directory.path(), &papers);
    let answered = at(&service.url, &["info"], &papers.client("reader"));
    assert!(answered.status.success(), "{}", error(&answered));
    let port = service.address.rsplit_once(':').unwrap().1;
    let option = |name: &str, file: String| vec![name.to_string(), file];
    for (url, credentials, code, told) in [
        (
            service.url.clone(),
            option("--tls-ca", others.path("ca.pem")),
            1,
            "name that authority's certificate with --tls-ca",
        ),
        (
            format!("http://{}", service.address),
            vec![],
            1,
            "the URL has to begin with https://",
        ),
        (
            format!("https://localhost:{port}"),
            papers.client("worker"),
            1,
            "is not for localhost",
        ),
        (
            service.url.clone(),
            [
                option("--tls-ca", papers.path("ca.pem")),
                option("--tls-cert", others.path("worker.pem")),
                option("--tls-key", others.path("worker.key")),
            ]
            .concat(),
            1,
            "its authority is none of the coordinator's --tls-client-ca",
        ),
        (
            service.url.clone(),
            [
                option("--tls-ca", papers.path("ca.pem")),
                option("--token-file", papers.path("unknown.token")),
            ]
            .concat(),
            3,
            "the token is no identity's here",
        ),
    ] {
        let output = at(&url, &["info"], &credentials);
        let said = error(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        // No second line, and no second time.
        assert_eq!(
            (said.lines().count(), said.matches(told).count()),
            (1, 1),
            "{said}"
        );
        let output = at(
            &url,
            &[&["worker", "--device", "cpu"][..], &KEYS].concat(),
            &credentials,
        );
        let said = error(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.matches(told).count(), 1, "{said}");
    }
}
