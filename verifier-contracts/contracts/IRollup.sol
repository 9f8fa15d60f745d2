// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The rollup on L1: its queue, its batches, what it owes, and how everybody leaves. PROTOCOL.md, sections 9 and 12 to 17,
/// is its specification.
interface IRollup {
    /// @notice What a submission says of its batch besides data and proof.
    /// @param number Batch number, from 0.
    /// @param time The batch's time `T`, Unix seconds (P-9.4).
    /// @param oldRoot State root that the batch starts from.
    /// @param newRoot State root that the batch leads to.
    /// @param commitmentA Commitment to stream A (P-6.4).
    /// @param commitmentB Commitment to stream B (P-6.4).
    /// @param verifier Number of the verifier that is to check the proof (P-14.4).
    /// @param accumulator Limbs of the KZG accumulator, instances 0 to 7 (P-8.4).
    struct BatchHeader {
        uint64 number;
        uint64 time;
        uint256 oldRoot;
        uint256 newRoot;
        uint256 commitmentA;
        uint256 commitmentB;
        uint8 verifier;
        uint256[8] accumulator;
    }

    /// @notice An account of the state (P-3.1).
    /// @param token Its token's id.
    /// @param nonce Operations that it signed.
    /// @param balance Smallest units.
    /// @param ax The owner's key, x.
    /// @param ay The owner's key, y.
    /// @param l1Address Whom its money leaves to.
    struct Account {
        uint16 token;
        uint64 nonce;
        uint128 balance;
        uint256 ax;
        uint256 ay;
        address l1Address;
    }

    /// @notice A registered verifier (P-14.4). It is in force from `activeFrom` until before `retiredAt`, unless disabled.
    /// @param addr Its address.
    /// @param codeHash Hash of its code when it was registered.
    /// @param vkDigest Digest of the verifying key that it is made from.
    /// @param gasCap Gas that it is called with.
    /// @param activeFrom Second from which it is in force.
    /// @param retiredAt Second from which it is no more.
    /// @param disabled Whether the guardian disabled it.
    struct Verifier {
        address addr;
        bytes32 codeHash;
        bytes32 vkDigest;
        uint32 gasCap;
        uint64 activeFrom;
        uint64 retiredAt;
        bool disabled;
    }

    /// @notice A verifier that the constructor registers.
    /// @param addr Its address.
    /// @param vkDigest Digest that it must answer.
    /// @param gasCap Gas that it is called with.
    struct Registration {
        address addr;
        bytes32 vkDigest;
        uint32 gasCap;
    }

    /// @notice What the constructor fixes for ever (P-17.1). Times are in seconds.
    /// @param dueAfter `D`: an entry is due after it.
    /// @param silence `S`: silence after which anybody submits.
    /// @param freezeAfter `F`: from due to freeze.
    /// @param consumedMax `MAX`: entries that a batch must consume at most.
    /// @param batchAgeMax Oldest that a batch's time may be.
    /// @param delay After it, what the governor announced comes about.
    /// @param tokenPrice Wei for a token id below 4,096.
    /// @param operator Who submits.
    /// @param feeAddress L1 address of fee accounts, to which the entries' prices go too.
    /// @param feeKeyX Owner of fee accounts, x.
    /// @param feeKeyY Owner of fee accounts, y.
    /// @param governor Who adds and retires verifiers; 0 is nobody, for ever.
    /// @param guardian Who disables verifiers and pauses deposits; 0 is nobody, for ever.
    /// @param poseidon The contract of `H` (P-14.1).
    /// @param poseidonCodeHash Hash of its code.
    struct Parameters {
        uint64 dueAfter;
        uint64 silence;
        uint64 freezeAfter;
        uint64 consumedMax;
        uint64 batchAgeMax;
        uint64 delay;
        uint256 tokenPrice;
        address operator;
        address feeAddress;
        uint256 feeKeyX;
        uint256 feeKeyY;
        address governor;
        address guardian;
        address poseidon;
        bytes32 poseidonCodeHash;
    }

    /// @notice Who may submit, and whether anything is taken at all (P-9.9, P-13.4).
    enum Mode {
        Normal,
        Enforced,
        Frozen
    }

