// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Batches} from "./Batches.sol";
import {Bounds} from "./Bounds.sol";
import {Outbox} from "./Outbox.sol";
import {Roles} from "./Roles.sol";
import {Verifiers} from "./Verifiers.sol";

/// @title The rollup's contract on L1. Errors, events and meanings are in IRollup.
contract Rollup is Batches {
    /// @param p What is fixed for ever (P-17.1).
    /// @param first The verifiers that are in force at once.
    constructor(Parameters memory p, Registration[] memory first)
        Bounds(p)
        Roles(p.operator, p.governor, p.guardian)
        Outbox(p.poseidon, p.poseidonCodeHash)
        Verifiers(first)
    {
        // So the first batch is due after `D` (P-9.1).
        _addToken(0, ETH, address(0));
    }
}
