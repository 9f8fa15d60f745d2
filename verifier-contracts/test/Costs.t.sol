// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {vm} from "./Vm.sol";
import {Fixture} from "./Fixture.sol";
import {Token} from "./StandIns.sol";

/// @title The gas of P-16.3, in `costs`: each call as a transaction of its own, with what it costs before it runs.
/// forge-config: default.isolate = true
contract CostsTest is Fixture {
    Token internal token;
    uint16 internal id;

    function setUp() public override {
        super.setUp();
        (token, id) = _addToken();
        // Slots that are used for the first time cost more, once.
        _depositNew(BOB, 1 ether);
        token.mint(BOB, 1 ether);
        vm.prank(BOB);
        token.approve(address(rollup), type(uint256).max);
        vm.prank(BOB);
        rollup.depositNew(id, 0.5 ether, KEY_X, KEY_Y);
        entries.push(_posted(1, 0, id, 2 ** 32 + 1, 0.5 ether, BOB, KEY_X, KEY_Y));
    }

    function test_deposits() public {
        vm.prank(ALICE);
        rollup.depositNew{value: 1.5 ether}(1, 1.5 ether, KEY_X, KEY_Y);
        _snap("depositNew, ETH", 70_000);
        vm.prank(ALICE);
        rollup.depositTo{value: 1.5 ether}(1, 1.5 ether, 70_000, BOB, KEY_Y);
        _snap("depositTo, ETH", 70_000);
        vm.prank(BOB);
        rollup.depositNew(id, 0.1 ether, KEY_X, KEY_Y);
        _snap("depositNew, ERC-20", 95_000);
        vm.prank(BOB);
        rollup.depositTo(id, 0.1 ether, 70_000, ALICE, KEY_Y);
        _snap("depositTo, ERC-20", 95_000);
    }

    function test_forced_entries() public {
        vm.prank(ALICE);
        rollup.forceExit{value: 2 * FORCED}(2 ** 32 + 5, 1);
        _snap("forceExit", 62_000);
        vm.prank(ALICE);
        rollup.changeKey{value: 2 * FORCED}(2 ** 32 + 5, KEY_X, KEY_Y);
        _snap("changeKey", 64_000);
    }

    /// @dev Of a submission, what entries and withdrawals add to it: execution, without calldata.
    function test_entries_and_withdrawals_of_a_batch() public {
        for (uint256 i = 0; i < 16; i++) {
            _depositNew(ALICE, 1 ether);
        }
        uint256 none = _gasOf("");
        uint256 some = _gasOf(_consume(0, 20));
        _value("submitBatch, nothing, stand-in verifier", none, 150_000);
        _value("submitBatch, an entry of 20", (some - none) / 20, 6_000);
        bytes memory dataA;
        for (uint128 i = 0; i < 100; i++) {
            dataA = bytes.concat(dataA, _withdrawal(1, 1 + i, BOB));
        }
        _value("submitBatch, a withdrawal of 100", (_gasOf(dataA) - none) / 100, 4_000);
    }

    /// @dev EIP-170: a contract of 24,577 bytes cannot be deployed.
    function test_the_code_is_no_longer_than_a_contract_may_be() public {
        _value("Rollup, bytes of code", address(rollup).code.length, 24_576);
    }

    function test_claims() public {
        bytes memory dataA = _consume(0, 4);
        bytes32[] memory leaves = new bytes32[](500);
        for (uint32 i = 0; i < 500; i++) {
            dataA = bytes.concat(dataA, _withdrawal(id, 1 + i, ALICE));
            leaves[i] = _leaf(0, i, id, 1 + i, ALICE);
        }
        _submit(dataA);
        rollup.claim(0, 123, id, 124, ALICE, _siblings(leaves, 123));
        _snap("claim, ERC-20, of 500", 100_000);
    }

    function test_exit() public {
        IRollup.Account memory account = IRollup.Account(1, 2, 1 ether, KEY_X, KEY_Y, ALICE);
        uint256[7][11] memory siblings;
        uint256[8] memory inputs = [uint256(1), 2, 1 ether, KEY_X, KEY_Y, uint160(ALICE), 0, 0x6c656166];
        uint256 node = poseidon.hash(inputs);
        for (uint256 level = 0; level < 11; level++) {
            inputs[0] = node;
            for (uint256 child = 0; child < 7; child++) {
                siblings[level][child] = R - 1 - level - child;
                inputs[child + 1] = siblings[level][child];
            }
            node = poseidon.hash(inputs);
        }
        IRollup.BatchHeader memory header = _header();
        header.newRoot = node;
        _submitAs(OPERATOR, header, _consume(0, 1));
        _freeze();
        rollup.exit(0, account, siblings);
        _snap("exit", 1_000_000);
    }

    function _snap(string memory name, uint256 most) private {
        uint256 found = vm.snapshotGasLastCall("transactions", name);
        _is(found <= most, true);
    }

    function _value(string memory name, uint256 found, uint256 most) private {
        vm.snapshotValue("execution", name, found);
        _is(found <= most, true);
    }

    /// @dev Gas of one submission's execution, undone afterwards.
    function _gasOf(bytes memory dataA) private returns (uint256 used) {
        IRollup.BatchHeader memory header = _header();
        uint256 snapshot = vm.snapshotState();
        _submitAs(OPERATOR, header, dataA);
        used = vm.lastCallGas().gasTotalUsed;
        bytes memory call = abi.encodeCall(IRollup.submitBatch, (header, dataA, "", "proof"));
        used -= 21_000 + _calldataGas(call);
        vm.revertToState(snapshot);
    }

    function _calldataGas(bytes memory call) private pure returns (uint256 gas_) {
        for (uint256 i = 0; i < call.length; i++) {
            gas_ += call[i] == 0 ? 4 : 16;
        }
    }
}
