// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Directory} from "../contracts/Directory.sol";
import {IRollup} from "../contracts/IRollup.sol";
import {Rollup} from "../contracts/Rollup.sol";
import {Vm, vm} from "./Vm.sol";
import {Fixture} from "./Fixture.sol";
import {OtherHash} from "./StandIns.sol";

/// @title Roles and their bounds (section 14), parameters that would brick an instance (P-17.1), the directory (P-14.7).
contract RolesTest is Fixture {
    Maker internal maker = new Maker();

    function test_the_operator_hands_on_in_two_steps() public {
        bytes memory only = abi.encodeWithSelector(IRollup.OnlyRole.selector, BOB);
        vm.prank(BOB);
        vm.expectRevert(only);
        rollup.transferOperator(BOB);
        vm.prank(OPERATOR);
        rollup.transferOperator(ALICE);
        vm.prank(OPERATOR);
        rollup.transferOperator(BOB);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(IRollup.OnlyRole.selector, ALICE));
        rollup.acceptOperator();
        _submit(_consume(0, 1));
        vm.prank(BOB);
        rollup.acceptOperator();
        vm.assertEq(rollup.operator(), BOB);
        vm.assertEq(rollup.pendingOperator(), address(0));
        _refuse("", abi.encodeWithSelector(IRollup.OnlyOperator.selector, OPERATOR));
        _submitAs(BOB, _header(), "");
    }

    function test_a_role_that_was_renounced_is_nobodys_for_ever() public {
        vm.prank(GOVERNOR);
        rollup.transferGovernor(BOB);
        vm.prank(GOVERNOR);
        rollup.renounceGovernor();
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IRollup.OnlyRole.selector, BOB));
        rollup.acceptGovernor();
        vm.assertEq(rollup.governor(), address(0));
        vm.prank(GUARDIAN);
        rollup.transferGuardian(BOB);
        vm.prank(GUARDIAN);
        rollup.renounceGuardian();
        vm.prank(BOB);
        vm.expectRevert(abi.encodeWithSelector(IRollup.OnlyRole.selector, BOB));
        rollup.acceptGuardian();
        vm.assertEq(rollup.guardian(), address(0));
    }

    function test_governor_and_guardian_hand_on() public {
        vm.prank(GOVERNOR);
        rollup.transferGovernor(BOB);
        vm.prank(BOB);
        rollup.acceptGovernor();
        vm.assertEq(rollup.governor(), BOB);
        vm.prank(GUARDIAN);
        rollup.transferGuardian(BOB);
        vm.prank(BOB);
        rollup.acceptGuardian();
        vm.assertEq(rollup.guardian(), BOB);
    }

    function test_every_change_of_a_role_is_told() public {
        IRollup.Parameters memory p = _parameters();
        IRollup.Registration[] memory first = _registrations();
        vm.recordLogs();
        new Rollup(p, first);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bytes32[3] memory events = [
            IRollup.OperatorTransferred.selector,
            IRollup.GovernorTransferred.selector,
            IRollup.GuardianTransferred.selector
        ];
        address[3] memory holders = [OPERATOR, GOVERNOR, GUARDIAN];
        for (uint256 i = 0; i < 3; i++) {
            _is(logs[i].topics[0] == events[i], true);
            _is(keccak256(logs[i].data) == keccak256(abi.encode(address(0), holders[i])), true);
        }
        vm.expectEmit(address(rollup));
        emit IRollup.OperatorTransferStarted(OPERATOR, BOB);
        vm.prank(OPERATOR);
        rollup.transferOperator(BOB);
        vm.expectEmit(address(rollup));
        emit IRollup.OperatorTransferred(OPERATOR, BOB);
        vm.prank(BOB);
        rollup.acceptOperator();
        vm.expectEmit(address(rollup));
        emit IRollup.GovernorTransferStarted(GOVERNOR, BOB);
        vm.prank(GOVERNOR);
        rollup.transferGovernor(BOB);
        vm.expectEmit(address(rollup));
        emit IRollup.GovernorTransferred(GOVERNOR, BOB);
        vm.prank(BOB);
        rollup.acceptGovernor();
        vm.expectEmit(address(rollup));
        emit IRollup.GuardianTransferStarted(GUARDIAN, BOB);
        vm.prank(GUARDIAN);
        rollup.transferGuardian(BOB);
        vm.expectEmit(address(rollup));
        emit IRollup.GuardianTransferred(GUARDIAN, BOB);
        vm.prank(BOB);
        rollup.acceptGuardian();
        vm.assertEq(rollup.pendingGovernor(), address(0));
        vm.assertEq(rollup.pendingGuardian(), address(0));
    }

    function test_what_governor_and_guardian_do_is_told() public {
        vm.expectEmit(address(rollup));
        emit IRollup.VerifierAdded(
            1, address(scripted), address(scripted).codehash, VK_DIGEST, GAS_CAP, uint64(NOW + DELAY)
        );
        vm.prank(GOVERNOR);
        vm.assertEq(rollup.addVerifier(address(scripted), VK_DIGEST, GAS_CAP), 1);
        vm.expectEmit(address(rollup));
        emit IRollup.VerifierRetired(1, uint64(NOW));
        vm.prank(GOVERNOR);
        rollup.cancelVerifier(1);
        vm.expectEmit(address(rollup));
        emit IRollup.VerifierRetired(0, uint64(NOW + DELAY));
        vm.prank(GOVERNOR);
        rollup.retireVerifier(0, uint64(NOW + DELAY));
        vm.expectEmit(address(rollup));
        emit IRollup.VerifierDisabled(0);
        vm.prank(GUARDIAN);
        rollup.disableVerifier(0);
        vm.expectEmit(address(rollup));
        emit IRollup.DepositsPaused(uint64(NOW + 7 days));
        vm.prank(GUARDIAN);
        rollup.pauseDeposits();
    }

    function test_each_power_is_its_roles_alone() public {
        bytes memory only = abi.encodeWithSelector(IRollup.OnlyRole.selector, OPERATOR);
        bytes[9] memory calls = [
            abi.encodeCall(IRollup.addVerifier, (address(scripted), VK_DIGEST, GAS_CAP)),
            abi.encodeCall(IRollup.retireVerifier, (0, type(uint64).max - 1)),
            abi.encodeCall(IRollup.cancelVerifier, (0)),
            abi.encodeCall(IRollup.disableVerifier, (0)),
            abi.encodeCall(IRollup.pauseDeposits, ()),
            abi.encodeCall(IRollup.transferGovernor, (OPERATOR)),
            abi.encodeCall(IRollup.renounceGovernor, ()),
            abi.encodeCall(IRollup.transferGuardian, (OPERATOR)),
            abi.encodeCall(IRollup.renounceGuardian, ())
        ];
        for (uint256 i = 0; i < calls.length; i++) {
            vm.prank(OPERATOR);
            (bool accepted, bytes memory answer) = address(rollup).call(calls[i]);
            _is(accepted, false);
            vm.assertEq(uint256(keccak256(answer)), uint256(keccak256(only)));
        }
    }

    function test_a_verifier_that_was_cancelled_never_is_in_force() public {
        vm.prank(GOVERNOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadParameter.selector, bytes32("activeFrom")));
        rollup.cancelVerifier(0);
        vm.prank(GOVERNOR);
        rollup.addVerifier(address(scripted), VK_DIGEST, GAS_CAP);
        vm.warp(NOW + DELAY - 1);
        vm.prank(GOVERNOR);
        rollup.cancelVerifier(1);
        vm.warp(NOW + DELAY);
        IRollup.BatchHeader memory header = _header();
        header.verifier = 1;
        bytes memory not = abi.encodeWithSelector(IRollup.VerifierNotInForce.selector, 1);
        _refuseAs(OPERATOR, header, _consume(0, 1), not);
    }

    function test_a_disabled_verifier_takes_nothing_and_leaves_claims() public {
        _depositNew(ALICE, 5);
        _submit(bytes.concat(_consume(0, 2), _withdrawal(1, 5, BOB)));
        vm.prank(GUARDIAN);
        rollup.disableVerifier(0);
        _refuse("", abi.encodeWithSelector(IRollup.VerifierNotInForce.selector, 0));
        rollup.claim(0, 0, 1, 5, BOB, _none());
        vm.assertEq(BOB.balance, 1_000 ether + 5);
    }

    function test_a_pause_has_its_seconds() public {
        vm.prank(GUARDIAN);
        rollup.pauseDeposits();
        uint64 until = uint64(NOW + 7 days);
        bytes memory paused = abi.encodeWithSelector(IRollup.DepositsArePaused.selector, until);
        vm.warp(until - 1);
        vm.prank(ALICE);
        vm.expectRevert(paused);
        rollup.depositNew{value: 1}(1, 1, KEY_X, KEY_Y);
        vm.prank(ALICE);
        vm.expectRevert(paused);
        rollup.depositTo{value: 1}(1, 1, 5, ALICE, KEY_Y);
        _forceExit(ALICE, 5);
        vm.warp(until);
        _depositNew(ALICE, 1);
        vm.warp(NOW + 37 days - 1);
        vm.prank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(IRollup.PausedLately.selector, NOW + 37 days));
        rollup.pauseDeposits();
        vm.warp(NOW + 37 days);
        vm.prank(GUARDIAN);
        rollup.pauseDeposits();
        vm.assertEq(rollup.pausedUntil(), NOW + 44 days);
    }

    function test_parameters_that_would_brick_an_instance_are_refused() public {
        IRollup.Parameters memory p = _parameters();
        p.dueAfter = 1 hours - 1;
        _bad(p, "dueAfter");
        p.dueAfter = 7 days + 1;
        _bad(p, "dueAfter");
        p = _parameters();
        p.silence = 1 hours - 1;
        _bad(p, "silence");
        p.silence = 7 days + 1;
        _bad(p, "silence");
        p = _parameters();
        p.freezeAfter = 7 days - 1;
        _bad(p, "freezeAfter");
        p.freezeAfter = 30 days + 1;
        _bad(p, "freezeAfter");
        p = _parameters();
        p.consumedMax = 0;
        _bad(p, "consumedMax");
        p.consumedMax = 1_001;
        _bad(p, "consumedMax");
        p = _parameters();
        p.batchAgeMax = 1 hours - 1;
        _bad(p, "batchAgeMax");
        p.batchAgeMax = 7 days + 1;
        _bad(p, "batchAgeMax");
        p = _parameters();
        p.delay = DUE + FREEZE + 30 days - 1;
        _bad(p, "delay");
        p.delay = 365 days + 1;
        _bad(p, "delay");
        p = _parameters();
        p.tokenPrice = 0;
        _bad(p, "tokenPrice");
        p.tokenPrice = 2 ** 96;
        _bad(p, "tokenPrice");
        p = _parameters();
        p.operator = address(0);
        _bad(p, "operator");
        p = _parameters();
        p.feeAddress = address(0);
        _bad(p, "feeAddress");
        p = _parameters();
        p.poseidon = address(scripted);
        _bad(p, "poseidon");
        p = _parameters();
        p.poseidonCodeHash = address(scripted).codehash;
        _bad(p, "poseidon");
        (p.poseidon, p.poseidonCodeHash) = (ALICE, ALICE.codehash);
        _bad(p, "poseidon");
        // Another hash, whatever is said of its code.
        p.poseidon = address(new OtherHash());
        p.poseidonCodeHash = p.poseidon.codehash;
        _bad(p, "poseidon");
        p = _parameters();
        (p.feeKeyX, p.feeKeyY) = (0, 1);
        IRollup.Registration[] memory first = _registrations();
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadKey.selector, 0, 1));
        maker.make(p, first);
    }

    function test_the_ends_of_each_parameters_range_are_taken() public {
        IRollup.Parameters memory p = _parameters();
        (p.dueAfter, p.silence, p.freezeAfter) = (1 hours, 1 hours, 7 days);
        (p.consumedMax, p.batchAgeMax, p.delay, p.tokenPrice) = (1, 1 hours, 37 days + 1 hours, 1);
        IRollup.Registration[] memory first = _registrations();
        first[0].gasCap = 250_000;
        Rollup least = new Rollup(p, first);
        vm.assertEq(least.dueAfter(), 1 hours);
        vm.assertEq(least.silence(), 1 hours);
        vm.assertEq(least.freezeAfter(), 7 days);
        vm.assertEq(least.consumedMax(), 1);
        vm.assertEq(least.batchAgeMax(), 1 hours);
        vm.assertEq(least.delay(), 37 days + 1 hours);
        vm.assertEq(least.tokenPrice(), 1);
        vm.assertEq(least.feeAddress(), FEES);
        vm.assertEq(least.feeKeyX(), KEY_X);
        vm.assertEq(least.feeKeyY(), KEY_Y);
        (p.dueAfter, p.silence, p.freezeAfter) = (7 days, 7 days, 30 days);
        (p.consumedMax, p.batchAgeMax, p.delay, p.tokenPrice) = (1_000, 7 days, 365 days, 2 ** 96 - 1);
        first = new IRollup.Registration[](8);
        for (uint256 i = 0; i < 8; i++) {
            first[i] = IRollup.Registration(address(scripted), VK_DIGEST, 8_000_000);
        }
        vm.assertEq(new Rollup(p, first).verifiers(), 8);
    }

    function test_verifiers_that_would_brick_an_instance_are_refused() public {
        IRollup.Registration[] memory first = _registrations();
        first[0].gasCap = 249_999;
        _badVerifier(first, "gasCap");
        first[0].gasCap = 8_000_001;
        _badVerifier(first, "gasCap");
        first = _registrations();
        first[0].vkDigest = 0;
        _badVerifier(first, "vkDigest");
        first = _registrations();
        first[0].addr = BOB;
        _badVerifier(first, "verifier");
        _badVerifier(new IRollup.Registration[](0), "verifiers");
        _badVerifier(new IRollup.Registration[](9), "verifiers");
        scripted.setCapacity(MOST - 1);
        _badVerifier(_registrations(), "queueCapacity");
        scripted.setCapacity(MOST);
        new Rollup(_parameters(), _registrations());
    }

    /// @dev P-14.4: a verifier's number is eight bits.
    function test_there_are_256_verifiers_and_no_more() public {
        for (uint256 id = 1; id < 256; id++) {
            vm.prank(GOVERNOR);
            vm.assertEq(rollup.addVerifier(address(scripted), VK_DIGEST, GAS_CAP), id);
        }
        vm.prank(GOVERNOR);
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadParameter.selector, bytes32("verifiers")));
        rollup.addVerifier(address(scripted), VK_DIGEST, GAS_CAP);
        vm.assertEq(rollup.verifiers(), 256);
    }

    /// @dev P-17.1.
    function test_an_instance_is_neither_its_operator_nor_where_its_fees_go() public {
        IRollup.Parameters memory p = _parameters();
        p.operator = maker.next();
        _bad(p, "operator");
        (p.operator, p.feeAddress) = (OPERATOR, maker.next());
        _bad(p, "feeAddress");
    }

    function test_an_instance_is_current_thirty_days_after_it_was_announced() public {
        Directory directory = new Directory(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Directory.NoInstance.selector));
        directory.current();
        vm.expectRevert(abi.encodeWithSelector(Directory.NoInstance.selector));
        directory.instance(0);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Directory.NoInstance.selector));
        directory.withdraw();
        vm.expectRevert(abi.encodeWithSignature("OwnableUnauthorizedAccount(address)", address(this)));
        directory.announce(address(rollup), 2);
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Directory.NotAnInstance.selector, BOB));
        directory.announce(BOB, 2);
        vm.expectEmit(address(directory));
        emit Directory.Announced(0, address(rollup), 2, uint64(NOW + 30 days));
        vm.prank(ALICE);
        directory.announce(address(rollup), 2);
        vm.assertEq(directory.instance(0).from, NOW + 30 days);
        vm.warp(NOW + 30 days - 1);
        vm.expectRevert(abi.encodeWithSelector(Directory.NoInstance.selector));
        directory.current();
        vm.warp(NOW + 30 days);
        vm.assertEq(directory.current().addr, address(rollup));
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Directory.AlreadyCurrent.selector, 0));
        directory.withdraw();
        vm.prank(ALICE);
        vm.expectRevert(abi.encodeWithSelector(Directory.OldVersion.selector, 2, 1));
        directory.announce(address(scripted), 1);
        vm.prank(ALICE);
        directory.announce(address(scripted), 3);
        vm.assertEq(directory.current().version, 2);
        vm.expectRevert(abi.encodeWithSignature("OwnableUnauthorizedAccount(address)", address(this)));
        directory.withdraw();
        vm.expectEmit(address(directory));
        emit Directory.Withdrawn(1);
        vm.prank(ALICE);
        directory.withdraw();
        vm.assertEq(directory.instances(), 1);
        // Another instance of the same version.
        vm.prank(ALICE);
        vm.assertEq(directory.announce(address(scripted), 2), 1);
    }

    function _bad(IRollup.Parameters memory p, bytes32 name) private {
        IRollup.Registration[] memory first = _registrations();
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadParameter.selector, name));
        maker.make(p, first);
    }

    function _badVerifier(IRollup.Registration[] memory first, bytes32 name) private {
        IRollup.Parameters memory p = _parameters();
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadParameter.selector, name));
        maker.make(p, first);
    }
}

/// @title Makes a rollup by a call, whose revert can be expected however forge makes contracts.
contract Maker {
    /// @dev Where its first contract comes to stand; one that failed takes no number.
    function next() external view returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"d694", address(this), hex"01")))));
    }

    function make(IRollup.Parameters memory p, IRollup.Registration[] memory first) external {
        new Rollup(p, first);
    }
}
