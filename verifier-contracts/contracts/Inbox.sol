// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BabyJubJub} from "./BabyJubJub.sol";
import {EntryQueue} from "./EntryQueue.sol";
import {R} from "./Field.sol";
import {IRollup} from "./IRollup.sol";
import {Records} from "./Records.sol";
import {Vault} from "./Vault.sol";

/// @title What enters the queue: deposits, forced exits, key changes, tokens (section 12).
abstract contract Inbox is Vault {
    using EntryQueue for EntryQueue.Queue;

    /// @dev First index that L1 gives out, and how many it has (P-3.5).
    uint64 private constant FIRST_INDEX = 2 ** 32;
    uint40 private constant INDICES_MAX = 2 ** 32;
    /// @dev `G`, `s`, `free` and `feeMin` of P-12.3.
    uint256 private constant ENTRY_GAS = 30_000;
    uint256 private constant PENDING_GAS = 1_000;
    uint256 private constant FREE_PENDING = 1_024;
    uint256 private constant BASE_FEE_MIN = 10 ** 8;
    /// @dev The price of token ids doubles after so many.
    uint16 private constant IDS_A_STEP = 4_096;
    /// @dev How long the guardian stops deposits, and for how long not again after that.
    uint64 private constant PAUSE = 7 days;
    uint64 private constant NO_PAUSE = 30 days;

    EntryQueue.Queue internal _queue;
    /// @inheritdoc IRollup
    uint64 public pausedUntil;

    /// @inheritdoc IRollup
    function depositNew(uint16 token, uint128 amount, uint256 ax, uint256 ay)
        external
        payable
        nonReentrant
        returns (uint40 entry, uint64 index)
    {
        _requireNotPaused();
        BabyJubJub.requireKey(ax, ay);
        (uint256 word, uint256 due) = _open(0);
        (uint128 credited, uint256 change) = _receive(token, amount, due);
        uint40 number = uint40(word >> EntryQueue.ACCOUNTS_BIT);
        if (number == INDICES_MAX) revert NoMoreIndices();
        word += 1 << EntryQueue.ACCOUNTS_BIT;
        index = FIRST_INDEX + number;
        uint256[4] memory elements = Records.entry(Records.DEPOSIT_NEW, token, index, credited, msg.sender);
        Records.setPair(elements, ax, ay);
        entry = _enter(word, elements);
        _return(change);
    }

    /// @inheritdoc IRollup
    function depositTo(uint16 token, uint128 amount, uint64 index, address l1Address, uint256 ay)
        external
        payable
        nonReentrant
        returns (uint40 entry)
    {
        _requireNotPaused();
        _requireIndex(index);
        if (ay >= R) revert NotCanonical(ay);
        (uint256 word, uint256 due) = _open(0);
        (uint128 credited, uint256 change) = _receive(token, amount, due);
        uint256[4] memory elements =
            Records.entry(Records.DEPOSIT_EXISTING, token, index, credited, msg.sender);
        Records.setPair(elements, uint160(l1Address), ay);
        entry = _enter(word, elements);
        _return(change);
    }

    /// @inheritdoc IRollup
    function forceExit(uint64 index, uint16 token) external payable nonReentrantView returns (uint40 entry) {
        _requireIndex(index);
        return _force(Records.entry(Records.FORCED_EXIT, token, index, 0, msg.sender));
    }

    /// @inheritdoc IRollup
    function changeKey(uint64 index, uint256 ax, uint256 ay)
        external
        payable
        nonReentrantView
        returns (uint40 entry)
    {
        _requireIndex(index);
        BabyJubJub.requireKey(ax, ay);
        uint256[4] memory elements = Records.entry(Records.KEY_CHANGE, 0, index, 0, msg.sender);
        Records.setPair(elements, ax, ay);
        return _force(elements);
    }

    /// @inheritdoc IRollup
    function addToken(address token) external payable nonReentrant returns (uint16 id) {
        if (token.code.length == 0) revert NotAToken(token);
        if (tokenId[token] != 0) revert TokenKnown(tokenId[token]);
        id = tokens;
        if (id == type(uint16).max) revert NoMoreTokens();
        id++;
        (uint256 word, uint256 due) = _open(0);
        uint256 change = _changeOf(due + (tokenPrice << (id / IDS_A_STEP)));
        tokenAt[id] = token;
        tokenId[token] = id;
        _addToken(word, id, token);
        _return(change);
    }

    /// @inheritdoc IRollup
    function pauseDeposits() external nonReentrant {
        _requireRole(guardian);
        uint64 now_ = uint64(block.timestamp);
        // 0 before the first, which no time is before.
        uint64 notBefore = pausedUntil + NO_PAUSE;
        if (now_ < notBefore) revert PausedLately(notBefore);
        pausedUntil = now_ + PAUSE;
        emit DepositsPaused(now_ + PAUSE);
    }

    /// @inheritdoc IRollup
    function price(uint8 kind) public view returns (uint256) {
        if (kind == 0 || kind > Records.KEY_CHANGE) revert NoSuchKind(_queue.tail, kind);
        uint256 gas_ = kind > Records.DEPOSIT_EXISTING ? ENTRY_GAS : 0;
        return _priceOf(gas_, _queue.tail - _queue.head);
    }

    /// @inheritdoc IRollup
    function queueBounds() external view returns (uint40 head, uint40 tail) {
        return (_queue.head, _queue.tail);
    }

    /// @inheritdoc IRollup
    function queue(uint256 entry) external view returns (uint256) {
        return entry > type(uint40).max ? 0 : _queue.slotOf(uint40(entry));
    }

    /// @dev Enters what makes a token's fee account (P-12.9), with the word that [`_open`] gave.
    function _addToken(uint256 word, uint16 id, address token) internal {
        tokens = id;
        emit TokenAdded(id, token);
        uint256[4] memory elements = Records.entry(Records.DEPOSIT_NEW, id, id, 0, feeAddress);
        Records.setPair(elements, feeKeyX, feeKeyY);
        _enter(word, elements);
    }

    /// @dev The queue's word, and what the next entry costs. Nothing else enters before it does: a deposit, which calls
    /// out, takes the lock, and a forced entry, which looks at it, calls nobody before it has entered (P-10.19).
    function _open(uint256 gas_) private view returns (uint256 word, uint256 due) {
        word = _queue.word();
        if (word >> EntryQueue.FROZEN_BIT != 0) revert IsFrozen();
        unchecked {
            due = _priceOf(gas_, uint40(word >> EntryQueue.TAIL_BIT) - uint40(word));
        }
    }

    /// @dev Enters what costs its price and nothing beside. Its change goes back after all effects, so its callers only look at the lock.
    function _force(uint256[4] memory elements) private returns (uint40 entry) {
        (uint256 word, uint256 due) = _open(ENTRY_GAS);
        entry = _enter(word, elements);
        _return(_changeOf(due));
    }

    function _priceOf(uint256 gas_, uint256 pending) private view returns (uint256) {
        // No base fee is so high, and 40 bits number the entries that wait, that any of this is beyond a word.
        unchecked {
            if (pending > FREE_PENDING) gas_ += PENDING_GAS * (pending - FREE_PENDING);
            return (block.basefee < BASE_FEE_MIN ? BASE_FEE_MIN : block.basefee) * gas_;
        }
    }

    function _enter(uint256 word, uint256[4] memory elements) private returns (uint40 entry) {
        entry = _queue.enter(word, elements);
        (bytes32 topic, uint256 place) = (Queued.selector, entry);
        // The elements stand in memory as the event has them.
        assembly ("memory-safe") {
            log3(elements, 0x80, topic, place, caller())
        }
    }

    function _requireNotPaused() private view {
        if (block.timestamp < pausedUntil) revert DepositsArePaused(pausedUntil);
    }

    function _requireIndex(uint64 index) internal pure {
        if (index >= Records.INDICES) revert BadIndex(index);
    }
}
