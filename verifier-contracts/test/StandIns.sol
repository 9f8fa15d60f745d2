// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.19;

/// @title Stands in for a verifier that accepts exactly one calldata: that of which it was given the hash.
contract AcceptsOne {
    bytes32 internal immutable EXPECTED;

    constructor(bytes32 expected) {
        EXPECTED = expected;
    }

    fallback() external {
        require(keccak256(msg.data) == EXPECTED);
    }
}

/// @title Stands in for a verifier that accepts everything.
contract AcceptsAll {
    fallback() external {}
}

/// @title Stands in for a verifier that rejects everything, as the generated one does: without data.
contract RejectsAll {
    fallback() external {
        revert();
    }
}

/// @title Stands in for a verifier that burns all the gas it gets, as a failing precompile does.
contract BurnsAll {
    fallback() external {
        while (true) {}
    }
}
