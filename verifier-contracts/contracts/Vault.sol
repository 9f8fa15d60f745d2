// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Bounds} from "./Bounds.sol";
import {IRollup} from "./IRollup.sol";
import {Roles} from "./Roles.sol";

/// @title Tokens, their escrow, and every payment (P-12.7, P-12.8, P-13.3).
abstract contract Vault is Bounds, Roles {
    using SafeERC20 for IERC20;

    /// @dev ETH's id.
    uint16 internal constant ETH = 1;

    /// @inheritdoc IRollup
    mapping(uint16 id => uint128) public escrow;
    /// @inheritdoc IRollup
    mapping(uint16 id => address) public tokenAt;
    /// @inheritdoc IRollup
    mapping(address token => uint16) public tokenId;
    /// @inheritdoc IRollup
    uint16 public tokens;

    /// @inheritdoc IRollup
    function collectFees() external nonReentrant {
        uint256 fees = address(this).balance - escrow[ETH];
        if (fees == 0) revert NothingToPay();
        _send(feeAddress, fees);
    }

    /// @dev Takes a deposit and the price beside it. Returns what is credited, and what the caller is to get back.
    function _receive(uint16 token, uint128 amount, uint256 price_)
        internal
        returns (uint128 credited, uint256 change)
    {
        if (amount == 0) revert NoAmount();
        uint256 arrived;
        if (token == ETH) {
            arrived = amount;
            change = _changeOf(price_ + amount);
        } else {
            IERC20 erc20 = IERC20(tokenAt[token]);
            if (address(erc20) == address(0)) revert NoSuchToken(token);
            change = _changeOf(price_);
            uint256 before = erc20.balanceOf(address(this));
            erc20.safeTransferFrom(msg.sender, address(this), amount);
            uint256 afterwards = erc20.balanceOf(address(this));
            if (afterwards <= before) revert NoAmount();
            arrived = afterwards - before;
        }
        uint256 held = escrow[token];
        if (arrived > type(uint128).max - held) revert EscrowFull(token);
        credited = uint128(arrived);
        escrow[token] = uint128(held + arrived);
    }

    /// @dev What the call paid more than `due`.
    function _changeOf(uint256 due) internal view returns (uint256) {
        if (msg.value < due) revert PriceNotPaid(due, msg.value);
        unchecked {
            return msg.value - due;
        }
    }

    /// @dev Gives change back; it is the call's last act.
    function _return(uint256 change) internal {
        if (change == 0) return;
        bool taken;
        // What the caller answers is not looked at, and not copied.
        assembly ("memory-safe") {
            taken := call(gas(), caller(), change, 0, 0, 0, 0)
        }
        if (!taken) revert ChangeNotTaken();
    }

    /// @dev Pays out of escrow. What allows it is marked as used before.
    function _pay(uint16 token, uint128 amount, address recipient) internal {
        escrow[token] -= amount;
        if (token == ETH) {
            _send(recipient, amount);
        } else if (!IERC20(tokenAt[token]).trySafeTransfer(recipient, amount)) {
            revert PaymentFailed();
        }
    }

    function _send(address recipient, uint256 amount) private {
        (bool taken,) = recipient.call{value: amount}("");
        if (!taken) revert PaymentFailed();
    }
}
