// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @dev Order of BN254's G1, the field of all values (P-1.1).
uint256 constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
