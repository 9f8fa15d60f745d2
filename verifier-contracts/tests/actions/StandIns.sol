// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IVerifier} from "./IVerifier.sol";

/// @title Stands in for a verifier: its proof of instances is their hash, so it accepts exactly what whoever makes the proof knows.
contract Knows is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 10;

    function verify(bytes calldata proof, uint256[] calldata instances) external pure returns (uint256) {
        return proof.length == 32 && bytes32(proof) == keccak256(abi.encodePacked(instances)) ? 1 : 0;
    }
}

/// @title A token of which everybody has enough, and which keeps a share of what it moves.
contract Token {
    uint256 internal immutable KEPT;
    mapping(address holder => uint256) internal spent;
    mapping(address holder => uint256) internal received;

    /// @param kept Of a hundred parts, what is lost.
    constructor(uint256 kept) {
        KEPT = kept;
    }

    function balanceOf(address holder) public view returns (uint256) {
        return (holder.code.length == 0 ? 2 ** 120 : 0) + received[holder] - spent[holder];
    }

    function transfer(address to, uint256 value) external returns (bool) {
        return _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        return _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        require(balanceOf(from) >= value);
        spent[from] += value;
        received[to] += value - value * KEPT / 100;
        return true;
    }
}
