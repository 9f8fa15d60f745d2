// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRollup} from "./IRollup.sol";
import {IVerifier} from "./IVerifier.sol";

/// @title The rollup's contract on L1, for protocol version 1. Errors, events and meanings are in IRollup.
contract Rollup is IRollup {
    /// @dev Order of BN254's G1, the field of all values (P-1.1).
    uint256 internal constant R =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;
    /// @dev Bytes of one posted element (P-6.2).
    uint256 internal constant ELEMENT_BYTES = 31;
    /// @dev Bytes of one posted group: two elements (P-6.2).
    uint256 internal constant GROUP_BYTES = 62;
    /// @dev `D` of P-6.6.
    bytes32 internal constant DOMAIN = keccak256("zk-rollup-prover/da/v1");
    /// @dev The data is in calldata (P-6.6).
    uint256 internal constant DA_CALLDATA = 0;
    /// @dev Instances of a root proof (P-8.4), and those of them that are the accumulator's limbs: they come first.
    uint256 internal constant INSTANCES = 17;
    uint256 internal constant LIMBS = 8;
    /// @dev The instance that is the state root before a batch (P-8.4).
    uint256 internal constant OLD_ROOT = 11;
    /// @dev More than what calling the verifier costs besides the gas that it is given.
    uint256 internal constant CALL_GAS = 5_000;
    /// @dev Least gas cap: a verification of the presets' keys takes less, but not by much.
    uint256 internal constant GAS_CAP_MIN = 300_000;
    /// @dev Greatest gas cap: the half of what a transaction may have (EIP-7825), so that data finds room beside it.
    uint256 internal constant GAS_CAP_MAX = 2 ** 23;
    /// @dev Least maximum age, in seconds: a batch is proven and included in minutes.
    uint256 internal constant BATCH_AGE_MIN = 600;

    /// @inheritdoc IRollup
    address public immutable verifier;
    /// @inheritdoc IRollup
    bytes32 public immutable vkDigest;
    /// @inheritdoc IRollup
    uint256 public immutable verifierGasCap;
    /// @inheritdoc IRollup
    uint256 public immutable maxBatchAge;
    /// @inheritdoc IRollup
    uint256 public immutable rollupId;

    /// @inheritdoc IRollup
    uint256 public stateRoot;
    /// @inheritdoc IRollup
    uint64 public nextBatchNumber;
    /// @inheritdoc IRollup
    uint64 public lastBatchTime;

    /// @param verifier_ The generated verifier, already deployed.
    /// @param vkDigest_ Digest of the verifying key that it must be made from.
    /// @param genesisRoot Root of the genesis state (P-3.6).
    /// @param verifierGasCap_ Most gas that the verifier is called with.
    /// @param maxBatchAge_ Oldest that a batch's time may be, in seconds.
    constructor(
        address verifier_,
        bytes32 vkDigest_,
        uint256 genesisRoot,
        uint256 verifierGasCap_,
        uint256 maxBatchAge_
    ) {
        if (block.chainid > type(uint64).max) revert ChainIdTooLarge(block.chainid);
        if (verifier_.code.length == 0) revert VerifierHasNoCode(verifier_);
        if (verifierGasCap_ < GAS_CAP_MIN || verifierGasCap_ > GAS_CAP_MAX) {
            revert GasCapOutOfRange(GAS_CAP_MIN, GAS_CAP_MAX, verifierGasCap_);
        }
        if (maxBatchAge_ < BATCH_AGE_MIN) revert MaxBatchAgeTooShort(BATCH_AGE_MIN, maxBatchAge_);
        if (genesisRoot >= R) revert NotCanonical(OLD_ROOT, genesisRoot);
        bytes32 found = IVerifier(verifier_).vkDigest();
        if (found != vkDigest_) revert WrongVerifyingKey(vkDigest_, found);
        verifier = verifier_;
        vkDigest = vkDigest_;
        verifierGasCap = verifierGasCap_;
        maxBatchAge = maxBatchAge_;
        rollupId = (block.chainid << 160) | uint160(address(this));
        stateRoot = genesisRoot;
    }

    /// @inheritdoc IRollup
    function submitBatch(
        BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB,
        bytes calldata proof
    ) external {
        if (header.number != nextBatchNumber) {
            revert WrongBatchNumber(nextBatchNumber, header.number);
        }
        if (header.oldRoot != stateRoot) revert WrongOldRoot(stateRoot, header.oldRoot);
        _requireTimely(header.time);
        if (dataA.length != 0) revert DataANotEmpty(dataA.length);

        uint256 verifierGas = _verify(proof, instances(header, dataA, dataB));

        stateRoot = header.newRoot;
        nextBatchNumber = header.number + 1;
        lastBatchTime = header.time;
        emit BatchAccepted(header.number, header.time, header.oldRoot, header.newRoot, verifierGas);
    }

    /// @inheritdoc IRollup
    function instances(BatchHeader calldata header, bytes calldata dataA, bytes calldata dataB)
        public
        view
        returns (uint256[] memory rows)
    {
        rows = new uint256[](INSTANCES);
        for (uint256 i = 0; i < LIMBS; i++) {
            rows[i] = header.accumulator[i];
        }
        rows[8] = rollupId;
        rows[9] = header.time;
        rows[OLD_ROOT] = header.oldRoot;
        rows[12] = header.newRoot;
        rows[13] = header.commitmentA;
        rows[15] = header.commitmentB;
        // That each is below R is the verifier's to check (P-9.3).
        uint256 x = challenge(header.number, header.commitmentA, header.commitmentB, dataA, dataB);
        rows[10] = x;
        rows[14] = evaluate(dataA, x);
        rows[16] = evaluate(dataB, x);
    }

    /// @inheritdoc IRollup
    function challenge(
        uint64 number,
        uint256 commitmentA,
        uint256 commitmentB,
        bytes calldata dataA,
        bytes calldata dataB
    ) public view returns (uint256) {
        bytes32 digest = keccak256(
            abi.encode(
                DOMAIN,
                rollupId,
                uint256(number),
                DA_CALLDATA,
                commitmentA,
                commitmentB,
                keccak256(dataA),
                keccak256(dataB)
            )
        );
        return uint256(digest) % R;
    }

    /// @inheritdoc IRollup
    function evaluate(bytes calldata data, uint256 x) public pure returns (uint256 y) {
        _requirePosted(data);
        // Horner's rule, from the last element down. Nothing overflows: `end` falls from the data's length to 0.
        unchecked {
            for (uint256 end = data.length; end != 0; end -= ELEMENT_BYTES) {
                uint256 element = uint248(bytes31(data[end - ELEMENT_BYTES:end]));
                y = addmod(mulmod(y, x, R), element, R);
            }
        }
    }

    /// @dev The one form of posted data (P-9.8).
    function _requirePosted(bytes calldata data) private pure {
        if (data.length % GROUP_BYTES != 0) revert DataNotWhole(data.length);
        if (data.length == 0) return;
        bytes calldata last = data[data.length - GROUP_BYTES:];
        if ((bytes31(last) | bytes31(last[ELEMENT_BYTES:])) == 0) revert DataEndsInZeros(data.length);
    }

    /// @dev The bounds on a batch's time (P-9.4).
    function _requireTimely(uint64 time) private view {
        if (time > type(uint40).max) revert TimeTooLarge(time);
        if (time < lastBatchTime) revert TimeBeforeLastBatch(lastBatchTime, time);
        if (time > block.timestamp) revert TimeInFuture(block.timestamp, time);
        if (block.timestamp - time > maxBatchAge) revert BatchTooOld(block.timestamp - maxBatchAge, time);
    }

    /// @dev Calls the verifier with its gas cap, and returns the gas that this took (P-9.6).
    function _verify(bytes calldata proof, uint256[] memory rows) private view returns (uint256 used) {
        if (verifier.code.length == 0) revert VerifierHasNoCode(verifier);
        bytes memory call = abi.encodeCall(IVerifier.verify, (proof, rows));
        // A call forwards at most 63/64 of what is left; below the cap, the caller's gas would decide the outcome.
        uint256 left = gasleft();
        uint256 needed = verifierGasCap + verifierGasCap / 63 + CALL_GAS;
        if (left < needed) revert TooLittleGas(needed, left);
        (bool answered, bytes memory answer) = verifier.staticcall{gas: verifierGasCap}(call);
        used = left - gasleft();
        // Anything but a word with the value 1 is no acceptance, whatever the verifier is.
        if (answered && answer.length == 32 && uint256(bytes32(answer)) == 1) return used;
        if (!answered && used >= verifierGasCap) revert VerifierOutOfGas(verifierGasCap);
        revert ProofRejected();
    }
}
