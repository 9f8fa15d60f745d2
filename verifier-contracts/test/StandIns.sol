// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IPoseidon} from "../contracts/IPoseidon.sol";
import {IVerifier} from "../contracts/IVerifier.sol";

/// @title Stands in for a verifier: it answers what the test says.
contract Scripted is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public queueCapacity = 1_000;
    uint256 internal answer_ = 1;
    /// @dev When it is not 0, the one calldata that is accepted, by its hash.
    bytes32 internal expected;

    function setAnswer(uint256 answer) external {
        answer_ = answer;
    }

    function setCapacity(uint256 capacity) external {
        queueCapacity = capacity;
    }

    function expectOnly(bytes calldata data) external {
        expected = keccak256(data);
    }

    function verify(bytes calldata, uint256[] calldata) external view returns (uint256) {
        if (expected != 0 && keccak256(msg.data) != expected) return 0;
        return answer_;
    }
}

/// @title Stands in for a verifier that accepts everything.
contract AcceptsAll is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 1_000;

    function verify(bytes calldata, uint256[] calldata) external pure returns (uint256) {
        return 1;
    }
}

/// @title Stands in for a verifier that accepts everything, and takes the gas that a real one takes.
contract AcceptsAtAPrice is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 1_000;

    function verify(bytes calldata, uint256[] calldata) external view returns (uint256) {
        // Within a hundred of what `costs/verifier.json` has.
        uint256 left = gasleft() - 282_000;
        while (gasleft() > left) {}
        return 1;
    }
}

/// @title Stands in for a verifier that rejects everything.
contract RejectsAll is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 1_000;

    function verify(bytes calldata, uint256[] calldata) external pure returns (uint256) {
        return 0;
    }
}

/// @title Stands in for a verifier that burns all the gas it gets.
contract BurnsAll is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 1_000;

    function verify(bytes calldata, uint256[] calldata) external pure returns (uint256) {
        while (true) {}
        return 0;
    }
}

/// @title Stands in for a verifier that accepts if it is given so much gas, and rejects otherwise.
contract NeedsGas is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 1_000;
    uint256 internal immutable NEEDED;

    constructor(uint256 needed) {
        NEEDED = needed;
    }

    function verify(bytes calldata, uint256[] calldata) external view returns (uint256) {
        return gasleft() >= NEEDED ? 1 : 0;
    }
}

/// @title Stands in for a verifier that fails: it reverts, burns its gas, or answers too little.
contract Fails is IVerifier {
    bytes32 public constant vkDigest = bytes32(uint256(0x5afe));
    uint256 public constant queueCapacity = 1_000;
    bool internal immutable BURNS;

    constructor(bool burns) {
        BURNS = burns;
    }

    function verify(bytes calldata, uint256[] calldata) external view returns (uint256) {
        while (BURNS) {}
        revert();
    }
}

/// @title Stands in for a hash that is another.
contract OtherHash is IPoseidon {
    function hash(uint256[8] calldata inputs) external pure returns (uint256) {
        return inputs[0] + 1;
    }
}

/// @title A plain token, and with each switch an odd one.
contract Token {
    enum Oddity {
        None,
        ReturnsNothing,
        ReturnsFalse,
        Reverts,
        TakesFee,
        Reenters,
        TakesAway,
        DoublesArrival
    }

    mapping(address holder => uint256) public balanceOf;
    mapping(address holder => mapping(address spender => uint256)) public allowance;
    Oddity public oddity;
    bytes internal reentry;
    bool internal paying;
    bytes internal answered;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
    }

    function setOddity(Oddity oddity_) external {
        oddity = oddity_;
    }

    /// @dev What it calls its caller with when it moves, and what it was answered.
    function setReentry(bytes calldata call) external {
        (oddity, reentry) = (Oddity.Reenters, call);
    }

    function lastAnswer() external view returns (bytes memory) {
        return answered;
    }

    /// @dev As a token does that takes balances away.
    function seize(address from, uint256 value) external {
        balanceOf[from] -= value;
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        return _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        require(allowed >= value, "allowance");
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - value;
        return _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        if (oddity == Oddity.Reverts) revert("no");
        if (oddity == Oddity.ReturnsFalse) return false;
        if (oddity == Oddity.Reenters) {
            (, answered) = msg.sender.call(reentry);
        }
        balanceOf[from] -= value;
        if (oddity == Oddity.TakesFee) {
            balanceOf[to] += value - value / 100;
        } else if (oddity == Oddity.DoublesArrival) {
            balanceOf[to] += 2 * value;
        } else if (oddity != Oddity.TakesAway) {
            balanceOf[to] += value;
        }
        emit Transfer(from, to, value);
        if (oddity == Oddity.ReturnsNothing) {
            assembly {
                return(0, 0)
            }
        }
        return true;
    }
}

/// @title A caller of the rollup that takes ETH as the test says.
contract Caller {
    enum Way {
        Takes,
        Refuses,
        Burns,
        Reenters
    }

    Way internal way;
    address internal target;
    bytes internal reentry;
    bool internal paying;
    bytes internal answered;

    function setWay(Way way_) external {
        way = way_;
    }

    function setReentry(address target_, bytes calldata call) external {
        (way, target, reentry) = (Way.Reenters, target_, call);
    }

    /// @dev Calls back with what it is paid.
    function setPaying() external {
        paying = true;
    }

    function lastAnswer() external view returns (bytes memory) {
        return answered;
    }

    function forward(address to, bytes calldata call) external payable returns (bytes memory answer) {
        bool accepted;
        (accepted, answer) = to.call{value: msg.value}(call);
        require(accepted, "refused");
    }

    receive() external payable {
        if (way == Way.Refuses) revert();
        while (way == Way.Burns) {}
        if (way == Way.Reenters) (, answered) = target.call{value: paying ? msg.value : 0}(reentry);
    }
}
