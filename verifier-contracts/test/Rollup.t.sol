// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {vm} from "./Vm.sol";
import {Fixture} from "./Fixture.sol";
import {Caller, Fails, NeedsGas, Token} from "./StandIns.sol";

/// @title Each check of a submission alone, who submits, and every deadline's second (section 9).
contract BatchesTest is Fixture {
    function test_it_begins_empty_with_eths_fee_account_in_the_queue() public view {
        vm.assertEq(rollup.stateRoot(), EMPTY_ROOT);
        (uint40 head, uint40 tail) = rollup.queueBounds();
        vm.assertEq(head, 0);
        vm.assertEq(tail, 1);
        vm.assertEq(rollup.tokens(), 1);
        vm.assertEq(rollup.acceptedAt(), NOW);
        vm.assertEq(rollup.rollupId(), block.chainid * 2 ** 160 + uint160(address(rollup)));
    }

    function test_a_batch_moves_root_number_times_head_and_withdrawals() public {
        IRollup.BatchHeader memory header = _header();
        header.time -= 5;
        bytes memory dataA = bytes.concat(_consume(0, 1), _withdrawal(1, 7, BOB));
        _submitAs(OPERATOR, header, dataA);
        vm.assertEq(rollup.stateRoot(), header.newRoot);
        vm.assertEq(rollup.nextBatchNumber(), 1);
        vm.assertEq(rollup.lastBatchTime(), NOW - 5);
        vm.assertEq(rollup.acceptedAt(), NOW);
        (uint40 head,) = rollup.queueBounds();
        vm.assertEq(head, 1);
        vm.assertEq(uint256(rollup.withdrawalsRoot(0)), uint256(_leaf(0, 0, 1, 7, BOB)));
    }

    function test_a_leaf_names_its_batch() public {
        _submit(_consume(0, 1));
        _submit(bytes.concat(_withdrawal(1, 7, BOB), _withdrawal(1, 0, BOB), _withdrawal(2, 8, ALICE)));
        bytes32 root = _node(_leaf(1, 0, 1, 7, BOB), _leaf(1, 1, 2, 8, ALICE));
        vm.assertEq(uint256(rollup.withdrawalsRoot(1)), uint256(root));
    }

    function test_both_events_hold_what_derives_the_state() public {
        IRollup.BatchHeader memory header = _header();
        bytes memory dataA = bytes.concat(_consume(0, 1), _withdrawal(1, 7, BOB));
        bytes memory dataB = new bytes(62);
        dataB[61] = 0x01;
        vm.expectEmit(address(rollup));
        emit IRollup.BatchAccepted(
            0, header.time, EMPTY_ROOT, header.newRoot, 0xa, 0xb, 1, _leaf(0, 0, 1, 7, BOB), 1, 0, OPERATOR
        );
        vm.expectEmit(address(rollup));
        emit IRollup.BatchData(0, dataA, dataB);
        vm.prank(OPERATOR);
        rollup.submitBatch(header, dataA, dataB, "proof");
    }

    /// @dev What the verifier is called with, computed here by powers and by the text's order of the words.
    function test_the_verifier_gets_these_instances() public {
        _submit("");
        IRollup.BatchHeader memory header = _header();
        bytes memory dataA = _consume(0, 1);
        bytes memory dataB = new bytes(62);
        dataB[3] = 0x55;
        dataB[61] = 0x66;
        uint256[] memory rows = new uint256[](17);
        for (uint256 i = 0; i < 8; i++) {
            rows[i] = header.accumulator[i];
        }
        uint256 x = uint256(
            keccak256(
                abi.encode(
                    keccak256("zk-rollup-prover/da/v2"),
                    rollup.rollupId(),
                    uint256(1),
                    uint256(0),
                    uint256(0xa),
                    uint256(0xb),
                    keccak256(dataA),
                    keccak256(dataB)
                )
            )
        ) % R;
        (rows[8], rows[9], rows[10], rows[11], rows[12]) =
        (rollup.rollupId(), header.time, x, rollup.stateRoot(), header.newRoot);
        (rows[13], rows[14], rows[15], rows[16]) = (0xa, _byPowers(dataA, x), 0xb, _byPowers(dataB, x));
        scripted.expectOnly(abi.encodeCall(scripted.verify, ("proof", rows)));
        vm.prank(OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.ProofRejected.selector));
        rollup.submitBatch(header, dataA, dataB, "Proof");
        vm.prank(OPERATOR);
        rollup.submitBatch(header, dataA, dataB, "proof");
    }

    function test_another_number_or_root_is_refused() public {
        IRollup.BatchHeader memory header = _header();
        header.number = 1;
        _refuseAs(OPERATOR, header, "", abi.encodeWithSelector(IRollup.WrongBatchNumber.selector, 0, 1));
        header.number = 0;
        header.oldRoot = EMPTY_ROOT + R;
        bytes memory reason =
            abi.encodeWithSelector(IRollup.WrongOldRoot.selector, EMPTY_ROOT, EMPTY_ROOT + R);
        _refuseAs(OPERATOR, header, "", reason);
    }

    function test_times_are_refused_outside_their_bounds_and_taken_at_them() public {
        IRollup.BatchHeader memory header = _header();
        header.time = 2 ** 40;
        _refuseAs(OPERATOR, header, "", abi.encodeWithSelector(IRollup.TimeTooLarge.selector, 2 ** 40));
        header.time = uint64(NOW + 1);
        _refuseAs(OPERATOR, header, "", abi.encodeWithSelector(IRollup.TimeInFuture.selector, NOW, NOW + 1));
        header.time = uint64(NOW - AGE - 1);
        bytes memory reason = abi.encodeWithSelector(IRollup.BatchTooOld.selector, NOW - AGE, NOW - AGE - 1);
        _refuseAs(OPERATOR, header, "", reason);
        header.time = uint64(NOW - AGE);
        _submitAs(OPERATOR, header, "");
        header = _header();
        header.time = uint64(NOW);
        _submitAs(OPERATOR, header, "");
        header = _header();
        header.time = uint64(NOW - 1);
        reason = abi.encodeWithSelector(IRollup.TimeBeforeLastBatch.selector, NOW, NOW - 1);
        _refuseAs(OPERATOR, header, "", reason);
        // The last second of 40 bits, and the next.
        vm.warp(2 ** 40);
        header = _header();
        _refuseAs(OPERATOR, header, "", abi.encodeWithSelector(IRollup.TimeTooLarge.selector, 2 ** 40));
        header.time--;
        _submitAs(OPERATOR, header, _consume(0, 1));
        bytes memory late = abi.encodeWithSelector(IRollup.TimeTooLarge.selector, 2 ** 40);
        vm.expectRevert(late);
        rollup.forceExit{value: FORCED}(5, 1);
        vm.warp(2 ** 40 - 1);
        rollup.forceExit{value: FORCED}(5, 1);
    }

    function test_posted_forms_that_are_not_the_one_are_refused() public {
        _refuse(new bytes(123), abi.encodeWithSelector(IRollup.DataANotWhole.selector, 123));
        _refuse(new bytes(124), abi.encodeWithSelector(IRollup.NoSuchKind.selector, 0, 0));
        IRollup.BatchHeader memory header = _header();
        vm.prank(OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.DataBNotWhole.selector, 31));
        rollup.submitBatch(header, "", new bytes(31), "");
        vm.prank(OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.DataBEndsInZeros.selector, 62));
        rollup.submitBatch(header, "", new bytes(62), "");
    }

    function test_records_that_are_not_the_queues_are_refused() public {
        bytes memory two = bytes.concat(_consume(0, 1), _consume(0, 1));
        _refuse(two, abi.encodeWithSelector(IRollup.BeyondTail.selector, 2, 1));
        bytes memory other = _posted(1, 0, 1, 1, 1, FEES, KEY_X, KEY_Y);
        bytes memory call = abi.encodeCall(IRollup.submitBatch, (_header(), other, "", "proof"));
        vm.prank(OPERATOR);
        (bool accepted, bytes memory answer) = address(rollup).call(call);
        _is(accepted, false);
        _is(bytes4(answer) == IRollup.QueueMismatch.selector, true);
        // The code is the operator's to say; the amount that a forced exit has is too.
        _forceExit(ALICE, 70_000);
        _submit(bytes.concat(_coded(entries[0], 1), _posted(3, 0, 1, 70_000, 55, ALICE, 0, 0)));
        vm.assertEq(uint256(rollup.withdrawalsRoot(0)), uint256(_leaf(0, 0, 1, 55, ALICE)));
    }

    /// @dev A queue of entries that all are invalid is consumed as any other, and owes the depositors.
    function test_a_queue_of_invalid_entries_does_not_stop() public {
        _depositNew(ALICE, 5);
        _forceExit(BOB, 9);
        _submit(bytes.concat(entries[0], _coded(entries[1], 1), _coded(entries[2], 1)));
        (uint40 head, uint40 tail) = rollup.queueBounds();
        vm.assertEq(head, tail);
        rollup.claim(0, 0, 1, 5, ALICE, _none());
        vm.assertEq(ALICE.balance, 1_000 ether);
    }

    function test_of_a_flood_the_most_that_must_be_consumed_are_enough() public {
        for (uint256 i = 0; i < 5; i++) {
            _depositNew(ALICE, 1);
        }
        vm.warp(NOW + DUE);
        bytes memory reason = abi.encodeWithSelector(IRollup.EntryDue.selector, 2, NOW + DUE);
        _refuse(_consume(0, 2), reason);
        _submit(_consume(0, 3));
        _submit(_consume(3, 6));
    }

    function test_anybody_submits_from_the_second_an_entry_is_due_but_must_consume() public {
        vm.warp(NOW + 1 hours);
        _submit("");
        vm.warp(NOW + DUE - 1);
        bytes memory only = abi.encodeWithSelector(IRollup.OnlyOperator.selector, BOB);
        _refuseAs(BOB, _header(), _consume(0, 1), only);
        vm.assertEq(uint256(rollup.mode()), uint256(IRollup.Mode.Normal));
        vm.warp(NOW + DUE);
        vm.assertEq(uint256(rollup.mode()), uint256(IRollup.Mode.Enforced));
        _refuseAs(BOB, _header(), "", abi.encodeWithSelector(IRollup.ConsumesNothing.selector));
        _submitAs(BOB, _header(), _consume(0, 1));
        vm.assertEq(uint256(rollup.mode()), uint256(IRollup.Mode.Normal));
        _refuseAs(BOB, _header(), "", only);
    }

    function test_anybody_submits_from_the_second_of_silence() public {
        _submit(_consume(0, 1));
        vm.warp(NOW + 10);
        _depositNew(ALICE, 1);
        vm.warp(NOW + SILENCE - 1);
        bytes memory only = abi.encodeWithSelector(IRollup.OnlyOperator.selector, BOB);
        _refuseAs(BOB, _header(), _consume(1, 2), only);
        vm.warp(NOW + SILENCE);
        _submitAs(BOB, _header(), _consume(1, 2));
    }

    function test_a_frozen_rollup_takes_nothing() public {
        vm.warp(NOW + DUE + FREEZE - 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotYet.selector, NOW + DUE + FREEZE));
        rollup.freeze();
        vm.warp(NOW + DUE + FREEZE);
        vm.expectEmit(address(rollup));
        emit IRollup.Frozen(0, EMPTY_ROOT, 0);
        rollup.freeze();
        vm.assertEq(uint256(rollup.mode()), uint256(IRollup.Mode.Frozen));
        bytes memory frozen = abi.encodeWithSelector(IRollup.IsFrozen.selector);
        _refuse(_consume(0, 1), frozen);
        vm.expectRevert(frozen);
        rollup.freeze();
        vm.prank(ALICE);
        vm.expectRevert(frozen);
        rollup.depositNew{value: 1}(1, 1, KEY_X, KEY_Y);
        vm.prank(ALICE);
        vm.expectRevert(frozen);
        rollup.forceExit{value: FORCED}(1, 1);
    }

    function test_an_empty_queue_cannot_freeze() public {
        _submit(_consume(0, 1));
        vm.warp(NOW + 100 days);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotAnEntry.selector, 1));
        rollup.freeze();
    }

    function test_only_the_word_one_is_an_acceptance() public {
        uint256[3] memory answers = [uint256(0), 2, type(uint256).max];
        for (uint256 i = 0; i < answers.length; i++) {
            scripted.setAnswer(answers[i]);
            _refuse("", abi.encodeWithSelector(IRollup.ProofRejected.selector));
        }
        vm.assertEq(rollup.stateRoot(), EMPTY_ROOT);
        vm.assertEq(rollup.nextBatchNumber(), 0);
    }

    function test_a_verifier_that_is_not_there_or_changed_is_refused() public {
        IRollup.BatchHeader memory header = _header();
        header.verifier = 1;
        _refuseAs(OPERATOR, header, "", abi.encodeWithSelector(IRollup.NoSuchVerifier.selector, 1));
        bytes32 before = address(scripted).codehash;
        Fails other = new Fails(false);
        vm.etch(address(scripted), address(other).code);
        bytes32 found = address(scripted).codehash;
        _refuse("", abi.encodeWithSelector(IRollup.VerifierChanged.selector, 0, before, found));
    }

    function test_a_proof_longer_than_any_is_rejected() public {
        IRollup.BatchHeader memory header = _header();
        vm.prank(OPERATOR);
        rollup.submitBatch(header, "", "", new bytes(2 ** 14));
        header = _header();
        vm.prank(OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.ProofRejected.selector));
        rollup.submitBatch(header, "", "", new bytes(2 ** 14 + 1));
    }

    function test_a_verifier_is_in_force_from_its_second_to_before_its_last() public {
        NeedsGas second = new NeedsGas(0);
        vm.prank(GOVERNOR);
        rollup.addVerifier(address(second), VK_DIGEST, GAS_CAP);
        IRollup.BatchHeader memory header;
        bytes memory not = abi.encodeWithSelector(IRollup.VerifierNotInForce.selector, 1);
        vm.warp(NOW + DELAY - 1);
        header = _header();
        header.verifier = 1;
        _refuseAs(OPERATOR, header, _consume(0, 1), not);
        vm.warp(NOW + DELAY);
        header = _header();
        header.verifier = 1;
        _submitAs(OPERATOR, header, _consume(0, 1));
        uint64 last = uint64(NOW + 2 * DELAY);
        vm.prank(GOVERNOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotYet.selector, last));
        rollup.retireVerifier(1, last - 1);
        vm.prank(GOVERNOR);
        rollup.retireVerifier(1, last);
        // It cannot be put off.
        vm.prank(GOVERNOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadParameter.selector, bytes32("retiredAt")));
        rollup.retireVerifier(1, last);
        vm.warp(last - 1);
        header = _header();
        header.verifier = 1;
        _submitAs(OPERATOR, header, "");
        vm.warp(last);
        header = _header();
        header.verifier = 1;
        _refuseAs(OPERATOR, header, "", not);
    }

    function test_a_burning_verifier_gets_no_more_than_the_cap() public {
        Fails burns = new Fails(true);
        IRollup.Registration[] memory first = _registrations();
        first[0].addr = address(burns);
        rollup = _made(first);
        uint256 left = gasleft();
        _refuse("", abi.encodeWithSelector(IRollup.VerifierOutOfGas.selector, GAS_CAP));
        uint256 used = left - gasleft();
        _is(used > GAS_CAP && used < GAS_CAP + 150_000, true);
    }

    /// @dev P-9.6: it must answer.
    function test_a_verifier_that_reverts_rejects() public {
        Fails fails = new Fails(false);
        IRollup.Registration[] memory first = _registrations();
        first[0].addr = address(fails);
        rollup = _made(first);
        _refuse("", abi.encodeWithSelector(IRollup.ProofRejected.selector));
    }

    /// @dev Whatever gas a caller leaves, a true proof is accepted or the call fails for want of gas, with short and long proofs.
    function test_at_no_gas_is_a_true_proof_rejected() public {
        NeedsGas needs = new NeedsGas(GAS_CAP - 2_000);
        IRollup.Registration[] memory first = _registrations();
        first[0].addr = address(needs);
        rollup = _made(first);
        uint256[2] memory lengths = [uint256(0), 2 ** 14];
        for (uint256 i = 0; i < lengths.length; i++) {
            bytes memory call =
                abi.encodeCall(IRollup.submitBatch, (_header(), "", "", new bytes(lengths[i])));
            uint256 taken = 0;
            uint256 snapshot = vm.snapshotState();
            for (uint256 gas_ = GAS_CAP - 20_000; gas_ < GAS_CAP + 200_000; gas_ += 997) {
                vm.prank(OPERATOR);
                (bool accepted, bytes memory answer) = address(rollup).call{gas: gas_}(call);
                if (accepted) taken++;
                else _is(answer.length == 0 || bytes4(answer) == IRollup.TooLittleGas.selector, true);
                vm.revertToState(snapshot);
            }
            _is(taken > 10, true);
        }
    }

    function _byPowers(bytes memory data, uint256 x) private pure returns (uint256 y) {
        uint256 power = 1;
        for (uint256 i = 0; i < data.length; i += 31) {
            uint256 element = 0;
            for (uint256 j = 0; j < 31; j++) {
                element = element * 256 + uint8(data[i + j]);
            }
            y = addmod(y, mulmod(element, power, R), R);
            power = mulmod(power, x, R);
        }
    }
}

