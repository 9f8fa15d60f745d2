// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "../contracts/IRollup.sol";
import {Rollup} from "../contracts/Rollup.sol";
import {IVerifier} from "../contracts/IVerifier.sol";
import {
    AcceptsAll,
    AcceptsOne,
    AnswersBytes,
    BurnsAll,
    NeedsGas,
    RejectsAll,
    RevertsAll
} from "./StandIns.sol";
import {Vm, vm} from "./Vm.sol";

/// @title Every rule of PROTOCOL.md section 9 that needs no real proof, each broken alone.
contract RollupTest {
    uint256 internal constant R =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 internal constant GENESIS = 0x1234;
    uint256 internal constant GAS_CAP = 1_000_000;
    uint256 internal constant AGE_MAX = 3_600;
    /// @dev What the stand-ins have for the digest of a key.
    bytes32 internal constant VK_DIGEST = bytes32(uint256(0x5afe));
    uint256 internal constant NOW = 1_800_000_000;

    Rollup internal rollup;
    bytes internal proof = new bytes(192);
    bytes internal data = new bytes(62);

    function setUp() public {
        vm.warp(NOW);
        rollup = _deploy(address(new AcceptsAll()));
        data[3] = 0x55;
        data[61] = 0x66;
        proof[191] = 0x77;
    }

    // Construction.

    function test_the_constructor_fixes_what_it_is_given() public {
        AcceptsAll verifier = new AcceptsAll();
        Rollup made = _deploy(address(verifier));
        vm.assertEq(made.verifier(), address(verifier));
        vm.assertEq(made.stateRoot(), GENESIS);
        vm.assertEq(made.verifierGasCap(), GAS_CAP);
        vm.assertEq(made.maxBatchAge(), AGE_MAX);
        vm.assertEq(uint256(made.vkDigest()), uint256(VK_DIGEST));
        vm.assertEq(made.nextBatchNumber(), 0);
        vm.assertEq(made.lastBatchTime(), 0);
    }

    function test_the_rollup_id_is_chain_and_address() public {
        address verifier = address(new AcceptsAll());
        vm.assertEq(rollup.rollupId(), block.chainid * 2 ** 160 + uint160(address(rollup)));
        vm.chainId(type(uint64).max);
        Rollup other = _deploy(verifier);
        vm.assertEq(other.rollupId(), uint256(type(uint64).max) * 2 ** 160 + uint160(address(other)));
    }

    function test_a_verifier_without_code_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IRollup.VerifierHasNoCode.selector, address(0xdead)));
        _deploy(address(0xdead));
    }

    function test_a_genesis_root_that_is_not_canonical_is_refused() public {
        address verifier = address(new AcceptsAll());
        vm.expectRevert(abi.encodeWithSelector(IRollup.NotCanonical.selector, 11, R));
        new Rollup(verifier, VK_DIGEST, R, GAS_CAP, AGE_MAX);
        new Rollup(verifier, VK_DIGEST, R - 1, GAS_CAP, AGE_MAX);
    }

    function test_a_verifier_of_another_key_is_refused() public {
        address verifier = address(new AcceptsAll());
        bytes32 other = bytes32(uint256(VK_DIGEST) ^ 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongVerifyingKey.selector, other, VK_DIGEST));
        new Rollup(verifier, other, GENESIS, GAS_CAP, AGE_MAX);
    }

    /// @dev A contract that could accept nothing, for ever, is not made.
    function test_a_gas_cap_under_which_nothing_is_accepted_is_refused() public {
        address verifier = address(new AcceptsAll());
        uint256[5] memory caps = [uint256(0), 299_999, 2 ** 23 + 1, 2 ** 255, type(uint256).max];
        for (uint256 i = 0; i < caps.length; i++) {
            bytes memory refusal =
                abi.encodeWithSelector(IRollup.GasCapOutOfRange.selector, 300_000, 2 ** 23, caps[i]);
            vm.expectRevert(refusal);
            new Rollup(verifier, VK_DIGEST, GENESIS, caps[i], AGE_MAX);
        }
        vm.assertEq(new Rollup(verifier, VK_DIGEST, GENESIS, 300_000, AGE_MAX).verifierGasCap(), 300_000);
        vm.assertEq(new Rollup(verifier, VK_DIGEST, GENESIS, 2 ** 23, AGE_MAX).verifierGasCap(), 2 ** 23);
    }

    function test_a_maximum_age_that_no_proof_meets_is_refused() public {
        address verifier = address(new AcceptsAll());
        uint256[2] memory ages = [uint256(0), 599];
        for (uint256 i = 0; i < ages.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IRollup.MaxBatchAgeTooShort.selector, 600, ages[i]));
            new Rollup(verifier, VK_DIGEST, GENESIS, GAS_CAP, ages[i]);
        }
        vm.assertEq(new Rollup(verifier, VK_DIGEST, GENESIS, GAS_CAP, 600).maxBatchAge(), 600);
    }

    /// @dev No age is too old for the largest one, at which nothing overflows.
    function test_the_largest_maximum_age_takes_a_batch_of_any_age() public {
        rollup = new Rollup(address(new AcceptsAll()), VK_DIGEST, GENESIS, GAS_CAP, type(uint256).max);
        IRollup.BatchHeader memory header = _header();
        header.time = 0;
        _submit(header);
        vm.assertEq(rollup.nextBatchNumber(), 1);
    }

    function test_an_address_that_answers_no_digest_is_no_verifier() public {
        uint256[2] memory lengths = [uint256(0), 31];
        for (uint256 i = 0; i < lengths.length; i++) {
            address other = address(new AnswersBytes(lengths[i]));
            // Too little for a digest: the compiler's own check of an answer, which says nothing.
            vm.expectRevert(bytes(""));
            _deploy(other);
        }
    }

    // Acceptance.

    function test_an_accepted_batch_moves_root_number_and_time() public {
        IRollup.BatchHeader memory header = _header();
        _submit(header);
        vm.assertEq(rollup.stateRoot(), header.newRoot);
        vm.assertEq(rollup.nextBatchNumber(), 1);
        vm.assertEq(rollup.lastBatchTime(), header.time);

        header.number = 1;
        (header.oldRoot, header.newRoot) = (header.newRoot, 0x9999);
        _submit(header);
        vm.assertEq(rollup.stateRoot(), 0x9999);
        vm.assertEq(rollup.nextBatchNumber(), 2);
    }

    function test_an_accepted_batch_is_recorded_by_one_event() public {
        IRollup.BatchHeader memory header = _header();
        vm.recordLogs();
        _submit(header);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].emitter, address(rollup));
        vm.assertEq(logs[0].topics.length, 2);
        bytes32 signature = keccak256("BatchAccepted(uint64,uint64,uint256,uint256,uint256)");
        vm.assertEq(uint256(logs[0].topics[0]), uint256(signature));
        vm.assertEq(uint256(logs[0].topics[1]), header.number);
        (uint64 time, uint256 oldRoot, uint256 newRoot, uint256 verifierGas) =
            abi.decode(logs[0].data, (uint64, uint256, uint256, uint256));
        vm.assertEq(time, header.time);
        vm.assertEq(oldRoot, GENESIS);
        vm.assertEq(newRoot, header.newRoot);
        vm.assertEq(verifierGas > 0 && verifierGas < GAS_CAP ? 1 : 0, 1);
    }

    function test_the_verifier_gets_the_instances_in_order_and_the_proof() public {
        IRollup.BatchHeader memory header = _header();
        Rollup probe = rollup;
        uint256[] memory rows = probe.instances(header, "", data);
        for (uint256 i = 0; i < 8; i++) {
            vm.assertEq(rows[i], header.accumulator[i]);
        }
        vm.assertEq(rows[8], probe.rollupId());
        vm.assertEq(rows[9], header.time);
        vm.assertEq(rows[10], probe.challenge(0, header.commitmentA, header.commitmentB, "", data));
        vm.assertEq(rows[11], header.oldRoot);
        vm.assertEq(rows[12], header.newRoot);
        vm.assertEq(rows[13], header.commitmentA);
        vm.assertEq(rows[14], 0);
        vm.assertEq(rows[15], header.commitmentB);
        vm.assertEq(rows[16], _evaluateByPowers(data, rows[10]));

        vm.assertEq(rows.length, 17);

        bytes memory expected = abi.encodeCall(IVerifier.verify, (proof, rows));
        vm.etch(rollup.verifier(), address(new AcceptsOne(keccak256(expected))).code);
        _submit(header);
        vm.assertEq(rollup.nextBatchNumber(), 1);
    }

    // Order (P-9.2).

    function test_a_replayed_batch_is_refused() public {
        IRollup.BatchHeader memory header = _header();
        _submit(header);
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongBatchNumber.selector, 1, 0));
        _submit(header);
    }

    function test_a_batch_ahead_of_its_turn_is_refused() public {
        IRollup.BatchHeader memory header = _header();
        header.number = 1;
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongBatchNumber.selector, 0, 1));
        _submit(header);
    }

    function test_a_batch_on_another_root_is_refused() public {
        IRollup.BatchHeader memory header = _header();
        header.oldRoot = GENESIS + R;
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongOldRoot.selector, GENESIS, GENESIS + R));
        _submit(header);
        header.oldRoot = GENESIS + 1;
        vm.expectRevert(abi.encodeWithSelector(IRollup.WrongOldRoot.selector, GENESIS, GENESIS + 1));
        _submit(header);
    }

    // Canonical field elements (P-9.3).

    /// @dev Canonical or not: the verifier is given what the caller gives, and checks it.
    function test_no_element_is_changed_on_its_way_to_the_verifier(uint256 value) public view {
        IRollup.BatchHeader memory header = _header();
        for (uint256 i = 0; i < 8; i++) {
            header.accumulator[i] = value ^ (i << 8);
        }
        (header.newRoot, header.commitmentA, header.commitmentB) = (value, value ^ 1, value ^ 2);
        uint256[] memory rows = rollup.instances(header, "", data);
        for (uint256 i = 0; i < 8; i++) {
            vm.assertEq(rows[i], value ^ (i << 8));
        }
        vm.assertEq(rows[12], value);
        vm.assertEq(rows[13], value ^ 1);
        vm.assertEq(rows[15], value ^ 2);
    }

    // Time (P-9.4).

    function test_a_batch_of_this_block_is_accepted_and_of_the_next_second_refused() public {
        IRollup.BatchHeader memory header = _header();
        header.time = uint64(NOW + 1);
        vm.expectRevert(abi.encodeWithSelector(IRollup.TimeInFuture.selector, NOW, NOW + 1));
        _submit(header);
        header.time = uint64(NOW);
        _submit(header);
        vm.assertEq(rollup.lastBatchTime(), NOW);
    }

    function test_a_batch_of_the_maximum_age_is_accepted_and_a_second_older_refused() public {
        IRollup.BatchHeader memory header = _header();
        header.time = uint64(NOW - AGE_MAX - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IRollup.BatchTooOld.selector, NOW - AGE_MAX, NOW - AGE_MAX - 1)
        );
        _submit(header);
        header.time = uint64(NOW - AGE_MAX);
        _submit(header);
        vm.assertEq(rollup.lastBatchTime(), NOW - AGE_MAX);
    }

    function test_a_batch_of_the_last_batches_time_is_accepted_and_a_second_before_refused() public {
        IRollup.BatchHeader memory header = _header();
        _submit(header);
        header.number = 1;
        header.oldRoot = header.newRoot;
        header.time -= 1;
        vm.expectRevert(
            abi.encodeWithSelector(IRollup.TimeBeforeLastBatch.selector, header.time + 1, header.time)
        );
        _submit(header);
        header.time += 1;
        _submit(header);
        vm.assertEq(rollup.nextBatchNumber(), 2);
    }

    function test_a_time_of_41_bits_is_refused_even_when_the_block_is_later() public {
        IRollup.BatchHeader memory header = _header();
        vm.warp(2 ** 40);
        header.time = 2 ** 40;
        vm.expectRevert(abi.encodeWithSelector(IRollup.TimeTooLarge.selector, 2 ** 40));
        _submit(header);
        header.time = 2 ** 40 - 1;
        _submit(header);
    }

    // Data and proof (P-9.5, P-9.6).

    function test_data_in_stream_a_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(IRollup.DataANotEmpty.selector, 31));
        rollup.submitBatch(_header(), new bytes(31), data, proof);
    }

    function test_data_of_any_other_length_than_whole_groups_is_refused() public {
        for (uint256 length = 0; length < 190; length++) {
            if (length % 62 != 0) {
                _refuseData(_ones(length), IRollup.DataNotWhole.selector);
            }
        }
    }

    function test_data_that_ends_in_a_group_of_zeros_is_refused(uint8 groups) public {
        _refuseData(new bytes(62 * (uint256(groups) + 1)), IRollup.DataEndsInZeros.selector);
        bytes memory padded = bytes.concat(data, new bytes(62 * (uint256(groups) + 1)));
        _refuseData(padded, IRollup.DataEndsInZeros.selector);
    }

    function test_one_bit_anywhere_in_the_last_group_is_enough() public {
        uint256 snapshot = vm.snapshotState();
        for (uint256 place = 62; place < 124; place++) {
            bytes memory posted = new bytes(124);
            posted[place] = 0x01;
            rollup.submitBatch(_header(), "", posted, proof);
            vm.revertToState(snapshot);
        }
    }

    /// @dev The cases that the native replay refuses too, from the table of the Rust test
    /// `what_l1_refuses_to_take_as_posted_stops_a_replay_too`.
    function test_data_that_stops_a_native_replay_is_refused() public {
        string memory json = vm.readFile("test/vectors.json");
        bytes[] memory notWhole = vm.parseJsonBytesArray(json, ".not_whole");
        bytes[] memory endsInZeros = vm.parseJsonBytesArray(json, ".ends_in_zeros");
        vm.assertEq(notWhole.length > 3 && endsInZeros.length > 2 ? 1 : 0, 1);
        for (uint256 i = 0; i < notWhole.length; i++) {
            _refuseData(notWhole[i], IRollup.DataNotWhole.selector);
        }
        for (uint256 i = 0; i < endsInZeros.length; i++) {
            _refuseData(endsInZeros[i], IRollup.DataEndsInZeros.selector);
        }
    }

    function _refuseData(bytes memory posted, bytes4 selector) private {
        vm.expectRevert(abi.encodeWithSelector(selector, posted.length));
        rollup.submitBatch(_header(), "", posted, proof);
        vm.expectRevert(abi.encodeWithSelector(selector, posted.length));
        rollup.instances(_header(), "", posted);
        vm.expectRevert(abi.encodeWithSelector(selector, posted.length));
        rollup.evaluate(posted, 7);
    }

    function test_an_empty_batch_is_data_too() public {
        rollup.submitBatch(_header(), "", "", proof);
        vm.assertEq(rollup.nextBatchNumber(), 1);
    }

    // The verifier (P-9.6).

    function test_a_rejected_proof_moves_nothing() public {
        vm.etch(rollup.verifier(), address(new RejectsAll()).code);
        vm.expectRevert(abi.encodeWithSelector(IRollup.ProofRejected.selector));
        _submit(_header());
        vm.assertEq(rollup.stateRoot(), GENESIS);
        vm.assertEq(rollup.nextBatchNumber(), 0);
        vm.assertEq(rollup.lastBatchTime(), 0);
    }

    function test_a_verifier_that_reverts_moves_nothing() public {
        vm.etch(rollup.verifier(), address(new RevertsAll()).code);
        vm.expectRevert(abi.encodeWithSelector(IRollup.ProofRejected.selector));
        _submit(_header());
    }

    function test_only_the_word_one_is_an_acceptance() public {
        // Nothing, part of a word, a word that is not 1, two words.
        uint256[5] memory lengths = [uint256(0), 1, 31, 32, 64];
        for (uint256 i = 0; i < lengths.length; i++) {
            vm.etch(rollup.verifier(), address(new AnswersBytes(lengths[i])).code);
            vm.expectRevert(abi.encodeWithSelector(IRollup.ProofRejected.selector));
            _submit(_header());
        }
    }

    function test_a_burning_verifier_gets_no_more_than_the_cap() public {
        vm.etch(rollup.verifier(), address(new BurnsAll()).code);
        uint256 before = gasleft();
        vm.expectRevert(abi.encodeWithSelector(IRollup.VerifierOutOfGas.selector, GAS_CAP));
        _submit(_header());
        uint256 used = before - gasleft();
        vm.assertEq(used > GAS_CAP && used < GAS_CAP + 100_000 ? 1 : 0, 1);
    }

    function test_a_verifier_whose_code_is_gone_is_refused() public {
        address verifier = rollup.verifier();
        vm.etch(verifier, "");
        vm.expectRevert(abi.encodeWithSelector(IRollup.VerifierHasNoCode.selector, verifier));
        _submit(_header());
    }

    function test_a_caller_cannot_starve_the_verifier() public {
        IRollup.BatchHeader memory header = _header();
        bytes memory call = abi.encodeCall(IRollup.submitBatch, (header, "", data, proof));
        (bool accepted, bytes memory answer) = address(rollup).call{gas: GAS_CAP}(call);
        vm.assertEq(accepted ? 1 : 0, 0);
        vm.assertEq(uint32(bytes4(answer)), uint32(IRollup.TooLittleGas.selector));
        vm.assertEq(rollup.nextBatchNumber(), 0);
    }

    /// @dev Whatever gas a caller leaves, a true proof is accepted or the call fails for want of gas: a rejection says that the
    /// proof is bad. The verifier takes all but some thousands of the cap.
    function test_at_no_gas_is_a_true_proof_rejected() public {
        IRollup.BatchHeader memory header = _header();
        bytes memory call = abi.encodeCall(IRollup.submitBatch, (header, "", data, proof));
        vm.etch(rollup.verifier(), address(new NeedsGas(GAS_CAP - 2_000)).code);
        uint256 snapshot = vm.snapshotState();
        uint256 refused = 0;
        uint256 taken = 0;
        // From below the cap to more than the whole call takes; the steps are smaller than what calling the verifier costs.
        for (uint256 gas_ = GAS_CAP - 20_000; gas_ < GAS_CAP + 160_000; gas_ += 331) {
            (bool accepted, bytes memory answer) = address(rollup).call{gas: gas_}(call);
            if (accepted) {
                taken++;
            } else {
                refused++;
                bool starved =
                    answer.length == 0 || uint32(bytes4(answer)) == uint32(IRollup.TooLittleGas.selector);
                vm.assertEq(starved ? 1 : 0, 1);
            }
            vm.revertToState(snapshot);
        }
        vm.assertEq(refused > 10 && taken > 10 ? 1 : 0, 1);
    }

    // Evaluation and challenge (P-6.4, P-6.6).

    function test_evaluation_equals_the_sum_of_powers(bytes31[] memory elements, uint256 x) public view {
        bytes memory posted = "";
        for (uint256 i = 0; i < elements.length; i++) {
            posted = bytes.concat(posted, elements[i]);
        }
        // A last element that is not zero makes any number of elements whole groups as they are posted.
        bytes31 last = bytes31(uint248(1));
        posted = elements.length % 2 == 0 ? bytes.concat(posted, last, last) : bytes.concat(posted, last);
        vm.assertEq(rollup.evaluate(posted, x), _evaluateByPowers(posted, x));
    }

    function test_the_first_element_is_the_constant_term() public view {
        bytes31 zero = 0;
        bytes memory four = bytes.concat(bytes31(uint248(5)), bytes31(uint248(6)), bytes31(uint248(7)), zero);
        vm.assertEq(rollup.evaluate(four, 0), 5);
        vm.assertEq(rollup.evaluate(four, 1), 18);
        vm.assertEq(rollup.evaluate(four, 10), 765);
        vm.assertEq(rollup.evaluate("", 10), 0);
        vm.assertEq(rollup.evaluate(bytes.concat(bytes31(type(uint248).max), zero), 9), type(uint248).max);
    }

    /// @dev The figure of GAS.md, by the difference of two lengths.
    function test_an_element_is_evaluated_with_299_gas() public view {
        rollup.evaluate(_ones(31 * 1_000), 7);
        uint256 first = vm.lastCallGas().gasTotalUsed;
        rollup.evaluate(_ones(31 * 2_000), 7);
        vm.assertEq((vm.lastCallGas().gasTotalUsed - first) / 1_000, 299);
    }

    function test_the_challenge_binds_everything(uint256 a, uint256 b) public {
        uint256 x = rollup.challenge(0, a, b, "", data);
        uint256[7] memory others = [
            rollup.challenge(1, a, b, "", data),
            rollup.challenge(0, a ^ 1, b, "", data),
            rollup.challenge(0, a, b ^ 1, "", data),
            rollup.challenge(0, a, b, data, ""),
            rollup.challenge(0, a, b, "", proof),
            rollup.challenge(0, a, b, "", bytes.concat(data, new bytes(31))),
            _deploy(rollup.verifier()).challenge(0, a, b, "", data)
        ];
        for (uint256 i = 0; i < others.length; i++) {
            vm.assertEq(others[i] == x ? 1 : 0, 0);
        }
        vm.assertEq(x < R ? 1 : 0, 1);
    }

    /// @dev Vectors of the native implementation, rewritten by the Rust test `vectors_for_solidity_are_current`.
    function test_challenge_and_evaluation_equal_the_native_ones() public {
        string memory json = vm.readFile("test/vectors.json");
        uint256[] memory contracts = vm.parseJsonUintArray(json, ".contracts");
        uint256[] memory chains = vm.parseJsonUintArray(json, ".chains");
        uint256[] memory numbers = vm.parseJsonUintArray(json, ".numbers");
        uint256[] memory first = vm.parseJsonUintArray(json, ".commitments_a");
        uint256[] memory second = vm.parseJsonUintArray(json, ".commitments_b");
        uint256[] memory xs = vm.parseJsonUintArray(json, ".x");
        uint256[] memory ys = vm.parseJsonUintArray(json, ".y");
        bytes[] memory posted = vm.parseJsonBytesArray(json, ".data");
        vm.assertEq(xs.length > 3 ? 1 : 0, 1);
        bytes memory creation = abi.encodePacked(
            type(Rollup).creationCode, abi.encode(rollup.verifier(), VK_DIGEST, GENESIS, GAS_CAP, AGE_MAX)
        );
        for (uint256 i = 0; i < xs.length; i++) {
            // The creation code runs at the vector's address and chain, so that it computes the vector's rollup id.
            vm.chainId(chains[i]);
            address place = address(uint160(contracts[i]));
            vm.etch(place, creation);
            (bool created, bytes memory runtime) = place.call("");
            vm.assertEq(created ? 1 : 0, 1);
            vm.etch(place, runtime);
            uint256 x = Rollup(place).challenge(uint64(numbers[i]), first[i], second[i], "", posted[i]);
            vm.assertEq(x, xs[i]);
            vm.assertEq(rollup.evaluate(posted[i], x), ys[i]);
        }
    }

    // What the tests above share.

    function _deploy(address verifier) private returns (Rollup) {
        return new Rollup(verifier, VK_DIGEST, GENESIS, GAS_CAP, AGE_MAX);
    }

    /// @dev Bytes of which none is zero.
    function _ones(uint256 length) private pure returns (bytes memory ones) {
        ones = new bytes(length);
        for (uint256 i = 0; i < length; i++) {
            ones[i] = 0x01;
        }
    }

    function _submit(IRollup.BatchHeader memory header) private {
        rollup.submitBatch(header, "", data, proof);
    }

    function _header() private pure returns (IRollup.BatchHeader memory header) {
        header.number = 0;
        header.time = uint64(NOW - 60);
        header.oldRoot = GENESIS;
        header.newRoot = 0x5678;
        header.commitmentA = 0;
        header.commitmentB = 0xb;
        for (uint256 i = 0; i < 8; i++) {
            header.accumulator[i] = 0xacc + i;
        }
    }

    function _evaluateByPowers(bytes memory bytes_, uint256 x) private pure returns (uint256 y) {
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
