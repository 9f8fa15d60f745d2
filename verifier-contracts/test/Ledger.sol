// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {Records} from "../contracts/Records.sol";
import {vm} from "./Vm.sol";
import {Fixture} from "./Fixture.sol";
import {Token} from "./StandIns.sol";

/// @title Does to a rollup what anybody may, in any order, and keeps its own books: who has what on L2, what L1 owes, what waits in the
/// queue. Each call knows whether it must be taken and why not. The verifier stands in, so a batch is what these books make of it; its
/// root is that of a true tree, of eight accounts.
contract Ledger is Fixture {
    /// @dev A payment that L1 owes by a batch.
    struct Owed {
        uint64 batch;
        uint32 position;
        uint16 token;
        uint128 amount;
        address recipient;
        bool paid;
    }

    uint64 internal constant FIRST = 2 ** 32;
    uint256 internal constant ACCOUNTS = 8;
    uint256 internal constant LEVELS = 11;
    uint256 internal constant ACTORS = 4;

    uint256 internal random;
    bool public frozen;
    uint256 public root = EMPTY_ROOT;
    uint64 public batches;
    uint256 internal fees = 2 * TOKEN_PRICE;
    uint256 internal head;
    Records.Record[] internal queue;
    uint256[] internal times;
    mapping(uint256 entry => bool) internal isRefunded;
    IRollup.Account[8] internal accounts;
    mapping(uint256 account => bool) internal isExited;
    Owed[] internal owed;
    mapping(uint64 batch => bytes32[]) internal leaves;
    uint256[11] internal empty;
    uint256 internal accountsNamed;
    /// @notice How often each thing was done that pays.
    uint256 public claims;
    uint256 public exits;
    uint256 public refunds;

    constructor() {
        setUp();
        for (uint16 id = 1; id <= 3; id++) {
            if (id != 1) _addToken();
            _push(Records.Record(1, 0, id, id, 0, FEES, KEY_X, KEY_Y));
        }
        // One token arrives as it was sent, the other does not.
        _token(3).setOddity(Token.Oddity.TakesFee);
        for (uint256 i = 0; i < ACTORS; i++) {
            vm.deal(_actor(i), 2 ** 120);
            for (uint16 id = 2; id <= 3; id++) {
                Token token = _token(id);
                token.mint(_actor(i), 2 ** 120);
                vm.prank(_actor(i));
                token.approve(address(rollup), type(uint256).max);
            }
        }
        for (uint256 level = 1; level < LEVELS; level++) {
            uint256 below = empty[level - 1];
            empty[level] = poseidon.hash([below, below, below, below, below, below, below, below]);
        }
    }

    /// @notice Whether the books and the contract agree.
    function holds() external view returns (bool) {
        for (uint16 id = 1; id <= 3; id++) {
            (uint256 escrow, uint256 held) = (rollup.escrow(id), _held(id));
            if (onL2(id) + owing(id) + waiting(id) != escrow) return false;
            if (id == 1 ? held != escrow + fees : held < escrow) return false;
        }
        (uint40 first, uint40 next) = rollup.queueBounds();
        if (first != head || next != queue.length || first > next) return false;
        return rollup.stateRoot() == root && rollup.nextBatchNumber() == batches;
    }

    /// @notice L2's balances of a token.
    function onL2(uint16 id) public view returns (uint256 sum) {
        for (uint256 i = 0; i < ACCOUNTS; i++) {
            if (accounts[i].token == id && !isExited[i]) sum += accounts[i].balance;
        }
    }

    /// @notice What batches have left to be claimed.
    function owing(uint16 id) public view returns (uint256 sum) {
        for (uint256 i = 0; i < owed.length; i++) {
            if (owed[i].token == id && !owed[i].paid) sum += owed[i].amount;
        }
    }

    /// @notice Deposits that no batch has consumed.
    function waiting(uint16 id) public view returns (uint256 sum) {
        for (uint256 i = head; i < queue.length; i++) {
            if (queue[i].token == id && !isRefunded[i]) sum += queue[i].amount;
        }
    }

    // What anybody does.

    function depositNew(uint256 seed) external {
        random = seed;
        (address who, uint16 id, uint128 amount) = (_actor(_next(ACTORS)), _id(), _amount());
        uint256 value = (id == 1 ? amount : 0) + _next(2);
        vm.prank(who);
        _expectOpen();
        rollup.depositNew{value: value}(id, amount, KEY_X, KEY_Y);
        if (frozen) return;
        uint64 index = FIRST + uint64(accountsNamed++);
        _push(Records.Record(1, 0, id, index, _arrived(id, amount), who, KEY_X, KEY_Y));
    }

    function depositTo(uint256 seed) external {
        random = seed;
        (address who, uint16 id, uint128 amount) = (_actor(_next(ACTORS)), _id(), _amount());
        (uint64 index, address owner) = (_index(), _actor(_next(ACTORS)));
        uint256 value = (id == 1 ? amount : 0) + _next(2);
        vm.prank(who);
        _expectOpen();
        rollup.depositTo{value: value}(id, amount, index, owner, KEY_Y);
        if (frozen) return;
        _push(Records.Record(2, 0, id, index, _arrived(id, amount), who, uint160(owner), KEY_Y));
    }

    function forceExit(uint256 seed) external {
        random = seed;
        (address who, uint64 index, uint16 id) = (_actor(_next(ACTORS)), _index(), _id());
        vm.prank(who);
        _expectOpen();
        rollup.forceExit{value: FORCED + _next(2)}(index, id);
        if (frozen) return;
        fees += FORCED;
        _push(Records.Record(3, 0, id, index, 0, who, 0, 0));
    }

    function changeKey(uint256 seed) external {
        random = seed;
        (address who, uint64 index) = (_actor(_next(ACTORS)), _index());
        vm.prank(who);
        _expectOpen();
        rollup.changeKey{value: FORCED + _next(2)}(index, KEY_X, KEY_Y);
        if (frozen) return;
        fees += FORCED;
        _push(Records.Record(4, 0, 0, index, 0, who, KEY_X, KEY_Y));
    }

    function batch(uint256 seed) external {
        random = seed;
        if (frozen) {
            IRollup.BatchHeader memory late = _header();
            vm.expectRevert(abi.encodeWithSelector(IRollup.IsFrozen.selector));
            rollup.submitBatch(late, "", "", "proof");
            return;
        }
        uint256 least = _due();
        uint256 count = least + _next(queue.length - head - least + 1);
        bytes memory dataA;
        for (uint256 i = 0; i < count; i++) {
            dataA = bytes.concat(dataA, _execute(queue[head + i]));
            if (_next(3) == 0) dataA = bytes.concat(dataA, _withdraw());
        }
        dataA = bytes.concat(dataA, _withdraw());
        _transfer();
        IRollup.BatchHeader memory header = _header();
        header.newRoot = _rootNow();
        bool anybody = count != 0 && rollup.mode() == IRollup.Mode.Enforced;
        _submitAs(anybody ? _actor(_next(ACTORS)) : OPERATOR, header, dataA);
        (root, head, batches) = (header.newRoot, head + count, batches + 1);
    }

    function claim(uint256 seed) external {
        if (owed.length == 0) return;
        Owed storage one = owed[seed % owed.length];
        bytes32[] memory siblings = _siblings(leaves[one.batch], one.position);
        uint256 before = _balance(one.token, one.recipient);
        bool again = one.paid;
        if (again) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyPaid.selector, one.batch, one.position));
        }
        rollup.claim(one.batch, one.position, one.token, one.amount, one.recipient, siblings);
        if (again) return;
        claims++;
        _paid(one);
        vm.assertEq(_balance(one.token, one.recipient), before + _arrived(one.token, one.amount));
    }

    function collectFees() external {
        if (fees == 0) vm.expectRevert(abi.encodeWithSelector(IRollup.NothingToPay.selector));
        rollup.collectFees();
        fees = 0;
    }

    function pass(uint256 seed) external {
        vm.warp(block.timestamp + (seed % 8 == 0 ? DUE + FREEZE : seed % 12 hours));
    }

    function freeze(uint256 seed) external {
        // So that not all end soon.
        if (seed % 4 != 0) return;
        uint256 from = head == queue.length ? 0 : times[head] + DUE + FREEZE;
        bool refused = frozen || from == 0 || block.timestamp < from;
        if (frozen) vm.expectRevert(abi.encodeWithSelector(IRollup.IsFrozen.selector));
        else if (from == 0) vm.expectRevert(abi.encodeWithSelector(IRollup.NotAnEntry.selector, head));
        else if (refused) vm.expectRevert(abi.encodeWithSelector(IRollup.NotYet.selector, from));
        rollup.freeze();
        if (!refused) frozen = true;
    }

    function exit(uint256 seed) external {
        uint256 i = seed % ACCOUNTS;
        IRollup.Account memory account = accounts[i];
        uint256[7][11] memory path = _path(i);
        bool refused = !frozen || account.balance == 0 || isExited[i];
        if (!frozen) vm.expectRevert(abi.encodeWithSelector(IRollup.NotFrozen.selector));
        else if (account.balance == 0) vm.expectRevert(abi.encodeWithSelector(IRollup.NothingToPay.selector));
        else if (refused) vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyExited.selector, FIRST + i));
        rollup.exit(FIRST + uint64(i), account, path);
        if (refused) return;
        exits++;
        isExited[i] = true;
    }

    function refund(uint256 seed) external {
        uint256 i = seed % (queue.length + 1);
        Records.Record memory record;
        if (i < queue.length) record = queue[i];
        bool deposit = record.kind < 3 && record.amount != 0;
        bool refused = !frozen || i < head || i == queue.length || isRefunded[i] || !deposit;
        if (!frozen) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.NotFrozen.selector));
        } else if (i < head || i == queue.length) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.NotAnEntry.selector, i));
        } else if (refused) {
            bytes4 why = deposit ? IRollup.AlreadyRefunded.selector : IRollup.NotADeposit.selector;
            vm.expectRevert(abi.encodeWithSelector(why, i));
        }
        uint256[4] memory a = Records.pack(record);
        rollup.refund(uint40(i), a[0], a[1], a[2], a[3]);
        if (refused) return;
        refunds++;
        isRefunded[i] = true;
    }

    // What the books say.

    function _owe(uint16 id, uint128 amount, address recipient) internal virtual {
        if (amount == 0) return;
        uint32 position = uint32(leaves[batches].length);
        leaves[batches].push(_leaf(batches, position, id, amount, recipient));
        owed.push(Owed(batches, position, id, amount, recipient, false));
    }

    function _paid(Owed storage one) internal virtual {
        one.paid = true;
    }

    /// @dev What a batch makes of an entry: its effect where it can have one, mostly, else a code.
    function _execute(Records.Record memory record) private returns (bytes memory) {
        // Fee accounts are outside of the eight, and empty.
        if (record.index < FIRST) return _bytes(Records.pack(record));
        uint256 i = record.index - FIRST;
        bool fits = i < ACCOUNTS && _next(4) != 0;
        if (record.kind == 1) fits = fits && accounts[i].token == 0;
        else fits = fits && accounts[i].token != 0;
        if (record.kind == 2 || record.kind == 3) fits = fits && accounts[i].token == record.token;
        if (record.kind > 2) fits = fits && accounts[i].l1Address == record.account;
        if (!fits) {
            record.code = uint8(1 + _next(7));
            if (record.kind < 3) _owe(record.token, record.amount, record.account);
            // It is not owed, whatever it says.
            else if (record.kind == 3) record.amount = uint128(_next(100));
        } else if (record.kind == 1) {
            accounts[i] = IRollup.Account(record.token, 0, record.amount, KEY_X, KEY_Y, record.account);
        } else if (record.kind == 2) {
            accounts[i].balance += record.amount;
        } else if (record.kind == 3) {
            (record.amount, accounts[i].balance) = (accounts[i].balance, 0);
            _owe(record.token, record.amount, record.account);
        }
        return _bytes(Records.pack(record));
    }

    function _withdraw() private returns (bytes memory) {
        IRollup.Account storage account = accounts[_next(ACCOUNTS)];
        if (account.balance == 0) return "";
        uint128 amount = _next(3) == 0 ? account.balance : uint128(1 + _next(account.balance));
        address to = _actor(_next(ACTORS));
        account.balance -= amount;
        account.nonce++;
        _owe(account.token, amount, to);
        return _withdrawal(account.token, amount, to);
    }

    function _transfer() private {
        (IRollup.Account storage from, IRollup.Account storage to) =
            (accounts[_next(ACCOUNTS)], accounts[_next(ACCOUNTS)]);
        if (from.balance == 0 || from.token != to.token) return;
        uint128 amount = uint128(1 + _next(from.balance));
        from.balance -= amount;
        to.balance += amount;
    }

    function _push(Records.Record memory record) private {
        queue.push(record);
        times.push(block.timestamp);
    }

    /// @dev How many entries a batch has to consume now.
    function _due() private view returns (uint256 count) {
        while (count < MOST && head + count < queue.length && block.timestamp >= times[head + count] + DUE) {
            count++;
        }
    }

    function _expectOpen() private {
        if (frozen) vm.expectRevert(abi.encodeWithSelector(IRollup.IsFrozen.selector));
    }

    // The tree.

    function _rootNow() private view returns (uint256 node) {
        uint256[8] memory inputs;
        for (uint256 i = 0; i < ACCOUNTS; i++) {
            inputs[i] = _leafOf(i);
        }
        node = poseidon.hash(inputs);
        for (uint256 level = 1; level < LEVELS; level++) {
            for (uint256 child = 0; child < 8; child++) {
                inputs[child] = empty[level];
            }
            inputs[(FIRST >> (3 * level)) % 8] = node;
            node = poseidon.hash(inputs);
        }
    }

    function _path(uint256 own) private view returns (uint256[7][11] memory siblings) {
        for (uint256 i = 0; i < 7; i++) {
            siblings[0][i] = _leafOf(i < own ? i : i + 1);
            for (uint256 level = 1; level < LEVELS; level++) {
                siblings[level][i] = empty[level];
            }
        }
    }

    function _leafOf(uint256 i) private view returns (uint256) {
        IRollup.Account memory a = accounts[i];
        if (a.token == 0) return 0;
        return poseidon.hash([a.token, a.nonce, a.balance, a.ax, a.ay, uint160(a.l1Address), 0, 0x6c656166]);
    }

    // Chance.

    function _next(uint256 below) private returns (uint256) {
        random = uint256(keccak256(abi.encode(random)));
        return random % below;
    }

    function _id() private returns (uint16) {
        return uint16(1 + _next(3));
    }

    function _amount() private returns (uint128) {
        return uint128(1 + _next(2 ** _next(80)));
    }

    /// @dev Mostly an account that there is or can be.
    function _index() private returns (uint64) {
        return FIRST + uint64(_next(ACCOUNTS + 2));
    }

    function _actor(uint256 i) private pure returns (address) {
        return address(uint160(0xac0 + i));
    }

    // Tokens.

    function _arrived(uint16 id, uint128 amount) private pure returns (uint128) {
        return id == 3 ? amount - amount / 100 : amount;
    }

    function _token(uint16 id) private view returns (Token) {
        return Token(rollup.tokenAt(id));
    }

    function _held(uint16 id) private view returns (uint256) {
        return _balance(id, address(rollup));
    }

    function _balance(uint16 id, address who) private view returns (uint256) {
        return id == 1 ? who.balance : _token(id).balanceOf(who);
    }
}
