// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BabyJubJub} from "../contracts/BabyJubJub.sol";
import {IRollup} from "../contracts/IRollup.sol";
import {Poseidon} from "../contracts/Poseidon.sol";
import {vm} from "./Vm.sol";

/// @title Keys (P-12.5) and the hash (P-2.2). Points and the leaf are from other implementations.
contract KeysTest {
    uint256 internal constant R =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 internal constant KEY_X =
        5299619240641551281634865583518297030282874472190772894086521144482721001553;
    uint256 internal constant KEY_Y =
        16950150798460657717958625567821834550301663161624707787222815936182638968203;

    Poseidon internal poseidon;

    function setUp() public {
        poseidon = new Poseidon();
    }

    function requireKey(uint256 x, uint256 y) external pure {
        BabyJubJub.requireKey(x, y);
    }

    function test_points_of_large_order_are_keys() public view {
        this.requireKey(KEY_X, KEY_Y);
        this.requireKey(R - KEY_X, KEY_Y);
        // Twice and seven times the base point, and the base point with one of order 4 added: not in the subgroup.
        this.requireKey(
            10031262171927540148667355526369034398030886437092045105752248699557385197826,
            633281375905621697187330766174974863687049529291089048651929454608812697683
        );
        this.requireKey(
            20092560661213339045022877747484245238324772779820628739268223482659246842641,
            12112450042127193446189577552007703839818242727902437791835414514847797088033
        );
        this.requireKey(
            5768130008868712539038381611044753363710989298853646123728785319122073097456,
            15863623088992515880085393097393553694825975317405843389771115419751650972659
        );
    }

    function test_points_of_small_order_are_no_keys() public {
        // Of order 1, 2, 4 and 8.
        uint256 four = 18930368022820495955728484915491405972470733850014661777449844430438130630919;
        uint256 eightX = 17545522957889784193459637215142187266023652151580582754000402781682644312291;
        uint256 eightY = 17061719626832259898845741003733890968968767993363194771977168648564009544074;
        uint256[2][8] memory points = [
            [uint256(0), 1],
            [uint256(0), R - 1],
            [four, 0],
            [R - four, 0],
            [eightX, eightY],
            [R - eightX, eightY],
            [eightX, R - eightY],
            [R - eightX, R - eightY]
        ];
        for (uint256 i = 0; i < points.length; i++) {
            _refuse(points[i][0], points[i][1]);
        }
    }

    function test_coordinates_that_are_no_point_or_not_canonical_are_no_keys() public {
        _refuse(0, 0);
        _refuse(KEY_Y, KEY_X);
        _refuse(KEY_X + 1, KEY_Y);
        _refuse(KEY_X, KEY_Y - 1);
        _refuse(KEY_X + R, KEY_Y);
        _refuse(KEY_X, KEY_Y + R);
        _refuse(R, 1);
        // The point of order 4 with y = 0, in another form.
        _refuse(18930368022820495955728484915491405972470733850014661777449844430438130630919, R);
        _refuse(type(uint256).max, type(uint256).max);
    }

    /// @dev Vectors of the native implementation, written by the Rust test `vectors_for_solidity_are_current`.
    function test_hashes_equal_the_native_ones() public view {
        string memory json = vm.readFile("test/poseidon.json");
        uint256[] memory inputs = vm.parseJsonUintArray(json, ".inputs");
        uint256[] memory hashes = vm.parseJsonUintArray(json, ".hashes");
        vm.assertEq(hashes.length, 32);
        uint256[8] memory given;
        for (uint256 i = 0; i < inputs.length; i++) {
            given[i % 8] = inputs[i];
            if (i % 8 == 7) vm.assertEq(poseidon.hash(given), hashes[i / 8]);
        }
    }

    function test_the_leaf_of_the_protocols_vectors() public view {
        uint256[8] memory leaf = [
            uint256(1),
            0,
            10 ** 18,
            KEY_X,
            KEY_Y,
            uint160(0x1111111111111111111111111111111111111111),
            0,
            0x6c656166
        ];
        vm.assertEq(poseidon.hash(leaf), 0x1e0981f44854483e041f0f806c12d8e239f5e89adc5f159d180e9b6fb30b7195);
    }

    function test_what_is_not_canonical_is_not_hashed() public {
        for (uint256 i = 0; i < 8; i++) {
            uint256[8] memory inputs;
            inputs[i] = R - 1;
            poseidon.hash(inputs);
            inputs[i] = R;
            vm.expectRevert(abi.encodeWithSelector(IRollup.NotCanonical.selector, R));
            poseidon.hash(inputs);
        }
    }

    function test_a_key_is_checked_within_its_budget() public view {
        uint256 left = gasleft();
        this.requireKey(KEY_X, KEY_Y);
        _below(left - gasleft(), 8_000);
    }

    function _refuse(uint256 x, uint256 y) private {
        vm.expectRevert(abi.encodeWithSelector(IRollup.BadKey.selector, x, y));
        this.requireKey(x, y);
    }

    function _below(uint256 found, uint256 most) private pure {
        vm.assertEq(found < most ? 1 : 0, 1);
    }
}
