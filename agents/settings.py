"""The frozen settings of one agent: names, defaults, precedence (flag > BFL_ environment > config.toml > default).

Owns their validation and the sentences for what is wrong. Must not open a connection or be handed on whole: the daemon
and the CLI take it apart.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agents.home import Home, find_home
from agents.misconfiguration import PREFIX, SettingsError, explain, refuse_unknown_variables, setting_names
from agents.notation import checksum_address, wei
from bfl_events.schema import Address

__all__ = [
    "Account",
    "Chain",
    "Home",
    "Learning",
    "Observe",
    "Partition",
    "Policy",
    "Run",
    "Settings",
    "SettingsError",
    "Store",
    "find_home",
    "load",
]

_LOCAL: Final = "local:"


def _items(value: object) -> object:
    """A list, or one text with commas: the form that fits an environment variable."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _url(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)} is needed")
        return value

    return AfterValidator(check)


_Item = TypeVar("_Item")
Many = Annotated[tuple[_Item, ...], NoDecode, BeforeValidator(_items)]
Wei = Annotated[int, BeforeValidator(wei)]
Account0x = Annotated[Address, BeforeValidator(checksum_address)]
Bps = Annotated[int, Field(ge=0, le=10_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Chain(_Section):
    """Endpoints in order of preference; `confirmations` and `poll_s` are PROTOCOL 2.6's c and the source's fallback."""

    rpc: Annotated[Many[Annotated[str, _url("http", "https")]], Field(min_length=1)] = ("http://127.0.0.1:8545",)
    ws: Many[Annotated[str, _url("ws", "wss")]] | None = None
    chain_id: Annotated[int, Field(gt=0)] | None = None
    factory: Account0x | None = None
    start_block: Annotated[int, Field(ge=0)] = 0
    confirmations: Annotated[int, Field(ge=0, le=1_000)] = 2
    max_fee_gwei: Annotated[Decimal, Field(gt=0)] | None = None
    deadline_s: Seconds = 15
    poll_s: Seconds = 2

    @property
    def doorbells(self) -> tuple[str, ...]:
        """WebSocket URLs: `ws`, or the HTTP endpoints with their scheme changed."""
        return self.ws if self.ws is not None else tuple(url.replace("http", "ws", 1) for url in self.rpc)


class Account(_Section):
    """`address` None: the only one in the keystore. `password` comes from the environment, never from the file."""

    address: Account0x | None = None
    password_file: Path | None = None
    password: SecretStr | None = None
    payout: Account0x | None = None


class Store(_Section):
    """`local:<directory>` (relative to the home) or the address of a Kubo RPC API.

    `read_back`: other routes through which a model must be readable before it is opened on chain: further stores, or
    `gateway:https://host`. Each has `deadline_s`.
    """

    address: Annotated[str, Field(min_length=1)] = "local:blobs"
    read_back: Many[Annotated[str, Field(min_length=1)]] = ()
    deadline_s: Seconds = 120
    retain_rounds: Annotated[int, Field(ge=3)] = 3

    @model_validator(mode="after")
    def _another_route(self) -> Store:
        if self.address in self.read_back:
            raise ValueError("store.read_back names the store itself; reading a model back there shows nothing")
        return self


class Partition(_Section):
    """Which part of a data set this agent holds, for experiments: part `index` (from 0) of `of`, drawn with `seed`.

    `alpha` is for dirichlet, `labels_per_worker` for shards, `shares` (relative, one per part) for size.
    """

    kind: Literal["iid", "dirichlet", "shards", "size"] = "iid"
    index: Annotated[int, Field(ge=0)]
    of: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    alpha: Annotated[float, Field(gt=0, lt=1e6)] = 0.5
    labels_per_worker: Annotated[int, Field(ge=1)] = 2
    shares: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Partition:
        if self.index >= self.of:
            raise ValueError(f"there is no part {self.index} of {self.of}; parts count from 0")
        if self.shares and len(self.shares) != self.of:
            raise ValueError(f"{len(self.shares)} shares are given for {self.of} parts")
        return self


class Learning(_Section):
    """`plugins` is the allow-list: identifier of a specification -> a task.py (relative to the home) or a module."""

    plugins: Mapping[str, str] = Field(default_factory=dict)
    data_dir: Path | None = None
    options: Mapping[str, Any] = Field(default_factory=dict)
    partition: Partition | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    threads: Annotated[int, Field(ge=1, le=1_024)] | None = None


class Policy(_Section):
    """What this operator refuses before it bonds: PROTOCOL 7.7, with its numbers as defaults.

    `requesters`: only theirs (empty: anybody's); `own_accounts`: no second seat beside these. `max_collateral_factor`
    is a multiple of the reward per seat, `min_window_to_step` of the time that the work takes here, `dev_tol_to_noise`
    of the noise of the operator's own validation set, `min_reward_to_gas` of what a worker's gas of a round costs at
    the base fee of the moment (0: whatever it costs).
    """

    requesters: Many[Account0x] = ()
    own_accounts: Many[Account0x] = ()
    max_collateral_wei: Wei = wei("1.5 ether")
    max_open_collateral_wei: Wei = wei("0.01 ether")
    max_collateral_factor: Annotated[int, Field(ge=1)] = 5
    max_fee_bps: Bps = 2_000
    max_miss_bps: Bps = 1_000
    max_slash_bps: Bps = 5_000
    max_accept_bps: Bps = 9_500
    min_max_miss: Annotated[int, Field(ge=1)] = 2
    min_window_blocks: Annotated[int, Field(ge=0)] = 10
    min_window_to_step: Annotated[float, Field(ge=0)] = 3.0
    min_reward_per_round_wei: Wei = 0
    min_reward_to_gas: Annotated[float, Field(ge=0)] = 1.0
    min_validation: Annotated[int, Field(ge=1)] = 50
    dev_tol_to_noise: Annotated[float, Field(ge=0)] = 1.0
    max_model_bytes: Annotated[int, Field(gt=0)] = 2 * 1024**3


class Run(_Section):
    """`drain_s`: how long the first SIGTERM or Ctrl-C waits for what the agent is doing; a second one does not."""

    drain_s: Annotated[float, Field(ge=0, le=3_600)] = 20


class Observe(_Section):
    """What leaves the process for people: log lines, and `http` = "127.0.0.1:9464" for /livez, /readyz and /metrics."""

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    http: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\s:\[\]]+):\d{1,5}$")] | None = None


