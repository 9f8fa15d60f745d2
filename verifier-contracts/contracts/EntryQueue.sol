// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title L1's queue: one slot an entry, with a rolling hash over all records up to it, and when it came (P2-12.1, P2-12.2).
/// @notice A part of protocol version 2, which is not complete: no contract of version 1 uses it.
library EntryQueue {
    /// @dev Bits of a rolling hash; the time stands above them.
    uint256 private constant HASH_BITS = 216;

    /// @notice Entries by number, from 0. Those before `head` are consumed; `tail` is the number of the next.
    /// @param slots Low 216 bits: the rolling hash with this entry; high 40 bits: the block time at which it came.
    struct Queue {
        uint40 head;
        uint40 tail;
        mapping(uint256 entry => uint256) slots;
    }

    /// @notice More entries are to be consumed than are waiting.
    error BeyondTail(uint256 consumed, uint256 pending);
    /// @notice The records are not those that are waiting, in their order.
    error QueueMismatch(uint256 expected, uint256 found);
    /// @notice An entry is due that is not consumed, and there was room for it (P2-9.11).
    error EntryDue(uint40 entry, uint256 dueSince);
    /// @notice The entry is not waiting.
    error NotAnEntry(uint40 entry);
    /// @notice The record is not that of the entry.
    error WrongEntry(uint40 entry);

    /// @notice The rolling hash after one more record: `keccak( word(Q) ‖ a_0 ‖ a_1 ‖ a_2 ‖ a_3 )`, cut to 216 bits.
    function roll(uint216 hash, uint256[4] memory elements) internal pure returns (uint216) {
        return uint216(
            uint256(
                keccak256(
                    abi.encodePacked(
                        uint256(hash),
                        uint248(elements[0]),
                        uint248(elements[1]),
                        uint248(elements[2]),
                        uint248(elements[3])
                    )
                )
            )
        );
    }

    /// @notice Lets a record enter, and returns its number. Its elements are below 2^248.
    function enter(Queue storage queue, uint256[4] memory elements) internal returns (uint40 entry) {
        entry = queue.tail;
        uint256 hash = roll(hashBefore(queue, entry), elements);
        queue.slots[entry] = hash | (uint256(uint40(block.timestamp)) << HASH_BITS);
        queue.tail = entry + 1;
    }

    /// @notice Consumes `count` entries whose records roll the hash to `hash`; the first unconsumed may be due only where
    /// `count` reaches `most` (P2-9.10, P2-9.11).
    function consume(Queue storage queue, uint256 count, uint216 hash, uint256 most, uint256 deadline)
        internal
    {
        (uint40 head, uint40 tail) = (queue.head, queue.tail);
        if (count > tail - head) revert BeyondTail(count, tail - head);
        // It is not more than the entries waiting, which 40 bits number.
        uint40 next = head + uint40(count);
        uint216 expected = hashBefore(queue, next);
        if (hash != expected) revert QueueMismatch(expected, hash);
        if (count < most && next < tail) {
            uint256 due = timeOf(queue, next) + deadline;
            if (block.timestamp >= due) revert EntryDue(next, due);
        }
        if (count != 0) queue.head = next;
    }

    /// @notice Whether the oldest entry that waits has waited for `time` (P2-17.2).
    function overdue(Queue storage queue, uint256 time) internal view returns (bool) {
        uint40 head = queue.head;
        return head < queue.tail && block.timestamp >= timeOf(queue, head) + time;
    }

    /// @notice Reverts unless the elements are those of an entry that waits (P2-13.6).
    function requireWaiting(Queue storage queue, uint40 entry, uint256[4] memory elements) internal view {
        if (entry < queue.head || entry >= queue.tail) revert NotAnEntry(entry);
        uint256 high = elements[0] | elements[1] | elements[2] | elements[3];
        if (high >> 248 != 0) revert WrongEntry(entry);
        uint216 found = roll(hashBefore(queue, entry), elements);
        if (found != uint216(queue.slots[entry])) revert WrongEntry(entry);
    }

    /// @notice The rolling hash over all entries before `entry`.
    function hashBefore(Queue storage queue, uint40 entry) internal view returns (uint216) {
        return entry == 0 ? 0 : uint216(queue.slots[entry - 1]);
    }

    /// @notice When an entry came.
    function timeOf(Queue storage queue, uint40 entry) internal view returns (uint256) {
        return queue.slots[entry] >> HASH_BITS;
    }
}
