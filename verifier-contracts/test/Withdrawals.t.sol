// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {Withdrawals} from "../contracts/Withdrawals.sol";
import {vm} from "./Vm.sol";

/// @title The tree of a batch's withdrawals, and each paid once (P-13.1, P-13.2). Literals are from another implementation of the
/// text.
contract WithdrawalsTest {
    using Withdrawals for Withdrawals.Ledger;

    uint64 internal constant BATCH = 7;
    address internal constant FIRST = 0x1111111111111111111111111111111111111111;

    Withdrawals.Ledger internal ledger;

    // The library's function as a call: so that a revert can be expected.
    function take(Withdrawals.Withdrawal calldata owed, bytes32[] calldata siblings) external {
        ledger.take(owed, siblings);
    }

    function test_trees_have_these_roots() public pure {
        vm.assertEq(
            uint256(Withdrawals.leaf(_owed(0))),
            0xc42457230066af7bf28bde19f0be14134a2173c5cc43c8203e2c1e92de128e43
        );
        uint256[5] memory sizes = [uint256(1), 2, 3, 5, 8];
        uint256[5] memory roots = [
            0xc42457230066af7bf28bde19f0be14134a2173c5cc43c8203e2c1e92de128e43,
            0x9d65dc34881794a77822b176acb6efba1aa01b6a1a1861372b4935ed6d00f9e8,
            0xbfb56143ee889e55d1b9733c63674173ddf3b5346a637f32e60836cdedcb8c47,
            0x7418b9184c1135afd1cccfd1b53678e5c0960f196ba79affa19d7f091b90adb7,
            0xdeb6d18693f10c3ce26419ad2700a8959a17a10f0563c8101709351f1d3ffb55
        ];
        for (uint256 i = 0; i < sizes.length; i++) {
            vm.assertEq(uint256(_root(_leaves(sizes[i]))), roots[i]);
        }
        vm.assertEq(uint256(_root(new bytes32[](0))), 0);
    }

    /// Every withdrawal of trees of every size up to 17 is paid once and not twice.
    function test_each_is_paid_once() public {
        for (uint256 size = 1; size <= 17; size++) {
            uint64 batch = uint64(size);
            ledger.roots[batch] = _root(_leavesOf(batch, size));
            for (uint32 position = 0; position < size; position++) {
                bytes32[] memory siblings = _siblings(_leavesOf(batch, size), position);
                _assertPaid(batch, position, false);
                this.take(_owedOf(batch, position), siblings);
                _assertPaid(batch, position, true);
                vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyPaid.selector, batch, position));
                this.take(_owedOf(batch, position), siblings);
            }
        }
    }

    function test_each_field_is_bound() public {
        ledger.roots[BATCH] = _root(_leaves(5));
        ledger.roots[BATCH + 1] = _root(_leavesOf(BATCH + 1, 5));
        bytes32[] memory siblings = _siblings(_leaves(5), 2);
        Withdrawals.Withdrawal memory owed = _owed(2);
        owed.batch++;
        _refuse(owed, siblings);
        owed = _owed(2);
        owed.position++;
        _refuse(owed, siblings);
        owed = _owed(2);
        owed.token++;
        _refuse(owed, siblings);
        owed = _owed(2);
        owed.amount++;
        _refuse(owed, siblings);
        owed = _owed(2);
        owed.recipient = address(this);
        _refuse(owed, siblings);
        this.take(_owed(2), siblings);
    }

    function test_wrong_siblings_are_refused() public {
        ledger.roots[BATCH] = _root(_leaves(5));
        bytes32[] memory siblings = _siblings(_leaves(5), 3);
        for (uint256 i = 0; i < siblings.length; i++) {
            bytes32 kept = siblings[i];
            siblings[i] = bytes32(uint256(kept) ^ 1);
            _refuse(_owed(3), siblings);
            siblings[i] = kept;
        }
        bytes32[] memory fewer = new bytes32[](siblings.length - 1);
        bytes32[] memory more = new bytes32[](siblings.length + 1);
        for (uint256 i = 0; i < siblings.length; i++) {
            if (i < fewer.length) fewer[i] = siblings[i];
            more[i] = siblings[i];
        }
        _refuse(_owed(3), fewer);
        _refuse(_owed(3), more);
        _refuse(_owed(3), new bytes32[](0));
        this.take(_owed(3), siblings);
    }

    function test_a_batch_that_owes_nothing_pays_nothing() public {
        _refuse(_owed(0), new bytes32[](0));
        _refuse(_owed(0), new bytes32[](1));
    }

    /// A node is 65 bytes under 0x01, a leaf 51 under 0x00: neither hash is the other's for the same content.
    function test_a_node_is_no_leaf() public pure {
        bytes32 a = Withdrawals.leaf(_owed(0));
        bytes32 b = Withdrawals.leaf(_owed(1));
        (bytes32 low, bytes32 high) = a < b ? (a, b) : (b, a);
        bytes32 node = Withdrawals.node(a, b);
        vm.assertEq(uint256(node), uint256(keccak256(abi.encodePacked(bytes1(0x01), low, high))));
        vm.assertEq(uint256(node), uint256(Withdrawals.node(b, a)));
        vm.assertEq(node == keccak256(abi.encodePacked(bytes1(0x00), low, high)) ? 1 : 0, 0);
        vm.assertEq(node == keccak256(abi.encodePacked(low, high)) ? 1 : 0, 0);
    }

    /// Bits of one batch, far apart and side by side, and of batches that share no word.
    function test_bits_do_not_touch_each_other() public {
        uint256 size = 600;
        ledger.roots[BATCH] = _root(_leaves(size));
        ledger.roots[BATCH + 1] = _root(_leavesOf(BATCH + 1, size));
        uint32[6] memory positions = [uint32(0), 255, 256, 257, 512, 599];
        for (uint256 i = 0; i < positions.length; i++) {
            this.take(_owed(positions[i]), _siblings(_leaves(size), positions[i]));
            for (uint256 j = 0; j < positions.length; j++) {
                _assertPaid(BATCH, positions[j], j <= i);
                _assertPaid(BATCH + 1, positions[j], false);
            }
        }
        _assertPaid(BATCH, 1, false);
        _assertPaid(BATCH, 254, false);
        _assertPaid(BATCH, 598, false);
    }

    function test_fuzz_any_withdrawal_of_any_tree(uint16 size, uint16 place, uint256 seed) public {
        uint256 length = uint256(size) % 200 + 1;
        uint32 position = uint32(uint256(place) % length);
        bytes32[] memory leaves = _leaves(length);
        Withdrawals.Withdrawal memory owed = Withdrawals.Withdrawal(
            BATCH, position, uint16(seed), uint128(seed >> 16), address(uint160(seed >> 96))
        );
        leaves[position] = Withdrawals.leaf(owed);
        bytes32[] memory siblings = _siblings(leaves, position);
        ledger.roots[BATCH] = _root(leaves);
        owed.amount ^= 1;
        _refuse(owed, siblings);
        owed.amount ^= 1;
        this.take(owed, siblings);
        vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyPaid.selector, BATCH, position));
        this.take(owed, siblings);
    }

    function test_the_gas_of_tree_and_claim_stays_within_its_budget() public {
        uint256 size = 500;
        Withdrawals.Withdrawal[] memory owed = new Withdrawals.Withdrawal[](size);
        for (uint32 i = 0; i < size; i++) {
            owed[i] = _owed(i);
        }
        bytes32[] memory leaves = new bytes32[](size);
        uint256 left = gasleft();
        for (uint256 i = 0; i < size; i++) {
            leaves[i] = Withdrawals.leaf(owed[i]);
        }
        bytes32 root = _root(leaves);
        // Of the 4,000 that a withdrawal may take of a submission (P-16.3), its record's evaluation takes 1,200.
        vm.assertEq((left - gasleft()) / size < 2_000 ? 1 : 0, 1);
        ledger.roots[BATCH] = root;
        bytes32[] memory siblings = _siblings(_leaves(size), 123);
        left = gasleft();
        this.take(_owed(123), siblings);
        // A new word of bits is 22,100.
        vm.assertEq(left - gasleft() < 40_000 ? 1 : 0, 1);
    }

    function _root(bytes32[] memory leaves) private pure returns (bytes32) {
        return Withdrawals.root(leaves, leaves.length);
    }

    function _refuse(Withdrawals.Withdrawal memory owed, bytes32[] memory siblings) private {
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotInTree.selector, owed.batch, owed.position));
        this.take(owed, siblings);
    }

    function _assertPaid(uint64 batch, uint32 position, bool paid) private view {
        vm.assertEq(ledger.isPaid(batch, position) ? 1 : 0, paid ? 1 : 0);
    }

    function _owed(uint32 position) private pure returns (Withdrawals.Withdrawal memory) {
        return _owedOf(BATCH, position);
    }

    function _owedOf(uint64 batch, uint32 position) private pure returns (Withdrawals.Withdrawal memory) {
        return Withdrawals.Withdrawal(
            batch,
            position,
            uint16(1 + position % 3),
            uint128(1 ether + position),
            address(uint160(FIRST) + position)
        );
    }

    function _leaves(uint256 size) private pure returns (bytes32[] memory) {
        return _leavesOf(BATCH, size);
    }

    function _leavesOf(uint64 batch, uint256 size) private pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint32 i = 0; i < size; i++) {
            leaves[i] = Withdrawals.leaf(_owedOf(batch, i));
        }
    }

    /// The siblings of a leaf, level by level, found apart from the library's own pass.
    function _siblings(bytes32[] memory level, uint256 position)
        private
        pure
        returns (bytes32[] memory siblings)
    {
        bytes32[] memory found = new bytes32[](32);
        uint256 count = 0;
        while (level.length > 1) {
            if (position ^ 1 < level.length) found[count++] = level[position ^ 1];
            bytes32[] memory above = new bytes32[]((level.length + 1) / 2);
            for (uint256 i = 0; i < above.length; i++) {
                above[i] = 2 * i + 1 < level.length
                    ? Withdrawals.node(level[2 * i], level[2 * i + 1])
                    : level[2 * i];
            }
            (level, position) = (above, position / 2);
        }
        siblings = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) {
            siblings[i] = found[i];
        }
    }
}
