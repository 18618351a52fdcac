// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Codes of faults and of reasons for which a worker is out
library Faults {
    uint8 internal constant INVALID = 1;
    uint8 internal constant NO_REVEAL = 2;
    uint8 internal constant MISSED = 3;
    uint8 internal constant DEVIANT = 4;
    uint8 internal constant LOW = 5;
    uint8 internal constant NO_ATTEST = 6;
    uint8 internal constant UNOPENED = 7;

    uint8 internal constant LEFT = 0;
    uint8 internal constant DROPPED = 8;
    uint8 internal constant DROPPED_EXCUSED = 9;
    uint8 internal constant RELEASED = 10;
}
