// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EntryQueue} from "./EntryQueue.sol";
import {IRollup} from "./IRollup.sol";
import {IVerifier} from "./IVerifier.sol";
import {Outbox} from "./Outbox.sol";
import {Records} from "./Records.sol";
import {Streams} from "./Streams.sol";
import {Verifiers} from "./Verifiers.sol";
import {Withdrawals} from "./Withdrawals.sol";

/// @title How the state moves: one proven batch after the other (section 9).
abstract contract Batches is Outbox, Verifiers {
    using EntryQueue for EntryQueue.Queue;
    using Records for uint256[4];

    /// @dev Instances of a root proof (P-8.4), and those of them that are the accumulator's limbs: they come first.
    uint256 private constant INSTANCES = 17;
    uint256 private constant LIMBS = 8;
    /// @dev More than what making the verifier's call costs besides the gas that it is given, for the longest proof.
    uint256 private constant CALL_GAS = 20_000;
    /// @dev Longer than any proof. The bound makes the call's cost one.
    uint256 private constant PROOF_BYTES_MAX = 2 ** 14;

    /// @dev What the records of a batch come to.
    struct Sums {
        uint256 consumed;
        uint256 withdrawals;
        uint216 hash;
        bytes32 root;
    }

    /// @inheritdoc IRollup
    function submitBatch(
        BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB,
        bytes calldata proof
    ) external nonReentrant {
        if (_queue.frozen) revert IsFrozen();
        if (header.number != nextBatchNumber) revert WrongBatchNumber(nextBatchNumber, header.number);
        if (header.oldRoot != stateRoot) revert WrongOldRoot(stateRoot, header.oldRoot);
        bool isOperator = msg.sender == operator;
        if (!isOperator && !_isEnforced()) revert OnlyOperator(msg.sender);
        _requireTimely(header.time);
        Verifier storage verifier_ = _requireInForce(header.verifier);
        uint256 records = Records.count(dataA);
        Streams.requirePostedB(dataB);
        Sums memory sums = _read(header.number, dataA, records);
        if (!isOperator && sums.consumed == 0) revert ConsumesNothing();
        uint40 head = _queue.headAfter(sums.consumed, sums.hash, consumedMax, dueAfter);
        _verify(verifier_, header, dataA, dataB, proof);

        if (sums.consumed != 0) _queue.head = head;
        stateRoot = header.newRoot;
        nextBatchNumber = header.number + 1;
        lastBatchTime = header.time;
        acceptedAt = uint64(block.timestamp);
        if (sums.withdrawals != 0) _ledger.roots[header.number] = sums.root;
        _emitAccepted(header, sums);
        emit BatchData(header.number, dataA, dataB);
    }

    /// @inheritdoc IRollup
    function mode() external view returns (Mode) {
        if (_queue.frozen) return Mode.Frozen;
        return _isEnforced() ? Mode.Enforced : Mode.Normal;
    }

    /// @dev Whether anybody may submit (P-9.9).
    function _isEnforced() private view returns (bool) {
        return block.timestamp >= uint256(acceptedAt) + silence || _queue.overdue(dueAfter);
    }

    /// @dev The bounds on a batch's time (P-9.4).
    function _requireTimely(uint64 time) private view {
        if (time > type(uint40).max) revert TimeTooLarge(time);
        if (time < lastBatchTime) revert TimeBeforeLastBatch(lastBatchTime, time);
        if (time > block.timestamp) revert TimeInFuture(block.timestamp, time);
        if (block.timestamp - time > batchAgeMax) revert BatchTooOld(block.timestamp - batchAgeMax, time);
    }

    /// @dev Goes through the records once: what they consume of the queue, and what L1 owes by them (P-9.10, P-9.12).
    function _read(uint64 batch, bytes calldata dataA, uint256 records)
        private
        view
        returns (Sums memory sums)
    {
        sums.hash = _queue.hashBefore(_queue.head);
        bytes32[] memory leaves = new bytes32[](records);
        uint256[4] memory elements;
        Withdrawals.Withdrawal memory owed;
        owed.batch = batch;
        for (uint256 i = 0; i < records; i++) {
            Records.read(dataA, i, elements);
            if (elements.pays()) {
                owed.position = uint32(sums.withdrawals++);
                (owed.token, owed.amount, owed.recipient) =
                (elements.token(), elements.amount(), elements.account());
                leaves[owed.position] = Withdrawals.leaf(owed);
            }
            if (elements.queued()) {
                elements.toEntry();
                sums.hash = EntryQueue.roll(sums.hash, elements);
                sums.consumed++;
            }
        }
        sums.root = Withdrawals.root(leaves, sums.withdrawals);
    }

    /// @dev Reverts unless the verifier, as it was registered, accepts (P-9.5, P-9.6).
    function _verify(
        Verifier storage verifier_,
        BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB,
        bytes calldata proof
    ) private view {
        (IVerifier called, uint256 gasCap) = (IVerifier(verifier_.addr), verifier_.gasCap);
        bytes32 found = address(called).codehash;
        if (found != verifier_.codeHash) revert VerifierChanged(header.verifier, verifier_.codeHash, found);
        if (proof.length > PROOF_BYTES_MAX) revert ProofRejected();
        uint256[] memory rows = _instances(header, dataA, dataB);
        // A call forwards at most 63/64 of what is left; below the cap, the caller's gas would decide the outcome.
        uint256 left = gasleft();
        uint256 needed = gasCap + gasCap / 63 + CALL_GAS;
        if (left < needed) revert TooLittleGas(needed, left);
        try called.verify{gas: gasCap}(proof, rows) returns (uint256 answer) {
            if (answer != 1) revert ProofRejected();
        } catch {
            if (left - gasleft() >= gasCap) revert VerifierOutOfGas(gasCap);
            revert ProofRejected();
        }
    }

    /// @dev The instances of P-8.4. That each is below `r` is the verifier's to check (P-9.3).
    function _instances(BatchHeader calldata header, bytes calldata dataA, bytes calldata dataB)
        private
        view
        returns (uint256[] memory rows)
    {
        uint256 x = Streams.challenge(rollupId, header, dataA, dataB);
        rows = new uint256[](INSTANCES);
        for (uint256 i = 0; i < LIMBS; i++) {
            rows[i] = header.accumulator[i];
        }
        rows[8] = rollupId;
        rows[9] = header.time;
        rows[10] = x;
        rows[11] = header.oldRoot;
        rows[12] = header.newRoot;
        rows[13] = header.commitmentA;
        rows[14] = Streams.evaluate(dataA, x);
        rows[15] = header.commitmentB;
        rows[16] = Streams.evaluate(dataB, x);
    }

    function _emitAccepted(BatchHeader calldata header, Sums memory sums) private {
        emit BatchAccepted(
            header.number,
            header.time,
            header.oldRoot,
            header.newRoot,
            header.commitmentA,
            header.commitmentB,
            _queue.head,
            sums.root,
            uint32(sums.withdrawals),
            header.verifier,
            msg.sender
        );
    }
}