    /// @notice A batch was proven and the state root moved (P-9.13).
    event BatchAccepted(
        uint64 indexed number,
        uint64 time,
        uint256 oldRoot,
        uint256 newRoot,
        uint256 commitmentA,
        uint256 commitmentB,
        uint40 head,
        bytes32 withdrawalsRoot,
        uint32 withdrawals,
        uint8 verifier,
        address submitter
    );
    /// @notice The posted bytes of an accepted batch.
    event BatchData(uint64 indexed number, bytes dataA, bytes dataB);
    /// @notice A record entered the queue (P-12.10).
    event Queued(
        uint40 indexed entry, address indexed sender, uint256 a0, uint256 a1, uint256 a2, uint256 a3
    );
    /// @notice A token has an id (P-12.9).
    event TokenAdded(uint16 indexed id, address indexed token);
    /// @notice A withdrawal was paid (P-13.2).
    event Claimed(
        uint64 indexed batch, uint32 indexed position, uint16 token, uint128 amount, address indexed recipient
    );
    /// @notice The rollup is frozen for ever (P-13.4).
    event Frozen(uint64 batches, uint256 root, uint40 head);
    /// @notice An account left a frozen rollup (P-13.5).
    event Exited(uint64 indexed index, uint16 token, uint128 amount, address indexed recipient);
    /// @notice A deposit that a frozen rollup never consumed was paid back (P-13.6).
    event Refunded(uint40 indexed entry, uint16 token, uint128 amount, address indexed recipient);
    /// @notice The operator named who is to follow it.
    event OperatorTransferStarted(address from, address to);
    /// @notice There is another operator.
    event OperatorTransferred(address from, address to);
    /// @notice The governor named who is to follow it.
    event GovernorTransferStarted(address from, address to);
    /// @notice There is another governor, or none.
    event GovernorTransferred(address from, address to);
    /// @notice The guardian named who is to follow it.
    event GuardianTransferStarted(address from, address to);
    /// @notice There is another guardian, or none.
    event GuardianTransferred(address from, address to);
    /// @notice A verifier was registered.
    event VerifierAdded(
        uint8 indexed id, address addr, bytes32 codeHash, bytes32 vkDigest, uint32 gasCap, uint64 activeFrom
    );
    /// @notice A verifier is in force no more from `retiredAt` on.
    event VerifierRetired(uint8 indexed id, uint64 retiredAt);
    /// @notice A verifier is in force no more, for good.
    event VerifierDisabled(uint8 indexed id);
    /// @notice Deposits are refused before `until`.
    event DepositsPaused(uint64 until);

    /// @notice The rollup is frozen.
    error IsFrozen();
    /// @notice The rollup is not frozen.
    error NotFrozen();
    /// @notice The batch is not the next one.
    error WrongBatchNumber(uint64 expected, uint64 given);
    /// @notice The batch does not start from the current state.
    error WrongOldRoot(uint256 expected, uint256 given);
    /// @notice The operator does its duty, so nobody else may submit (P-9.9).
    error OnlyOperator(address caller);
    /// @notice A batch of another than the operator must consume an entry (P-9.9).
    error ConsumesNothing();
    /// @notice A time does not fit 40 bits.
    error TimeTooLarge(uint64 given);
    /// @notice The batch's time is before the last batch's.
    error TimeBeforeLastBatch(uint64 last, uint64 given);
    /// @notice The batch's time is after this block's.
    error TimeInFuture(uint256 blockTime, uint64 given);
    /// @notice The batch's time is further back than the maximum age.
    error BatchTooOld(uint256 earliest, uint64 given);
    /// @notice No verifier has that number.
    error NoSuchVerifier(uint8 id);
    /// @notice The verifier is not in force: not yet, no more, or disabled.
    error VerifierNotInForce(uint8 id);
    /// @notice The verifier's code is not what was registered.
    error VerifierChanged(uint8 id, bytes32 expected, bytes32 found);
    /// @notice A field does not have the width that a record has for it.
    error FieldTooLarge(uint256 value);
    /// @notice Stream A is not a whole number of records.
    error DataANotWhole(uint256 length);
    /// @notice Stream B is not a whole number of groups.
    error DataBNotWhole(uint256 length);
    /// @notice The last group of stream B is all zero, so it is not to be posted.
    error DataBEndsInZeros(uint256 length);
    /// @notice There is no such kind of record.
    error NoSuchKind(uint256 record, uint256 kind);
    /// @notice More entries are to be consumed than are waiting.
    error BeyondTail(uint256 consumed, uint256 pending);
    /// @notice The records are not those that are waiting, in their order.
    error QueueMismatch(uint256 expected, uint256 found);
    /// @notice An entry is due that is not consumed, and there was room for it (P-9.11).
    error EntryDue(uint40 entry, uint256 dueSince);
    /// @notice Too little gas is left to give the verifier its full cap: a rejection would mean nothing.
    error TooLittleGas(uint256 needed, uint256 left);
    /// @notice The verifier rejected the proof.
    error ProofRejected();
    /// @notice The verifier used up its gas: the cap is too low.
    error VerifierOutOfGas(uint256 gasCap);
    /// @notice No token has that id.
    error NoSuchToken(uint16 id);
    /// @notice The token has an id already.
    error TokenKnown(uint16 id);
    /// @notice All ids are given out.
    error NoMoreTokens();
    /// @notice There is no code at that address.
    error NotAToken(address addr);
    /// @notice Nothing would be credited.
    error NoAmount();
    /// @notice The token's escrow would reach 2^128.
    error EscrowFull(uint16 token);
    /// @notice The call's ETH does not pay the entry, or the deposit beside it.
    error PriceNotPaid(uint256 price, uint256 given);
    /// @notice No account has such an index: it is 2^33 or more.
    error BadIndex(uint64 index);
    /// @notice All indices that L1 gives are given out.
    error NoMoreIndices();
    /// @notice The key is not canonical, not on the curve, or of small order (P-12.5).
    error BadKey(uint256 ax, uint256 ay);
    /// @notice The guardian paused deposits.
    error DepositsArePaused(uint64 until);
    /// @notice Deposits were paused lately.
    error PausedLately(uint64 notBefore);
    /// @notice The caller did not take what it paid too much.
    error ChangeNotTaken();
    /// @notice The batch owes no such withdrawal.
    error NotInTree(uint64 batch, uint32 position);
    /// @notice The withdrawal was paid already.
    error AlreadyPaid(uint64 batch, uint32 position);
    /// @notice The account left already.
    error AlreadyExited(uint64 index);
    /// @notice The deposit was paid back already.
    error AlreadyRefunded(uint40 entry);
    /// @notice There is nothing to pay.
    error NothingToPay();
    /// @notice The recipient or the token refused the payment.
    error PaymentFailed();
    /// @notice It is possible from a later second on.
    error NotYet(uint256 from);
    /// @notice The value is not below `r`.
    error NotCanonical(uint256 value);
    /// @notice The account and its siblings lead to another root.
    error WrongLeaf(uint256 root);
    /// @notice The entry is not waiting.
    error NotAnEntry(uint40 entry);
    /// @notice The entry holds no deposit.
    error NotADeposit(uint40 entry);
    /// @notice The record is not that of the entry.
    error WrongEntry(uint40 entry);
    /// @notice The caller does not have the role.
    error OnlyRole(address caller);
    /// @notice A parameter is outside its range (P-17.1).
    error BadParameter(bytes32 name);

