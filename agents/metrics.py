"""The numbers an agent exposes: Prometheus metrics with base units, on a registry that the caller owns.

Owns their names. Labels never hold an address or a CID of anybody else. Must not know a default registry.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_NAMESPACE = "bfl_agent"
_STEPS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600)


class Metrics:
    """All metrics of one agent. Names after ECOSYSTEM 5.6, prefix `bfl_agent_`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(name, text, labels, namespace=_NAMESPACE, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, namespace=_NAMESPACE, registry=registry)

        def histogram(name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(name, text, labels, namespace=_NAMESPACE, registry=registry, buckets=_STEPS)

        self.build_info = gauge("build_info", "Always 1; the version is a label.", ("version", "role"))
        self.up_since = gauge("up_since_timestamp_seconds", "When the process started.")
        self.pulse = gauge("loop_last_pulse_timestamp_seconds", "When the loop last went round.")
        self.head_block = gauge("chain_head_block", "Newest block seen.")
        self.head_age = gauge("chain_head_age_seconds", "Wall clock less the newest block's time.")
        self.rpc_requests = counter("rpc_requests", "JSON-RPC requests by outcome.", ("method", "result"))
        self.rpc_seconds = histogram("rpc_request_seconds", "JSON-RPC request times.")
        self.failovers = counter("rpc_failovers", "Changes to another endpoint.")
        self.reorgs = counter("reorgs", "Rewinds of the event log.")
        self.transactions = counter("tx", "Transactions by function and result.", ("function", "result"))
        self.gas_used = counter("tx_gas_used", "Gas used by function.", ("function",))
        self.balance = gauge("wallet_balance_wei", "The account's balance.")
        self.collateral = gauge("collateral_wei", "Bonds held in tasks.")
        self.rewards = counter("rewards_wei", "Rewards credited.")
        self.penalties = counter("penalties_wei", "Penalties applied.", ("reason",))
        self.round = gauge("task_round", "The round under way, 0 for none.")
        self.phase = gauge("round_phase", "1 for the phase the task is in.", ("phase",))
        self.deadline = gauge("round_deadline_timestamp_seconds", "When the phase ends.")
        self.missed = counter("round_missed", "Phases missed by this agent.", ("phase",))
        self.blob_bytes = counter("blob_bytes", "Bytes put and fetched.", ("op",))
        self.blob_seconds = histogram("blob_seconds", "Blob call times.", ("op",))
        self.blobs_rejected = counter("blob_rejected", "Blobs that failed a check.", ("reason",))
        self.store_up = gauge("store_up", "1 while the blob store answers.")
        self.train_seconds = histogram("train_seconds", "Training times a round.")
        self.score_seconds = histogram("score_seconds", "Scoring times a round.")
        self.eval_score = gauge("eval_score", "Last evaluation of the global model, 0 to 1.", ("metric",))
        self.events = counter("events_written", "Contract events folded.")
        self.errors = counter("errors", "Failures by kind.", ("code",))
