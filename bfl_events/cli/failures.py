"""Errors as people and scripts get them: what happened, why, what to do, and an exit code.

Owns the one boundary of `bfl-events` where an exception becomes a sentence.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Never

import typer


class Exit(IntEnum):
    OK = 0
    BUG = 1
    USAGE = 2
    NO_RPC = 13
    WRONG_CHAIN = 14
    LOG_TOO_NEW = 19
    DIFFERENCE = 22
    INTERRUPTED = 130


def fail(exit_code: Exit, what: str, why: str = "", do: str = "", *, as_json: bool = False) -> Never:
    """Say it on stderr and end the command."""
    if as_json:
        document = {"error": {"what": what, "why": why, "do": do, "exit": int(exit_code)}}
        typer.echo(json.dumps(document, ensure_ascii=False), err=True)
    else:
        typer.echo(f"✗ {what}", err=True)
        for name, text in (("Why", why), ("Do", do)):
            if text:
                typer.echo(f"  {name:<4} {text}", err=True)
    raise typer.Exit(exit_code)


@contextmanager
def explained(*, as_json: bool) -> Iterator[None]:
    """Every foreseen exception of the rooms below as a failure; a reader that went away ends the command quietly."""
    from bfl_events.export import ExportDamaged
    from bfl_events.log import LogError, LogTooNew
    from bfl_events.replay import NoSuchPlace, ReplayFailed

    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())   # or the interpreter complains at its end
        raise typer.Exit(Exit.OK) from None
    except ExportDamaged as error:
        fail(Exit.DIFFERENCE, f"The file is damaged at line {error.line}.", f"{error.why}.",
             "Export it again from a log or a chain; do not rely on what it says.", as_json=as_json)
    except ReplayFailed as error:
        fail(Exit.DIFFERENCE, f"Line {error.line} cannot follow from the lines before it.", f"{error.why}.",
             "See what else is wrong: bfl-events verify FILE", as_json=as_json)
    except LogTooNew as error:
        fail(Exit.LOG_TOO_NEW, str(error), as_json=as_json)
    except LogError as error:
        fail(Exit.USAGE, str(error), as_json=as_json)
    except NoSuchPlace as error:
        fail(Exit.USAGE, "There is no such place to stop at.", f"{error}.", as_json=as_json)
    except OSError as error:
        fail(Exit.USAGE, f"{error.filename or 'A file'} cannot be used.", f"{error.strerror or error}.",
             "Check the path, its permissions and the free space.", as_json=as_json)


@contextmanager
def reachable(*, as_json: bool) -> Iterator[None]:
    """As `explained`, and for what a chain can do to us."""
    from bfl_events.decode import DecodeError
    from bfl_events.rpc import RpcError, WrongChain, WrongContract

    with explained(as_json=as_json):
        try:
            yield
        except (WrongChain, WrongContract) as error:
            fail(Exit.WRONG_CHAIN, "The RPC endpoint serves another chain or contract.", f"{error}.",
                 "Check --rpc, --chain-id and --factory.", as_json=as_json)
        except DecodeError as error:
            fail(Exit.WRONG_CHAIN, "The contract logs something that this version does not know.", f"{error}.",
                 "Check --factory, or install the version that belongs to this contract.", as_json=as_json)
        except RpcError as error:
            fail(Exit.NO_RPC, "No RPC endpoint can be used.", f"{error}.",
                 "Check --rpc, and that the node runs.", as_json=as_json)
