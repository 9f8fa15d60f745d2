// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {Records} from "../contracts/Records.sol";
import {vm} from "./Vm.sol";

/// @title Records as P-6.6 packs them, and what L1 reads in them. Literals are from another implementation of the text.
contract RecordsTest {
    using Records for uint256[4];

    uint256 internal constant KEY_X =
        5299619240641551281634865583518297030282874472190772894086521144482721001553;
    uint256 internal constant KEY_Y =
        16950150798460657717958625567821834550301663161624707787222815936182638968203;
    address internal constant DEPOSITOR = 0x1111111111111111111111111111111111111111;

    // What the library does with calldata and memory, as calls: so that a revert can be expected.

    function pack(Records.Record calldata record) external pure returns (uint256[4] memory) {
        return Records.pack(record);
    }

    function count(bytes calldata dataA) external pure returns (uint256) {
        return Records.count(dataA);
    }

    function read(bytes calldata dataA, uint256 number) external pure returns (uint256[4] memory elements) {
        Records.read(dataA, number, elements);
    }

    function test_a_deposit_to_a_new_account_has_these_elements() public pure {
        uint256[4] memory elements =
            Records.pack(Records.Record(1, 0, 1, 2 ** 32, 1 ether, DEPOSITOR, KEY_X, KEY_Y));
        vm.assertEq(elements[0], 0x6f05b59d3b2000040000000000041);
        vm.assertEq(elements[1], 0x34e0b62893f3f6bb9570511111111111111111111111111111111111111111);
        vm.assertEq(elements[2], 0x4cddd2cf095ea1cb5f62cbb77a6ad63e739b4eacb2e09d6277c12ab8d80105);
        vm.assertEq(elements[3], 0x95e5c80fde82c924955cb87345afe7b7f380147ee78);
    }

    function test_the_largest_fields_stand_beside_each_other() public pure {
        uint256[4] memory elements = Records.pack(
            Records.Record(
                7,
                7,
                type(uint16).max,
                2 ** 33 - 1,
                type(uint128).max,
                address(type(uint160).max),
                2 ** 254 - 1,
                2 ** 254 - 1
            )
        );
        vm.assertEq(elements[0], 2 ** 183 - 1);
        vm.assertEq(elements[1], 2 ** 248 - 1);
        vm.assertEq(elements[2], 2 ** 248 - 1);
        vm.assertEq(elements[3], 2 ** 172 - 1);
    }

    function test_a_field_that_is_too_large_is_refused() public {
        Records.Record memory record = Records.Record(1, 0, 1, 2 ** 33, 1, DEPOSITOR, 0, 0);
        _expect(2 ** 33, record);
        record.index = 0;
        record.u = 2 ** 254;
        _expect(2 ** 254, record);
        (record.u, record.v) = (0, 2 ** 254);
        _expect(2 ** 254, record);
        (record.v, record.kind) = (0, 8);
        _expect(8, record);
        (record.kind, record.code) = (1, 8);
        _expect(9, record);
    }

    /// Each record has one form and each form one record: every field is found again, posted and read.
    function test_fuzz_what_was_packed_is_read(Records.Record memory record, uint8 place) public view {
        record = _within(record);
        uint256 records = uint256(place % 3) + 1;
        uint256[4] memory elements = Records.pack(record);
        bytes memory dataA;
        for (uint256 i = 0; i < records; i++) {
            dataA = bytes.concat(dataA, _posted(elements));
        }
        vm.assertEq(this.count(dataA), records);
        uint256[4] memory found = this.read(dataA, records - 1);
        for (uint256 i = 0; i < 4; i++) {
            vm.assertEq(found[i], elements[i]);
        }
        vm.assertEq(found.kind(), record.kind);
        vm.assertEq(found.code(), record.code);
        vm.assertEq(found.token(), record.token);
        vm.assertEq(found.index(), record.index);
        vm.assertEq(found.amount(), record.amount);
        vm.assertEq(found.account(), record.account);
        vm.assertEq((found[1] >> 160) | ((found[2] % 2 ** 166) << 88), record.u);
        vm.assertEq((found[2] >> 166) | (found[3] << 82), record.v);
    }

    function test_data_that_is_not_whole_records_is_refused() public {
        vm.assertEq(this.count(""), 0);
        uint256[7] memory lengths = [uint256(1), 31, 62, 93, 123, 125, 247];
        for (uint256 i = 0; i < lengths.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.DataANotWhole.selector, lengths[i]));
            this.count(new bytes(lengths[i]));
        }
    }

    function test_kinds_0_and_7_are_refused_and_named_by_their_place() public {
        Records.Record memory record = Records.Record(1, 0, 1, 1, 1, DEPOSITOR, 0, 0);
        bytes memory first = _posted(Records.pack(record));
        record.kind = 7;
        bytes memory dataA = bytes.concat(first, _posted(Records.pack(record)), new bytes(124));
        this.read(dataA, 0);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoSuchKind.selector, 1, 7));
        this.read(dataA, 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoSuchKind.selector, 2, 0));
        this.read(dataA, 2);
    }

    /// P-9.10: what the circuit decides is taken away, and nothing else.
    function test_fuzz_an_entry_is_the_record_without_what_the_circuit_decides(Records.Record memory record)
        public
        pure
    {
        record = _within(record);
        uint256[4] memory kept = Records.pack(record);
        kept.toEntry();
        record.code = 0;
        if (record.kind == Records.FORCED_EXIT) record.amount = 0;
        uint256[4] memory expected = Records.pack(record);
        for (uint256 i = 0; i < 4; i++) {
            vm.assertEq(kept[i], expected[i]);
        }
    }

    /// P-9.12, row by row.
    function test_what_l1_owes_by_kind_and_code() public pure {
        // By kind from 1 to 6: whether it pays with code 0, and with another.
        bool[6] memory done = [false, false, true, false, true, false];
        bool[6] memory undone = [true, true, false, false, true, false];
        for (uint8 i = 0; i < 6; i++) {
            Records.Record memory record = Records.Record(i + 1, 0, 1, 65_536, 5, DEPOSITOR, 0, 0);
            _assertBool(Records.pack(record).pays(), done[i]);
            _assertBool(Records.pack(record).queued(), i < 4);
            for (record.code = 1; record.code < 8; record.code++) {
                _assertBool(Records.pack(record).pays(), undone[i]);
            }
            for (record.code = 0; record.code < 8; record.code++) {
                record.amount = 0;
                _assertBool(Records.pack(record).pays(), false);
            }
        }
    }

    function _expect(uint256 value, Records.Record memory record) private {
        vm.expectRevert(abi.encodeWithSelector(IRollup.FieldTooLarge.selector, value));
        this.pack(record);
    }

    function _within(Records.Record memory record) private pure returns (Records.Record memory) {
        record.kind = record.kind % 6 + 1;
        record.code %= 8;
        record.index %= 2 ** 33;
        record.u %= 2 ** 254;
        record.v %= 2 ** 254;
        return record;
    }

    function _posted(uint256[4] memory elements) private pure returns (bytes memory) {
        return abi.encodePacked(
            uint248(elements[0]), uint248(elements[1]), uint248(elements[2]), uint248(elements[3])
        );
    }

    function _assertBool(bool found, bool expected) private pure {
        vm.assertEq(found ? 1 : 0, expected ? 1 : 0);
    }
}
