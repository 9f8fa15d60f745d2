// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "./IRollup.sol";

/// @title Records of stream A, as PROTOCOL.md has them (P-6.6): four elements below 2^248 that say what crosses L1.
library Records {
    /// @dev Bytes of a posted record: four elements of 31 (P-6.1).
    uint256 internal constant RECORD_BYTES = 124;
    /// @dev Kinds of P-4.11 that come from the queue: 1 to 4.
    uint8 internal constant DEPOSIT_NEW = 1;
    uint8 internal constant DEPOSIT_EXISTING = 2;
    uint8 internal constant FORCED_EXIT = 3;
    uint8 internal constant KEY_CHANGE = 4;
    /// @dev Kinds of signed operations.
    uint8 internal constant WITHDRAWAL = 5;
    uint8 internal constant CREATION = 6;
    /// @dev Accounts' indices are below this (P-3.4).
    uint256 internal constant INDICES = 2 ** 33;
    /// @dev Where the fields of `a_0` begin, low bits first.
    uint256 private constant CODE_BIT = 3;
    uint256 private constant TOKEN_BIT = 6;
    uint256 private constant INDEX_BIT = 22;
    uint256 private constant AMOUNT_BIT = 55;

    /// @notice A record's fields (P-6.6).
    /// @param kind 1 to 6.
    /// @param code 0 where it has its effect; else the condition that kept it from having any.
    /// @param token The token, 0 in a key change.
    /// @param index The account's index, below 2^33.
    /// @param amount What moves, in smallest units.
    /// @param account The L1 address: depositor, caller or owner.
    /// @param u The key's x, or the L1 address that a deposit is for; below 2^254.
    /// @param v The key's y; below 2^254.
    struct Record {
        uint8 kind;
        uint8 code;
        uint16 token;
        uint64 index;
        uint128 amount;
        address account;
        uint256 u;
        uint256 v;
    }

    /// @notice The four elements of a record.
    function pack(Record memory record) internal pure returns (uint256[4] memory elements) {
        if (record.kind > 7 || record.code > 7) revert IRollup.FieldTooLarge(record.kind | record.code);
        if (record.index >= INDICES) revert IRollup.FieldTooLarge(record.index);
        if (record.u >> 254 != 0) revert IRollup.FieldTooLarge(record.u);
        if (record.v >> 254 != 0) revert IRollup.FieldTooLarge(record.v);
        elements = entry(record.kind, record.token, record.index, record.amount, record.account);
        elements[0] |= uint256(record.code) << CODE_BIT;
        setPair(elements, record.u, record.v);
    }

    /// @notice The elements of an entry whose `u` and `v` are 0; its index is below 2^33.
    function entry(uint256 kind_, uint256 token_, uint256 index_, uint256 amount_, address account_)
        internal
        pure
        returns (uint256[4] memory elements)
    {
        elements[0] = kind_ | (token_ << TOKEN_BIT) | (index_ << INDEX_BIT) | (amount_ << AMOUNT_BIT);
        elements[1] = uint160(account_);
    }

    /// @notice Gives elements that have none `u` and `v`, which are below 2^254.
    function setPair(uint256[4] memory elements, uint256 u, uint256 v) internal pure {
        elements[1] |= (u % 2 ** 88) << 160;
        elements[2] = (u >> 88) | ((v % 2 ** 82) << 166);
        elements[3] = v >> 82;
    }

    /// @notice The number of records in posted data, which must be whole ones (P-6.8).
    function count(bytes calldata dataA) internal pure returns (uint256) {
        if (dataA.length % RECORD_BYTES != 0) revert IRollup.DataANotWhole(dataA.length);
        return dataA.length / RECORD_BYTES;
    }

    /// @notice Reads the elements of a record, numbered below [`count`], of posted data, whose kind is one that there is.
    function read(bytes calldata dataA, uint256 record, uint256[4] memory elements) internal pure {
        // Multiplied without a check: there are fewer records than bytes of calldata.
        assembly ("memory-safe") {
            let at := add(dataA.offset, mul(record, 124))
            mstore(elements, shr(8, calldataload(at)))
            mstore(add(elements, 32), shr(8, calldataload(add(at, 31))))
            mstore(add(elements, 64), shr(8, calldataload(add(at, 62))))
            mstore(add(elements, 96), shr(8, calldataload(add(at, 93))))
        }
        uint8 found = kind(elements);
        if (found == 0 || found > CREATION) revert IRollup.NoSuchKind(record, found);
    }

    /// @notice Makes the record what it was when it entered the queue (P-9.10): without code, and without the amount that a forced
    /// exit has by its execution.
    function toEntry(uint256[4] memory elements) internal pure {
        uint256 removed = 7 << CODE_BIT;
        if (kind(elements) == FORCED_EXIT) removed |= uint256(type(uint128).max) << AMOUNT_BIT;
        elements[0] &= ~removed;
    }

    /// @notice Whether the record comes from L1's queue.
    function queued(uint256[4] memory elements) internal pure returns (bool) {
        return kind(elements) <= KEY_CHANGE;
    }

    /// @notice Whether L1 owes the record's amount to its address (P-9.12).
    function pays(uint256[4] memory elements) internal pure returns (bool) {
        if (amount(elements) == 0) return false;
        uint8 found = kind(elements);
        if (found == WITHDRAWAL) return true;
        if (found == FORCED_EXIT) return code(elements) == 0;
        return found <= DEPOSIT_EXISTING && code(elements) != 0;
    }

    /// @notice What kind of record it is.
    function kind(uint256[4] memory elements) internal pure returns (uint8) {
        return uint8(elements[0] & 7);
    }

    /// @notice Its code: 0, or the condition of P-4.11 that held.
    function code(uint256[4] memory elements) internal pure returns (uint8) {
        return uint8((elements[0] >> CODE_BIT) & 7);
    }

    /// @notice Its token.
    function token(uint256[4] memory elements) internal pure returns (uint16) {
        return uint16(elements[0] >> TOKEN_BIT);
    }

    /// @notice Its account's index.
    function index(uint256[4] memory elements) internal pure returns (uint64) {
        return uint64((elements[0] >> INDEX_BIT) % INDICES);
    }

    /// @notice Its amount.
    function amount(uint256[4] memory elements) internal pure returns (uint128) {
        return uint128(elements[0] >> AMOUNT_BIT);
    }

    /// @notice Its L1 address.
    function account(uint256[4] memory elements) internal pure returns (address) {
        return address(uint160(elements[1]));
    }
}
