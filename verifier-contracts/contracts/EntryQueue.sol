// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "./IRollup.sol";

/// @title L1's queue: one slot an entry, with a rolling hash over all records up to it, and when it came (P-12.1, P-12.2).
library EntryQueue {
    /// @dev Bits of a rolling hash; the time stands above them.
    uint256 private constant HASH_BITS = 216;
    /// @dev Where tail, `accounts` and `frozen` stand in the slot that begins with the head.
    uint256 internal constant TAIL_BIT = 40;
    uint256 internal constant ACCOUNTS_BIT = 80;
    uint256 internal constant FROZEN_BIT = 120;

    /// @notice Entries by number, from 0. Those before `head` are consumed; `tail` is the number of the next.
    /// @param accounts How many deposits to a new account entered, each with an index of its own (P-12.4).
    /// @param frozen Nothing enters or is consumed any more (P-13.4). It stands here because every entry reads this slot.
    /// @param slots By how many entries there were, from 0. Low 216 bits: the rolling hash over all of them; high 40 bits: the block
    /// time at which the last of them came. An array, whose slots need no hash to be found; the first stays 0.
    struct Queue {
        uint40 head;
        uint40 tail;
        uint40 accounts;
        bool frozen;
        uint256[2 ** 40 + 1] slots;
    }

    /// @notice The rolling hash after one more record: `keccak( word(Q) ‖ a_0 ‖ a_1 ‖ a_2 ‖ a_3 )`, cut to 216 bits.
    function roll(uint216 hash, uint256[4] memory elements) internal pure returns (uint216) {
        uint256 found;
        // Widened, so that what stood above the 216 bits is gone.
        uint256 before = hash;
        // In free memory; each element's last byte, which is 0, is overwritten by the next.
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, before)
            mstore(add(at, 32), shl(8, mload(elements)))
            mstore(add(at, 63), shl(8, mload(add(elements, 32))))
            mstore(add(at, 94), shl(8, mload(add(elements, 64))))
            mstore(add(at, 125), shl(8, mload(add(elements, 96))))
            found := keccak256(at, 156)
        }
        return uint216(found);
    }

    /// @notice The slot that head, tail and `frozen` share, for what is done between one read and one write of it.
    function word(Queue storage queue) internal view returns (uint256 found) {
        assembly ("memory-safe") {
            found := sload(queue.slot)
        }
    }

    /// @notice Lets a record enter a queue that is not frozen. Its elements are below 2^248. Returns its number.
    /// @param word_ What [`word`] gave: nothing entered since.
    function enter(Queue storage queue, uint256 word_, uint256[4] memory elements)
        internal
        returns (uint40 entry)
    {
        if (block.timestamp > type(uint40).max) revert IRollup.TimeTooLarge(uint64(block.timestamp));
        entry = uint40(word_ >> TAIL_BIT);
        uint256 hash = roll(uint216(queue.slots[entry]), elements);
        // One more in the tail's bits: so many entries that they do not hold it take longer than there is time.
        unchecked {
            queue.slots[uint256(entry) + 1] = hash | (block.timestamp << HASH_BITS);
            word_ += 1 << TAIL_BIT;
        }
        assembly ("memory-safe") {
            sstore(queue.slot, word_)
        }
    }

    /// @notice The head after `count` entries are consumed, whose records roll the hash to `hash`; the first unconsumed may be due
    /// only where `count` reaches `most` (P-9.10, P-9.11).
    function headAfter(Queue storage queue, uint256 count, uint216 hash, uint256 most, uint256 deadline)
        internal
        view
        returns (uint40 next)
    {
        (uint40 head, uint40 tail) = (queue.head, queue.tail);
        if (count > tail - head) revert IRollup.BeyondTail(count, tail - head);
        // It is not more than the entries waiting, which 40 bits number.
        next = head + uint40(count);
        uint216 expected = hashBefore(queue, next);
        if (hash != expected) revert IRollup.QueueMismatch(expected, hash);
        if (count < most && next < tail) {
            uint256 due = timeOf(queue, next) + deadline;
            if (block.timestamp >= due) revert IRollup.EntryDue(next, due);
        }
    }

    /// @notice Whether the oldest entry that waits has waited for `time` (P-17.2).
    function overdue(Queue storage queue, uint256 time) internal view returns (bool) {
        uint40 head = queue.head;
        return head < queue.tail && block.timestamp >= timeOf(queue, head) + time;
    }

    /// @notice Reverts unless the entry waits.
    function requireWaiting(Queue storage queue, uint40 entry) internal view {
        if (entry < queue.head || entry >= queue.tail) revert IRollup.NotAnEntry(entry);
    }

    /// @notice Reverts unless the elements are those of the entry (P-13.6).
    function requireRecord(Queue storage queue, uint40 entry, uint256[4] memory elements) internal view {
        uint256 high = elements[0] | elements[1] | elements[2] | elements[3];
        if (high >> 248 != 0) revert IRollup.WrongEntry(entry);
        uint216 found = roll(hashBefore(queue, entry), elements);
        if (found != hashBefore(queue, entry + 1)) revert IRollup.WrongEntry(entry);
    }

    /// @notice The rolling hash over all entries before `entry`.
    function hashBefore(Queue storage queue, uint40 entry) internal view returns (uint216) {
        return uint216(queue.slots[entry]);
    }

    /// @notice The slot that an entry made: 0 where it did not come yet.
    function slotOf(Queue storage queue, uint40 entry) internal view returns (uint256) {
        unchecked {
            return queue.slots[uint256(entry) + 1];
        }
    }

    /// @notice When an entry came.
    function timeOf(Queue storage queue, uint40 entry) internal view returns (uint256) {
        return slotOf(queue, entry) >> HASH_BITS;
    }
}