    /// @notice Moves the state root by one proven batch, or reverts with the first rule of P-9.2 that it breaks.
    /// @param header The batch.
    /// @param dataA Posted bytes of stream A: records.
    /// @param dataB Posted bytes of stream B: groups, the last not all zero.
    /// @param proof The root proof.
    function submitBatch(
        BatchHeader calldata header,
        bytes calldata dataA,
        bytes calldata dataB,
        bytes calldata proof
    ) external;

    /// @notice Deposits to a new account of the caller, whose index it returns (P-12.4).
    function depositNew(uint16 token, uint128 amount, uint256 ax, uint256 ay)
        external
        payable
        returns (uint40 entry, uint64 index);

    /// @notice Deposits to an existing account, if it has that L1 address and key (P-12.6).
    function depositTo(uint16 token, uint128 amount, uint64 index, address l1Address, uint256 ay)
        external
        payable
        returns (uint40 entry);

    /// @notice Makes the account's whole balance a withdrawal, if the caller is its L1 address.
    function forceExit(uint64 index, uint16 token) external payable returns (uint40 entry);

    /// @notice Gives the account another owner, if the caller is its L1 address.
    function changeKey(uint64 index, uint256 ax, uint256 ay) external payable returns (uint40 entry);

    /// @notice Gives a token the next id (P-12.9).
    function addToken(address token) external payable returns (uint16 id);

    /// @notice Pays a withdrawal to its recipient, whoever calls (P-13.2).
    function claim(
        uint64 batch,
        uint32 position,
        uint16 token,
        uint128 amount,
        address recipient,
        bytes32[] calldata siblings
    ) external;

    /// @notice Freezes the rollup for ever, when an entry was not consumed in time (P-13.4).
    function freeze() external;

    /// @notice Pays an account's balance to its L1 address, whoever calls, once the rollup is frozen (P-13.5).
    function exit(uint64 index, Account calldata account, uint256[7][11] calldata siblings) external;

    /// @notice Pays a deposit back that a frozen rollup never consumed (P-13.6).
    function refund(uint40 entry, uint256 a0, uint256 a1, uint256 a2, uint256 a3) external;

    /// @notice Pays the entries' prices to the fee address.
    function collectFees() external;

    /// @notice Names who is to be operator; 0 takes it back.
    function transferOperator(address to) external;

    /// @notice Takes the role that the operator handed on.
    function acceptOperator() external;

    /// @notice Names who is to be governor; 0 takes it back.
    function transferGovernor(address to) external;

    /// @notice Takes the role that the governor handed on.
    function acceptGovernor() external;

    /// @notice Ends the role for ever.
    function renounceGovernor() external;

