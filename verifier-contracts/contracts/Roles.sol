// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IRollup} from "./IRollup.sol";

/// @title Operator, governor and guardian: who they are, and how they hand their roles on (P-14.2, P-14.5, P-14.6).
/// @dev The one lock over all functions that change state begins here (P-10.19).
abstract contract Roles is IRollup, ReentrancyGuardTransient {
    /// @inheritdoc IRollup
    address public operator;
    /// @inheritdoc IRollup
    address public pendingOperator;
    /// @inheritdoc IRollup
    address public governor;
    /// @inheritdoc IRollup
    address public pendingGovernor;
    /// @inheritdoc IRollup
    address public guardian;
    /// @inheritdoc IRollup
    address public pendingGuardian;

    constructor(address operator_, address governor_, address guardian_) {
        (operator, governor, guardian) = (operator_, governor_, guardian_);
        emit OperatorTransferred(address(0), operator_);
        emit GovernorTransferred(address(0), governor_);
        emit GuardianTransferred(address(0), guardian_);
    }

    /// @inheritdoc IRollup
    function transferOperator(address to) external nonReentrant {
        _requireRole(operator);
        pendingOperator = to;
        emit OperatorTransferStarted(operator, to);
    }

    /// @inheritdoc IRollup
    function acceptOperator() external nonReentrant {
        _requireRole(pendingOperator);
        emit OperatorTransferred(operator, msg.sender);
        (operator, pendingOperator) = (msg.sender, address(0));
    }

    /// @inheritdoc IRollup
    function transferGovernor(address to) external nonReentrant {
        _requireRole(governor);
        pendingGovernor = to;
        emit GovernorTransferStarted(governor, to);
    }

    /// @inheritdoc IRollup
    function acceptGovernor() external nonReentrant {
        _requireRole(pendingGovernor);
        _setGovernor(msg.sender);
    }

    /// @inheritdoc IRollup
    function renounceGovernor() external nonReentrant {
        _requireRole(governor);
        _setGovernor(address(0));
    }

    /// @inheritdoc IRollup
    function transferGuardian(address to) external nonReentrant {
        _requireRole(guardian);
        pendingGuardian = to;
        emit GuardianTransferStarted(guardian, to);
    }

    /// @inheritdoc IRollup
    function acceptGuardian() external nonReentrant {
        _requireRole(pendingGuardian);
        _setGuardian(msg.sender);
    }

    /// @inheritdoc IRollup
    function renounceGuardian() external nonReentrant {
        _requireRole(guardian);
        _setGuardian(address(0));
    }

    /// @dev Nobody calls from address 0, so a role that is nobody's is never the caller's.
    function _requireRole(address holder) internal view {
        if (msg.sender != holder) revert OnlyRole(msg.sender);
    }

    /// @dev Whoever was named to follow is forgotten, so that renouncing is for ever.
    function _setGovernor(address to) private {
        emit GovernorTransferred(governor, to);
        (governor, pendingGovernor) = (to, address(0));
    }

    function _setGuardian(address to) private {
        emit GuardianTransferred(guardian, to);
        (guardian, pendingGuardian) = (to, address(0));
    }
}
