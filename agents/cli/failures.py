"""Errors as people and scripts get them: what happened, why, what to do, and an exit code.

Owns the translation of every room's exceptions. Must not import those rooms: an exception's module is loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from agents.cli.exits import Exit


class Failure(Exception):
    """A command ends here. The three sentences stand for themselves; `do` names a command where there is one."""

    def __init__(self, what: str, why: str = "", do: str = "", exit: int = Exit.BUG) -> None:
        super().__init__(" ".join(part for part in (what, why, do) if part))
        self.what, self.why, self.do, self.exit = what, why, do, int(exit)

    def document(self) -> dict[str, Any]:
        """The fields of `--json` errors."""
        return {"error": {"what": self.what, "why": self.why, "do": self.do, "exit": self.exit}}


def usage(what: str, why: str, do: str) -> Failure:
    return Failure(what, why, do, Exit.USAGE)


def translate(error: BaseException) -> Failure | None:
    """The failure that an exception of another room means; None for what nobody foresaw."""
    if isinstance(error, Failure):
        return error
    for module, name, failure in _TABLE:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return failure(error)
    if isinstance(error, OSError):
        return Failure(
            "A file or device could not be used.",
            f"{error.strerror or error}: {error.filename or '?'}.",
            "Check the path, its permissions and the free space.",
            Exit.CONFIGURATION,
        )
    return None


def _explained(error: Any) -> Failure:
    return Failure(error.what, error.why, error.do, error.exit_code)


def _fatal(error: Any) -> Failure:
    return Failure(f"{error}", exit=error.exit_code)


def _funds(error: Any) -> Failure:
    return Failure("The account cannot pay for this.", f"{error}.", "Send it ether and repeat the command.", Exit.FUNDS)


def _rejected(error: Any) -> Failure:
    advice = _ADVICE.get(error.error, "Look at bfl-agent task show, then decide again.")
    return Failure(f"The contract refused: {error}.", "Nothing was changed.", advice, Exit.REVERTED)


def _transient(error: Any) -> Failure:
    match error.part:
        case "disk":
            return Failure("The disk could not be used.", f"{error}.", "Make room, then repeat the command; it sends "
                           "nothing twice.", Exit.CONFIGURATION)
        case "store":
            return _store(error)
        case _:
            return Failure("The chain could not be used.", f"{error}.", "Repeat the command; it sends nothing twice.",
                           Exit.NO_RPC)


def _unavailable(error: Any) -> Failure:
    return Failure(
        "No RPC endpoint answers.", f"{error}.", "Start the node, or correct chain.rpc (or --rpc).", Exit.NO_RPC
    )


def _wrong_chain(error: Any) -> Failure:
    return Failure(
        "The RPC endpoint serves another chain or contract.",
        f"{error}. Nothing was sent.",
        "Correct chain.rpc, chain.chain_id or chain.factory; bfl-agent doctor shows each.",
        Exit.WRONG_CHAIN,
    )


def _keystore(error: Any) -> Failure:
    return Failure("A key cannot be used.", f"{error}.", "Check the keystore and the password file.", Exit.ACCOUNT)


def _event_log(error: Any) -> Failure:
    return Failure(
        "The event log cannot be used.",
        f"{error}",
        "",
        Exit.TOO_NEW if type(error).__name__ == "LogTooNew" else Exit.CONFIGURATION,
    )


def _damaged(error: Any) -> Failure:
    return Failure(
        f"The file is damaged at line {error.line}.",
        f"{error.why}.",
        "Export it again from a log or a chain; bfl-events verify FILE tells what else is wrong.",
        Exit.DIFFERENCE,
    )


def _broken_history(error: Any) -> Failure:
    return Failure(
        f"Line {error.line} cannot follow from the lines before it.",
        f"{error.why}.",
        "See what else is wrong: bfl-events verify FILE",
        Exit.DIFFERENCE,
    )


def _nowhere(error: Any) -> Failure:
    return usage("There is no such place to stop at.", f"{error}.", "Name another event, or leave out --until.")


def _store(error: Any) -> Failure:
    return Failure(
        "The blob store failed.",
        f"{error}.",
        "Check store.address and that the store runs (bfl-agent doctor).",
        Exit.STORE,
    )


def _specification(error: Any) -> Failure:
    return Failure(
        "The task specification is not valid.", f"{error}.", "Correct it; nothing was sent.", Exit.CONFIGURATION
    )


def _learner(error: Any) -> Failure:
    return Failure(f"The task's code or data failed ({error.kind}).", f"{error}.", error.advice, Exit.PLUGIN)


def _refused(error: Any) -> Failure:
    return Failure(
        "The node refused the request.",
        f"{error}.",
        "Check that the node is in sync and knows these calls.",
        Exit.NO_RPC,
    )


_ADVICE = {
    "NotAllowed": "This account is not on the task's allow-list; ask the requester.",
    "Full": "All seats are taken; look for another task.",
    "PhaseOver": "The time for this has passed; bfl-agent task show says what is due now.",
    "AlreadyRegistered": "This account has a seat already.",
    "NothingToWithdraw": "There is nothing to withdraw for this account.",
    "BadParams": "bfl-agent task create --dry-run shows the terms; correct them.",
}

_TABLE: tuple[tuple[str, str, Callable[[Any], Failure]], ...] = (
    ("agents.misconfiguration", "SettingsError", _explained),
    ("agents.control", "ControlError", _explained),
    ("agents.effects.settling", "InsufficientFunds", _funds),
    ("agents.effects.ports", "Fatal", _fatal),
    ("agents.effects.ports", "Rejected", _rejected),
    ("agents.effects.ports", "Transient", _transient),
    ("agents.effects.ports", "LearnerFailed", _learner),
    ("agents.core.specification", "BadSpecification", _specification),
    ("agents.crypto.keystore", "KeystoreError", _keystore),
    ("agents.storage.store", "StorageError", _store),
    ("bfl_events.log_file", "LogError", _event_log),
    ("bfl_events.export", "ExportDamaged", _damaged),
    ("bfl_events.replay", "ReplayFailed", _broken_history),
    ("bfl_events.replay", "NoSuchPlace", _nowhere),
    ("bfl_events.rpc", "WrongChain", _wrong_chain),
    ("bfl_events.rpc", "WrongContract", _wrong_chain),
    ("bfl_events.endpoint", "RpcRefused", _refused),
    ("bfl_events.endpoint", "RpcError", _unavailable),
)
