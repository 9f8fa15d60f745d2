// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {R} from "./Field.sol";
import {IRollup} from "./IRollup.sol";

/// @title The posted bytes of a batch: their forms, the point at which they are evaluated, their values there (P-6.5 to P-6.9).
library Streams {
    /// @dev Bytes of one posted element.
    uint256 internal constant ELEMENT_BYTES = 31;
    /// @dev Bytes of one posted group of stream B: two elements.
    uint256 internal constant GROUP_BYTES = 62;
    /// @dev `D` of P-6.9.
    bytes32 internal constant DOMAIN = keccak256("zk-rollup-prover/da/v2");
    /// @dev The data is in calldata.
    uint256 internal constant DA_CALLDATA = 0;

    /// @notice Reverts unless stream B is whole groups of which the last is not all zero (P-9.8).
    function requirePostedB(bytes calldata dataB) internal pure {
        if (dataB.length % GROUP_BYTES != 0) revert IRollup.DataBNotWhole(dataB.length);
        if (dataB.length == 0) return;
        bytes calldata last = dataB[dataB.length - GROUP_BYTES:];
        if ((bytes31(last) | bytes31(last[ELEMENT_BYTES:])) == 0) {
            revert IRollup.DataBEndsInZeros(dataB.length);
        }
    }

    /// @notice The point `x` (P-6.9).
    function challenge(
        uint256 rollupId,
        IRollup.BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB
    ) internal pure returns (uint256) {
        bytes32 digest = keccak256(
            abi.encode(
                DOMAIN,
                rollupId,
                uint256(header.number),
                DA_CALLDATA,
                header.commitmentA,
                header.commitmentB,
                keccak256(dataA),
                keccak256(dataB)
            )
        );
        return uint256(digest) % R;
    }

    /// @notice `Σ e_i x^i` over the 31-byte elements of `data`, which are whole (P-6.5).
    function evaluate(bytes calldata data, uint256 x) internal pure returns (uint256 y) {
        (uint256 modulus, uint256 step) = (R, ELEMENT_BYTES);
        // Horner's rule, from the last element down to the data's beginning: a load an element, and no bounds to check, since the data is
        // whole.
        assembly ("memory-safe") {
            for { let at := add(data.offset, data.length) } gt(at, data.offset) {} {
                at := sub(at, step)
                y := addmod(mulmod(y, x, modulus), shr(8, calldataload(at)), modulus)
            }
        }
    }
}
