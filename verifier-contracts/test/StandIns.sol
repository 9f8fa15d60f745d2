// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVerifier} from "../contracts/IVerifier.sol";

/// @title What the stand-ins share: a digest of no key.
abstract contract StandIn is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
}

/// @title Stands in for a verifier that accepts exactly one calldata: that of which it was given the hash.
contract AcceptsOne is StandIn {
    bytes32 internal immutable EXPECTED;

    constructor(bytes32 expected) {
        EXPECTED = expected;
    }

    function verify(bytes calldata, uint256[] calldata) external view returns (bool) {
        return keccak256(msg.data) == EXPECTED;
    }
}

/// @title Stands in for a verifier that accepts everything.
contract AcceptsAll is StandIn {
    function verify(bytes calldata, uint256[] calldata) external pure returns (bool) {
        return true;
    }
}

/// @title Stands in for a verifier that rejects everything.
contract RejectsAll is StandIn {
    function verify(bytes calldata, uint256[] calldata) external pure returns (bool) {
        return false;
    }
}

/// @title Stands in for a verifier that reverts on everything.
contract RevertsAll is StandIn {
    function verify(bytes calldata, uint256[] calldata) external pure returns (bool) {
        revert();
    }
}

/// @title Stands in for a verifier that burns all the gas it gets.
contract BurnsAll is StandIn {
    function verify(bytes calldata, uint256[] calldata) external pure returns (bool) {
        while (true) {}
        return true;
    }
}

/// @title Stands in for a verifier that accepts if it is given so much gas, and rejects otherwise.
contract NeedsGas is StandIn {
    uint256 internal immutable NEEDED;

    constructor(uint256 needed) {
        NEEDED = needed;
    }

    function verify(bytes calldata, uint256[] calldata) external view returns (bool) {
        return gasleft() >= NEEDED;
    }
}

/// @title Stands in for something else than a verifier, that answers every call with so many bytes of ones.
contract AnswersBytes {
    uint256 internal immutable LENGTH;

    constructor(uint256 length) {
        LENGTH = length;
    }

    fallback(bytes calldata) external returns (bytes memory answer) {
        answer = new bytes(LENGTH);
        for (uint256 i = 0; i < LENGTH; i++) {
            answer[i] = 0x01;
        }
    }
}
