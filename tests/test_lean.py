"""The light start leaves nothing out that anybody could miss, and is lighter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from py_ecc.bls12_381 import curve_order
from py_ecc.secp256k1 import N

from agents.lean import BLS12_381_ORDER, SECP256K1_ORDER

ROOT = Path(__file__).parents[1]


def run(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT).stdout.split()


def test_the_constants_are_the_curves() -> None:
    assert (N, curve_order) == (SECP256K1_ORDER, BLS12_381_ORDER)


def test_a_spared_start_computes_no_pairing_tables_and_opens_the_same_accounts() -> None:
    assert run("""
import sys
from agents.lean import light_import, spare_pairings
with light_import():
    spare_pairings()
    import agents.composition
print(any(name.partition(".")[0] == "py_ecc" for name in sys.modules))
from eth_account import Account
key = (7).to_bytes(32)
print(Account.decrypt(Account.encrypt(key, "pw", kdf="scrypt", iterations=4096), "pw") == key)
import gc
print(gc.isenabled())
""") == ["False", "True", "True"]


def test_whoever_does_want_pairings_gets_the_real_ones() -> None:
    """Also eth_keyfile itself, for a BLS keystore of version 4."""
    spared, usual = (run(f"""
from agents.lean import spare_pairings
if {spared}:
    spare_pairings()
import eth_keyfile
made = eth_keyfile.create_keyfile_json((5).to_bytes(32), b"pw", version=4, iterations=4096)
from py_ecc.bls import G2ProofOfPossession as scheme
print(made["pubkey"], eth_keyfile.decode_keyfile_json(made, b"pw").hex(), scheme.SkToPk(5).hex())
""") for spared in (True, False))
    assert spared == usual
    assert spared[0] == spared[2]


@pytest.mark.parametrize("earlier", ["eth_keyfile", "py_ecc"])
def test_it_changes_nothing_that_is_imported_already(earlier: str) -> None:
    assert run(f"import sys, {earlier}; before = dict(sys.modules)\n"
               "from agents.lean import spare_pairings\nspare_pairings()\n"
               "print(all(sys.modules[name] is module for name, module in before.items()))") == ["True"]


def test_an_eth_keyfile_that_wants_more_is_imported_as_usual() -> None:
    assert run("""
import agents.lean as lean
lean.STAND_INS = {name: {} for name in lean.STAND_INS}
lean.spare_pairings()
import eth_keyfile, sys
print("py_ecc.bls" in sys.modules, eth_keyfile.keyfile.bls.__name__)
""") == ["True", "G2ProofOfPossession"]
