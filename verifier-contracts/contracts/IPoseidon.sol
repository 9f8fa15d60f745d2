// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The hash of accounts and of the tree's nodes (P-2.2), which L1 computes when somebody leaves a frozen rollup.
interface IPoseidon {
    /// @notice `H` of eight elements, each below `r`: it reverts with `NotCanonical` on another.
    function hash(uint256[8] calldata inputs) external pure returns (uint256);
}
