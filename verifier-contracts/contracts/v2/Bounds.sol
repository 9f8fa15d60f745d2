// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BabyJubJub} from "./BabyJubJub.sol";
import {IRollup} from "./IRollup.sol";

/// @title What the constructor fixes for ever, and refuses outside its range (P2-17.1).
abstract contract Bounds is IRollup {
    uint256 private constant HOUR = 3_600;
    uint256 private constant DAY = 86_400;

    /// @notice `D`: seconds after which an entry is due.
    uint64 public immutable dueAfter;
    /// @notice `S`: seconds of silence after which anybody submits.
    uint64 public immutable silence;
    /// @notice `F`: seconds from due to freeze.
    uint64 public immutable freezeAfter;
    /// @notice `MAX`: entries that a batch must consume at most.
    uint64 public immutable consumedMax;
    /// @notice Seconds that a batch's time may be behind.
    uint64 public immutable batchAgeMax;
    /// @notice Seconds after which what the governor announced comes about.
    uint64 public immutable delay;
    /// @notice Wei for a token id below 4,096.
    uint256 public immutable tokenPrice;
    /// @notice L1 address of fee accounts.
    address public immutable feeAddress;
    /// @notice Owner of fee accounts, x.
    uint256 public immutable feeKeyX;
    /// @notice Owner of fee accounts, y.
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
