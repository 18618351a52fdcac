"""What an operator may want done in a task: join, leave, start, cancel, withdraw.

With an agent running, it does it (control socket) or the command says what to do; without one, this process takes the
agent's lock and sends the transaction itself. Owns the previews and questions before; must not decide for the operator.
"""

from __future__ import annotations

from typing import Any

from agents.cli import wishes
from agents.cli.earnings import withdrawable
from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.cli.hand import Hand, open_hand
from agents.cli.session import Session, short
from agents.cli.view import View, look
from agents.control import Operation, ask, is_live
from agents.core.intents import LeaveTask, Refund, StartTask, Withdraw
from agents.effects.ports import Call, Receipt
from agents.notation import money
from bfl_events.deadlines import claims, due
from bfl_events.schema import Address, Phase
from bfl_events.state import TaskState


async def leave(session: Session, named: str | None) -> None:
    """`removeWorker()`: at once in Joining, else at the next settlement."""
    view = await look(session)
    task = view.task(named)
    me = _member(view, task)
    index = task.seats[me]
    if task.phase.ended:
        raise Failure(
            "There is nothing to leave.",
            f"The task has ended ({task.phase.name.lower()}).",
            "bfl-agent ledger withdraw",
            Exit.USAGE,
        )
    bond = task.member(index).bond
    if task.phase == Phase.JOINING:
        session.note(f"You leave at once and {money(bond)} return.")
    elif task.phase == Phase.TRAIN and not task.committed >> index & 1:
        session.note(f"You are excused from this round; {money(bond)} return when it settles.")
    else:
        session.note(
            f"You still owe round {task.round} its acts (missing them costs); "
            f"your bond of {money(bond)} returns when it settles."
        )
    session.confirm(f"Leave task {task.address}?")
    if is_live(session.home.control_socket):
        answer = ask(session.home.control_socket, Operation.LEAVE, timeout_s=120, task=task.address)
        session.show({"task": task.address, "leaving": True, **answer}, [f"The running agent leaves {task.address}."])
        return
    async with open_hand(session) as hand:
        wishes.note(hand.network, task.address)
        receipt = await hand.send(LeaveTask(task.address, task.round).key, Call(task.address, "removeWorker"))
    _sent(session, "left" if task.phase == Phase.JOINING else "leaving", task, receipt)


async def start(session: Session, named: str | None) -> None:
    """`startTask()`."""
    view = await look(session)
    task = view.task(named)
    if task.phase != Phase.JOINING:
        raise Failure(
            "The task cannot be started.", f"It is {task.phase.name.lower()}.", "bfl-agent rounds explain", Exit.USAGE
        )
    if due(task, int(view.now), caller=view.me) is None:
        raise Failure(
            "The task cannot be started yet.",
            "Too few workers have joined, or only its requester may start it before the deadline.",
            "bfl-agent rounds explain says who is missing and until when.",
            Exit.USAGE,
        )
    _nobody_runs(session, "start it by itself when it is due")
    async with open_hand(session) as hand:
        receipt = await hand.send(StartTask(task.address, task.deadline).key, Call(task.address, "startTask"))
    _sent(session, "started", task, receipt)


async def cancel(session: Session, named: str | None) -> None:
    """`cancelTask()`: only its requester, only before it has started."""
    view = await look(session)
    task = view.task(named)
    if view.me != task.requester:
        raise Failure(
            "Only the requester can cancel a task.",
            f"It is {task.requester}.",
            "Use that account's --home.",
            Exit.USAGE,
        )
    if task.phase != Phase.JOINING:
        raise Failure(
            "The task cannot be cancelled.",
            f"It is {task.phase.name.lower()}: once started, nobody has power over it.",
            "It ends by itself; what is not spent returns to you.",
            Exit.USAGE,
        )
    session.confirm(f"Cancel task {task.address}? {money(task.reward)} return to you, all collateral to the workers.")
    _nobody_runs(session, "not cancel a task")
    async with open_hand(session) as hand:
        receipt = await hand.send(f"cancel:{task.address}", Call(task.address, "cancelTask"))
    _sent(session, "cancelled", task, receipt)


