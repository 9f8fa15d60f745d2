// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {R} from "./Field.sol";
import {IRollup} from "./IRollup.sol";

/// @title Keys on the curve `a x² + y² = 1 + d x² y²` (P2-1.3).
library BabyJubJub {
    uint256 private constant A = 168700;
    uint256 private constant D = 168696;

    /// @notice Reverts unless the coordinates are canonical, on the curve, and not of a point of small order (P2-12.5).
    function requireKey(uint256 ax, uint256 ay) internal pure {
        if (ax >= R || ay >= R) revert IRollup.BadKey(ax, ay);
        uint256 xx = mulmod(ax, ax, R);
        uint256 yy = mulmod(ay, ay, R);
        uint256 right = addmod(1, mulmod(D, mulmod(xx, yy, R), R), R);
        if (addmod(mulmod(A, xx, R), yy, R) != right) revert IRollup.BadKey(ax, ay);
        (uint256 x, uint256 y, uint256 z) = (ax, ay, 1);
        for (uint256 i = 0; i < 3; i++) {
            (x, y, z) = _double(x, y, z);
        }
        // The double of a point of order eight or less is the identity in the end, `(0, z, z)`; every other point's has an
        // odd order, and the identity alone of those has x = 0.
        if (x == 0) revert IRollup.BadKey(ax, ay);
    }

    /// @dev The double of `(x / z, y / z)`: "dbl-2008-bbjlp" for twisted Edwards curves. On this curve `z` never becomes 0.
    function _double(uint256 x, uint256 y, uint256 z) private pure returns (uint256, uint256, uint256) {
        uint256 sum = addmod(x, y, R);
        uint256 xx = mulmod(x, x, R);
        uint256 yy = mulmod(y, y, R);
        uint256 e = mulmod(A, xx, R);
        uint256 f = addmod(e, yy, R);
        uint256 j = addmod(f, R - mulmod(2, mulmod(z, z, R), R), R);
        uint256 cross = addmod(mulmod(sum, sum, R), R - addmod(xx, yy, R), R);
        return (mulmod(cross, j, R), mulmod(f, addmod(e, R - yy, R), R), mulmod(f, j, R));
    }
}
