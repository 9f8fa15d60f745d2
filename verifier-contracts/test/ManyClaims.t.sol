// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {vm} from "./Vm.sol";
import {Fixture} from "./Fixture.sol";

/// @title As many claims as a day may have.
contract ManyClaimsTest is Fixture {
    uint64 internal constant BATCHES = 20;
    uint256 internal constant EACH = 500;

    function test_ten_thousand_claims_are_paid_once_each() public {
        _depositNew(ALICE, uint128(BATCHES * EACH * (EACH + 1) / 2));
        _submit(_consume(0, 2));
        for (uint64 batch = 1; batch <= BATCHES; batch++) {
            // A call of its own, so that its memory ends with it.
            this.payAll(batch);
        }
        vm.assertEq(rollup.escrow(1), 0);
        vm.assertEq(address(rollup).balance, 0);
    }

    /// @dev A batch of withdrawals of 1, 2, 3, … to as many recipients, all of which are claimed, and some again.
    function payAll(uint64 batch) external {
        bytes memory dataA = new bytes(EACH * 124);
        bytes32[] memory level = new bytes32[](EACH);
        for (uint256 i = 0; i < EACH; i++) {
            bytes memory record = _withdrawal(1, uint128(i + 1), _recipient(batch, i));
            assembly ("memory-safe") {
                mcopy(add(add(dataA, 32), mul(124, i)), add(record, 32), 124)
            }
            level[i] = _leaf(batch, uint32(i), 1, uint128(i + 1), _recipient(batch, i));
        }
        _submit(dataA);
        bytes32[][] memory levels = new bytes32[][](10);
        levels[0] = level;
        for (uint256 height = 1; height < 10; height++) {
            levels[height] = _above(levels[height - 1]);
        }
        vm.assertEq(uint256(levels[9][0]), uint256(rollup.withdrawalsRoot(batch)));
        for (uint32 i = 0; i < EACH; i++) {
            bytes32[] memory siblings = _path(levels, i);
            rollup.claim(batch, i, 1, i + 1, _recipient(batch, i), siblings);
            vm.assertEq(_recipient(batch, i).balance, i + 1);
            if (i % 50 != 49) continue;
            vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyPaid.selector, batch, i));
            rollup.claim(batch, i, 1, i + 1, _recipient(batch, i), siblings);
        }
    }

    function _recipient(uint64 batch, uint256 i) private pure returns (address) {
        return address(uint160(2 ** 80 + uint256(batch) * EACH + i));
    }

    function _above(bytes32[] memory level) private pure returns (bytes32[] memory above) {
        above = new bytes32[]((level.length + 1) / 2);
        for (uint256 i = 0; i < above.length; i++) {
            above[i] = 2 * i + 1 < level.length ? _node(level[2 * i], level[2 * i + 1]) : level[2 * i];
        }
    }

    function _path(bytes32[][] memory levels, uint256 position)
        private
        pure
        returns (bytes32[] memory siblings)
    {
        siblings = new bytes32[](9);
        uint256 count = 0;
        for (uint256 height = 0; height < 9; height++) {
            uint256 sibling = (position >> height) ^ 1;
            if (sibling < levels[height].length) siblings[count++] = levels[height][sibling];
        }
        assembly ("memory-safe") {
            mstore(siblings, count)
        }
    }
}
