//! One contract in an EVM of the test's own process.

use std::collections::BTreeMap;

use alloy::primitives::{Address, Bytes};
use revm::{
    Context, ExecuteEvm, InspectEvm, Inspector, MainBuilder, MainContext,
    bytecode::{Bytecode, opcode},
    context::{
        TxEnv,
        result::{ExecutionResult, Output},
    },
    database::InMemoryDB,
    interpreter::{
        CallInputs, CallOutcome, Interpreter, interpreter::EthInterpreter, interpreter_types::Jumps,
    },
    primitives::{TxKind, hardfork::SpecId},
    state::AccountInfo,
};

/// Gas of a call: more than any verification takes, so that running out of it is seen.
pub const GAS: u64 = 10_000_000;
/// Where the contract is, and one that calls it.
const CONTRACT: Address = Address::repeat_byte(0x11);
const CALLER: Address = Address::repeat_byte(0x12);

/// What a call did.
#[derive(Debug)]
pub struct Called {
    /// What it returned; none where it reverted or ran out of gas.
    pub returned: Option<Bytes>,
    /// Gas that the contract itself used.
    pub gas: u64,
    /// The same by what it was used for.
    pub book: BTreeMap<&'static str, u64>,
}

/// Calls the contract of that runtime code, at a fork with the rules of Osaka.
pub fn call(runtime: &[u8], data: Vec<u8>) -> Called {
    let mut database = InMemoryDB::default();
    set_code(&mut database, CONTRACT, runtime);
    let zeros = data.iter().filter(|byte| **byte == 0).count() as u64;
    let calldata = 4 * zeros + 16 * (data.len() as u64 - zeros);
    let mut evm = Context::mainnet()
        .with_db(database)
        .modify_cfg_chained(|config| config.set_spec_and_mainnet_gas_params(SpecId::OSAKA))
        .build_mainnet_with_inspector(Book::default());
    let result = evm
        .inspect_tx(transaction(CONTRACT, data))
        .expect("it runs")
        .result;
    let book = std::mem::take(&mut evm.inspector.gas);
    let gas = result.tx_gas_used() - 21_000 - calldata;
    let returned = returned(result);
    Called { returned, gas, book }
}

/// Calls the contract from another one, by that operation and with so much gas: what it returned, and whether it did so or reverted.
pub fn call_from_another(runtime: &[u8], data: Vec<u8>, operation: u8, gas: u32) -> (bool, Vec<u8>) {
    // All calldata is passed on; whether the call succeeded comes back as a word, and behind it what it returned.
    let mut caller = hex::decode("365f5f375f5f365f73").expect("hex");
    caller.extend(CONTRACT);
    caller.push(opcode::PUSH4);
    caller.extend(gas.to_be_bytes());
    caller.push(operation);
    caller.extend(hex::decode("5f523d5f60203e3d6020015ff3").expect("hex"));
    let mut database = InMemoryDB::default();
    set_code(&mut database, CONTRACT, runtime);
    set_code(&mut database, CALLER, &caller);
    let mut evm = Context::mainnet()
        .with_db(database)
        .modify_cfg_chained(|config| config.set_spec_and_mainnet_gas_params(SpecId::OSAKA))
        .build_mainnet();
    let result = evm.transact(transaction(CALLER, data)).expect("it runs").result;
    let answer = returned(result).expect("the caller returns").to_vec();
    let (succeeded, answer) = answer.split_at(32);
    (succeeded[31] == 1, answer.to_vec())
}

fn set_code(database: &mut InMemoryDB, address: Address, code: &[u8]) {
    let code = Bytecode::new_raw(Bytes::copy_from_slice(code));
    database.insert_account_info(address, AccountInfo::default().with_code(code));
}

fn transaction(to: Address, data: Vec<u8>) -> TxEnv {
    TxEnv::builder()
        .kind(TxKind::Call(to))
        .gas_limit(GAS)
        .gas_price(0)
        .data(data.into())
        .build()
        .expect("a transaction")
}

fn returned(result: ExecutionResult) -> Option<Bytes> {
    match result {
        ExecutionResult::Success {
            output: Output::Call(bytes),
            ..
        } => Some(bytes),
        _ => None,
    }
}

/// Books the gas of every operation under what it is for: an operation's is what is gone when the next one begins.
#[derive(Debug, Default)]
struct Book {
    gas: BTreeMap<&'static str, u64>,
    last: Option<(&'static str, u64)>,
}

impl<CTX> Inspector<CTX> for Book {
    fn step(&mut self, interpreter: &mut Interpreter<EthInterpreter>, _: &mut CTX) {
        let left = interpreter.gas.remaining();
        if let Some((purpose, before)) = self.last {
            *self.gas.entry(purpose).or_default() += before - left;
        }
        let purpose = match interpreter.bytecode.opcode() {
            opcode::ADDMOD | opcode::MULMOD | opcode::MOD | opcode::ADD | opcode::SUB | opcode::SHL => {
                "arithmetic"
            }
            opcode::KECCAK256 => "hashing",
            opcode::MLOAD | opcode::MSTORE | opcode::MSTORE8 | opcode::MCOPY | opcode::CALLDATACOPY => {
                "memory"
            }
            opcode::LT | opcode::EQ | opcode::AND | opcode::ISZERO | opcode::SHR => "checks",
            _ => "stack and jumps",
        };
        self.last = Some((purpose, left));
    }

    fn call(&mut self, _: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if let Some((purpose, _)) = &mut self.last {
            *purpose = match inputs.bytecode_address.as_slice()[19] {
                0x05 => "inversion",
                0x06 => "sums of points",
                0x07 => "multiples of points",
                0x08 => "pairing",
                other => unreachable!("the contract does not call {other}"),
            };
        }
        None
    }
}
