// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What L1 keeps of the rollup, and how it moves. PROTOCOL.md section 9 is its specification.
interface IRollup {
    /// @notice What a submission says of its batch besides data and proof.
    /// @param number Batch number, from 0 (P-6.6).
    /// @param time The batch's time `T`, Unix seconds (P-4.4).
    /// @param oldRoot State root that the batch starts from.
    /// @param newRoot State root that the batch leads to.
    /// @param commitmentA Commitment to stream A (P-6.3).
    /// @param commitmentB Commitment to stream B (P-6.3).
    /// @param accumulator Limbs of the KZG accumulator, instances 0 to 7 (P-8.4).
    struct BatchHeader {
        uint64 number;
        uint64 time;
        uint256 oldRoot;
        uint256 newRoot;
        uint256 commitmentA;
        uint256 commitmentB;
        uint256[8] accumulator;
    }

    /// @notice A batch was proven and the state root moved (P-9.7).
    /// @param number The batch's number.
    /// @param time The batch's time `T`.
    /// @param oldRoot State root before.
    /// @param newRoot State root after.
    /// @param verifierGas Gas that the call of the verifier took, of the cap.
    event BatchAccepted(
        uint64 indexed number, uint64 time, uint256 oldRoot, uint256 newRoot, uint256 verifierGas
    );

    /// @notice The chain id does not fit the 64 bits that the rollup id has for it (P-5.2).
    error ChainIdTooLarge(uint256 chainId);
    /// @notice There is no code at the verifier's address (P-9.6).
    error VerifierHasNoCode(address verifier);
    /// @notice The genesis root is not below `r` (P-9.3). What a submission says is the verifier's to check.
    /// @param instance Its place among the instances of P-8.4.
    error NotCanonical(uint256 instance, uint256 value);
    /// @notice No true proof could be accepted under such a gas cap, or in no transaction (P-9.6).
    error GasCapOutOfRange(uint256 least, uint256 most, uint256 given);
    /// @notice Batches would be too old before they are proven (P-9.4).
    error MaxBatchAgeTooShort(uint256 least, uint256 given);
    /// @notice The batch is not the next one (P-9.2).
    error WrongBatchNumber(uint64 expected, uint64 given);
    /// @notice The batch does not start from the current state (P-9.2).
    error WrongOldRoot(uint256 expected, uint256 given);
    /// @notice The batch's time does not fit 40 bits (P-7.5).
    error TimeTooLarge(uint64 given);
    /// @notice The batch's time is before the last batch's (P-9.4).
    error TimeBeforeLastBatch(uint64 lastBatchTime, uint64 given);
    /// @notice The batch's time is after this block's (P-9.4).
    error TimeInFuture(uint256 blockTime, uint64 given);
    /// @notice The batch's time is further back than the maximum age (P-9.4).
    error BatchTooOld(uint256 earliest, uint64 given);
    /// @notice Stream A is empty in version 1 (P-6.1).
    error DataANotEmpty(uint256 length);
    /// @notice The data is not a whole number of groups of 62 bytes (P-9.8).
    error DataNotWhole(uint256 length);
    /// @notice The last group of the data is all zero, so it is not to be posted (P-9.8).
    error DataEndsInZeros(uint256 length);
    /// @notice The verifier is made from another verifying key (P-9.6).
    error WrongVerifyingKey(bytes32 expected, bytes32 found);
    /// @notice Too little gas is left to give the verifier its full cap: a rejection would mean nothing.
    error TooLittleGas(uint256 needed, uint256 left);
    /// @notice The verifier rejected the proof, or the accumulator's limbs (P-9.3, P-9.6).
    error ProofRejected();
    /// @notice The verifier used up its gas: the cap is too low.
    error VerifierOutOfGas(uint256 gasCap);

    /// @notice Moves the state root by one proven batch, or reverts with the first rule that it breaks.
    /// @param header The batch.
    /// @param dataA Posted bytes of stream A: empty in version 1.
    /// @param dataB Posted bytes of stream B: groups of two 31-byte elements, the last not all zero (P-6.5).
    /// @param proof The root proof.
    function submitBatch(
        BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB,
        bytes calldata proof
    ) external;

    /// @notice The generated verifier, an `IVerifier`.
    function verifier() external view returns (address);

    /// @notice Digest of the verifying key that the verifier is made from.
    function vkDigest() external view returns (bytes32);

    /// @notice Most gas that the verifier is called with.
    function verifierGasCap() external view returns (uint256);

    /// @notice Oldest that a batch's time may be, in seconds.
    function maxBatchAge() external view returns (uint256);

    /// @notice `chain id · 2^160 + this address` (P-5.2).
    function rollupId() external view returns (uint256);

    /// @notice Root of the state after the last accepted batch.
    function stateRoot() external view returns (uint256);

    /// @notice The number that the next batch must have.
    function nextBatchNumber() external view returns (uint64);

    /// @notice Time `T` of the last accepted batch, 0 before the first.
    function lastBatchTime() external view returns (uint64);

    /// @notice The point `x` at which the streams are evaluated (P-6.6).
    function challenge(
        uint64 number,
        uint256 commitmentA,
        uint256 commitmentB,
        bytes calldata dataA,
        bytes calldata dataB
    ) external view returns (uint256);

    /// @notice `Σ e_i x^i` over the 31-byte elements of `data` (P-6.4), which must have the form of P-6.5.
    function evaluate(bytes calldata data, uint256 x) external pure returns (uint256);

    /// @notice The 17 instances that a submission is verified against (P-8.4).
    function instances(BatchHeader calldata header, bytes calldata dataA, bytes calldata dataB)
        external
        view
        returns (uint256[] memory);
}
