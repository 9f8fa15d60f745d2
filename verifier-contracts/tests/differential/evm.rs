//! One contract in an EVM of the test's own process.

use std::collections::BTreeMap;

use alloy::primitives::{Address, Bytes};
use revm::{
    Context, InspectEvm, Inspector, MainBuilder, MainContext,
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
const GAS: u64 = 10_000_000;

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
    let address = Address::repeat_byte(0x11);
    let mut database = InMemoryDB::default();
    let code = Bytecode::new_raw(Bytes::copy_from_slice(runtime));
    database.insert_account_info(address, AccountInfo::default().with_code(code));
    let zeros = data.iter().filter(|byte| **byte == 0).count() as u64;
    let calldata = 4 * zeros + 16 * (data.len() as u64 - zeros);
    let mut evm = Context::mainnet()
        .with_db(database)
        .modify_cfg_chained(|config| config.set_spec_and_mainnet_gas_params(SpecId::OSAKA))
        .build_mainnet_with_inspector(Book::default());
    let transaction = TxEnv::builder()
        .kind(TxKind::Call(address))
        .gas_limit(GAS)
        .gas_price(0)
        .data(data.into())
        .build()
        .expect("a transaction");
    let result = evm.inspect_tx(transaction).expect("it runs").result;
    let book = std::mem::take(&mut evm.inspector.gas);
    let gas = result.tx_gas_used() - 21_000 - calldata;
    let returned = match result {
        ExecutionResult::Success {
            output: Output::Call(bytes),
            ..
        } => Some(bytes),
        _ => None,
    };
    Called { returned, gas, book }
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
