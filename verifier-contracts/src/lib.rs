//! L1: the rollup contract, the generated verifier, and what compiles, deploys and drives them.
//!
//! The Solidity is a Foundry project in this crate's directory (`contracts/`, `test/`); its tools are npm packages
//! that [`tools`] fetches. The way to an accepted batch:
//!
//! 1. [`tools::Tools::ensure`], then [`verifier::render`] and [`verifier::compile`], and [`rollup::compile`];
//! 2. [`anvil::Anvil::spawn`] for a local chain, [`l1::L1::connect`] for an account on any;
//! 3. [`l1::Deployment::deploy`], at addresses known beforehand from [`l1::L1::predict`];
//! 4. [`rollup::RootSubmission::new`] and [`l1::Deployment::submit_batch`];
//! 5. [`replica::Replica`] for whoever derives the state from what L1 has, and [`events`] beneath it.

// They panic where the stream cannot be written; whoever calls is told by an error or `tracing`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod anvil;
pub mod deployed;
pub mod events;
pub mod generator;
pub mod l1;
mod libraries;
pub mod poseidon;
pub mod replica;
pub mod rollup;
pub mod solc;
pub mod tools;
pub mod verifier;
