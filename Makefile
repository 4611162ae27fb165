# Needs make and Python 3.11+; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint format bench bench-here sdk-matrix deploy-check clean

# The sidecar where WXPROXY_APPID or WXPROXY_CONFIG is set, else the demo.
run: $(VENV)/.run
	@if [ -n "$$WXPROXY_APPID$$WXPROXY_CONFIG" ]; then command=serve; else command=demo; fi; \
	exec $(BIN)/wxproxy $$command

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@sh tests/install-servers.sh
	$(BIN)/pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Measures beside other proxies, forty minutes; BENCH=--quick is a rough look in one.
# On the distribution's Python where it is 3.11+: that is an optimised build, as an image's is and
# as the other proxies are; one built by hand often is not (the table says which it was).
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c \
	'import sys, ensurepip; sys.version_info >= (3, 11) and print("/usr/bin/python3")' 2>/dev/null)

bench:
	@$(MAKE) --no-print-directory bench-here \
		VENV=.venv-bench-wxproxy PYTHON=$(or $(BENCH_PYTHON),$(PYTHON))

bench-here: $(VENV)/.run
	@sh benchmarks/install.sh
	$(BIN)/python -m benchmarks $(BENCH)

# Real SDKs against the sidecar, as a table; SDKS=wechatpy runs those whose name begins so. Needs
# npm and curl; PHP's row is left out where there is no php.
sdk-matrix: $(VENV)/.test
	$(BIN)/python -m tests.sdks $(SDKS)

# The deployment: every overlay against Kubernetes' schemas, hadolint, promtool, a real scrape, and
# the image, built and run where buildah is (Debian; as root).
deploy-check: $(VENV)/.deploy
	@sh tests/install-servers.sh
	PATH="$(CURDIR)/$(BIN):$$PATH" DEPLOY_CHECK=yes $(BIN)/pytest tests/deploy
	@deploy/image/check.sh || [ $$? -eq 3 ]

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.deploy: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[test,deploy]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-sdks build
