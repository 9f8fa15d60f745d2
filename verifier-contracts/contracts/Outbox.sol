// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EntryQueue} from "./EntryQueue.sol";
import {IPoseidon} from "./IPoseidon.sol";
import {IRollup} from "./IRollup.sol";
import {Inbox} from "./Inbox.sol";
import {Records} from "./Records.sol";
import {Withdrawals} from "./Withdrawals.sol";

/// @title How money leaves: claims, and after a freeze exits and refunds (section 13).
abstract contract Outbox is Inbox {
    using EntryQueue for EntryQueue.Queue;
    using Records for uint256[4];
    using Withdrawals for Withdrawals.Ledger;

    /// @dev The tag of an account's leaf (P-3.2).
    uint256 private constant TAG_LEAF = 0x6c656166;
    /// @dev Levels of the tree (P-3.4).
    uint256 private constant DEPTH = 11;
    /// @dev Root of the empty state (P-3.6).
    uint256 private constant EMPTY_ROOT = 0x113546cad171002bd1b8f16603b113e11df1e25b1185ae23b092a7804737d912;

    /// @inheritdoc IRollup
    address public immutable poseidon;
    /// @inheritdoc IRollup
    bytes32 public immutable poseidonCodeHash;

    /// @inheritdoc IRollup
    uint256 public stateRoot;
    /// @inheritdoc IRollup
    uint64 public nextBatchNumber;
    /// @inheritdoc IRollup
    uint64 public lastBatchTime;
    /// @inheritdoc IRollup
    uint64 public acceptedAt;
    Withdrawals.Ledger internal _ledger;
    mapping(uint256 word => uint256) private _exited;
    mapping(uint256 word => uint256) private _refunded;

    constructor(address poseidon_, bytes32 codeHash) {
        if (poseidon_.codehash != codeHash || poseidon_.code.length == 0) revert BadParameter("poseidon");
        poseidon = poseidon_;
        poseidonCodeHash = codeHash;
        // That it is `H` is seen by the root of the empty state.
        uint256 node = 0;
        for (uint256 level = 0; level < DEPTH; level++) {
            node = IPoseidon(poseidon_).hash([node, node, node, node, node, node, node, node]);
        }
        if (node != EMPTY_ROOT) revert BadParameter("poseidon");
        stateRoot = EMPTY_ROOT;
        acceptedAt = uint64(block.timestamp);
    }

    /// @inheritdoc IRollup
    function claim(
        uint64 batch,
        uint32 position,
        uint16 token,
        uint128 amount,
        address recipient,
        bytes32[] calldata siblings
    ) external nonReentrant {
        _ledger.take(Withdrawals.Withdrawal(batch, position, token, amount, recipient), siblings);
        emit Claimed(batch, position, token, amount, recipient);
        _pay(token, amount, recipient);
    }

    /// @inheritdoc IRollup
    function freeze() external nonReentrant {
        if (_queue.frozen) revert IsFrozen();
        (uint40 head, uint40 tail) = (_queue.head, _queue.tail);
        if (head == tail) revert NotAnEntry(head);
        uint256 from = _queue.timeOf(head) + dueAfter + freezeAfter;
        if (block.timestamp < from) revert NotYet(from);
        _queue.frozen = true;
        emit Frozen(nextBatchNumber, stateRoot, head);
    }

    /// @inheritdoc IRollup
    function exit(uint64 index, Account calldata account, uint256[7][11] calldata siblings)
        external
        nonReentrant
    {
        if (!_queue.frozen) revert NotFrozen();
        _requireIndex(index);
        if (account.balance == 0) revert NothingToPay();
        if (!_set(_exited, index)) revert AlreadyExited(index);
        uint256 found = _rootOf(index, account, siblings);
        if (found != stateRoot) revert WrongLeaf(found);
        emit Exited(index, account.token, account.balance, account.l1Address);
        _pay(account.token, account.balance, account.l1Address);
    }

    /// @inheritdoc IRollup
    function refund(uint40 entry, uint256 a0, uint256 a1, uint256 a2, uint256 a3) external nonReentrant {
        if (!_queue.frozen) revert NotFrozen();
        _queue.requireWaiting(entry);
        if (!_set(_refunded, entry)) revert AlreadyRefunded(entry);
        uint256[4] memory elements = [a0, a1, a2, a3];
        _queue.requireRecord(entry, elements);
        (uint128 amount, address recipient) = (elements.amount(), elements.account());
        if (elements.kind() > Records.DEPOSIT_EXISTING || amount == 0) revert NotADeposit(entry);
        emit Refunded(entry, elements.token(), amount, recipient);
        _pay(elements.token(), amount, recipient);
    }

    /// @inheritdoc IRollup
    function withdrawalsRoot(uint64 batch) external view returns (bytes32) {
        return _ledger.roots[batch];
    }

    /// @inheritdoc IRollup
    function claimed(uint64 batch, uint32 position) external view returns (bool) {
        return _ledger.isPaid(batch, position);
    }

    /// @inheritdoc IRollup
    function exited(uint64 index) external view returns (bool) {
        return _isSet(_exited, index);
    }

    /// @inheritdoc IRollup
    function refunded(uint40 entry) external view returns (bool) {
        return _isSet(_refunded, entry);
    }

    /// @dev The root that an account at an index leads to. Poseidon refuses what is not below `r`.
    function _rootOf(uint64 index, Account calldata account, uint256[7][11] calldata siblings)
        private
        view
        returns (uint256 node)
    {
        if (poseidon.codehash != poseidonCodeHash) revert BadParameter("poseidon");
        IPoseidon hasher = IPoseidon(poseidon);
        uint256[8] memory inputs = [
            account.token,
            account.nonce,
            account.balance,
            account.ax,
            account.ay,
            uint160(account.l1Address),
            0,
            TAG_LEAF
        ];
        node = hasher.hash(inputs);
        for (uint256 level = 0; level < DEPTH; level++) {
            uint256 own = (index >> (3 * level)) % 8;
            for (uint256 child = 0; child < 7; child++) {
                inputs[child < own ? child : child + 1] = siblings[level][child];
            }
            inputs[own] = node;
            node = hasher.hash(inputs);
        }
    }

    /// @dev Sets a bit, 256 to a word; false if it was set.
    function _set(mapping(uint256 word => uint256) storage bits, uint256 number) private returns (bool) {
        if (_isSet(bits, number)) return false;
        bits[number / 256] |= 1 << (number % 256);
        return true;
    }

    function _isSet(mapping(uint256 word => uint256) storage bits, uint256 number)
        private
        view
        returns (bool)
    {
        return (bits[number / 256] >> (number % 256)) & 1 == 1;
    }
}
