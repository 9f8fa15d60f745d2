// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bounds} from "./Bounds.sol";
import {IRollup} from "./IRollup.sol";
import {IVerifier} from "./IVerifier.sol";
import {Roles} from "./Roles.sol";

/// @title The verifiers and what governor and guardian may do with them (P-14.4 to P-14.6).
abstract contract Verifiers is Bounds, Roles {
    /// @dev Range of a verifier's gas cap.
    uint256 private constant GAS_CAP_MIN = 250_000;
    uint256 private constant GAS_CAP_MAX = 8_000_000;
    /// @dev A verifier's number is eight bits.
    uint256 private constant VERIFIERS_MAX = 256;
    /// @dev What the constructor registers at most.
    uint256 private constant FIRST_VERIFIERS_MAX = 8;

    Verifier[] private _verifiers;

    constructor(Registration[] memory first) {
        _requireWithin("verifiers", first.length, 1, FIRST_VERIFIERS_MAX);
        for (uint256 i = 0; i < first.length; i++) {
            _register(first[i].addr, first[i].vkDigest, first[i].gasCap, uint64(block.timestamp));
        }
    }

    /// @inheritdoc IRollup
    function addVerifier(address addr, bytes32 vkDigest, uint32 gasCap)
        external
        nonReentrant
        returns (uint8 id)
    {
        _requireRole(governor);
        return _register(addr, vkDigest, gasCap, uint64(block.timestamp) + delay);
    }

    /// @inheritdoc IRollup
    function retireVerifier(uint8 id, uint64 retiredAt) external nonReentrant {
        _requireRole(governor);
        uint256 earliest = block.timestamp + delay;
        if (retiredAt < earliest) revert NotYet(earliest);
        // Later than it was would bring one back without delay.
        if (retiredAt >= _verifier(id).retiredAt) revert BadParameter("retiredAt");
        _retire(id, retiredAt);
    }

    /// @inheritdoc IRollup
    function cancelVerifier(uint8 id) external nonReentrant {
        _requireRole(governor);
        if (block.timestamp >= _verifier(id).activeFrom) revert BadParameter("activeFrom");
        // Before it begins, so it never is in force.
        _retire(id, uint64(block.timestamp));
    }

    /// @inheritdoc IRollup
    function disableVerifier(uint8 id) external nonReentrant {
        _requireRole(guardian);
        _verifier(id).disabled = true;
        emit VerifierDisabled(id);
    }

    /// @inheritdoc IRollup
    function verifier(uint8 id) external view returns (Verifier memory) {
        return _verifier(id);
    }

    /// @inheritdoc IRollup
    function verifiers() external view returns (uint256) {
        return _verifiers.length;
    }

    /// @dev Reverts unless the verifier is in force.
    function _requireInForce(uint8 id) internal view returns (Verifier storage found) {
        found = _verifier(id);
        bool within = found.activeFrom <= block.timestamp && block.timestamp < found.retiredAt;
        if (!within || found.disabled) revert VerifierNotInForce(id);
    }

    function _verifier(uint8 id) private view returns (Verifier storage) {
        if (id >= _verifiers.length) revert NoSuchVerifier(id);
        return _verifiers[id];
    }

    function _retire(uint8 id, uint64 retiredAt) private {
        _verifiers[id].retiredAt = retiredAt;
        emit VerifierRetired(id, retiredAt);
    }

    function _register(address addr, bytes32 vkDigest, uint32 gasCap, uint64 activeFrom)
        private
        returns (uint8 id)
    {
        uint256 number = _verifiers.length;
        if (number == VERIFIERS_MAX) revert BadParameter("verifiers");
        _requireWithin("gasCap", gasCap, GAS_CAP_MIN, GAS_CAP_MAX);
        if (addr.code.length == 0) revert BadParameter("verifier");
        if (IVerifier(addr).vkDigest() != vkDigest) revert BadParameter("vkDigest");
        if (IVerifier(addr).queueCapacity() < consumedMax) revert BadParameter("queueCapacity");
        bytes32 codeHash = addr.codehash;
        _verifiers.push(Verifier(addr, codeHash, vkDigest, gasCap, activeFrom, type(uint64).max, false));
        id = uint8(number);
        emit VerifierAdded(id, addr, codeHash, vkDigest, gasCap, activeFrom);
    }
}
