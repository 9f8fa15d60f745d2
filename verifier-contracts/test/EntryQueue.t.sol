// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EntryQueue} from "../contracts/EntryQueue.sol";
import {IRollup} from "../contracts/IRollup.sol";
import {vm} from "./Vm.sol";

/// @title The queue's rolling hash, its deadline and its order (P-12.1, P-12.2, P-9.10, P-9.11, P-13.6). Literals are from
/// another implementation of the text.
contract EntryQueueTest {
    using EntryQueue for EntryQueue.Queue;

    uint256 internal constant NOW = 1_800_000_000;
    uint256 internal constant DEADLINE = 86_400;
    uint256 internal constant MOST = 3;

    EntryQueue.Queue internal queue;

    function setUp() public {
        vm.warp(NOW);
    }

    // The library's functions as calls: so that a revert can be expected.

    function consume(uint256 count, uint216 hash) external {
        queue.head = queue.headAfter(count, hash, MOST, DEADLINE);
    }

    function requireWaiting(uint40 entry, uint256[4] calldata elements) external view {
        queue.requireWaiting(entry);
        queue.requireRecord(entry, elements);
    }

    function enter(uint256[4] calldata elements) external returns (uint40 entry) {
        return queue.enter(queue.word(), elements);
    }

    function test_entries_roll_to_these_hashes() public {
        uint216[4] memory hashes = [
            uint216(0x98c1ee21af41fe49d6fcc64f82246f8bfa26e5aae602a7f918ee9b),
            uint216(0xe499a5484b1bd0144dec3054c77042288e66f164e7030ecd91f9ef),
            uint216(0xea7828543c76dcd445734d610199e28a2f7a1f53dde0f0e614c632),
            uint216(0x57ae745d49602b4c21d66d9393a2889be2f75ebe6aa6288758b004)
        ];
        for (uint40 i = 0; i < 4; i++) {
            vm.warp(NOW + i);
            vm.assertEq(this.enter(_record(i)), i);
            vm.assertEq(queue.slotOf(i), uint256(hashes[i]) | ((NOW + i) << 216));
            vm.assertEq(queue.hashBefore(i + 1), hashes[i]);
            vm.assertEq(queue.timeOf(i), NOW + i);
        }
        vm.assertEq(queue.tail, 4);
        vm.assertEq(queue.head, 0);
        this.consume(4, hashes[3]);
        vm.assertEq(queue.head, 4);
    }

    function test_nothing_is_consumed_of_an_empty_queue() public {
        this.consume(0, 0);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BeyondTail.selector, 1, 0));
        this.consume(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BeyondTail.selector, type(uint256).max, 0));
        this.consume(type(uint256).max, 0);
    }

    function test_more_than_are_waiting_cannot_be_consumed() public {
        uint216 hash = _enter(2);
        this.consume(1, queue.hashBefore(1));
        vm.expectRevert(abi.encodeWithSelector(IRollup.BeyondTail.selector, 2, 1));
        this.consume(2, hash);
        this.consume(1, hash);
    }

    /// Skipped, reordered, repeated, invented and changed records, each over as many entries as there are.
    function test_records_that_are_not_the_entries_in_order_are_refused() public {
        uint216 expected = _enter(3);
        uint40[3][4] memory orders =
            [[uint40(0), 1, 1], [uint40(1), 0, 2], [uint40(0), 0, 1], [uint40(0), 1, 3]];
        for (uint256 i = 0; i < orders.length; i++) {
            uint216 hash;
            for (uint256 j = 0; j < 3; j++) {
                hash = EntryQueue.roll(hash, _record(orders[i][j]));
            }
            _refuse(3, expected, hash);
        }
        for (uint256 element = 0; element < 4; element++) {
            uint256[4] memory changed = _record(2);
            changed[element] ^= 1;
            _refuse(3, expected, EntryQueue.roll(queue.hashBefore(2), changed));
        }
        // A skip at the end, and a skip at the beginning.
        _refuse(2, queue.hashBefore(2), expected);
        _refuse(1, queue.hashBefore(1), EntryQueue.roll(0, _record(1)));
        this.consume(3, expected);
        // What was consumed cannot be consumed again.
        vm.expectRevert(abi.encodeWithSelector(IRollup.BeyondTail.selector, 3, 0));
        this.consume(3, expected);
    }

    /// P-17.2: due from the second that the deadline names.
    function test_an_entry_that_is_due_must_be_consumed_from_its_second_on() public {
        uint216 hash = _enter(2);
        vm.warp(NOW + DEADLINE - 1);
        _assertBool(queue.overdue(DEADLINE), false);
        this.consume(0, 0);
        vm.warp(NOW + DEADLINE);
        _assertBool(queue.overdue(DEADLINE), true);
        vm.expectRevert(abi.encodeWithSelector(IRollup.EntryDue.selector, 0, NOW + DEADLINE));
        this.consume(0, 0);
        uint216 first = queue.hashBefore(1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.EntryDue.selector, 1, NOW + DEADLINE));
        this.consume(1, first);
        this.consume(2, hash);
        _assertBool(queue.overdue(0), false);
    }

    function test_only_what_is_due_must_be_consumed() public {
        _enter(1);
        vm.warp(NOW + 1);
        this.enter(_record(1));
        vm.warp(NOW + DEADLINE);
        this.consume(1, queue.hashBefore(1));
        _assertBool(queue.overdue(DEADLINE), false);
        vm.warp(NOW + DEADLINE + 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.EntryDue.selector, 1, NOW + 1 + DEADLINE));
        this.consume(0, queue.hashBefore(1));
    }

    /// P-9.11: `min(due, MAX)`, so that a flood makes no batch impossible.
    function test_of_many_due_entries_the_most_that_must_be_are_enough() public {
        uint216 hash = _enter(5);
        vm.warp(NOW + 10 * DEADLINE);
        uint216 two = queue.hashBefore(2);
        vm.expectRevert(abi.encodeWithSelector(IRollup.EntryDue.selector, 2, NOW + DEADLINE));
        this.consume(2, two);
        uint216 three = queue.hashBefore(3);
        this.consume(3, three);
        _assertBool(queue.overdue(DEADLINE), true);
        this.consume(2, hash);
    }

    function test_more_than_must_be_may_be_consumed() public {
        uint216 hash = _enter(5);
        this.consume(5, hash);
        vm.assertEq(queue.head, 5);
    }

    /// An entry that comes while a batch is proven changes nothing for it (P-10.15).
    function test_later_entries_do_not_change_what_is_consumed() public {
        uint216 hash = _enter(2);
        this.enter(_record(2));
        this.consume(2, hash);
        vm.assertEq(queue.head, 2);
    }

    function test_a_waiting_entry_is_known_by_its_record_alone() public {
        _enter(3);
        this.consume(1, queue.hashBefore(1));
        this.requireWaiting(1, _record(1));
        this.requireWaiting(2, _record(2));
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotAnEntry.selector, 0));
        this.requireWaiting(0, _record(0));
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotAnEntry.selector, 3));
        this.requireWaiting(3, _record(3));
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongEntry.selector, 1));
        this.requireWaiting(1, _record(2));
        for (uint256 element = 0; element < 4; element++) {
            uint256[4] memory changed = _record(1);
            changed[element] ^= 1;
            vm.expectRevert(abi.encodeWithSelector(IRollup.WrongEntry.selector, 1));
            this.requireWaiting(1, changed);
            // Cut to 31 bytes this would be the entry's own record.
            changed = _record(1);
            changed[element] |= 1 << 248;
            vm.expectRevert(abi.encodeWithSelector(IRollup.WrongEntry.selector, 1));
            this.requireWaiting(1, changed);
        }
    }

    function test_the_first_entry_is_known_by_its_record() public {
        _enter(1);
        this.requireWaiting(0, _record(0));
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongEntry.selector, 0));
        this.requireWaiting(0, _record(1));
    }

    /// Any entries, consumed in runs of any length: order and number hold, and each run's hash is rolled anew.
    function test_fuzz_runs_of_entries(uint256[4][12] memory records, uint8[12] memory runs) public {
        for (uint256 i = 0; i < records.length; i++) {
            for (uint256 j = 0; j < 4; j++) {
                records[i][j] >>= 8;
            }
            vm.assertEq(this.enter(records[i]), i);
        }
        uint216 hash;
        uint40 head;
        for (uint256 i = 0; i < runs.length; i++) {
            uint256 count = runs[i] % (13 - head);
            for (uint256 j = 0; j < count; j++) {
                hash = EntryQueue.roll(hash, records[head + j]);
            }
            this.consume(count, hash);
            head += uint40(count);
            vm.assertEq(queue.head, head);
        }
    }

    function test_the_gas_of_entering_and_consuming_stays_within_its_budget() public {
        this.enter(_record(0));
        this.enter(_record(1));
        uint256 left = gasleft();
        queue.enter(queue.word(), _record(2));
        // A new slot, which is 22,100, and what is warm in this test.
        vm.assertEq(left - gasleft() < 26_000 ? 1 : 0, 1);
        uint216 hash = queue.hashBefore(3);
        left = gasleft();
        queue.head = queue.headAfter(3, hash, MOST, DEADLINE);
        vm.assertEq(left - gasleft() < 6_000 ? 1 : 0, 1);
    }

    function _enter(uint40 entries) private returns (uint216) {
        for (uint40 i = 0; i < entries; i++) {
            queue.enter(queue.word(), _record(i));
        }
        return queue.hashBefore(queue.tail);
    }

    function _refuse(uint256 count, uint216 expected, uint216 found) private {
        vm.expectRevert(abi.encodeWithSelector(IRollup.QueueMismatch.selector, expected, found));
        this.consume(count, found);
    }

    /// A deposit to a new account, one to an existing account, a forced exit, a key change.
    function _record(uint40 number) private pure returns (uint256[4] memory) {
        if (number == 0) {
            return [
                uint256(0x6f05b59d3b2000040000000000041),
                0x34e0b62893f3f6bb9570511111111111111111111111111111111111111111,
                0x4cddd2cf095ea1cb5f62cbb77a6ad63e739b4eacb2e09d6277c12ab8d80105,
                0x95e5c80fde82c924955cb87345afe7b7f380147ee78
            ];
        }
        if (number == 1) {
            return [
                uint256(0x7fffffffffffffffffffffffffffffffffffffffc00082),
                0x11111111111111111111112222222222222222222222222222222222222222,
                0x4cddd2cf095ea1cb5f62c00000000000000000000000111111111111111111,
                0x95e5c80fde82c924955cb87345afe7b7f380147ee78
            ];
        }
        if (number == 2) {
            return [uint256(0x4000000043), uint256(uint160(0x1111111111111111111111111111111111111111)), 0, 0];
        }
        return [
            uint256(0x4000400004),
            0x34e0b62893f3f6bb9570512222222222222222222222222222222222222222,
            0x4cddd2cf095ea1cb5f62cbb77a6ad63e739b4eacb2e09d6277c12ab8d80105,
            0x95e5c80fde82c924955cb87345afe7b7f380147ee78
        ];
    }

    function _assertBool(bool found, bool expected) private pure {
        vm.assertEq(found ? 1 : 0, expected ? 1 : 0);
    }
}
