# Every command does its own set-up: Python 3.11+, make and the package registries are all it takes.
PYTHON ?= python3
BIN := .venv/bin
export DENO_DIR := $(CURDIR)/.cache/deno
export DENO_NO_UPDATE_CHECK := 1

#
#   make demo    the whole product in a minute             make test    the whole suite
#   make up      platform and worker, until Ctrl-C         make check   what CI checks besides the tests
#   make listen  print the webhooks that arrive here       make bench   figures; BENCH=name for one
#   make format  format everything                         make chaos   faults; CHAOS=name for one
.PHONY: demo test up listen check bench chaos format lock clean

demo: .venv
	@$(BIN)/python -m tests.demo

test: .venv
	$(BIN)/python -m pytest $(PYTEST)

up: .venv
	@$(BIN)/python -m tests.stack up --with-worker

listen: .venv
	@$(BIN)/python -m tests.demo.listen $(if $(PORT),--port $(PORT)) $(if $(SECRET),--secret $(SECRET))

check: .venv
	@$(BIN)/python -m tests.check

bench: .venv
	@$(BIN)/python -m tests.bench $(BENCH)

chaos: .venv
	@$(BIN)/python -m tests.chaos $(CHAOS)

format: .venv
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .
	$(BIN)/deno fmt --config functions/deno.json functions $$(git ls-files "tests/*.ts")

# The environment, what comes from npm (PostgREST, the Supabase CLI, supabase-js), and the functions' packages.
# The marker is written last, so an interrupted install is done again.
.venv: .venv/.complete
.venv/.complete: requirements.lock pyproject.toml tests/stack/package.json tests/stack/deno.lock functions/deno.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	cd tests/stack && ../../$(BIN)/deno install --quiet --frozen
	cd functions && ../$(BIN)/deno install --quiet --frozen
	@touch $@

lock: .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --extra dev --extra build pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .cache tests/stack/node_modules
