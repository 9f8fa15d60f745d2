// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {vm} from "./Vm.sol";
import {Fixture} from "./Fixture.sol";
import {Caller, Token} from "./StandIns.sol";

/// @title Where counters end and prices rise (P-12.3, P-12.4, P-12.9), reached by writing the contract's slots.
contract CountersTest is Fixture {
    bytes32 internal constant TOKENS_SLOT = bytes32(uint256(9));
    bytes32 internal constant QUEUE_SLOT = bytes32(uint256(10));

    function test_an_entry_costs_more_from_1025_waiting_on() public {
        _setQueue(7, 7 + 1_024, 0);
        vm.assertEq(rollup.price(1), 0);
        vm.assertEq(rollup.price(2), 0);
        vm.assertEq(rollup.price(3), FORCED);
        vm.assertEq(rollup.price(4), FORCED);
        // The entry that makes them 1,025 is free of it.
        _depositNew(ALICE, 5);
        uint256 more = 1_000 * 10 ** 8;
        vm.assertEq(rollup.price(1), more);
        vm.assertEq(rollup.price(3), FORCED + more);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, 5 + more, 5));
        rollup.depositNew{value: 5}(1, 5, KEY_X, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, FORCED + more, FORCED));
        rollup.forceExit{value: FORCED}(5, 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, FORCED + more, FORCED));
        rollup.changeKey{value: FORCED}(5, KEY_X, KEY_Y);
        vm.expectRevert(
            abi.encodeWithSelector(IRollup.PriceNotPaid.selector, TOKEN_PRICE + more, TOKEN_PRICE)
        );
        rollup.addToken{value: TOKEN_PRICE}(address(scripted));
        uint256 before = ALICE.balance;
        vm.prank(ALICE);
        rollup.depositTo{value: 5 + more + 3}(1, 5, 70_000, BOB, KEY_Y);
        vm.assertEq(ALICE.balance, before - 5 - more);
        vm.assertEq(rollup.escrow(1), 10);
        vm.fee(10 ** 9);
        vm.assertEq(rollup.price(1), 2_000 * 10 ** 9);
    }

    function test_a_token_id_doubles_in_price_every_4096() public {
        _costs(4_095, TOKEN_PRICE);
        _costs(4_096, 2 * TOKEN_PRICE);
        _costs(8_191, 2 * TOKEN_PRICE);
        _costs(8_192, 4 * TOKEN_PRICE);
        _costs(65_535, TOKEN_PRICE << 15);
        Token token = new Token();
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoMoreTokens.selector));
        rollup.addToken{value: 1 ether}(address(token));
    }

    function test_the_last_index_is_given_once() public {
        _setQueue(0, 1, 2 ** 32 - 1);
        (, uint64 index) = _depositNew(ALICE, 5);
        vm.assertEq(index, 2 ** 33 - 1);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoMoreIndices.selector));
        rollup.depositNew{value: 5}(1, 5, KEY_X, KEY_Y);
        // To an account that there is, it goes on.
        vm.prank(ALICE);
        rollup.depositTo{value: 5}(1, 5, index, BOB, KEY_Y);
    }

    /// @dev The token with this id costs this, and not a wei less.
    function _costs(uint16 id, uint256 price) private {
        vm.store(address(rollup), TOKENS_SLOT, bytes32(uint256(id - 1)));
        vm.assertEq(rollup.tokens(), id - 1);
        Token token = new Token();
        vm.deal(ALICE, price);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, price, price - 1));
        rollup.addToken{value: price - 1}(address(token));
        vm.prank(ALICE);
        vm.assertEq(rollup.addToken{value: price}(address(token)), id);
        vm.assertEq(rollup.tokenAt(id), address(token));
    }

    function _setQueue(uint40 head, uint40 tail, uint40 accounts) private {
        uint256 word = uint256(head) | (uint256(tail) << 40) | (uint256(accounts) << 80);
        vm.store(address(rollup), QUEUE_SLOT, bytes32(word));
        (uint40 first, uint40 next) = rollup.queueBounds();
        vm.assertEq(first, head);
        vm.assertEq(next, tail);
    }
}

