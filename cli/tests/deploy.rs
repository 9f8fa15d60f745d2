//! What `cli/deploy` says of this program is true: commands, variables, ports, metrics; and nothing that proves nobody's identity is
//! published. What others say of such files (Kubernetes, compose, systemd, Docker) `.ci/deploy.py` asks them.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::{CONTRACT, Running, program, run, wait_for, workspace};

/// Longest time for a command to find that a file is missing.
const REFUSAL_MAX: Duration = Duration::from_secs(120);
/// Where the deployments have the files that are not here.
const MOUNTS: [&str; 8] = [
    "/papers/",
    "/verifying-keys",
    "/tls/",
    "/authorities/",
    "/access/",
    "/keys",
    "/etc/rollup-prover",
    "/run/credentials",
];

type Variables = BTreeMap<String, String>;

/// A command line of a deployment.
#[derive(Debug)]
struct Command {
    origin: String,
    arguments: Vec<String>,
    environment: Variables,
}

impl Command {
    /// What it says after a flag, if it says it.
    fn value(&self, flag: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if let Some(value) = argument
                .strip_prefix(flag)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value);
            }
            if argument == flag {
                return arguments.next().map(String::as_str);
            }
        }
        None
    }

    fn has(&self, flag: &str) -> bool {
        self.value(flag).is_some() || self.arguments.iter().any(|argument| argument == flag)
    }

    fn is(&self, role: &str) -> bool {
        self.arguments[0] == role
    }
}

fn folder() -> PathBuf {
    workspace().join("cli/deploy")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file.
fn yaml(name: &str) -> Vec<Value> {
    let text = read(name);
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let parsed = documents.map(|document| {
        let mut value: serde_yaml_ng::Value =
            serde::Deserialize::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}"));
        value.apply_merge().unwrap();
        serde_json::to_value(value).unwrap()
    });
    parsed.collect()
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

/// `NAME=VALUE` lines.
fn variables(name: &str) -> Variables {
    let text = read(name);
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let pairs = lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}")));
    pairs.map(|(name, value)| (name.into(), value.into())).collect()
}

/// Puts what variables have in the place of `open`NAME`close`; compose's `${NAME:-default}` and `${NAME:?message}` included.
fn expanded(text: &str, (open, close): (&str, char), variables: &Variables) -> String {
    let Some((before, rest)) = text.split_once(open) else {
        return text.into();
    };
    let (inner, after) = rest.split_once(close).expect("the end of a variable");
    let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
    let name = name.split_once(":?").map_or(name, |(name, _)| name);
    let known = variables.get(name).map(String::as_str);
    assert!(
        known.is_some() || inner.contains(":-"),
        "{text}: no variable {name}"
    );
    let after = expanded(after, (open, close), variables);
    format!("{before}{}{after}", known.unwrap_or(default))
}

/// What whoever deploys has to say, as far as a command line needs it.
fn said() -> Variables {
    let said = [("CHAIN_ID", "31337"), ("CONTRACT", CONTRACT)];
    said.map(|(name, value)| (name.into(), value.into())).into()
}

fn of_compose() -> Vec<Command> {
    let compose = yaml("compose.yaml").remove(0);
    let mut commands = Vec::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        let expand = |text: &String| expanded(text, ("${", '}'), &said());
        let environment = service["environment"].as_object().unwrap().iter();
        let environment: Variables = environment
            .map(|(name, value)| (name.clone(), expand(&value.as_str().unwrap().to_owned())))
            .collect();
        let probe = texts(&service["healthcheck"]["test"]);
        assert_eq!(probe[..2], ["CMD", "rollup-prover"], "{name}");
        for (what, arguments) in [
            ("command", texts(&service["command"])),
            ("probe", probe[2..].to_vec()),
        ] {
            commands.push(Command {
                origin: format!("compose.yaml: {name}: {what}"),
                arguments: arguments.iter().map(expand).collect(),
                environment: environment.clone(),
            });
        }
    }
    commands
}

/// The containers of the cluster's pods, each with the name of its file.
fn containers() -> Vec<(&'static str, Value)> {
    let mut containers = Vec::new();
    for file in ["kubernetes/base/coordinator.yaml", "kubernetes/base/worker.yaml"] {
        for manifest in yaml(file) {
            let list = manifest["spec"]["template"]["spec"]["containers"].as_array();
            containers.extend(
                list.into_iter()
                    .flatten()
                    .map(|container| (file, container.clone())),
            );
        }
    }
    assert_eq!(containers.len(), 2);
    containers
}

