// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {Poseidon} from "../contracts/Poseidon.sol";
import {Records} from "../contracts/Records.sol";
import {Rollup} from "../contracts/Rollup.sol";
import {Withdrawals} from "../contracts/Withdrawals.sol";
import {Vm, vm} from "./Vm.sol";
import {Scripted, Token} from "./StandIns.sol";

/// @title What the tests of the rollup share: an instance, its roles, its first entry, records and batches.
abstract contract Fixture {
    uint256 internal constant NOW = 1_800_000_000;
    uint64 internal constant DUE = 1 days;
    uint64 internal constant SILENCE = 1 days;
    uint64 internal constant FREEZE = 14 days;
    uint64 internal constant MOST = 3;
    uint64 internal constant AGE = 1 days;
    uint64 internal constant DELAY = 46 days;
    uint256 internal constant TOKEN_PRICE = 0.05 ether;
    uint256 internal constant EMPTY_ROOT = 0x113546cad171002bd1b8f16603b113e11df1e25b1185ae23b092a7804737d912;
    uint32 internal constant GAS_CAP = 1_000_000;
    bytes32 internal constant VK_DIGEST = bytes32(uint256(0x5afe));
    uint256 internal constant R =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 internal constant KEY_X =
        5299619240641551281634865583518297030282874472190772894086521144482721001553;
    uint256 internal constant KEY_Y =
        16950150798460657717958625567821834550301663161624707787222815936182638968203;
    address internal constant OPERATOR = address(0x0901);
    address internal constant GOVERNOR = address(0x0902);
    address internal constant GUARDIAN = address(0x0903);
    address internal constant FEES = address(0x0904);
    address internal constant ALICE = address(0xa11ce);
    address internal constant BOB = address(0xb0b);
    /// @dev What a forced entry costs at the least base fee.
    uint256 internal constant FORCED = 30_000 * 10 ** 8;

    Poseidon internal poseidon;
    Scripted internal scripted;
    Rollup internal rollup;
    /// @dev Records of the entries so far, as posted with code 0.
    bytes[] internal entries;

    function setUp() public virtual {
        vm.warp(NOW);
        vm.fee(0);
        poseidon = new Poseidon();
        scripted = new Scripted();
        rollup = new Rollup(_parameters(), _registrations());
        entries.push(_posted(1, 0, 1, 1, 0, FEES, KEY_X, KEY_Y));
        vm.deal(ALICE, 1_000 ether);
        vm.deal(BOB, 1_000 ether);
    }

    function _parameters() internal view returns (IRollup.Parameters memory) {
        return IRollup.Parameters({
            dueAfter: DUE,
            silence: SILENCE,
            freezeAfter: FREEZE,
            consumedMax: MOST,
            batchAgeMax: AGE,
            delay: DELAY,
            tokenPrice: TOKEN_PRICE,
            operator: OPERATOR,
            feeAddress: FEES,
            feeKeyX: KEY_X,
            feeKeyY: KEY_Y,
            governor: GOVERNOR,
            guardian: GUARDIAN,
            poseidon: address(poseidon),
            poseidonCodeHash: address(poseidon).codehash
        });
    }

    function _registrations() internal view returns (IRollup.Registration[] memory first) {
        first = new IRollup.Registration[](1);
        first[0] = IRollup.Registration(address(scripted), VK_DIGEST, GAS_CAP);
    }

    function _made(IRollup.Registration[] memory first) internal returns (Rollup) {
        return new Rollup(_parameters(), first);
    }

    // Records.

    function _posted(
        uint8 kind,
        uint8 code,
        uint16 token,
        uint64 index,
        uint128 amount,
        address account,
        uint256 u,
        uint256 v
    ) internal pure returns (bytes memory) {
        return _bytes(Records.pack(Records.Record(kind, code, token, index, amount, account, u, v)));
    }

    function _bytes(uint256[4] memory elements) internal pure returns (bytes memory) {
        return abi.encodePacked(
            uint248(elements[0]), uint248(elements[1]), uint248(elements[2]), uint248(elements[3])
        );
    }

    function _elements(bytes memory record) internal pure returns (uint256[4] memory elements) {
        for (uint256 i = 0; i < record.length; i++) {
            elements[i / 31] = (elements[i / 31] << 8) | uint8(record[i]);
        }
    }

    function _withdrawal(uint16 token, uint128 amount, address to) internal pure returns (bytes memory) {
        return _posted(5, 0, token, 70_000, amount, to, 0, 0);
    }

    /// @dev The same record with a code.
    function _coded(bytes memory record, uint8 code) internal pure returns (bytes memory changed) {
        uint256[4] memory elements = _elements(record);
        elements[0] |= uint256(code) << 3;
        return _bytes(elements);
    }

    /// @dev Entries `from` until before `to`, all executed with code 0.
    function _consume(uint256 from, uint256 to) internal view returns (bytes memory dataA) {
        for (uint256 i = from; i < to; i++) {
            dataA = bytes.concat(dataA, entries[i]);
        }
    }

    // Batches.

    function _header() internal view returns (IRollup.BatchHeader memory header) {
        header.number = rollup.nextBatchNumber();
        header.time = uint64(block.timestamp);
        header.oldRoot = rollup.stateRoot();
        header.newRoot = uint256(keccak256(abi.encode(header.number))) % R;
        header.commitmentA = 0xa;
        header.commitmentB = 0xb;
        for (uint256 i = 0; i < 8; i++) {
            header.accumulator[i] = 0xacc + i;
        }
    }

    function _submitAs(address who, IRollup.BatchHeader memory header, bytes memory dataA) internal {
        vm.prank(who);
        rollup.submitBatch(header, dataA, "", "proof");
    }

    function _submit(bytes memory dataA) internal {
        _submitAs(OPERATOR, _header(), dataA);
    }

    function _refuse(bytes memory dataA, bytes memory reason) internal {
        _refuseAs(OPERATOR, _header(), dataA, reason);
    }

    function _refuseAs(
        address who,
        IRollup.BatchHeader memory header,
        bytes memory dataA,
        bytes memory reason
    ) internal {
        vm.expectRevert(reason);
        _submitAs(who, header, dataA);
    }

    // The queue.

    function _depositNew(address who, uint128 amount) internal returns (uint40 entry, uint64 index) {
        vm.prank(who);
        (entry, index) = rollup.depositNew{value: amount}(1, amount, KEY_X, KEY_Y);
        entries.push(_posted(1, 0, 1, index, amount, who, KEY_X, KEY_Y));
    }

    function _forceExit(address who, uint64 index) internal returns (uint40 entry) {
        uint256 price = rollup.price(3);
        vm.prank(who);
        entry = rollup.forceExit{value: price}(index, 1);
        entries.push(_posted(3, 0, 1, index, 0, who, 0, 0));
    }

    /// @dev A plain token with an id, and its fee account's entry.
    function _addToken() internal returns (Token token, uint16 id) {
        token = new Token();
        vm.prank(ALICE);
        id = rollup.addToken{value: TOKEN_PRICE}(address(token));
        entries.push(_posted(1, 0, id, id, 0, FEES, KEY_X, KEY_Y));
        token.mint(ALICE, type(uint128).max);
        vm.prank(ALICE);
        token.approve(address(rollup), type(uint256).max);
    }

    /// @dev Freezes by the oldest entry's deadline.
    function _freeze() internal {
        vm.warp(block.timestamp + DUE + FREEZE);
        rollup.freeze();
    }

    // Trees of withdrawals.

    function _leaf(uint64 batch, uint32 position, uint16 token, uint128 amount, address to)
        internal
        pure
        returns (bytes32)
    {
        return Withdrawals.leaf(Withdrawals.Withdrawal(batch, position, token, amount, to));
    }

    // The tree of accounts.

    function _rootOf(uint64 index, IRollup.Account memory account, uint256[7][11] memory siblings)
        internal
        view
        returns (uint256 node)
    {
        uint256[8] memory inputs = [
            account.token,
            account.nonce,
            account.balance,
            account.ax,
            account.ay,
            uint160(account.l1Address),
            0,
            0x6c656166
        ];
        node = poseidon.hash(inputs);
        for (uint256 level = 0; level < 11; level++) {
            uint256 own = (index >> (3 * level)) & 7;
            uint256 next = 0;
            for (uint256 child = 0; child < 8; child++) {
                inputs[child] = child == own ? node : siblings[level][next++];
            }
            node = poseidon.hash(inputs);
        }
    }

    function _siblings(bytes32[] memory level, uint256 position)
        internal
        pure
        returns (bytes32[] memory siblings)
    {
        bytes32[] memory found = new bytes32[](32);
        uint256 count = 0;
        while (level.length > 1) {
            if (position ^ 1 < level.length) found[count++] = level[position ^ 1];
            bytes32[] memory above = new bytes32[]((level.length + 1) / 2);
            for (uint256 i = 0; i < above.length; i++) {
                above[i] = 2 * i + 1 < level.length ? _node(level[2 * i], level[2 * i + 1]) : level[2 * i];
            }
            (level, position) = (above, position / 2);
        }
        siblings = new bytes32[](count);
        for (uint256 i = 0; i < count; i++) {
            siblings[i] = found[i];
        }
    }

    function _node(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0x01), a < b ? a : b, a < b ? b : a));
    }

    function _is(bool found, bool expected) internal pure {
        vm.assertEq(found ? 1 : 0, expected ? 1 : 0);
    }

    function _none() internal pure returns (bytes32[] memory) {
        return new bytes32[](0);
    }
}
