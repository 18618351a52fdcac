"""How people write money and addresses, read strictly and shown exactly.

Owns no arithmetic on money beyond units. Must not import anything but `bfl_events` and the standard library.
"""

from __future__ import annotations

from decimal import Context, DecimalException, Inexact, InvalidOperation
from typing import Final

from bfl_events.commitment import checksum_address as checksummed
from bfl_events.schema import Address

_UNITS: Final = {"wei": 0, "gwei": 9, "ether": 18, "eth": 18}
_EXACT: Final = Context(prec=100, traps=[Inexact, InvalidOperation])
_AMOUNT: Final = 'write for example "3 ether", "20 gwei" or a whole number of wei'


def wei(value: object) -> int:
    """An amount in wei, from an integer or a text such as "1500000", "3 ether", "0.5 eth". Raises ValueError."""
    words = str(value).split() if isinstance(value, int | str) and not isinstance(value, bool) else []
    match words:
        case [number]:
            unit = "wei"
        case [number, unit]:
            unit = unit.lower()
        case _:
            raise ValueError(f"{value!r} is no amount: {_AMOUNT}")
    if unit not in _UNITS:
        raise ValueError(f"{value!r} has the unit {unit!r}: {_AMOUNT}")
    try:
        amount = _EXACT.scaleb(_EXACT.create_decimal(number), _UNITS[unit])
    except DecimalException:
        raise ValueError(f"{value!r} is no amount: {_AMOUNT}") from None
    if not amount.is_finite() or not 0 <= amount < 2**128 or amount != amount.to_integral_value():
        raise ValueError(f"{value!r} is not a whole number of wei from 0 to 2^128 - 1")
    return int(amount)


def ether(amount: int) -> str:
    """The exact amount in ether, for example "1.25"; a negative amount keeps its sign."""
    whole, rest = divmod(abs(amount), 10**18)
    digits = f"{rest:018d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}{whole}{'.' + digits if digits else ''}"


def money(amount: int) -> str:
    """For people: ether and wei, for example "1.25 ether (1250000000000000000 wei)"."""
    return f"{ether(amount)} ether ({amount} wei)"


def checksum_address(value: object) -> Address:
    """The EIP-55 form of a 0x address. Raises ValueError, also for a mixed-case text with a wrong checksum."""
    digits = value[2:] if isinstance(value, str) and value[:2] == "0x" else ""
    if len(digits) != 40 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise ValueError(f"{value!r} is no address: 0x and 40 hex digits are needed")
    right = checksummed(bytes.fromhex(digits))
    if digits not in (digits.lower(), digits.upper(), right[2:]):
        raise ValueError(f"{value!r} has a wrong checksum: a digit was mistyped")
    return right
