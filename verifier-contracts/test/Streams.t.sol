// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {R} from "../contracts/Field.sol";
import {IRollup} from "../contracts/IRollup.sol";
import {Records} from "../contracts/Records.sol";
import {Streams} from "../contracts/Streams.sol";
import {Withdrawals} from "../contracts/Withdrawals.sol";
import {vm} from "./Vm.sol";

/// @title The point `x` and the streams' values there (P-6.5, P-6.9), and what is posted (P-9.8).
contract StreamsTest {
    // What the library does with calldata, as calls.

    function challenge(
        uint256 rollupId,
        IRollup.BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB
    ) external pure returns (uint256) {
        return Streams.challenge(rollupId, header, dataA, dataB);
    }

    function evaluate(bytes calldata data, uint256 x) external pure returns (uint256) {
        return Streams.evaluate(data, x);
    }

    function requirePosted(bytes calldata dataA, bytes calldata dataB) external pure {
        Records.count(dataA);
        Streams.requirePostedB(dataB);
    }

    /// @dev The batch of section 19, whose values are another program's.
    function test_the_batch_of_the_protocols_vectors() public view {
        bytes memory dataA = bytes.concat(
            _bytes(
                Records.pack(
                    Records.Record(
                        3, 0, 1, 70_000, 0.5 ether, address(0x1111111111111111111111111111111111111111), 0, 0
                    )
                )
            ),
            _bytes(
                Records.pack(
                    Records.Record(
                        5, 0, 1, 65_536, 1 ether, address(0x2222222222222222222222222222222222222222), 0, 0
                    )
                )
            )
        );
        bytes memory dataB = abi.encodePacked(
            uint248(0x800000004000000000000000000000000000000004001024000bb800010000),
            uint248(0x8002048001770000200020000000000000000000000000000000001200)
        );
        IRollup.BatchHeader memory header;
        header.number = 3;
        header.commitmentA = 0x23e915ca915cca4fc62c2a6d3547b9ec47d5f2dfcff4b25520f8921381313cb7;
        header.commitmentB = 0x1e4c20d513529197c01c86488d4da548ce788b5f99742880524ee55e9e8f74d;
        uint256 rollupId = 0x7a695fbdb2315678afecb367f032d93f642f64180aa3;
        uint256 x = this.challenge(rollupId, header, dataA, dataB);
        vm.assertEq(x, 0x10af08c839e987ccb6dbdabe680fcce70beace4f23662c973fff1bd6bf7121c9);
        vm.assertEq(
            this.evaluate(dataA, x), 0x82c9f4f3c31f5137b7ff512ccc1ab236e330247ea96607c3851634ed0b01ef5
        );
        vm.assertEq(
            this.evaluate(dataB, x), 0x2854854daedb393629fd2869c2f6962ea78602ef87a007a287246399603d59b7
        );
        bytes32 exit = Withdrawals.leaf(
            Withdrawals.Withdrawal(3, 0, 1, 0.5 ether, address(0x1111111111111111111111111111111111111111))
        );
        vm.assertEq(uint256(exit), 0x13f02f2c7cec778dd33be165a99995e8e8633a82b489567f0e4371d6aa012af2);
        bytes32 withdrawal = Withdrawals.leaf(
            Withdrawals.Withdrawal(3, 1, 1, 1 ether, address(0x2222222222222222222222222222222222222222))
        );
        vm.assertEq(
            uint256(Withdrawals.node(exit, withdrawal)),
            0xef829d35b730e5e958a5a71fa66ffa24105256d0ff1aaad06e6a1c94bf279e3e
        );
    }

    /// @dev Vectors of the native implementation, rewritten by the Rust test `vectors_for_solidity_are_current`.
    function test_challenge_and_evaluations_equal_the_native_ones() public view {
        string memory json = vm.readFile("test/vectors.json");
        uint256[] memory rollups = vm.parseJsonUintArray(json, ".rollups");
        uint256[] memory numbers = vm.parseJsonUintArray(json, ".numbers");
        uint256[] memory first = vm.parseJsonUintArray(json, ".commitments_a");
        uint256[] memory second = vm.parseJsonUintArray(json, ".commitments_b");
        uint256[] memory xs = vm.parseJsonUintArray(json, ".x");
        uint256[] memory ysA = vm.parseJsonUintArray(json, ".y_a");
        uint256[] memory ysB = vm.parseJsonUintArray(json, ".y_b");
        bytes[] memory postedA = vm.parseJsonBytesArray(json, ".data_a");
        bytes[] memory postedB = vm.parseJsonBytesArray(json, ".data_b");
        vm.assertEq(xs.length > 3 ? 1 : 0, 1);
        for (uint256 i = 0; i < xs.length; i++) {
            this.requirePosted(postedA[i], postedB[i]);
            IRollup.BatchHeader memory header;
            header.number = uint64(numbers[i]);
            (header.commitmentA, header.commitmentB) = (first[i], second[i]);
            uint256 x = this.challenge(rollups[i], header, postedA[i], postedB[i]);
            vm.assertEq(x, xs[i]);
            vm.assertEq(this.evaluate(postedA[i], x), ysA[i]);
            vm.assertEq(this.evaluate(postedB[i], x), ysB[i]);
        }
    }

    /// @dev What native code refuses to read as posted, L1 refuses to take (P-6.8).
    function test_what_native_code_does_not_read_is_not_taken() public {
        string memory json = vm.readFile("test/vectors.json");
        bytes[] memory notWhole = vm.parseJsonBytesArray(json, ".not_whole");
        bytes[] memory endsInZeros = vm.parseJsonBytesArray(json, ".ends_in_zeros");
        bytes[] memory notRecords = vm.parseJsonBytesArray(json, ".not_records");
        vm.assertEq(notWhole.length > 3 && endsInZeros.length > 2 && notRecords.length > 3 ? 1 : 0, 1);
        for (uint256 i = 0; i < notWhole.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.DataBNotWhole.selector, notWhole[i].length));
            this.requirePosted("", notWhole[i]);
        }
        for (uint256 i = 0; i < endsInZeros.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.DataBEndsInZeros.selector, endsInZeros[i].length));
            this.requirePosted("", endsInZeros[i]);
        }
        for (uint256 i = 0; i < notRecords.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.DataANotWhole.selector, notRecords[i].length));
            this.requirePosted(notRecords[i], "");
        }
    }

    function test_one_bit_anywhere_in_the_last_group_is_enough() public view {
        bytes memory data = new bytes(124);
        for (uint256 bit = 0; bit < 8 * 62; bit++) {
            data[62 + bit / 8] = bytes1(uint8(1 << (bit % 8)));
            this.requirePosted("", data);
            data[62 + bit / 8] = 0;
        }
    }

    function test_evaluation_equals_the_sum_of_powers(bytes31[] memory elements, uint256 x) public view {
        bytes memory posted = "";
        for (uint256 i = 0; i < elements.length; i++) {
            posted = bytes.concat(posted, elements[i]);
        }
        vm.assertEq(this.evaluate(posted, x), _byPowers(posted, x));
    }

    function test_the_first_element_is_the_constant_term() public view {
        bytes31 zero = 0;
        bytes memory four = bytes.concat(bytes31(uint248(5)), bytes31(uint248(6)), bytes31(uint248(7)), zero);
        vm.assertEq(this.evaluate(four, 0), 5);
        vm.assertEq(this.evaluate(four, 1), 18);
        vm.assertEq(this.evaluate(four, 10), 765);
        vm.assertEq(this.evaluate("", 10), 0);
        vm.assertEq(this.evaluate(bytes.concat(bytes31(type(uint248).max), zero), 9), type(uint248).max);
    }

    function test_the_challenge_binds_everything(uint256 a, uint256 b) public view {
        bytes memory data = new bytes(124);
        bytes memory longer = new bytes(186);
        IRollup.BatchHeader memory header;
        (header.commitmentA, header.commitmentB) = (a, b);
        uint256 x = this.challenge(7, header, data, "");
        vm.assertEq(x < R ? 1 : 0, 1);
        uint256[3] memory others = [
            this.challenge(8, header, data, ""),
            this.challenge(7, header, "", data),
            this.challenge(7, header, data, longer)
        ];
        for (uint256 i = 0; i < others.length; i++) {
            vm.assertEq(others[i] == x ? 1 : 0, 0);
        }
        header.number = 1;
        vm.assertEq(this.challenge(7, header, data, "") == x ? 1 : 0, 0);
        (header.number, header.commitmentA) = (0, a ^ 1);
        vm.assertEq(this.challenge(7, header, data, "") == x ? 1 : 0, 0);
        (header.commitmentA, header.commitmentB) = (a, b ^ 1);
        vm.assertEq(this.challenge(7, header, data, "") == x ? 1 : 0, 0);
        // What else the header says is no part of it: the proof and the contract fix that.
        header.commitmentB = b;
        (header.time, header.newRoot, header.verifier) = (1, 2, 3);
        vm.assertEq(this.challenge(7, header, data, ""), x);
    }

    function _bytes(uint256[4] memory elements) private pure returns (bytes memory) {
        return abi.encodePacked(
            uint248(elements[0]), uint248(elements[1]), uint248(elements[2]), uint248(elements[3])
        );
    }

    function _byPowers(bytes memory bytes_, uint256 x) private pure returns (uint256 y) {
        uint256 power = 1;
        for (uint256 i = 0; i < bytes_.length; i += 31) {
            uint256 element = 0;
            for (uint256 j = 0; j < 31; j++) {
                element = element * 256 + uint8(bytes_[i + j]);
            }
            y = addmod(y, mulmod(element, power, R), R);
            power = mulmod(power, x, R);
        }
    }
}
