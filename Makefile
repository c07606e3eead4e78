# Every command a developer needs. `make help` lists them; each sets up what it needs first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
UV_VERSION := 0.13.9
UV := .tools/bin/uv
BIN := .venv/bin
PROTOS := $(shell find proto -name '*.proto')

# Mounts made by tests live in a mount namespace of their own: they vanish with it, and no root is needed to make them.
NAMESPACE := $(if $(filter 0,$(shell id -u)),unshare -m,unshare -Urm)

.PHONY: help setup demo demo-stop test test-kube e2e-kube lint format proto bench-mount bench-fetcher bench-fetch bench-rotation bench-schedule docs clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/synced ## Install everything into .venv (the other commands do it by themselves)

demo: .venv/synced ## Mount secrets from a Vault and an AWS through the whole of Keyferry (KEEP=1 leaves it running)
	@$(if $(filter 0,$(shell id -u)),,unshare -Urm) $(BIN)/python -m keyferry.testing.demo $(if $(KEEP),--keep)

demo-stop: .venv/synced ## End what `make demo KEEP=1` left running
	@$(BIN)/python -m keyferry.testing.demo --stop

test: .venv/synced ## Run every test, on real servers that the tests start and stop
	$(NAMESPACE) $(BIN)/pytest -q $(ARGS)

test-kube: .venv/synced ## Run the Kubernetes suites against a real API server (needs KUBEBUILDER_ASSETS or KUBECONFIG)
	@test -n "$(KUBEBUILDER_ASSETS)$(KUBECONFIG)" || { echo "set KUBEBUILDER_ASSETS (a folder with etcd, kube-apiserver, kube-controller-manager) or KUBECONFIG"; exit 2; }
	$(BIN)/pytest -q tests/contract/kube tests/contract/kube_client $(ARGS)

# The scripts kube-up and kube-assets, and the folder of the binaries that kube-assets builds, once, in about six minutes.
KUBE_TOOLS := $(or $(KEYFERRY_KUBE_TOOLS),$(CURDIR)/../shared/tools)
KUBE_ASSETS := $(or $(KUBEBUILDER_ASSETS),$(HOME)/.cache/kube-assets/1.20.2)
e2e-kube: .venv/synced ## Run the suite of a real kubelet: API server, controllers, containerd and all our services (root)
	@[ "$$(id -u)" = 0 ] || { echo "a kubelet needs root: run make e2e-kube as root"; exit 2; }
	@[ -x "$(KUBE_TOOLS)/kube-up" ] || { echo "$(KUBE_TOOLS) has no kube-up: set KEYFERRY_KUBE_TOOLS to its folder"; exit 2; }
	@[ -x "$(KUBE_ASSETS)/kubelet" ] || "$(KUBE_TOOLS)/kube-assets" "$(KUBE_ASSETS)"
	KEYFERRY_KUBE_TOOLS="$(KUBE_TOOLS)" KUBEBUILDER_ASSETS="$(KUBE_ASSETS)" $(BIN)/pytest -q tests/e2e_kube $(ARGS)

lint: .venv/synced ## Check style, types, layers and generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check -q
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory proto OUT=.venv/proto
	@diff -r -x '*.py[co]' -x __pycache__ .venv/proto/keyferry/proto lib/src/keyferry/proto || { echo "run: make proto"; exit 1; }

format: .venv/synced ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix -q
	$(BIN)/ruff format -q

OUT := lib/src
proto: .venv/synced ## Generate the protobuf stubs
	@mkdir -p $(OUT)
	@$(BIN)/python -m grpc_tools.protoc -Ikeyferry/proto=proto --python_out=$(OUT) --pyi_out=$(OUT) $(PROTOS:proto/%=keyferry/proto/%)

bench-mount: .venv/synced ## Measure mounts: serial, a storm of 1000, memory after 10000 (ARGS=--quick for a short run)
	@UV=$(abspath $(UV)) $(NAMESPACE) $(BIN)/python bench/mount.py $(ARGS)

bench-fetcher: .venv/synced ## Measure how many requests one fetcher answers (ARGS=--quick for a short run)
	@UV=$(abspath $(UV)) $(NAMESPACE) $(BIN)/python bench/replies.py $(ARGS)

bench-fetch: .venv/synced ## Measure what a fetch costs at each backend (ARGS=--quick for a short run)
	@UV=$(abspath $(UV)) $(BIN)/python bench/fetch.py $(ARGS)

bench-rotation: .venv/synced ## Measure the rotation of 1000 and of 10000 volumes (ARGS=--quick for a short run)
	@UV=$(abspath $(UV)) $(NAMESPACE) $(BIN)/python bench/rotation.py $(ARGS)

bench-schedule: .venv/synced ## Measure the rotators' schedule of 10000 volumes (ARGS=--traced with spans)
	@UV=$(abspath $(UV)) $(BIN)/python bench/schedule.py $(ARGS)

docs: .venv/synced ## Write the reference from the code and build the documentation into site/
	@$(BIN)/python docs/reference/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

clean: ## Remove what the commands above made
	rm -rf .venv .tools .demo .bench site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/synced: $(UV) pyproject.toml uv.lock $(wildcard lib/pyproject.toml services/*/pyproject.toml)
	$(UV) sync --frozen --quiet --python $(PYTHON)
	@touch $@

$(UV):
	@$(PYTHON) -m venv .tools >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null && \
	  $(PYTHON) -m venv --clear .tools; } || { echo "needs Python 3.11 with venv: apt-get install python3-venv"; rm -rf .tools; exit 1; }
	.tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