class Settings(BaseSettings):
    """Everything an operator decides. Built by `load` from sources merged there; reads nothing by itself."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Annotated[InstanceOf[Home], NoDecode]
    role: Literal["worker", "requester"] = "worker"
    name: Annotated[str, Field(max_length=64)] = ""
    profile: Literal["production", "development"] = "production"
    chain: Chain = Chain()
    account: Account = Account()
    store: Store = Store()
    learning: Learning = Learning()
    policy: Policy = Policy()
    observe: Observe = Observe()
    run: Run = Run()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @property
    def store_address(self) -> str:
        """The store's address with a relative `local:` directory made absolute."""
        return self._located(self.store.address)

    @property
    def routes(self) -> tuple[str, ...]:
        """`store.read_back`, likewise."""
        return tuple(map(self._located, self.store.read_back))

    def _located(self, address: str) -> str:
        if not address.startswith(_LOCAL):
            return address
        return f"{_LOCAL}{self.home.root / address.removeprefix(_LOCAL)}"

    @property
    def plugins(self) -> dict[str, str]:
        """`learning.plugins` with paths made absolute; a value without "/" and ".py" is a module's name."""
        return {
            name: str(self.home.root / Path(value).expanduser()) if "/" in value or value.endswith(".py") else value
            for name, value in self.learning.plugins.items()
        }


def load(home: Home, flags: Mapping[str, Any] | None = None) -> Settings:
    """Merge the sources. `flags` is nested like the file, unset flags left out. Raises SettingsError."""
    file = _read_file(home.config)
    names = setting_names(Settings)
    refuse_unknown_variables(os.environ, names)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    development = (flags or {}).get("profile") or os.environ.get("BFL_PROFILE") or file.get("profile")
    defaults = {"chain": {"confirmations": 0}} if development == "development" else {}
    sources = (
        ("the development profile", defaults),
        (str(home.config), file),
        ("the environment", _environment()),
        ("a flag", flags or {}),
    )
    for origin, values in sources:
        _merge(merged, values, origin, origins)
    try:
        return Settings(**merged | {"home": home})
    except ValidationError as error:
        raise explain(error, origins, names) from None


def _environment() -> dict[str, Any]:
    source = EnvSettingsSource(Settings, env_prefix=PREFIX, env_nested_delimiter="__")
    source.env_vars = {name: value for name, value in source.env_vars.items() if name != "bfl_home"}
    try:
        return source()
    except ValueError as error:
        raise SettingsError(
            "A BFL_ environment variable cannot be read.", str(error), "Write lists with commas and tables as JSON."
        ) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read.", f"{error}.", "Mend the file or its permissions.") from None
    if "home" in table:
        raise SettingsError(
            f"{path} names a home.",
            "The file lies in the home it belongs to.",
            "Use --home or BFL_HOME, and remove the line.",
        )
    if isinstance(account := table.get("account"), dict) and "password" in account:
        raise SettingsError(
            f"{path} holds a password.",
            "Configuration files are copied and shared; passwords must not be.",
            "Remove it; use account.password_file, or BFL_ACCOUNT__PASSWORD in the environment.",
        )
    return table


def _merge(into: dict[str, Any], values: Mapping[str, Any], origin: str, origins: dict[str, str], at: str = "") -> None:
    for name, value in values.items():
        place = f"{at}{name}"
        if isinstance(value, Mapping) and isinstance(into.setdefault(name, {}), dict):
            _merge(into[name], value, origin, origins, f"{place}.")
        else:
            into[name] = value
        origins[place] = origin