async def withdraw(session: Session, named: str | None, of: Address | None = None) -> None:
    """`withdraw(account)` and, for a requester, `refund()`, wherever something is owed. `of`: another's account."""
    view = await look(session)
    owner = _account(view) if of is None else of
    tasks = [view.task(named)] if named is not None else [task for task in view.tasks if withdrawable(task, owner)]
    owed = {task.address: withdrawable(task, owner) for task in tasks}
    if not any(owed.values()):
        session.show(
            {"withdrawn_wei": "0", "transactions": []},
            ["Nothing can be taken out now (bonds return when a task has ended)."],
        )
        return
    for task in tasks:
        session.note(f"{short(task.address)}  {money(owed[task.address])}")
    if of is not None:
        _nobody_runs(session, "help everybody out by itself after the end of its own task")
    elif is_live(session.home.control_socket):
        answer = ask(session.home.control_socket, Operation.WITHDRAW, timeout_s=120, task=named)
        session.show({"asked": True, **answer}, ["The running agent takes it out."])
        return
    session.confirm(f"Take out {money(sum(owed.values()))}?")
    done: list[dict[str, Any]] = []
    async with open_hand(session) as hand:
        for task in tasks:
            done += [entry async for entry in _take(hand, task, owner)]
    session.show(
        {"withdrawn_wei": str(sum(int(entry["amount_wei"]) for entry in done)), "transactions": done},
        [
            f"{money(int(entry['amount_wei']))} from {entry['task']} to {entry['to']}  tx {entry['tx']}"
            for entry in done
        ],
    )


async def join(session: Session, named: str | None, *, dry_run: bool) -> None:
    """Check the terms against the policy; then run the agent for this task, which tries it out and bonds. A wish to
    leave it is taken back."""
    from agents.cli.admission import reasons_against

    view = await look(session)
    task = view.task(named)
    if reasons := reasons_against(session.settings.policy, view, task):
        raise Failure(
            f"This agent would not join {task.address}.",
            "; ".join(reasons) + ".",
            "Change [policy] in config.toml if you accept that, or choose another task.",
            Exit.PREFLIGHT,
        )
    document = {"task": task.address, "acceptable": True, "collateral_wei": str(task.params.collateral)}
    lines = [
        f"Nothing on chain speaks against {task.address}.",
        f"It would bond {money(task.params.collateral)}.",
        "Before it bonds, the agent fetches the specification, trains one step and judges the result.",
    ]
    live, left = is_live(session.home.control_socket), wishes.noted(view.network, task.address)
    if live and left:
        raise Failure(
            f"The running agent does not join {task.address}.",
            "It was told to leave it.",
            "Stop it, and repeat this command, which takes that back.",
            Exit.USAGE,
        )
    if dry_run or live:
        session.show(
            document,
            [
                *lines,
                "Next: bfl-agent run --task " + task.address if dry_run else "The running agent joins it by itself.",
            ],
        )
        return
    for line in lines:
        session.note(line)
    session.confirm(f"Run this agent for the task and bond {money(task.params.collateral)}?")
    from agents.cli.run import serve

    if left:
        wishes.take_back(view.network, task.address)
    await serve(session, task.address)


async def _take(hand: Hand, task: TaskState, owner: Address) -> Any:
    owed = claims(task)
    for claim in owed.withdrawals:
        if claim.account == owner:
            key = Withdraw(task.address, owner, claim.amount).key
            receipt = await hand.send(key, Call(task.address, "withdraw", (owner,)))
            yield {
                "task": task.address,
                "to": claim.payout,
                "amount_wei": str(claim.amount),
                "tx": f"0x{receipt.tx.hex()}",
            }
    if owed.refund and task.requester == owner:
        receipt = await hand.send(Refund(task.address, owed.refund).key, Call(task.address, "refund"))
        yield {"task": task.address, "to": owner, "amount_wei": str(owed.refund), "tx": f"0x{receipt.tx.hex()}"}


def _account(view: View) -> Address:
    if view.me is None:
        raise Failure(
            "There is no account in this home.", "This needs one.", "bfl-agent account new, or --account.", Exit.ACCOUNT
        )
    return view.me


def _member(view: View, task: TaskState) -> Address:
    me = _account(view)
    if me not in task.seats:
        raise Failure(
            f"{me} has no seat in task {short(task.address)}.",
            "Only a member can do this.",
            "See bfl-agent task show.",
            Exit.USAGE,
        )
    return me


def _nobody_runs(session: Session, otherwise: str) -> None:
    if is_live(session.home.control_socket):
        raise Failure(
            "An agent is running in this home.",
            f"It holds the account; it will {otherwise}.",
            "Stop it first (SIGTERM loses nothing), or wait.",
            Exit.LOCKED,
        )


def _sent(session: Session, what: str, task: TaskState, receipt: Receipt) -> None:
    cost = receipt.gas_used * receipt.gas_price
    session.show(
        {
            "task": task.address,
            what: True,
            "tx": f"0x{receipt.tx.hex()}",
            "block": receipt.block,
            "gas": receipt.gas_used,
            "cost_wei": str(cost),
        },
        [
            f"{what}: {task.address}",
            f"tx 0x{receipt.tx.hex()}  block {receipt.block}  gas {receipt.gas_used}  ({money(cost)})",
        ],
    )
