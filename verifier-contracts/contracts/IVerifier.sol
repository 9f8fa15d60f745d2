// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title A verifier of root proofs under one verifying key. It needs nothing from its caller: whatever proof and instances it is
/// given, in whatever number, it answers, and a bad proof costs no more gas than a good one. Data that encodes no such call reverts,
/// without a reason.
interface IVerifier {
    /// @notice Whether `proof` proves `instances`, the accumulator that they hold included: 1, else 0. 0 too for anything that is
    /// not the one encoding of a proof and instances.
    function verify(bytes calldata proof, uint256[] calldata instances) external view returns (uint256);

    /// @notice Digest of the verifying key and of the reference string's points that the contract is made from.
    function vkDigest() external view returns (bytes32);

    /// @notice Operations of the queue for which a batch under this key has room: `N q` of P-7.1.
    function queueCapacity() external view returns (uint256);
}
