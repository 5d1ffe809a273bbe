# `make help` lists the targets. Everything runs in .venv, made from requirements.lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
# uv trusts whom the system trusts, as pip does: a hospital's proxy has a certificate of its own.
export UV_SYSTEM_CERTS := true
# Neither calls home.
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/made ## run the pipeline (dvc repro), judge the model, and print what came out
	@osteon params >/dev/null
	@dvc repro
	@osteon promote || [ $$? -eq 4 ]  # 4: not good enough, which is no fault
	@osteon summary

# For a newcomer: all that needs no container, no server, no real films and no minutes of training.
.PHONY: test
test: $(VENV)/made ## run the tests that need no container, server or long training: seven to eight minutes on two cores
	@pytest -n 2 --dist loadgroup --durations 10 --durations-min 5 -m "not slow and not e2e and not container and not real"

.PHONY: test-all
test-all: $(VENV)/made ## run all tests, as CI does
	@pytest -n 2 --dist loadgroup --durations 30 --durations-min 5

.PHONY: coverage
coverage: $(VENV)/made ## run the tests but those in containers, clones and on real films; show which branches of osteon/ they take
	@pytest -n 2 --dist loadgroup -m "not e2e and not container and not real" \
	  --cov=osteon --cov-branch --cov-report=term:skip-covered --cov-fail-under=90

.PHONY: mutants
mutants: $(VENV)/made ## change the files that decide, one operator at a time, and count what no test notices
	@mutmut run && mutmut results

.PHONY: docs
docs: $(VENV)/made ## the docs and the library's API as a site, in site/; a broken link fails
	@NO_MKDOCS_2_WARNING=true mkdocs build --strict  # with --quiet it would count no warnings
	@echo "site/index.html"

.PHONY: lint
lint: $(VENV)/made ## ruff, mypy, import-linter
	ruff check
	ruff format --check
	mypy
	lint-imports

.PHONY: data
data: $(VENV)/made ## fetch a public set: make data SET=fracatlas; without SET lists them
	@osteon fetch $(SET)

.PHONY: ui
ui: $(VENV)/made ## open MLflow's page on the local store (http://127.0.0.1:5000)
	@mkdir -p mlflow/store
	mlflow server --host 127.0.0.1 --port $(or $(PORT),5000) --workers 1 \
	  --backend-store-uri sqlite:///mlflow/store/mlflow.db --default-artifact-root ./mlflow/store/artifacts

.PHONY: bench
bench: $(VENV)/made ## measure speed and memory (more than two hours with real films; OSTEON_REAL_DATA names their folder)
	@python -m benchmarks

.PHONY: lock
lock: $(VENV)/made ## resolve pyproject.toml anew into requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra dev --extra docs --extra weights --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-emit-index-url --no-annotate --upgrade --quiet \
	  --custom-compile-command "make lock" --output-file requirements.lock
	@$(MAKE) --no-print-directory lock-image

# The versions are those of requirements.lock. Which packages differ, and why: infra/*.in.
define lock-of
	@sed -n 's/^tensorflow==\([^ ]*\).*/tensorflow-cpu==\1/p' requirements.lock | \
	  $(BIN)/uv pip compile pyproject.toml --extra weights infra/$(1).in $(2) --excludes infra/excludes.in \
	  --constraints requirements.lock --constraints /dev/stdin --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-emit-index-url --no-annotate --upgrade --quiet \
	  --custom-compile-command "make lock-image" --output-file infra/requirements-$(1).lock
endef

.PHONY: lock-image
lock-image: ## resolve the image's locks, at the versions of requirements.lock
	$(call lock-of,cpu,--overrides infra/cpu-overrides.in)
	$(call lock-of,gpu)

# Of two engines docker, as most machines have it. The commit is in the image, which has no git to ask.
ENGINE ?= $(firstword $(foreach engine,docker podman,$(if $(shell command -v $(engine) 2>/dev/null),$(engine))))
TARGET ?= cpu
# What decides what the image does; parameters come with each run.
CODE   := osteon components pipelines dvc.yaml pyproject.toml requirements.lock infra
IMAGE  ?= osteon

.PHONY: image
image: ## build the container image: make image [TARGET=gpu] [IMAGE=NAME] [ENGINE=podman] [BUILD_FLAGS=…]
	@[ -n "$(ENGINE)" ] || { echo "neither docker nor podman is there"; exit 1; }
	@$(ENGINE) build --file infra/Dockerfile --target $(TARGET) --tag $(IMAGE):$(TARGET) $(BUILD_FLAGS) \
	  --build-arg COMMIT="$$(git rev-parse HEAD)" \
	  --build-arg DIRTY="$$([ -z "$$(git status --porcelain -- $(CODE))" ] && echo false || echo true)" \
	  --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" .

.PHONY: clean
clean: ## remove what the pipeline made and the environment; DVC's cache and MLflow's store stay
	rm -rf $(VENV) data/phantoms data/*.parquet data/prepared data/augmented reports artifacts build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info mutants site .coverage*

# uv installs in seconds what takes pip minutes; its own hash comes from the lock.
$(VENV)/made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version); name one: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing the locked dependencies into $(VENV) …"
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock >$(VENV)/uv.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
