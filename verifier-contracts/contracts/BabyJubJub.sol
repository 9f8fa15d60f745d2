// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {R} from "./Field.sol";
import {IRollup} from "./IRollup.sol";

/// @title Keys on the curve `a x² + y² = 1 + d x² y²` (P-1.3).
library BabyJubJub {
    uint256 private constant A = 168700;
    uint256 private constant D = 168696;

    /// @notice Reverts unless the coordinates are canonical, on the curve, and not of a point of small order (P-12.5).
    function requireKey(uint256 ax, uint256 ay) internal pure {
        if (ax >= R || ay >= R) revert IRollup.BadKey(ax, ay);
        uint256 xx = mulmod(ax, ax, R);
        uint256 yy = mulmod(ay, ay, R);
        uint256 axx = mulmod(A, xx, R);
        uint256 right = addmod(1, mulmod(D, mulmod(xx, yy, R), R), R);
        if (addmod(axx, yy, R) != right) revert IRollup.BadKey(ax, ay);
        // `8·P` is the identity where `4·P` is one of the two points with x = 0. The double's x is `2xy / (1 + d x² y²)`, so that is where
        // `2·P` has a coordinate 0; its y is `(y² - a x²) / (1 - d x² y²)`. No denominator is 0 on this curve.
        if (ax == 0 || ay == 0 || axx == yy) revert IRollup.BadKey(ax, ay);
    }
}
