"""The control socket: one request, one answer, private to its owner, and clear when nobody is there."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agents.control import ControlError, NoAnswer, NotRunning, Refused, ask, is_live, serve


async def status(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"round": 3, "given": dict(fields)}


async def leave(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    raise Refused("Not a member.", "Task X has no seat for this account.", "See bfl-agent task list.", exit_code=18)


async def fail(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    raise KeyError("a bug")


HANDLERS = {"status": status, "leave": leave, "fail": fail}


async def test_a_question_gets_its_answer(tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    async with serve(path, HANDLERS):
        assert path.stat().st_mode & 0o777 == 0o600
        assert await asyncio.to_thread(ask, path, "status", task="0xT") == {"round": 3, "given": {"task": "0xT"}}
    assert not path.exists()


async def test_a_refusal_arrives_with_its_reason_and_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, HANDLERS):
        with pytest.raises(Refused, match=r"Not a member. Task X has no seat") as error:
            await asyncio.to_thread(ask, path, "leave")
    assert error.value.exit_code == 18


async def test_an_unknown_operation_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, HANDLERS):
        with pytest.raises(Refused, match="fail, leave, status"):
            await asyncio.to_thread(ask, path, "dance")


async def test_a_handler_that_fails_ends_the_call_and_not_the_server(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with serve(path, HANDLERS):
        with pytest.raises(NoAnswer, match="log"):
            await asyncio.to_thread(ask, path, "fail")
        assert (await asyncio.to_thread(ask, path, "status"))["round"] == 3


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b'{"op": 3}\n', b"\xff\xfe\n", b"[" * 5_000 + b"\n"])
async def test_hostile_lines_are_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, HANDLERS):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        answer = json.loads(await reader.readline())
        writer.close()
    assert answer["ok"] is False


async def test_a_line_without_end_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, HANDLERS):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 3_000_000)
        with pytest.raises((ConnectionError, AssertionError)):
            await writer.drain()
            assert await reader.readline()
        assert (await asyncio.to_thread(ask, path, "status"))["round"] == 3


def test_without_an_agent_the_client_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="does not exist"):
        ask(tmp_path / "control.sock", "status")


async def test_a_socket_left_by_a_killed_agent_is_named_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with pytest.raises(NotRunning, match="left behind"):
        ask(path, "status")
    assert not is_live(path)
    async with serve(path, HANDLERS):
        assert await asyncio.to_thread(is_live, path)
        assert (await asyncio.to_thread(ask, path, "status"))["round"] == 3


async def test_a_second_server_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, HANDLERS):
        with pytest.raises(ControlError, match="in use") as error:
            async with serve(path, HANDLERS):
                pass
        assert error.value.exit_code == 12
        assert (await asyncio.to_thread(ask, path, "status"))["round"] == 3


async def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 120) / "control.sock"
    async with serve(path, HANDLERS):
        assert (await asyncio.to_thread(ask, path, "status"))["round"] == 3


def test_an_agent_that_hangs_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen(1)
        with pytest.raises(NoAnswer, match=r"0.2 s"):
            ask(path, "status", timeout_s=0.2)