fn of_kubernetes() -> Vec<Command> {
    let mut settings = variables("kubernetes/base/settings.env");
    settings.extend(said());
    let mut commands = Vec::new();
    for (file, container) in containers() {
        let mut lines = vec![("args", texts(&container["args"]))];
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let command = texts(&container[probe]["exec"]["command"]);
            if !command.is_empty() {
                assert_eq!(command[0], "rollup-prover", "{file}: {probe}");
                lines.push((probe, command[1..].to_vec()));
            }
        }
        for (what, arguments) in lines {
            let expand = |text: &String| expanded(text, ("$(", ')'), &settings);
            commands.push(Command {
                origin: format!("{file}: {what}"),
                arguments: arguments.iter().map(expand).collect(),
                environment: settings.clone(),
            });
        }
    }
    commands
}

fn of_systemd() -> Vec<Command> {
    let units = [
        (
            "systemd/rollup-prover-coordinator.service",
            "systemd/coordinator.env",
        ),
        ("systemd/rollup-prover-worker@.service", "systemd/worker.env"),
    ];
    let commands = units.map(|(unit, file)| {
        let text = read(unit).replace("\\\n", " ");
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let mut words = start.unwrap().split_whitespace();
        assert_eq!(words.next(), Some("/usr/local/bin/rollup-prover"), "{unit}");
        let environment = variables(file);
        assert!(
            text.contains(&format!("EnvironmentFile=/etc/rollup-prover/{}", &file[8..])),
            "{unit}"
        );
        let mut known = environment.clone();
        known.extend(said());
        for (name, value) in [
            ("CREDENTIALS_DIRECTORY", "/run/credentials/unit"),
            ("STATE_DIRECTORY", "/keys/state"),
            ("CACHE_DIRECTORY", "/keys/cache"),
        ] {
            known.insert(name.into(), value.into());
        }
        let plain = |word: &str| word.replace("%i", "0").replace("%H", "host");
        Command {
            origin: unit.into(),
            arguments: words
                .map(|word| expanded(&plain(word), ("${", '}'), &known))
                .collect(),
            environment,
        }
    });
    commands.into()
}

fn commands() -> Vec<Command> {
    let all = [of_compose(), of_kubernetes(), of_systemd()];
    let all: Vec<Command> = all.into_iter().flatten().collect();
    assert_eq!(all.len(), 4 + 5 + 2);
    all
}

/// How a command ends where none of its files is there, and what it says.
fn ended(command: &Command) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut process = program();
    process
        .args(&command.arguments)
        .envs(&command.environment)
        .env_remove(keys::KEYS_VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap());
    let mut process = Running(process.spawn().unwrap());
    let status = wait_for(&command.origin, REFUSAL_MAX, || process.0.try_wait().unwrap());
    (status.code(), fs::read_to_string(log).unwrap())
}

#[test]
fn every_command_line_is_one_and_lacks_nothing_but_its_files() {
    for command in commands() {
        let (code, log) = ended(&command);
        // A probe without TLS needs no file, and finds nobody.
        let (expected, said) = match command.value("--coordinator") {
            Some(url) if url.starts_with("http://") => (6, log.contains(url)),
            _ => (1, MOUNTS.iter().any(|mount| log.contains(mount))),
        };
        assert!(code == Some(expected) && said, "{command:?}: {code:?}: {log}");
    }
    // A flag that is none would show.
    let mut wrong = commands().remove(0);
    wrong.arguments.push("--metrics-lisen=127.0.0.1:1".into());
    assert_eq!(ended(&wrong).0, Some(2));
    // What whoever deploys has to fill in is refused as it stands.
    for file in ["kubernetes/base/settings.env", "systemd/coordinator.env"] {
        let contract = variables(file)["CONTRACT"].clone();
        let mut unfilled = commands().remove(0);
        unfilled
            .arguments
            .retain(|argument| !argument.starts_with("--contract"));
        unfilled.arguments.push(format!("--contract={contract}"));
        let (code, log) = ended(&unfilled);
        assert!(code == Some(2) && log.contains("--contract"), "{file}: {log}");
    }
}

