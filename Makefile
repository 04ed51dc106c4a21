# Everything starts here: `make demo` and `make test` set up what is missing. `make help` lists the rest.
# Needed: make and Python 3.11 or newer (PYTHON names another than the first one found).

VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
PYTHON ?=

# The folders are the list of packages; nothing else names them.
PACKAGES := $(notdir $(patsubst %/,%,$(dir $(wildcard packages/*/pyproject.toml))))
RECIPES  := constraints.txt pyproject.toml shared/pyproject.toml $(wildcard packages/*/pyproject.toml)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without kept bytecode each of the many processes of a test run compiles torch and transformers anew.
unexport PYTHONPATH VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help dev demo test lint format wheels bench ci version packages-json clean distclean

help:  ## list the targets
	@echo "Nonet. Packages here: $(PACKAGES)"
	@awk -F '[:#]+' '/^[a-z%-]+:.*##/ {printf "  make %-16s%s\n", $$1, $$NF}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------------------------------- the environment

dev: $(READY)  ## set up .venv, or bring it up to date (about 3 minutes and 8 GB the first time)

# Every distribution editable, with all of its extras, in one resolution. NONET replaces the path to nonet that
# a package's requirement has in a checkout: with the path, the editable nonet would be replaced by a copy.
define EDITABLES
import pathlib, tomllib
for folder in ["shared", *sorted(str(path.parent) for path in pathlib.Path("packages").glob("*/pyproject.toml"))]:
    project = tomllib.loads(pathlib.Path(folder, "pyproject.toml").read_text())["project"]
    print("-e", f"./{folder}[{','.join(project.get('optional-dependencies', {}))}]")
endef
export EDITABLES

$(READY): $(RECIPES)
	@set -eu; \
	if ! $(PY) -c '' 2>/dev/null; then \
	  found=; \
	  for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "make: no Python 3.11 or newer here$(if $(PYTHON), ($(PYTHON) is not one)); name one: make PYTHON=/path/to/python3" >&2; exit 2; fi; \
	  echo "Setting up $(VENV) with $$($$found -V): about 3 minutes and 8 GB the first time"; \
	  rm -rf $(VENV); \
	  $$found -m venv $(VENV) >/dev/null || { \
	    rm -rf $(VENV); $$found -m venv --without-pip $(VENV) && $$found -m pip -q --python $(PY) install pip; } || { \
	    rm -rf $(VENV); echo "make: $$found cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }; \
	else echo "Bringing $(VENV) up to date"; fi; \
	export NONET=">=0"; what=$$($(PY) -c "$$EDITABLES"); \
	index=$$($(PY) -m pip config list | sed -n "s/^.*\.index-url='\(.*\)'$$/\1/p" | tail -n 1); \
	$(PY) -m uv --version >/dev/null 2>&1 || $(PY) -m pip install -q -c constraints.txt uv || true; \
	if $(PY) -m uv --version >/dev/null 2>&1 && env $${index:+UV_DEFAULT_INDEX="$$index"} \
	  $(PY) -m uv pip install -q --python $(PY) -c constraints.txt --group dev $$what; then :; \
	else \
	  echo "uv did not manage; pip goes on (slower, same versions)"; \
	  $(PY) -m pip install -q -c constraints.txt pip; \
	  $(PY) -m pip install -q -c constraints.txt --group dev $$what; \
	fi
	@touch $@

# ------------------------------------------------------------------------------------------------------- look and check

demo: $(READY)  ## run every package's demo: one table here, one page in runs/demo/index.html
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m nonet.report.demos --out runs/demo $(PACKAGES)

demo-%: $(READY)  ## the same for one package
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m nonet.report.demos --out runs/demo $*

# A file stays with one worker, so that what its tests share is made once; conftest.py says what comes first.
test: $(READY)  ## all tests, a worker for each core (PYTEST="-k name" passes options on)
	@$(PY) -m pytest -n auto --dist loadfile $(PYTEST)

test-shared: $(READY)  ## the tests of nonet
	@$(PY) -m pytest shared/tests $(PYTEST)

test-house: $(READY)  ## the tests that concern all packages
	@$(PY) -m pytest tests $(PYTEST)

test-%: $(READY)  ## the tests of one package
	@$(PY) -m pytest packages/$*/tests $(PYTEST)

lint: $(READY)  ## style, types, layers, workflow
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(READY)  ## let ruff mend style
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

wheels: $(READY)  ## build every wheel into dist/
	@$(PY) tests/isolate.py --wheels dist $(PACKAGES)

isolate-%: $(READY)  ## build one package's wheels and test it alone in a clean environment
	@$(PY) tests/isolate.py --tests $*

alone-%: isolate-% ;

ci: lint test $(addprefix isolate-,$(PACKAGES))  ## what the workflow runs, here

# ------------------------------------------------------------------------------------------------------------- measure

bench: $(addprefix bench-,$(PACKAGES))  ## every package's benchmarks

bench-%: $(READY)  ## one package's speed and claim tables, kept in benchmarks/results and shown in its README
	@set -eu; \
	[ -n "$(wildcard benchmarks/$(subst -,_,$*)/*.py)" ] || { echo "make: benchmarks/$(subst -,_,$*) has no benchmark" >&2; exit 2; }; \
	for file in $(sort $(wildcard benchmarks/$(subst -,_,$*)/speed*.py)) $(sort $(wildcard benchmarks/$(subst -,_,$*)/claim*.py)); do \
	  module=$$(basename $$file .py); echo "== $$module"; $(PY) -m benchmarks.$(subst -,_,$*).$$module; done; \
	$(PY) -m benchmarks.render

# ------------------------------------------------------------------------------------------------------------- release

version: $(READY)  ## V=0.2.0 writes one version everywhere
	@case "$(V)" in [0-9]*.[0-9]*.[0-9]*) ;; *) echo "make: say which, such as make version V=0.2.0" >&2; exit 2;; esac
	@$(PY) -c 'import pathlib, re, sys; \
	[(p.write_text(re.sub(r"(?m)^version(:| =) .*$$", lambda m: f"version{m[1]} " + (sys.argv[1] if m[1] == ":" else chr(34) + sys.argv[1] + chr(34)), p.read_text(), count=1)), print(p)) \
	for p in map(pathlib.Path, sys.argv[2:])]' "$(V)" shared/pyproject.toml $(wildcard packages/*/pyproject.toml) CITATION.cff

packages-json:  ## the packages as a JSON list, for the workflow's matrix
	@printf '['; sep=; for name in $(PACKAGES); do printf '%s"%s"' "$$sep" "$$name"; sep=', '; done; printf ']\n'

clean:  ## remove what tests and builds left, not the environment and not your runs
	@rm -rf dist .envs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks runs/demo
	@find packages shared benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## and the environment
	@rm -rf $(VENV)
