// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BabyJubJub} from "./BabyJubJub.sol";
import {IRollup} from "./IRollup.sol";

/// @title What the constructor fixes for ever, and refuses outside its range (P-17.1).
abstract contract Bounds is IRollup {
    uint256 private constant HOUR = 3_600;
    uint256 private constant DAY = 86_400;

    /// @inheritdoc IRollup
    uint64 public immutable dueAfter;
    /// @inheritdoc IRollup
    uint64 public immutable silence;
    /// @inheritdoc IRollup
    uint64 public immutable freezeAfter;
    /// @inheritdoc IRollup
    uint64 public immutable consumedMax;
    /// @inheritdoc IRollup
    uint64 public immutable batchAgeMax;
    /// @inheritdoc IRollup
    uint64 public immutable delay;
    /// @inheritdoc IRollup
    uint256 public immutable tokenPrice;
    /// @inheritdoc IRollup
    address public immutable feeAddress;
    /// @inheritdoc IRollup
    uint256 public immutable feeKeyX;
    /// @inheritdoc IRollup
    uint256 public immutable feeKeyY;
    /// @inheritdoc IRollup
    uint256 public immutable rollupId;

    constructor(Parameters memory p) {
        _requireWithin("dueAfter", p.dueAfter, HOUR, 7 * DAY);
        _requireWithin("silence", p.silence, HOUR, 7 * DAY);
        _requireWithin("freezeAfter", p.freezeAfter, 7 * DAY, 30 * DAY);
        _requireWithin("consumedMax", p.consumedMax, 1, 1_000);
        _requireWithin("batchAgeMax", p.batchAgeMax, HOUR, 7 * DAY);
        uint256 leastDelay = uint256(p.dueAfter) + p.freezeAfter + 30 * DAY;
        _requireWithin("delay", p.delay, leastDelay, 365 * DAY);
        _requireWithin("tokenPrice", p.tokenPrice, 1, type(uint96).max);
        _requireSomebody("operator", p.operator);
        _requireSomebody("feeAddress", p.feeAddress);
        _requireWithin("chainId", block.chainid, 0, type(uint64).max);
        BabyJubJub.requireKey(p.feeKeyX, p.feeKeyY);
        dueAfter = p.dueAfter;
        silence = p.silence;
        freezeAfter = p.freezeAfter;
        consumedMax = p.consumedMax;
        batchAgeMax = p.batchAgeMax;
        delay = p.delay;
        tokenPrice = p.tokenPrice;
        feeAddress = p.feeAddress;
        (feeKeyX, feeKeyY) = (p.feeKeyX, p.feeKeyY);
        rollupId = (block.chainid << 160) | uint160(address(this));
    }

    /// @dev Reverts with the parameter's name unless it is in its range.
    function _requireWithin(bytes32 name, uint256 value, uint256 least, uint256 most) internal pure {
        if (value < least || value > most) revert BadParameter(name);
    }

    function _requireSomebody(bytes32 name, address who) private view {
        if (who == address(0) || who == address(this)) revert BadParameter(name);
    }
}