    /// @notice Names who is to be guardian; 0 takes it back.
    function transferGuardian(address to) external;

    /// @notice Takes the role that the guardian handed on.
    function acceptGuardian() external;

    /// @notice Ends the role for ever.
    function renounceGuardian() external;

    /// @notice Registers a verifier, in force after the delay.
    function addVerifier(address addr, bytes32 vkDigest, uint32 gasCap) external returns (uint8 id);

    /// @notice Ends a verifier at a second after the delay. It can be made earlier, never later.
    function retireVerifier(uint8 id, uint64 retiredAt) external;

    /// @notice Takes back a verifier that is not in force yet.
    function cancelVerifier(uint8 id) external;

    /// @notice Ends a verifier at once and for good.
    function disableVerifier(uint8 id) external;

    /// @notice Refuses deposits for seven days, not again within 37 days.
    function pauseDeposits() external;

    /// @notice Who may submit now.
    function mode() external view returns (Mode);

    /// @notice Wei that an entry of that kind, 1 to 4, costs now (P-12.3).
    function price(uint8 kind) external view returns (uint256);

    /// @notice `chain id · 2^160 + this address` (P-5.2).
    function rollupId() external view returns (uint256);

    /// @notice Root of the state after the last accepted batch.
    function stateRoot() external view returns (uint256);

    /// @notice The number that the next batch must have.
    function nextBatchNumber() external view returns (uint64);

    /// @notice Time `T` of the last accepted batch, 0 before the first.
    function lastBatchTime() external view returns (uint64);

    /// @notice Block time of the last acceptance, at first of the deployment.
    function acceptedAt() external view returns (uint64);

    /// @notice The oldest entry that is not consumed, and the number of the next.
    function queueBounds() external view returns (uint40 head, uint40 tail);

    /// @notice An entry's slot: the rolling hash in its low 216 bits, its block time above (P-12.1).
    function queue(uint256 entry) external view returns (uint256);

    /// @notice What the contract holds of a token for its users.
    function escrow(uint16 token) external view returns (uint128);

    /// @notice The token with that id; 0 for ETH and for none.
    function tokenAt(uint16 id) external view returns (address);

    /// @notice The token's id, 0 if it has none.
    function tokenId(address token) external view returns (uint16);

    /// @notice The last id that was given out.
    function tokens() external view returns (uint16);

    /// @notice Root of a batch's withdrawals, 0 if it owes none.
    function withdrawalsRoot(uint64 batch) external view returns (bytes32);

    /// @notice Whether a withdrawal was paid.
    function claimed(uint64 batch, uint32 position) external view returns (bool);

    /// @notice Whether an account left.
    function exited(uint64 index) external view returns (bool);

    /// @notice Whether an entry was paid back.
    function refunded(uint40 entry) external view returns (bool);

    /// @notice The verifier with that number.
    function verifier(uint8 id) external view returns (Verifier memory);

    /// @notice How many verifiers were registered.
    function verifiers() external view returns (uint256);

    /// @notice Deposits are refused before this second.
    function pausedUntil() external view returns (uint64);

    /// @notice `D`: seconds after which an entry is due.
    function dueAfter() external view returns (uint64);

    /// @notice `S`: seconds of silence after which anybody submits.
    function silence() external view returns (uint64);

    /// @notice `F`: seconds from due to freeze.
    function freezeAfter() external view returns (uint64);

    /// @notice `MAX`: entries that a batch must consume at most.
    function consumedMax() external view returns (uint64);

    /// @notice Seconds that a batch's time may be behind.
    function batchAgeMax() external view returns (uint64);

    /// @notice Seconds after which what the governor announced comes about.
    function delay() external view returns (uint64);

    /// @notice Wei for a token id below 4,096.
    function tokenPrice() external view returns (uint256);

    /// @notice L1 address of fee accounts.
    function feeAddress() external view returns (address);

    /// @notice Owner of fee accounts, x.
    function feeKeyX() external view returns (uint256);

    /// @notice Owner of fee accounts, y.
    function feeKeyY() external view returns (uint256);

    /// @notice The contract of `H` (P-14.1).
    function poseidon() external view returns (address);

    /// @notice Hash of its code.
    function poseidonCodeHash() external view returns (bytes32);

    /// @notice Who may submit at any time.
    function operator() external view returns (address);

    /// @notice Who was named to be operator.
    function pendingOperator() external view returns (address);

    /// @notice Who may add and retire verifiers.
    function governor() external view returns (address);

    /// @notice Who was named to be governor.
    function pendingGovernor() external view returns (address);

    /// @notice Who may disable verifiers and pause deposits.
    function guardian() external view returns (address);

    /// @notice Who was named to be guardian.
    function pendingGuardian() external view returns (address);
}
