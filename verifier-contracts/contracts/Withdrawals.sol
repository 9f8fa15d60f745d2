// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "./IRollup.sol";

/// @title What L1 owes: a tree for each batch's withdrawals, and a bit for each that was paid (P-13.1, P-13.2).
library Withdrawals {
    /// @notice Roots and bits, by batch.
    /// @param roots The tree's root; 0 where a batch owes nothing.
    /// @param paid Bits of those paid, 256 to a word, position 0 the lowest of word 0.
    struct Ledger {
        mapping(uint64 batch => bytes32) roots;
        mapping(uint64 batch => mapping(uint256 word => uint256)) paid;
    }

    /// @notice What one leaf says: L1 owes `amount` of `token` to `recipient`.
    /// @param batch The batch's number.
    /// @param position Its place among the batch's withdrawals, from 0.
    struct Withdrawal {
        uint64 batch;
        uint32 position;
        uint16 token;
        uint128 amount;
        address recipient;
    }

    /// @notice The leaf of a withdrawal.
    function leaf(Withdrawal memory owed) internal pure returns (bytes32 hash) {
        // 31 bytes, the first of them 0, and an address.
        uint256 head = (uint256(owed.batch) << 176) | (uint256(owed.position) << 144)
            | (uint256(owed.token) << 128) | owed.amount;
        uint256 recipient = uint160(owed.recipient);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, shl(8, head))
            mstore(add(at, 31), shl(96, recipient))
            hash := keccak256(at, 51)
        }
    }

    /// @notice The node above two nodes or leaves, in either order.
    function node(bytes32 a, bytes32 b) internal pure returns (bytes32 hash) {
        (bytes32 low, bytes32 high) = a < b ? (a, b) : (b, a);
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, 1)
            mstore(add(at, 1), low)
            mstore(add(at, 33), high)
            hash := keccak256(at, 65)
        }
    }

    /// @notice The root over the first `length` of `leaves`, which are overwritten; 0 of none. A last one without a partner moves up
    /// as it is.
    function root(bytes32[] memory leaves, uint256 length) internal pure returns (bytes32) {
        if (length == 0) return 0;
        while (length > 1) {
            uint256 pairs = length / 2;
            unchecked {
                for (uint256 i = 0; i < pairs; i++) {
                    leaves[i] = node(leaves[2 * i], leaves[2 * i + 1]);
                }
            }
            if (length % 2 == 1) leaves[pairs] = leaves[length - 1];
            length = length - pairs;
        }
        return leaves[0];
    }

    /// @notice Marks a withdrawal as paid, or reverts: it is not of its batch, or was paid. Whoever pays does so after this.
    function take(Ledger storage ledger, Withdrawal memory owed, bytes32[] calldata siblings) internal {
        bytes32 above = leaf(owed);
        for (uint256 i = 0; i < siblings.length; i++) {
            above = node(above, siblings[i]);
        }
        // No leaf or node is 0, which stands for a batch that owes nothing.
        if (above != ledger.roots[owed.batch]) revert IRollup.NotInTree(owed.batch, owed.position);
        uint256 word = owed.position / 256;
        uint256 bit = 1 << (owed.position % 256);
        uint256 bits = ledger.paid[owed.batch][word];
        if (bits & bit != 0) revert IRollup.AlreadyPaid(owed.batch, owed.position);
        ledger.paid[owed.batch][word] = bits | bit;
    }

    /// @notice Whether a withdrawal was paid.
    function isPaid(Ledger storage ledger, uint64 batch, uint32 position) internal view returns (bool) {
        return (ledger.paid[batch][position / 256] >> (position % 256)) & 1 == 1;
    }
}
