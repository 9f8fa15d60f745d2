//! Compiles Solidity with the pinned compiler.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    ops::Range,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::tools::{Tools, excerpt};

/// The EVM's limit on a contract's runtime code, in bytes (EIP-170).
pub const RUNTIME_BYTES_MAX: usize = 24_576;

/// Why there is no code.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The compiler did not run to its end.
    #[error("the Solidity compiler failed ({status}): {said}")]
    Failed {
        /// Its exit status.
        status: String,
        /// The beginning of what it said.
        said: String,
    },
    /// The compiler could not be started or spoken to.
    #[error("the Solidity compiler cannot be run: {0}")]
    Io(#[from] io::Error),
    /// A source is imported that the fetched package does not have.
    #[error("{name}, which is imported, cannot be read: {source}")]
    Import {
        /// The name by which it is imported.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The compiler refused the source.
    #[error("{contract} does not compile: {messages}")]
    Source {
        /// The contract that was asked for.
        contract: &'static str,
        /// The compiler's messages.
        messages: String,
    },
    /// The compiler's answer is not the standard JSON that it should be.
    #[error("the Solidity compiler gave no code for {contract}: {reason}")]
    Answer {
        /// The contract that was asked for.
        contract: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The runtime code exceeds [`RUNTIME_BYTES_MAX`], so no L1 would take it.
    #[error("{contract} has {found} bytes of runtime code, more than {RUNTIME_BYTES_MAX}")]
    TooLarge {
        /// The contract that was asked for.
        contract: &'static str,
        /// Its size in bytes.
        found: usize,
    },
}

/// A compiled contract.
#[derive(Clone, Debug)]
pub struct Code {
    /// The compiler's input, in its standard JSON: compiling it again gives the same code.
    pub input: String,
    /// The contract's interface.
    pub abi: serde_json::Value,
    /// Creation code, without constructor arguments.
    pub creation: Vec<u8>,
    /// Runtime code, at most [`RUNTIME_BYTES_MAX`] bytes, with zeros in the place of immutables.
    pub runtime: Vec<u8>,
    /// Each immutable's name with its places in the runtime code.
    pub immutables: BTreeMap<String, Vec<Range<usize>>>,
}

/// The optimizer's `runs`: how often code is thought to be called. More makes calls cheaper and the code longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// As `foundry.toml` has it, for contracts near the limit on code.
    Size,
    /// For generated verifiers.
    Calls,
}

impl Runs {
    /// Their number.
    pub fn number(self) -> u32 {
        match self {
            Self::Size => 1_000,
            Self::Calls => 10_000,
        }
    }
}

/// Compiles `contract` of `file` out of `sources` (file name to content).
///
/// # Errors
/// [`CompileError`]; a compiler's warning is no error.
pub fn compile(
    tools: &Tools,
    sources: &[(&str, &str)],
    runs: Runs,
    file: &str,
    contract: &'static str,
) -> Result<Code, CompileError> {
    let mut codes = compile_all(tools, sources, runs, &[(file, contract)])?;
    Ok(codes.remove(0))
}

/// Compiles several contracts, each named behind its file, at once. They come in the same order.
///
/// # Errors
/// [`CompileError`]; a compiler's warning is no error.
pub fn compile_all(
    tools: &Tools,
    sources: &[(&str, &str)],
    runs: Runs,
    wanted: &[(&str, &'static str)],
) -> Result<Vec<Code>, CompileError> {
    let sources: BTreeMap<&str, serde_json::Value> = sources
        .iter()
        .map(|(name, content)| (*name, json!({ "content": content })))
        .collect();
    let outputs = [
        "abi",
        "evm.bytecode.object",
        "evm.deployedBytecode.object",
        "evm.deployedBytecode.immutableReferences",
    ];
    let mut selection = serde_json::Map::new();
    selection.insert("*".to_owned(), json!({ "": ["ast"] }));
    for (file, contract) in wanted {
        // Several may be of one file.
        selection.entry(*file).or_insert_with(|| json!({}))[*contract] = json!(outputs);
    }
    let request = json!({
        "language": "Solidity",
        "sources": sources,
        "settings": {
            "evmVersion": "cancun",
            "optimizer": { "enabled": true, "runs": runs.number() },
            "outputSelection": selection,
        },
    });
    let input = format!("{request:#}\n");
    let answer = run(tools, input.as_bytes())?;
    let codes = wanted
        .iter()
        .map(|(file, contract)| code(&answer, &input, file, contract));
    codes.collect()
}

/// Compiles what [`Code::input`] holds.
///
/// # Errors
/// [`CompileError`]; a compiler's warning is no error.
pub fn compile_input(
    tools: &Tools,
    input: String,
    file: &str,
    contract: &'static str,
) -> Result<Code, CompileError> {
    let answer = run(tools, input.as_bytes())?;
    code(&answer, &input, file, contract)
}

fn code(answer: &[u8], input: &str, file: &str, contract: &'static str) -> Result<Code, CompileError> {
    let code = extract(answer, input.to_owned(), file, contract)?;
    let found = code.runtime.len();
    if found > RUNTIME_BYTES_MAX {
        return Err(CompileError::TooLarge { contract, found });
    }
    Ok(code)
}

fn run(tools: &Tools, request: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut compiler = Command::new("node");
    answer(compiler.arg(tools.solc()).arg("--standard-json"), request)
}

/// What a program answers to that input. One that ends early is reported by what it said, not by the pipe that it closed.
fn answer(program: &mut Command, request: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut running = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The wrapper reads all its input before it writes anything, so this cannot deadlock. Dropping the pipe ends it.
    let written = running
        .stdin
        .take()
        .expect("stdin was piped above")
        .write_all(request);
    let output = running.wait_with_output()?;
    if output.status.success() && written.is_ok() {
        return Ok(output.stdout);
    }
    let said = [&output.stderr, &output.stdout].map(|bytes| excerpt(bytes));
    let said = said.into_iter().find(|said| !said.is_empty());
    Err(CompileError::Failed {
        status: output.status.to_string(),
        said: said.unwrap_or_else(|| "it said nothing".to_owned()),
    })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Message>,
    #[serde(default)]
    contracts: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    sources: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    severity: String,
    formatted_message: String,
}

#[derive(Deserialize)]
struct Contract {
    abi: serde_json::Value,
    evm: Evm,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Evm {
    bytecode: Object,
    deployed_bytecode: Object,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    object: String,
    #[serde(default)]
    immutable_references: BTreeMap<u64, Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    start: usize,
    length: usize,
}

fn extract(answer: &[u8], input: String, file: &str, contract: &'static str) -> Result<Code, CompileError> {
    let bad = |reason: String| CompileError::Answer { contract, reason };
    let mut answer: Answer = serde_json::from_slice(answer).map_err(|error| bad(error.to_string()))?;
    let failures: Vec<&str> = answer
        .errors
        .iter()
        .filter(|message| message.severity == "error")
        .map(|message| message.formatted_message.as_str())
        .collect();
    if !failures.is_empty() {
        return Err(CompileError::Source {
            contract,
            messages: failures.join("\n"),
        });
    }
    let found = answer
        .contracts
        .get_mut(file)
        .and_then(|contracts| contracts.remove(contract));
    let found = found.ok_or_else(|| bad(format!("no such contract in {file}")))?;
    let Contract { abi, evm } = serde_json::from_value(found).map_err(|error| bad(error.to_string()))?;
    let decode = |object: &Object| hex::decode(&object.object).map_err(|error| bad(error.to_string()));
    let (creation, runtime) = (decode(&evm.bytecode)?, decode(&evm.deployed_bytecode)?);
    if creation.is_empty() || runtime.is_empty() {
        return Err(bad("the code is empty".to_owned()));
    }
    let mut immutables = BTreeMap::new();
    for (id, places) in &evm.deployed_bytecode.immutable_references {
        let name = variable(&answer.sources, *id).ok_or_else(|| bad(format!("no variable {id}")))?;
        let places = places.iter().map(|place| place.start..place.start + place.length);
        immutables.insert(name.to_owned(), places.collect());
    }
    Ok(Code {
        input,
        abi,
        creation,
        runtime,
        immutables,
    })
}

/// The name of the declaration with that id in the compiler's syntax trees.
fn variable(tree: &serde_json::Value, id: u64) -> Option<&str> {
    match tree {
        serde_json::Value::Object(node) => {
            let is_it = node.get("id").and_then(serde_json::Value::as_u64) == Some(id);
            let name = node.get("name").and_then(serde_json::Value::as_str);
            match name {
                Some(name) if is_it && node.contains_key("nodeType") => Some(name),
                _ => node.values().find_map(|child| variable(child, id)),
            }
        }
        serde_json::Value::Array(nodes) => nodes.iter().find_map(|child| variable(child, id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a pipe holds, so that a program which does not read it leaves the writer with a broken one.
    static REQUEST: [u8; 1 << 20] = [b' '; 1 << 20];

    fn failure(script: &str) -> String {
        let mut program = Command::new("sh");
        let error = answer(program.args(["-c", script]), &REQUEST).expect_err("it fails");
        error.to_string()
    }

    #[test]
    fn a_compiler_that_ends_before_it_has_read_is_reported_by_what_it_said() {
        for (script, said) in [
            ("echo no memory >&2; exit 3", "(exit status: 3): no memory"),
            ("echo no module; exit 1", "(exit status: 1): no module"),
            ("kill -9 $$", "(signal: 9 (SIGKILL)): it said nothing"),
            ("echo done", "(exit status: 0): done"),
            ("cat >/dev/null; echo late >&2; exit 4", "(exit status: 4): late"),
        ] {
            let error = failure(script);
            assert_eq!(error, format!("the Solidity compiler failed {said}"), "{script}");
        }
    }

    #[test]
    fn an_answer_is_what_the_compiler_writes() {
        let mut program = Command::new("sh");
        let answer = answer(program.args(["-c", "cat | wc -c; echo a warning >&2"]), &REQUEST);
        let answer = String::from_utf8(answer.expect("it succeeds")).expect("text");
        assert_eq!(answer.trim(), REQUEST.len().to_string());
    }
}