/// @title Recipients and tokens that do not take their payment, or call back while they do (P-10.18, P-10.19, P-13.2).
contract PaymentsTest is Fixture {
    bytes4 internal constant REENTRANT = bytes4(keccak256("ReentrancyGuardReentrantCall()"));
    Caller internal caller;

    function setUp() public override {
        super.setUp();
        caller = new Caller();
        vm.deal(address(caller), 1 ether);
    }

    function test_a_recipient_that_burns_all_gas_stops_its_own_claim_alone() public {
        _depositNew(ALICE, 10);
        _submit(bytes.concat(_consume(0, 2), _withdrawal(1, 4, address(caller)), _withdrawal(1, 6, BOB)));
        bytes32[] memory siblings = new bytes32[](1);
        siblings[0] = _leaf(0, 1, 1, 6, BOB);
        caller.setWay(Caller.Way.Burns);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PaymentFailed.selector));
        rollup.claim{gas: 2_000_000}(0, 0, 1, 4, address(caller), siblings);
        _is(rollup.claimed(0, 0), false);
        vm.assertEq(rollup.escrow(1), 10);
        bytes32[] memory others = new bytes32[](1);
        others[0] = _leaf(0, 0, 1, 4, address(caller));
        rollup.claim(0, 1, 1, 6, BOB, others);
        caller.setWay(Caller.Way.Takes);
        rollup.claim(0, 0, 1, 4, address(caller), siblings);
        vm.assertEq(rollup.escrow(1), 0);
    }

    function test_a_token_that_refuses_at_payment_can_pay_later() public {
        (Token token, uint16 id) = _addToken();
        vm.prank(ALICE);
        rollup.depositNew(id, 10, KEY_X, KEY_Y);
        entries.push(_posted(1, 0, id, 2 ** 32, 10, ALICE, KEY_X, KEY_Y));
        _submit(bytes.concat(_consume(0, 3), _withdrawal(id, 10, BOB)));
        Token.Oddity[2] memory oddities = [Token.Oddity.ReturnsFalse, Token.Oddity.Reverts];
        for (uint256 i = 0; i < 2; i++) {
            token.setOddity(oddities[i]);
            vm.expectRevert(abi.encodeWithSelector(IRollup.PaymentFailed.selector));
            rollup.claim(0, 0, id, 10, BOB, _none());
            _is(rollup.claimed(0, 0), false);
            vm.assertEq(rollup.escrow(id), 10);
        }
        token.setOddity(Token.Oddity.ReturnsNothing);
        rollup.claim(0, 0, id, 10, BOB, _none());
        vm.assertEq(token.balanceOf(BOB), 10);
        vm.assertEq(rollup.escrow(id), 0);
    }

    function test_a_refund_cannot_be_reentered() public {
        _depositNew(ALICE, 10);
        _depositNew(address(caller), 10);
        _submit(_consume(0, 1));
        _freeze();
        uint256[4] memory a = _elements(entries[2]);
        caller.setReentry(address(rollup), abi.encodeCall(IRollup.refund, (2, a[0], a[1], a[2], a[3])));
        uint256 before = address(caller).balance;
        rollup.refund(2, a[0], a[1], a[2], a[3]);
        _isPaidOnce(before + 10, 10);
    }

    function test_an_exit_cannot_be_reentered() public {
        _depositNew(ALICE, 20);
        IRollup.Account memory account = IRollup.Account(1, 0, 10, KEY_X, KEY_Y, address(caller));
        uint256[7][11] memory siblings;
        IRollup.BatchHeader memory header = _header();
        header.newRoot = _rootOf(2 ** 32, account, siblings);
        _submitAs(OPERATOR, header, _consume(0, 1));
        _freeze();
        caller.setReentry(address(rollup), abi.encodeCall(IRollup.exit, (2 ** 32, account, siblings)));
        uint256 before = address(caller).balance;
        rollup.exit(2 ** 32, account, siblings);
        _isPaidOnce(before + 10, 10);
    }

    function test_collecting_fees_cannot_be_reentered() public {
        _depositNew(ALICE, 10);
        _forceExit(ALICE, 9);
        vm.etch(FEES, address(caller).code);
        caller = Caller(payable(FEES));
        caller.setReentry(address(rollup), abi.encodeCall(IRollup.collectFees, ()));
        rollup.collectFees();
        _isPaidOnce(FORCED, 10);
        vm.assertEq(address(rollup).balance, 10);
    }

    /// @dev Of all functions that change state, called back while change is given back.
    function test_nothing_that_changes_state_can_be_reentered() public {
        bytes[] memory calls = _changes();
        for (uint256 i = 0; i < calls.length; i++) {
            caller.setReentry(address(rollup), calls[i]);
            vm.prank(address(caller));
            rollup.depositTo{value: 6}(1, 5, 70_000, BOB, KEY_Y);
            _is(bytes4(caller.lastAnswer()) == REENTRANT, true);
        }
    }

    /// @dev A forced entry gives change back as its last act, and leaves the lock open: what is called then is a call after it.
    function test_what_is_called_from_a_forced_entrys_change_comes_after_it() public {
        caller.setReentry(address(rollup), abi.encodeCall(IRollup.forceExit, (6, 1)));
        caller.setPaying();
        vm.prank(address(caller));
        _enters(1, rollup.forceExit{value: 3 * FORCED}(5, 1));
        vm.prank(address(caller));
        _enters(4, rollup.changeKey{value: 3 * FORCED}(5, KEY_X, KEY_Y));
        (uint40 head, uint40 tail) = rollup.queueBounds();
        vm.assertEq(head, 0);
        vm.assertEq(tail, 7);
        vm.assertEq(address(caller).balance, 1 ether - 6 * FORCED);
        for (uint40 i = 0; i < 6; i++) {
            if (i == 3) entries.push(_posted(4, 0, 0, 5, 0, address(caller), KEY_X, KEY_Y));
            else entries.push(_posted(3, 0, 1, i == 0 ? 5 : 6, 0, address(caller), 0, 0));
        }
        // Only what entered, in this order, has the queue's hash.
        _submit(_consume(0, 7));
    }

    function _enters(uint40 expected, uint40 entry) private pure {
        vm.assertEq(entry, expected);
    }

    function _changes() private view returns (bytes[] memory calls) {
        uint256[7][11] memory siblings;
        calls = new bytes[](24);
        calls[0] = abi.encodeCall(IRollup.submitBatch, (_header(), "", "", "proof"));
        calls[1] = abi.encodeCall(IRollup.depositNew, (1, 1, KEY_X, KEY_Y));
        calls[2] = abi.encodeCall(IRollup.depositTo, (1, 1, 5, BOB, KEY_Y));
        calls[3] = abi.encodeCall(IRollup.forceExit, (5, 1));
        calls[4] = abi.encodeCall(IRollup.changeKey, (5, KEY_X, KEY_Y));
        calls[5] = abi.encodeCall(IRollup.addToken, (address(scripted)));
        calls[6] = abi.encodeCall(IRollup.claim, (0, 0, 1, 1, BOB, _none()));
        calls[7] = abi.encodeCall(IRollup.freeze, ());
        calls[8] = abi.encodeCall(IRollup.exit, (5, IRollup.Account(1, 0, 1, KEY_X, KEY_Y, BOB), siblings));
        calls[9] = abi.encodeCall(IRollup.refund, (0, 0, 0, 0, 0));
        calls[10] = abi.encodeCall(IRollup.collectFees, ());
        calls[11] = abi.encodeCall(IRollup.transferOperator, (BOB));
        calls[12] = abi.encodeCall(IRollup.acceptOperator, ());
        calls[13] = abi.encodeCall(IRollup.transferGovernor, (BOB));
        calls[14] = abi.encodeCall(IRollup.acceptGovernor, ());
        calls[15] = abi.encodeCall(IRollup.renounceGovernor, ());
        calls[16] = abi.encodeCall(IRollup.transferGuardian, (BOB));
        calls[17] = abi.encodeCall(IRollup.acceptGuardian, ());
        calls[18] = abi.encodeCall(IRollup.renounceGuardian, ());
        calls[19] = abi.encodeCall(IRollup.addVerifier, (address(scripted), VK_DIGEST, GAS_CAP));
        calls[20] = abi.encodeCall(IRollup.retireVerifier, (0, 0));
        calls[21] = abi.encodeCall(IRollup.cancelVerifier, (0));
        calls[22] = abi.encodeCall(IRollup.disableVerifier, (0));
        calls[23] = abi.encodeCall(IRollup.pauseDeposits, ());
    }

    /// @dev The caller called back and was refused; it has so much, and so much stays in escrow.
    function _isPaidOnce(uint256 balance, uint256 left) private view {
        _is(bytes4(caller.lastAnswer()) == REENTRANT, true);
        vm.assertEq(address(caller).balance, balance);
        vm.assertEq(rollup.escrow(1), left);
    }
}
