//! Mutants that no test can kill, each with the reason. One that a test kills, or that there is no more, does not belong here.

use crate::find::Mutant;

/// A mutant that survives, by what it changes.
pub(crate) struct Explained {
    pub(crate) file: &'static str,
    pub(crate) function: &'static str,
    pub(crate) before: &'static str,
    /// Empty where the statement is gone.
    pub(crate) after: &'static str,
    /// Why no test can see it.
    pub(crate) reason: &'static str,
}

impl Explained {
    pub(crate) fn is(&self, mutant: &Mutant) -> bool {
        (self.file, self.function) == (mutant.file.as_str(), mutant.function.as_str())
            && (self.before, self.after) == (mutant.before.as_str(), mutant.after.as_str())
    }
}

pub(crate) const EXPLAINED: &[Explained] = &[
    Explained {
        file: "Batches.sol",
        function: "submitBatch",
        before: "if (sums.consumed != 0)",
        after: "if (true)",
        reason: "The head that is written is the one that is there: it saves gas.",
    },
    Explained {
        file: "Batches.sol",
        function: "submitBatch",
        before: "if (sums.withdrawals != 0)",
        after: "if (true)",
        reason: "The root of no withdrawals is 0, which is there already: it saves gas.",
    },
    Explained {
        file: "Batches.sol",
        function: "_verify",
        before: "if (left < needed)",
        after: "if (left <= needed)",
        reason: "One unit of gas of the 20,000 that are there to spare.",
    },
    Explained {
        file: "Batches.sol",
        function: "_verify",
        before: "if (left - gasleft() >= gasCap)",
        after: "if (left - gasleft() > gasCap)",
        reason: "The call costs something besides what it is given, so the two are never equal where the verifier took all.",
    },
    Explained {
        file: "Bounds.sol",
        function: "constructor",
        before: "_requireWithin(\"chainId\", block.chainid, 0, type(uint64).max);",
        after: "",
        reason: "forge has no chain whose id is longer than 64 bits.",
    },
    Explained {
        file: "Inbox.sol",
        function: "_priceOf",
        before: "if (pending > FREE_PENDING)",
        after: "if (pending >= FREE_PENDING)",
        reason: "At equality it adds 0.",
    },
    Explained {
        file: "Inbox.sol",
        function: "queue",
        before: "return entry > type(uint40).max ? 0 : _queue.slotOf(uint40(entry));",
        after: "return entry >= type(uint40).max ? 0 : _queue.slotOf(uint40(entry));",
        reason: "So many entries that 2^40 - 1 is one of them take longer than there is time: its slot is 0.",
    },
    Explained {
        file: "Inbox.sol",
        function: "_priceOf",
        before: "return (block.basefee < BASE_FEE_MIN ? BASE_FEE_MIN : block.basefee) * gas_;",
        after: "return (block.basefee <= BASE_FEE_MIN ? BASE_FEE_MIN : block.basefee) * gas_;",
        reason: "At equality both are the same.",
    },
    Explained {
        file: "Outbox.sol",
        function: "refund",
        before: "if (elements.kind() > Records.DEPOSIT_EXISTING || amount == 0)",
        after: "if (amount == 0)",
        reason: "Forced exits and key changes have the amount 0 in the queue; L1 reads the kind all the same.",
    },
    Explained {
        file: "Verifiers.sol",
        function: "_requireInForce",
        before: "found = _verifier(id);",
        after: "",
        reason: "The compiler takes no reference that was not set.",
    },
    Explained {
        file: "Withdrawals.sol",
        function: "node",
        before: "(bytes32 low, bytes32 high) = a < b ? (a, b) : (b, a);",
        after: "(bytes32 low, bytes32 high) = a <= b ? (a, b) : (b, a);",
        reason: "At equality both orders are one.",
    },
    Explained {
        file: "Withdrawals.sol",
        function: "root",
        before: "if (length % 2 == 1)",
        after: "if (true)",
        reason: "Of an even level it writes behind what is read of the next.",
    },
];
