# The everyday entry points; CI calls the same ones.

PORT ?= 8000
UPSTREAM ?=
PACKAGES := shared/postroad $(wildcard *_worker) http_bridge ops sample_api
CHECKED := $(PACKAGES) tests $(wildcard benchmarks)
VENV ?= .venv
export VENV
PYTHON := $(VENV)/bin/python
export PYTHONDONTWRITEBYTECODE :=  # compiled modules make a start faster

.DEFAULT_GOAL := help
.PHONY: run test test-matrix check audit sbom fuzz safeguards faults upgrades move-broker bench scaling soak lock \
	screenshots clean help

run: ## start everything here: make run [UPSTREAM=https://dummyjson.com] [PORT=8000]
	@bin/setup && exec $(VENV)/bin/postroad up --port '$(PORT)' $(if $(UPSTREAM),--upstream '$(UPSTREAM)')

test: ## unit, integration (a real RabbitMQ) and end-to-end tests: make test [ARGS='-k envelope']
	@bin/setup --dev && exec $(PYTHON) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-matrix: ## unit and integration tests on each Python, RabbitMQ and PostgreSQL, in containers (hours)
	@bin/setup --dev && exec $(PYTHON) -m tests.matrix $(ARGS)

faults: ## break the running system in every way we know, and check what it promises (half an hour)
	@bin/setup --dev && exec $(PYTHON) -m tests.faults --report tests/faults/results/campaign.md $(ARGS)

upgrades: ## an older release and this one side by side under load: make upgrades [ARGS='--before REV']
	@bin/setup --dev && exec $(PYTHON) -m tests.upgrades $(ARGS)

move-broker: ## move the running system to RabbitMQ 4 and back under load, 100,000 jobs waiting (a quarter of an hour)
	@bin/setup --dev && exec $(PYTHON) -m tests.broker_move --report tests/broker_move/results/move.md $(ARGS)

check: ## lint, format, types, imports, no secrets in files, and generated files in date
	@bin/setup --dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy $(CHECKED)
	$(VENV)/bin/lint-imports --no-cache --no-logo
	$(PYTHON) -m pytest -q -p no:cacheprovider tests/unit/repository/test_secrets.py
	$(VENV)/bin/postroad contracts check

AUDITORS := $(VENV)-auditors
$(AUDITORS)/made: bin/auditors.txt
	@bin/setup --dev
	$(PYTHON) -m venv --clear $(AUDITORS)
	$(AUDITORS)/bin/pip --quiet install --require-hashes --only-binary :all: -r $<
	touch $@

audit: $(AUDITORS)/made ## ask PyPI which advisories there are for the locked packages (needs https://pypi.org)
	$(AUDITORS)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt

sbom: $(AUDITORS)/made ## write the image's Python packages to dist/sbom.json (CycloneDX)
	mkdir -p dist
	$(AUDITORS)/bin/cyclonedx-py requirements requirements.txt --output-reproducible --output-file dist/sbom.json

fuzz: ## make hostile messages, and see that none is let in: make fuzz [ARGS='--minutes 10']
	@bin/setup --dev && exec $(PYTHON) -m tests.hostile.fuzz $(ARGS)

safeguards: ## take each safeguard out of a copy, and see its test fail (docs/guarantees.md)
	@bin/setup --dev && exec $(PYTHON) -m tests.safeguards $(ARGS)

bench: ## what a request costs, against others and by itself: make bench [ARGS=--help]
	@bin/setup --bench && exec $(PYTHON) -m benchmarks $(ARGS)

scaling: ## put a step in load and a backlog on the system, and draw how it scales (half an hour)
	@bin/setup --dev && exec $(PYTHON) -m benchmarks.scaling $(ARGS)

soak: ## put an even load on the system for a quarter of an hour, and see whether anything grows
	@bin/setup --dev && exec $(PYTHON) -m benchmarks.soak $(ARGS)

# The locks name no index: pip's own setting decides where packages come from, and the hashes
# decide what they are.
LOCK := $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command 'make lock'

lock: ## renew the requirements*.txt to the newest versions that pyproject.toml allows
	@bin/setup --dev
	$(LOCK) pyproject.toml --no-emit-package postroad --group build --extra tracing --output-file requirements.txt
	$(LOCK) pyproject.toml --no-emit-package postroad --group build --extra tracing --extra dev --constraint requirements.txt \
		--output-file requirements-dev.txt
	for lock in $(notdir $(basename $(wildcard benchmarks/peers/locks/*.txt))); do \
		$(LOCK) --group peer-$$lock --output-file benchmarks/peers/locks/$$lock.txt || exit; done
	$(LOCK) --group installer --output-file bin/uv.txt
	$(LOCK) --group auditors --output-file bin/auditors.txt
	$(LOCK) --group profiler --output-file benchmarks/profiler.txt
	$(LOCK) --group charts --output-file benchmarks/scaling/requirements.txt

screenshots: ## renew the pictures of the page in docs/images
	@bin/setup --dev && mkdir -p docs/images && \
		SCREENSHOTS=docs/images exec $(PYTHON) -m pytest tests/e2e/test_page_accessibility.py -k barrier

clean: ## remove everything that the other targets made: .venv, .postroad, caches
	rm -rf .venv .venv-* .postroad .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS="$$(printf '\t')" read -r name what; do printf '  make %-11s %s\n' "$$name" "$$what"; done