#[test]
fn nothing_is_reached_from_elsewhere_without_tls_and_an_identity() {
    for command in commands() {
        let origin = &command.origin;
        assert!(
            !command.has("--insecure-plaintext") && !command.has("--insecure-dev-srs"),
            "{origin}"
        );
        if command.is("coordinator") {
            for flag in ["--tls-cert", "--tls-key", "--tls-client-ca", "--access"] {
                assert!(command.has(flag), "{origin}: {flag}");
            }
            let status = command.value("--status-listen").unwrap_or("127.0.0.1:0");
            assert!(status.starts_with("127.0.0.1:"), "{origin}: {status}");
        }
        if command.is("worker") {
            assert!(
                command.value("--coordinator").unwrap().starts_with("https://"),
                "{origin}"
            );
        }
    }
    let compose = yaml("compose.yaml").remove(0);
    let services = compose["services"].as_object().unwrap().values();
    let published: Vec<String> = services.flat_map(|service| texts(&service["ports"])).collect();
    assert_eq!(published, ["127.0.0.1:7400:7400"]);
    let manifests: Vec<Value> = ["coordinator", "worker", "network"]
        .iter()
        .flat_map(|name| yaml(&format!("kubernetes/base/{name}.yaml")))
        .collect();
    let service = manifests.iter().filter(|manifest| manifest["kind"] == "Service");
    let ports: Vec<&Value> = service.map(|service| &service["spec"]["ports"]).collect();
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].as_array().unwrap().len(), 1);
    assert_eq!(ports[0][0]["port"], 7400);
    // All else is shut, and metrics are for one namespace.
    let policy = |name: &str| {
        let named = |manifest: &&Value| manifest["metadata"]["name"] == name;
        &manifests
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("no {name}"))["spec"]
    };
    let nothing = policy("rollup-prover-nothing-else");
    assert_eq!(nothing["podSelector"], serde_json::json!({}));
    assert_eq!(texts(&nothing["policyTypes"]), ["Ingress", "Egress"]);
    assert_eq!(
        (&nothing["ingress"], &nothing["egress"]),
        (&Value::Null, &Value::Null)
    );
    let from = &policy("rollup-prover-metrics")["ingress"][0]["from"];
    assert_eq!(from.as_array().unwrap().len(), 1);
    assert_eq!(
        from[0]["namespaceSelector"]["matchLabels"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

/// The port of an address.
fn port(address: &str) -> u64 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn ports_are_those_that_are_listened_on() {
    let in_pods = of_kubernetes();
    let listened = |role: &str| -> BTreeSet<u64> {
        let command = in_pods.iter().find(|command| command.is(role)).unwrap();
        let flags = ["--listen", "--health-listen", "--metrics-listen"];
        flags
            .iter()
            .filter_map(|flag| command.value(flag))
            .map(port)
            .collect()
    };
    let mut all = BTreeSet::new();
    for (file, container) in containers() {
        let role = container["name"].as_str().unwrap();
        let declared = container["ports"].as_array().unwrap().iter();
        let declared: BTreeSet<u64> = declared
            .map(|port| port["containerPort"].as_u64().unwrap())
            .collect();
        assert_eq!(declared, listened(role), "{file}");
        let named = |name: &Value| {
            let ports = container["ports"].as_array().unwrap();
            name.is_null() || ports.iter().any(|port| port["name"] == *name)
        };
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(named(&container[probe]["tcpSocket"]["port"]), "{file}: {probe}");
            let health = container[probe]["grpc"]["port"].as_u64();
            assert!(
                health.is_none_or(|port| port == 7401 && declared.contains(&port)),
                "{file}"
            );
        }
        all.extend(declared);
    }
    for policy in yaml("kubernetes/base/network.yaml") {
        for rule in ["ingress", "egress"] {
            let rules = policy["spec"][rule].as_array().into_iter().flatten();
            let ports = rules.flat_map(|rule| rule["ports"].as_array().into_iter().flatten());
            for port in ports.map(|port| port["port"].as_u64().unwrap()) {
                assert!(all.contains(&port) || port == 53, "{port}");
            }
        }
    }
    // Who asks, and who is asked.
    for probe in commands().iter().filter(|command| command.is("health")) {
        let url = probe.value("--coordinator").unwrap();
        assert!([7400, 7401].contains(&port(url)), "{}: {url}", probe.origin);
    }
    for monitor in yaml("kubernetes/monitoring/monitors.yaml") {
        let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
        assert_eq!(
            (&endpoint["port"], &endpoint["path"]),
            (&"metrics".into(), &"/metrics".into())
        );
        let job = endpoint["relabelings"][0]["replacement"].as_str().unwrap();
        let alarms = fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
        assert!(alarms.contains(&format!("job_name: {job}\n")), "{job}");
        assert_eq!(
            monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"],
            job
        );
    }
}

#[test]
fn workers_are_scaled_by_a_metric_that_there_is() {
    let scaled = yaml("kubernetes/autoscaling/scaledobject.yaml").remove(0);
    let target = &scaled["spec"]["scaleTargetRef"]["name"];
    assert_eq!(
        *target,
        yaml("kubernetes/base/worker.yaml")[0]["metadata"]["name"]
    );
    let trigger = &scaled["spec"]["triggers"][0];
    assert_eq!(trigger["type"], "prometheus");
    let query = trigger["metadata"]["query"].as_str().unwrap();
    let metric = query
        .strip_prefix("sum(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap();
    let known = coordinator::METRICS
        .iter()
        .find(|known| known.full_name() == metric);
    assert_eq!(
        known.unwrap_or_else(|| panic!("no metric {metric}")).unit,
        "seconds"
    );
    // As docs/operations.md counts workers to add.
    let document = fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    let threshold = trigger["metadata"]["threshold"].as_str().unwrap();
    assert!(
        document.contains(&format!("`{query} / {threshold} - ")),
        "{query} / {threshold}"
    );
}

#[test]
fn variables_are_those_of_the_program_and_files_those_that_there_are() {
    let helps =
        ["coordinator", "worker", "health", "keygen"].map(|role| run(program().args([role, "--help"]), ""));
    let helps = helps.concat();
    let mut files = Vec::new();
    list(&folder(), &mut files);
    assert!(files.len() >= 15, "{files:?}");
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for part in text.split("ROLLUP_PROVER_").skip(1) {
            let name = part
                .split(|c: char| !c.is_ascii_uppercase() && c != '_')
                .next()
                .unwrap();
            let shown = format!("[env: ROLLUP_PROVER_{name}=");
            assert!(helps.contains(&shown), "{}: ROLLUP_PROVER_{name}", file.display());
        }
        // Secrets are named, and none is here.
        for secret in ["BEGIN ", "kind: Secret", "token_sha256"] {
            assert!(!text.contains(secret), "{}: {secret}", file.display());
        }
        if file.ends_with("kustomization.yaml") {
            let name = file.strip_prefix(folder()).unwrap().to_str().unwrap();
            let kustomization = yaml(name).remove(0);
            let generators = kustomization["configMapGenerator"]
                .as_array()
                .into_iter()
                .flatten();
            let mut named: Vec<String> = generators
                .flat_map(|generator| [texts(&generator["files"]), texts(&generator["envs"])].concat())
                .collect();
            named.extend(
                [
                    texts(&kustomization["resources"]),
                    texts(&kustomization["components"]),
                ]
                .concat(),
            );
            assert!(!named.is_empty(), "{name}");
            for each in named {
                assert!(file.parent().unwrap().join(&each).exists(), "{name}: {each}");
            }
        }
    }
    // Whoever may call in the cluster's access file is somebody here.
    let access: Vec<String> = read("kubernetes/base/access.toml")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("roles = [\"")?
                .strip_suffix("\"]")
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(access, ["sequencer", "worker", "operator"]);
}

#[test]
fn the_image_is_built_from_the_whole_workspace_and_runs_as_nobody() {
    let dockerfile = read("Dockerfile");
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let version = manifest.split_once("rust-version = \"").unwrap().1;
    let version = version.split_once('"').unwrap().0;
    assert!(
        dockerfile.contains(&format!("FROM rust:{version}.")),
        "the Rust that is tested: {version}"
    );
    let ignored = read("Dockerfile.dockerignore");
    let members = manifest.split_once("members = [").unwrap().1;
    let members = members.split_once(']').unwrap().0;
    for member in members.split(',') {
        let top = member.trim().trim_matches('"').split('/').next().unwrap();
        assert!(
            ignored.contains(&format!("\n!{top}\n")),
            "{top} is not in the image's sources"
        );
    }
    assert!(dockerfile.contains("USER 65532:65532\n"));
    let services = yaml("compose.yaml").remove(0)["services"]
        .as_object()
        .unwrap()
        .clone();
    for (name, service) in services {
        assert_eq!(service["user"], "65532:65532", "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
    }
    for file in ["coordinator", "worker"] {
        for manifest in yaml(&format!("kubernetes/base/{file}.yaml")) {
            let pod = &manifest["spec"]["template"]["spec"];
            if !pod.is_null() {
                assert_eq!(pod["securityContext"]["runAsUser"], 65532, "{file}");
                let confined = &pod["containers"][0]["securityContext"];
                assert_eq!(confined["readOnlyRootFilesystem"], true, "{file}");
                assert_eq!(confined["allowPrivilegeEscalation"], false, "{file}");
            }
        }
    }
}

/// The files below a folder.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => list(&path, files),
            false => files.push(path),
        }
    }
}
