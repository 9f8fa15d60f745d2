// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

/// @title Names the instances of the rollup, version by version (P-14.7). It has no rights over any of them: wallets read it, and ask
/// before they follow.
contract Directory is Ownable2Step {
    /// @dev How long before it is current an instance is announced.
    uint64 private constant NOTICE = 30 days;

    /// @notice One instance.
    /// @param addr The rollup's contract.
    /// @param version Its protocol's version.
    /// @param from Second from which it is current.
    struct Instance {
        address addr;
        uint32 version;
        uint64 from;
    }

    /// @notice An instance is current from `from` on.
    event Announced(uint256 indexed number, address indexed addr, uint32 version, uint64 from);
    /// @notice The announcement of the last instance was taken back.
    event Withdrawn(uint256 indexed number);

    /// @notice There is no code at that address.
    error NotAnInstance(address addr);
    /// @notice Versions never fall.
    error OldVersion(uint32 last, uint32 given);
    /// @notice No instance is current, or there is none to take back.
    error NoInstance();
    /// @notice The last instance is current already.
    error AlreadyCurrent(uint256 number);

    Instance[] private _instances;

    /// @param owner_ Who announces.
    constructor(address owner_) Ownable(owner_) {}

    /// @notice Announces an instance.
    function announce(address addr, uint32 version) external onlyOwner returns (uint256 number) {
        if (addr.code.length == 0) revert NotAnInstance(addr);
        number = _instances.length;
        if (number != 0) {
            uint32 last = _instances[number - 1].version;
            if (version < last) revert OldVersion(last, version);
        }
        uint64 from = uint64(block.timestamp) + NOTICE;
        _instances.push(Instance(addr, version, from));
        emit Announced(number, addr, version, from);
    }

    /// @notice Takes the last announcement back, before it is current.
    function withdraw() external onlyOwner {
        uint256 count = _instances.length;
        if (count == 0) revert NoInstance();
        if (block.timestamp >= _instances[count - 1].from) revert AlreadyCurrent(count - 1);
        _instances.pop();
        emit Withdrawn(count - 1);
    }

    /// @notice The instance that is current now.
    function current() external view returns (Instance memory) {
        for (uint256 i = _instances.length; i != 0; i--) {
            if (block.timestamp >= _instances[i - 1].from) return _instances[i - 1];
        }
        revert NoInstance();
    }

    /// @notice An instance by its number, announced or current.
    function instance(uint256 number) external view returns (Instance memory) {
        if (number >= _instances.length) revert NoInstance();
        return _instances[number];
    }

    /// @notice How many there are.
    function instances() external view returns (uint256) {
        return _instances.length;
    }
}
