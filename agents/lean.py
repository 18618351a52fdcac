"""Makes an agent's start light: whoever was killed is to work again within seconds.

eth_keyfile, below web3 and eth_account, imports py_ecc for BLS keystores (EIP-2335), and py_ecc computes pairing tables
when it is imported: a quarter of the whole start, for what no agent uses.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Final

SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
BLS12_381_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001


class PairingsLater:
    """Stands for py_ecc's BLS scheme until somebody uses it."""

    def __getattr__(self, name: str) -> Any:
        from py_ecc.bls import G2ProofOfPossession  # type: ignore[attr-defined]

        return getattr(G2ProofOfPossession, name)


STAND_INS: Final[Mapping[str, Mapping[str, object]]] = {
    "py_ecc": {},
    "py_ecc.bls": {"G2ProofOfPossession": PairingsLater()},
    "py_ecc.bls12_381": {"curve_order": BLS12_381_ORDER},
    "py_ecc.secp256k1": {"N": SECP256K1_ORDER},
}


@contextmanager
def light_import() -> Iterator[None]:
    """Around large imports: nothing they make is garbage, so that looking for it is a tenth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def spare_pairings() -> None:
    """Import eth_keyfile without py_ecc's tables, before web3 does; everybody else still gets the real py_ecc.

    Should a later eth_keyfile want more of py_ecc, it is imported as usual.
    """
    if "eth_keyfile" in sys.modules or "py_ecc" in sys.modules:
        return
    sys.modules.update({name: _module(name, content) for name, content in STAND_INS.items()})
    try:
        with suppress(ImportError):
            import eth_keyfile  # noqa: F401
    finally:
        for name in STAND_INS:
            sys.modules.pop(name, None)


def _module(name: str, content: Mapping[str, object]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content)
    return module