/// @title What enters and what leaves (sections 12 and 13).
contract MoneyTest is Fixture {
    function test_a_deposit_is_credited_and_change_goes_back() public {
        vm.prank(ALICE);
        (uint40 entry, uint64 index) = rollup.depositNew{value: 3 ether}(1, 1 ether, KEY_X, KEY_Y);
        vm.assertEq(entry, 1);
        vm.assertEq(index, 2 ** 32);
        vm.assertEq(ALICE.balance, 999 ether);
        vm.assertEq(rollup.escrow(1), 1 ether);
        vm.prank(BOB);
        (, index) = rollup.depositNew{value: 1}(1, 1, KEY_X, KEY_Y);
        vm.assertEq(index, 2 ** 32 + 1);
    }

    function test_change_of_every_call_goes_back() public {
        Token token = new Token();
        vm.expectEmit(address(rollup));
        emit IRollup.TokenAdded(2, address(token));
        vm.prank(ALICE);
        rollup.addToken{value: TOKEN_PRICE + 5}(address(token));
        uint256 paid = TOKEN_PRICE;
        vm.assertEq(ALICE.balance, 1_000 ether - paid);
        vm.prank(ALICE);
        rollup.depositTo{value: 12}(1, 7, 5, BOB, KEY_Y);
        paid += 7;
        vm.assertEq(ALICE.balance, 1_000 ether - paid);
        vm.prank(ALICE);
        rollup.forceExit{value: FORCED + 5}(5, 1);
        paid += FORCED;
        vm.assertEq(ALICE.balance, 1_000 ether - paid);
        vm.prank(ALICE);
        rollup.changeKey{value: FORCED + 5}(5, KEY_X, KEY_Y);
        paid += FORCED;
        vm.assertEq(ALICE.balance, 1_000 ether - paid);
        token.mint(ALICE, 7);
        vm.prank(ALICE);
        token.approve(address(rollup), 7);
        vm.prank(ALICE);
        rollup.depositNew{value: 5}(2, 7, KEY_X, KEY_Y);
        vm.assertEq(ALICE.balance, 1_000 ether - paid);
    }

    function test_what_is_not_paid_or_not_there_is_refused() public {
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, 2, 1));
        rollup.depositNew{value: 1}(1, 2, KEY_X, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoAmount.selector));
        rollup.depositNew(1, 0, KEY_X, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoSuchToken.selector, 2));
        rollup.depositNew(2, 1, KEY_X, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoSuchToken.selector, 0));
        rollup.depositNew(0, 1, KEY_X, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadKey.selector, 0, 1));
        rollup.depositNew{value: 1}(1, 1, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadIndex.selector, 2 ** 33));
        rollup.depositTo{value: 1}(1, 1, 2 ** 33, ALICE, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotCanonical.selector, R));
        rollup.depositTo{value: 1}(1, 1, 5, ALICE, R);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadIndex.selector, 2 ** 33));
        rollup.forceExit{value: FORCED}(2 ** 33, 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadIndex.selector, 2 ** 33));
        rollup.changeKey{value: FORCED}(2 ** 33, KEY_X, KEY_Y);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadKey.selector, 0, 1));
        rollup.changeKey{value: FORCED}(5, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, FORCED, FORCED - 1));
        rollup.forceExit{value: FORCED - 1}(5, 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, FORCED, FORCED - 1));
        rollup.changeKey{value: FORCED - 1}(5, KEY_X, KEY_Y);
    }

    function test_each_kind_enters_as_its_record() public {
        uint256[4] memory a = _elements(_posted(2, 0, 1, 5, 9, ALICE, uint160(BOB), KEY_Y));
        vm.expectEmit(address(rollup));
        emit IRollup.Queued(1, ALICE, a[0], a[1], a[2], a[3]);
        vm.prank(ALICE);
        rollup.depositTo{value: 9}(1, 9, 5, BOB, KEY_Y);
        a = _elements(_posted(3, 0, 7, 2 ** 33 - 1, 0, ALICE, 0, 0));
        vm.expectEmit(address(rollup));
        emit IRollup.Queued(2, ALICE, a[0], a[1], a[2], a[3]);
        vm.prank(ALICE);
        rollup.forceExit{value: FORCED}(2 ** 33 - 1, 7);
        a = _elements(_posted(4, 0, 0, 5, 0, ALICE, KEY_X, KEY_Y));
        vm.expectEmit(address(rollup));
        emit IRollup.Queued(3, ALICE, a[0], a[1], a[2], a[3]);
        vm.prank(ALICE);
        rollup.changeKey{value: FORCED}(5, KEY_X, KEY_Y);
    }

    function test_change_that_is_not_taken_reverts_the_call() public {
        Caller caller = new Caller();
        caller.setWay(Caller.Way.Refuses);
        bytes memory call = abi.encodeCall(IRollup.forceExit, (5, 1));
        vm.deal(address(caller), 1 ether);
        vm.prank(address(caller));
        vm.expectRevert(abi.encodeWithSelector(IRollup.ChangeNotTaken.selector));
        rollup.forceExit{value: FORCED + 1}(5, 1);
        vm.prank(address(caller));
        rollup.forceExit{value: FORCED}(5, 1);
        // No forced entry enters while a deposit's change is given back.
        caller.setReentry(address(rollup), call);
        vm.prank(address(caller));
        rollup.depositTo{value: 6}(1, 5, 70_000, BOB, KEY_Y);
        _is(bytes4(caller.lastAnswer()) == bytes4(keccak256("ReentrancyGuardReentrantCall()")), true);
    }

    function test_the_price_follows_base_fee() public {
        vm.assertEq(rollup.price(1), 0);
        vm.assertEq(rollup.price(2), 0);
        vm.assertEq(rollup.price(3), FORCED);
        vm.fee(10 ** 9);
        vm.assertEq(rollup.price(4), 30_000 * 10 ** 9);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoSuchKind.selector, 1, 5));
        rollup.price(5);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoSuchKind.selector, 1, 0));
        rollup.price(0);
    }

    function test_odd_tokens_are_credited_by_what_arrives() public {
        (Token token, uint16 id) = _addToken();
        vm.assertEq(id, 2);
        token.setOddity(Token.Oddity.ReturnsNothing);
        _depositToken(id, 1_000);
        vm.assertEq(rollup.escrow(id), 1_000);
        token.setOddity(Token.Oddity.TakesFee);
        _depositToken(id, 1_000);
        vm.assertEq(rollup.escrow(id), 1_990);
        token.setOddity(Token.Oddity.DoublesArrival);
        _depositToken(id, 5);
        vm.assertEq(rollup.escrow(id), 2_000);
        token.setOddity(Token.Oddity.TakesAway);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NoAmount.selector));
        _depositToken(id, 5);
        token.setOddity(Token.Oddity.Reverts);
        vm.expectRevert(abi.encodeWithSignature("Error(string)", "no"));
        _depositToken(id, 5);
        token.setOddity(Token.Oddity.ReturnsFalse);
        vm.expectRevert(abi.encodeWithSignature("SafeERC20FailedOperation(address)", address(token)));
        _depositToken(id, 5);
        token.setReentry(abi.encodeCall(IRollup.depositNew, (1, 1, KEY_X, KEY_Y)));
        _depositToken(id, 5);
        _is(bytes4(token.lastAnswer()) == bytes4(keccak256("ReentrancyGuardReentrantCall()")), true);
        vm.assertEq(rollup.escrow(id), 2_005);
    }

    function test_escrow_stays_below_its_bound() public {
        (, uint16 id) = _addToken();
        _depositToken(id, type(uint128).max - 1);
        (Token other,) = (Token(rollup.tokenAt(id)), id);
        other.mint(ALICE, 10);
        vm.expectRevert(abi.encodeWithSelector(IRollup.EscrowFull.selector, id));
        _depositToken(id, 2);
        _depositToken(id, 1);
        vm.assertEq(rollup.escrow(id), type(uint128).max);
    }

    function test_a_token_has_one_id() public {
        (Token token, uint16 id) = _addToken();
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.TokenKnown.selector, id));
        rollup.addToken{value: TOKEN_PRICE}(address(token));
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotAToken.selector, BOB));
        rollup.addToken{value: TOKEN_PRICE}(BOB);
        Token next = new Token();
        vm.expectRevert(abi.encodeWithSelector(IRollup.PriceNotPaid.selector, TOKEN_PRICE, TOKEN_PRICE - 1));
        rollup.addToken{value: TOKEN_PRICE - 1}(address(next));
    }

    function test_a_withdrawal_is_paid_once_to_its_recipient_alone() public {
        _depositNew(ALICE, 10);
        _submit(bytes.concat(_consume(0, 2), _withdrawal(1, 4, BOB), _withdrawal(1, 6, ALICE)));
        bytes32[] memory siblings = new bytes32[](1);
        siblings[0] = _leaf(0, 1, 1, 6, ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotInTree.selector, 0, 0));
        rollup.claim(0, 0, 1, 4, ALICE, siblings);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotInTree.selector, 1, 0));
        rollup.claim(1, 0, 1, 4, BOB, siblings);
        vm.expectEmit(address(rollup));
        emit IRollup.Claimed(0, 0, 1, 4, BOB);
        rollup.claim(0, 0, 1, 4, BOB, siblings);
        vm.assertEq(BOB.balance, 1_000 ether + 4);
        vm.assertEq(rollup.escrow(1), 6);
        _is(rollup.claimed(0, 0), true);
        vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyPaid.selector, 0, 0));
        rollup.claim(0, 0, 1, 4, BOB, siblings);
    }

    function test_a_recipient_that_refuses_can_be_paid_later_and_reenters_nothing() public {
        Caller caller = new Caller();
        caller.setWay(Caller.Way.Refuses);
        _depositNew(ALICE, 10);
        _submit(bytes.concat(_consume(0, 2), _withdrawal(1, 10, address(caller))));
        vm.expectRevert(abi.encodeWithSelector(IRollup.PaymentFailed.selector));
        rollup.claim(0, 0, 1, 10, address(caller), _none());
        _is(rollup.claimed(0, 0), false);
        bytes memory again = abi.encodeCall(IRollup.claim, (0, 0, 1, 10, address(caller), _none()));
        caller.setReentry(address(rollup), again);
        rollup.claim(0, 0, 1, 10, address(caller), _none());
        _is(bytes4(caller.lastAnswer()) == bytes4(keccak256("ReentrancyGuardReentrantCall()")), true);
        vm.assertEq(address(caller).balance, 10);
    }

    function test_fees_are_what_is_above_escrow() public {
        _depositNew(ALICE, 10);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NothingToPay.selector));
        rollup.collectFees();
        _forceExit(ALICE, 9);
        rollup.collectFees();
        vm.assertEq(FEES.balance, FORCED);
        vm.assertEq(address(rollup).balance, 10);
    }

    function test_an_account_leaves_a_frozen_rollup_once() public {
        _depositNew(ALICE, 10);
        uint64 index = 2 ** 32 + 5 * 8 + 3;
        IRollup.Account memory account = IRollup.Account(1, 2, 10, KEY_X, KEY_Y, BOB);
        uint256[7][11] memory siblings;
        IRollup.BatchHeader memory header = _header();
        header.newRoot = _rootOf(index, account, siblings);
        _submitAs(OPERATOR, header, _consume(0, 1));
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotFrozen.selector));
        rollup.exit(index, account, siblings);
        _freeze();
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadIndex.selector, 2 ** 33 + index));
        rollup.exit(2 ** 33 + index, account, siblings);
        IRollup.Account memory other = IRollup.Account(1, 2, 9, KEY_X, KEY_Y, BOB);
        uint256 wrong = _rootOf(index, other, siblings);
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongLeaf.selector, wrong));
        rollup.exit(index, other, siblings);
        other.balance = 0;
        vm.expectRevert(abi.encodeWithSelector(IRollup.NothingToPay.selector));
        rollup.exit(index, other, siblings);
        siblings[3][2] = R;
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotCanonical.selector, R));
        rollup.exit(index, account, siblings);
        siblings[3][2] = 0;
        vm.expectEmit(address(rollup));
        emit IRollup.Exited(index, 1, 10, BOB);
        uint256 left = gasleft();
        rollup.exit(index, account, siblings);
        // P-16.3, without calldata.
        _is(left - gasleft() < 1_130_000, true);
        vm.assertEq(BOB.balance, 1_000 ether + 10);
        vm.assertEq(rollup.escrow(1), 0);
        _is(rollup.exited(index), true);
        vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyExited.selector, index));
        rollup.exit(index, account, siblings);
    }

    function test_a_deposit_that_was_never_consumed_is_paid_back_once() public {
        _depositNew(ALICE, 10);
        _forceExit(ALICE, 9);
        uint256[4] memory a = _elements(entries[1]);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotFrozen.selector));
        rollup.refund(1, a[0], a[1], a[2], a[3]);
        _submit(_consume(0, 1));
        _freeze();
        uint256[4] memory b = _elements(entries[0]);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotAnEntry.selector, 0));
        rollup.refund(0, b[0], b[1], b[2], b[3]);
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongEntry.selector, 1));
        rollup.refund(1, a[0], a[1] | (1 << 248), a[2], a[3]);
        uint256[4] memory c = _elements(entries[2]);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotADeposit.selector, 2));
        rollup.refund(2, c[0], c[1], c[2], c[3]);
        uint256 before = ALICE.balance;
        vm.expectEmit(address(rollup));
        emit IRollup.Refunded(1, 1, 10, ALICE);
        rollup.refund(1, a[0], a[1], a[2], a[3]);
        vm.assertEq(ALICE.balance, before + 10);
        vm.assertEq(rollup.escrow(1), 0);
        _is(rollup.refunded(1), true);
        vm.expectRevert(abi.encodeWithSelector(IRollup.AlreadyRefunded.selector, 1));
        rollup.refund(1, a[0], a[1], a[2], a[3]);
    }

    /// @dev P-13.6: what made a fee account has no amount.
    function test_an_entry_without_an_amount_is_no_deposit() public {
        _freeze();
        uint256[4] memory a = _elements(entries[0]);
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotADeposit.selector, 0));
        rollup.refund(0, a[0], a[1], a[2], a[3]);
        _is(rollup.refunded(0), false);
    }

    function test_a_deposit_to_an_account_is_paid_back_to_its_depositor() public {
        vm.prank(ALICE);
        rollup.depositTo{value: 10}(1, 10, 70_000, BOB, KEY_Y);
        uint256[4] memory a = _elements(_posted(2, 0, 1, 70_000, 10, ALICE, uint160(BOB), KEY_Y));
        _freeze();
        rollup.refund(1, a[0], a[1], a[2], a[3]);
        vm.assertEq(ALICE.balance, 1_000 ether);
        vm.assertEq(rollup.escrow(1), 0);
    }

    function test_an_exit_by_another_hash_is_refused() public {
        IRollup.Account memory account = IRollup.Account(1, 2, 10, KEY_X, KEY_Y, BOB);
        uint256[7][11] memory siblings;
        _freeze();
        vm.etch(address(poseidon), address(scripted).code);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadParameter.selector, bytes32("poseidon")));
        rollup.exit(5, account, siblings);
    }

    function _depositToken(uint16 id, uint128 amount) private {
        vm.prank(ALICE);
        rollup.depositNew(id, amount, KEY_X, KEY_Y);
    }
}
