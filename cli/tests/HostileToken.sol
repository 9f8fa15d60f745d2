// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title A token that takes deposits and pays nobody, has no decimals that a byte holds, and burns all gas where it is asked its symbol.
contract HostileToken {
    uint256 public constant decimals = 2 ** 255;
    mapping(address holder => uint256) public balanceOf;

    function symbol() external pure returns (string memory) {
        while (true) {}
    }

    function approve(address, uint256) external pure returns (bool) {
        return true;
    }

    function allowance(address, address) external pure returns (uint256) {
        return type(uint256).max;
    }

    function transferFrom(address, address to, uint256 value) external returns (bool) {
        balanceOf[to] += value;
        return true;
    }

    function transfer(address, uint256) external pure returns (bool) {
        revert("\u001b[31mnot today");
    }
}
