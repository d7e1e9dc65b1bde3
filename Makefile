# What a user types; `make` alone lists it. The rest is the `olmo` command.
#
#   PYTHON=python3.12  another interpreter (3.11 or newer)
#   TORCH=cu130        another build of torch: cpu, cu130, ... or auto, which looks for a GPU

PYTHON ?= python3
UV := 0.13.8
BIN := .venv/bin

# What pip is told about mirrors, in its environment or its settings file, holds for uv too.
setting = $(or $(PIP_$(1)),$(shell $(PYTHON) -m pip config get global.$(2) 2>/dev/null))
mirrors = $(if $(1),UV_FIND_LINKS="$(1)") $(if $(2),UV_DEFAULT_INDEX="$(2)") $(if $(3),SSL_CERT_FILE="$(3)")
uv = $(call mirrors,$(call setting,FIND_LINKS,find-links),$(call setting,INDEX_URL,index-url),$(call setting,CERT,cert)) $(BIN)/uv
# Compiled at once: a release starts some sixty Python processes, and many machines forbid them to write what they compiled.
install = $(uv) pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock

# torch's own index has builds of the right size: without one, Linux gets several GB of CUDA libraries. A folder of
# wheels, or a mirror instead of the public index, is taken to hold the build that is wanted.
TORCH ?= $(if $(call setting,FIND_LINKS,find-links)$(call setting,INDEX_URL,index-url),,auto)

.PHONY: help environment quickstart test check lock

help:  ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

quickstart: environment  ## environment, then a whole release of the recipe `tiny`, in minutes
	$(BIN)/olmo run tiny

test: environment  ## environment, then the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: environment  ## lint, format, types, imports between the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

environment: .venv/.made  ## what the lock file says, in .venv

.venv/.made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer, of 64 bits, is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) or sys.maxsize < 2**32 else 0)'
	@echo 'installing what requirements.lock says into .venv'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet uv==$(UV)
	@$(install) $(if $(TORCH),--torch-backend $(TORCH)) $(if $(filter auto,$(TORCH)),|| { \
		echo 'the index of PyTorch does not answer: taking torch from the default one (on Linux CUDA libraries come along)'; \
		$(install); })
	@$(uv) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

lock: environment  ## resolve pyproject.toml anew into requirements.lock, with as few changes as will do
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --no-header --no-annotate --quiet \
		--excludes .ci/cuda-packages.txt --output-file requirements.lock
