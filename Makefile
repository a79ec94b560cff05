# Only Python 3.11 or newer has to be there: every target sets up its own virtual environment first.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PYTEST := $(RUN) -m pytest
LOCK   := $(RUN) -m uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet
DEPLOYED := kafka postgres avro fastapi server telemetry
LOCKED = $(shell grep -oE '^[A-Za-z0-9._-]+==' requirements/runtime.lock | tr -d =)

.PHONY: render demo demo-kafka service test check docs errors bench campaign campaign-kafka lock crds audit licences sbom wheel clean setup
.DEFAULT_GOAL := test

setup: $(STAMP)

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## the main job: the task domain on the embedded log
	@$(RUN) -m examples.task_domain

demo-kafka: $(STAMP)  ## the same on Apache Kafka, with three worker processes
	@$(RUN) -m examples.task_domain --kafka

service: $(STAMP)  ## the task domain as a web service with a page; PORT=8000
	@$(RUN) -m examples.task_service --port $(or $(PORT),8000)

test: $(STAMP)  ## every test but the campaigns, and at least 95 % coverage of each package that must not fail
	$(RUN) -m coverage run -m pytest -rfEs --durations=10  # from the start: the plug-in imports the package early
	@for package in core write read sqlite; do $(RUN) -m coverage report --include="src/eventstore/$$package/*" --fail-under=95 || exit 1; done

check: $(STAMP)  ## linters and type checkers
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(RUN) -m pyright
	$(VENV)/bin/lint-imports

render: $(STAMP)  ## write the manifests of the example in deploy/rendered anew
	$(VENV)/bin/eventstore --app examples.task_domain.app:store deploy render

errors: $(STAMP)  ## write the tables of errors in the documentation anew
	$(RUN) -m tests.errors_page

docs: $(STAMP)  ## the documentation site, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

bench: $(STAMP)  ## figures and ratios against the peer; quiet machine wanted
	$(RUN) -m benchmarks.peer

campaign: $(STAMP)  ## hundreds of kills and injected disk errors; see tests/campaigns/RESULTS.md
	$(PYTEST) -m 'campaign and not kafka' --timeout=0 -s

campaign-kafka: $(STAMP)  ## hundreds of killed and paused owners, deploys and killed brokers, on a real Kafka; about an hour
	$(PYTEST) -m 'campaign and kafka' --timeout=0 -s

lock: $(STAMP)  ## resolve the dependencies anew
	$(RUN) -m pip install --quiet uv
	$(LOCK) --extra dev -o requirements/dev.lock pyproject.toml
	$(LOCK) --constraint requirements/dev.lock $(addprefix --extra ,$(DEPLOYED)) -o requirements/runtime.lock pyproject.toml
	$(LOCK) --constraint requirements/dev.lock --group build -o requirements/build.lock

crds: $(STAMP)  ## fetch the definitions that the manifests are checked against
	@$(RUN) -m tests.deploy.definitions

audit: $(STAMP)  ## published vulnerabilities of what is locked
	$(RUN) -m tests.audit

sbom: $(STAMP)  ## dist/sbom.json: what a deployment installs, in CycloneDX's form
	@mkdir -p dist
	$(VENV)/bin/cyclonedx-py requirements requirements/runtime.lock --pyproject pyproject.toml --mc-type library --output-reproducible --output-file dist/sbom.json

licences: $(STAMP)  ## the licences of what a deployment installs
	$(VENV)/bin/pip-licenses --from=mixed --format=markdown --with-urls --packages $(LOCKED)

wheel: $(STAMP)  ## dist/*.whl, the same bytes from the same commit
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(RUN) -m hatchling build --target wheel

clean:
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
