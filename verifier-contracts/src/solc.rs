//! Compiles Solidity with the pinned compiler.

use std::{
    collections::BTreeMap,
    io::{self, Write},
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
    #[error("the Solidity compiler failed ({status}): {stderr}")]
    Failed {
        /// Its exit status.
        status: String,
        /// The beginning of what it said.
        stderr: String,
    },
    /// The compiler could not be started or spoken to.
    #[error("the Solidity compiler cannot be run: {0}")]
    Io(#[from] io::Error),
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
    /// Creation code, without constructor arguments.
    pub creation: Vec<u8>,
    /// Bytes of runtime code, at most [`RUNTIME_BYTES_MAX`].
    pub runtime_bytes: usize,
}

/// Whether the compiler optimizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// For generated verifiers: with the optimizer on they do not compile.
    Off,
    /// For contracts of our own, with the settings of `foundry.toml`.
    On,
}

/// Compiles `contract` of `file` out of `sources` (file name to content).
///
/// # Errors
/// [`CompileError`]; a compiler's warning is no error.
pub fn compile(
    tools: &Tools,
    sources: &[(&str, &str)],
    file: &str,
    contract: &'static str,
    optimizer: Optimizer,
) -> Result<Code, CompileError> {
    let sources: BTreeMap<&str, serde_json::Value> = sources
        .iter()
        .map(|(name, content)| (*name, json!({ "content": content })))
        .collect();
    let request = json!({
        "language": "Solidity",
        "sources": sources,
        "settings": {
            "evmVersion": "paris",
            "optimizer": { "enabled": optimizer == Optimizer::On, "runs": 10_000 },
            "outputSelection": { file: { contract: ["evm.bytecode.object", "evm.deployedBytecode.object"] } },
        },
    });
    let answer = run(tools, request.to_string().as_bytes())?;
    let code = extract(&answer, file, contract)?;
    if code.runtime_bytes > RUNTIME_BYTES_MAX {
        return Err(CompileError::TooLarge {
            contract,
            found: code.runtime_bytes,
        });
    }
    Ok(code)
}

fn run(tools: &Tools, request: &[u8]) -> Result<Vec<u8>, CompileError> {
    let mut compiler = Command::new("node")
        .arg(tools.solc())
        .arg("--standard-json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The wrapper reads all its input before it writes anything, so this cannot deadlock. Dropping the pipe ends it.
    compiler
        .stdin
        .take()
        .expect("stdin was piped above")
        .write_all(request)?;
    let output = compiler.wait_with_output()?;
    if !output.status.success() {
        return Err(CompileError::Failed {
            status: output.status.to_string(),
            stderr: excerpt(&output.stderr),
        });
    }
    Ok(output.stdout)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Message>,
    #[serde(default)]
    contracts: BTreeMap<String, BTreeMap<String, Contract>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    severity: String,
    formatted_message: String,
}

#[derive(Deserialize)]
struct Contract {
    evm: Evm,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Evm {
    bytecode: Object,
    deployed_bytecode: Object,
}

#[derive(Deserialize)]
struct Object {
    object: String,
}

fn extract(answer: &[u8], file: &str, contract: &'static str) -> Result<Code, CompileError> {
    let bad = |reason: String| CompileError::Answer { contract, reason };
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| bad(error.to_string()))?;
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
        .get(file)
        .and_then(|contracts| contracts.get(contract));
    let evm = &found
        .ok_or_else(|| bad(format!("no such contract in {file}")))?
        .evm;
    let decode = |object: &Object| hex::decode(&object.object).map_err(|error| bad(error.to_string()));
    let creation = decode(&evm.bytecode)?;
    let runtime = decode(&evm.deployed_bytecode)?;
    if creation.is_empty() || runtime.is_empty() {
        return Err(bad("the code is empty".to_owned()));
    }
    Ok(Code {
        creation,
        runtime_bytes: runtime.len(),
    })
}
