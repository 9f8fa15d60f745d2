// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Vm.sol";
import {Ledger} from "./Ledger.sol";

/// @title What holds whatever anybody does (P-10.18, P-12.8): of each token, L2's balances, what is owed and what waits are its escrow; the
/// contract has its escrow; each payment is made once; the root moves by batches alone.
contract InvariantsTest {
    /// @dev As forge reads it.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Ledger internal ledger;

    function setUp() public {
        ledger = new Ledger();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(ledger);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(ledger), _selectors());
    }

    function invariant_the_books_and_the_contract_agree() public view {
        vm.assertEq(ledger.holds() ? 1 : 0, 1);
    }

    /// The same calls in a fixed order do everything that pays, so that the invariant is about something.
    function test_everything_that_pays_is_reached() public {
        vm.assertEq(_run(ledger) ? 1 : 0, 1);
        vm.assertEq(ledger.claims() > 10 ? 1 : 0, 1);
        vm.assertEq(ledger.exits() > 0 ? 1 : 0, 1);
        vm.assertEq(ledger.refunds() > 0 ? 1 : 0, 1);
    }

    function test_books_that_forget_are_noticed() public {
        vm.assertEq(_run(new ForgetsPayments()) ? 1 : 0, 0);
        vm.assertEq(_run(new OwesLess()) ? 1 : 0, 0);
    }

    /// @dev Whether the books agree after each call.
    function _run(Ledger books) private returns (bool) {
        for (uint256 i = 0; i < 40; i++) {
            uint256 seed = uint256(keccak256(abi.encode(i)));
            books.depositNew(seed);
            books.depositTo(seed);
            books.forceExit(seed);
            books.changeKey(seed);
            if (i < 30) books.batch(seed);
            if (!books.holds()) return false;
            books.claim(seed);
            if (!books.holds()) return false;
        }
        vm.warp(block.timestamp + 15 days);
        books.freeze(0);
        for (uint256 i = 0; i < 160; i++) {
            books.exit(i);
            books.refund(i);
            if (!books.holds()) return false;
        }
        return books.frozen();
    }

    function _selectors() private pure returns (bytes4[] memory selectors) {
        selectors = new bytes4[](11);
        selectors[0] = Ledger.depositNew.selector;
        selectors[1] = Ledger.depositTo.selector;
        selectors[2] = Ledger.forceExit.selector;
        selectors[3] = Ledger.changeKey.selector;
        selectors[4] = Ledger.batch.selector;
        selectors[5] = Ledger.claim.selector;
        selectors[6] = Ledger.collectFees.selector;
        selectors[7] = Ledger.pass.selector;
        selectors[8] = Ledger.freeze.selector;
        selectors[9] = Ledger.exit.selector;
        selectors[10] = Ledger.refund.selector;
    }
}

/// @title Books that do not write down what was paid.
contract ForgetsPayments is Ledger {
    function _paid(Owed storage one) internal override {}
}

/// @title Books that owe one unit less.
contract OwesLess is Ledger {
    function _owe(uint16 id, uint128 amount, address recipient) internal override {
        super._owe(id, amount == 0 ? 0 : amount - 1, recipient);
    }
}
