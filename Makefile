# netd: `make run` to try it, `make test` to test it, `make help` for the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
# Whole files of tests run side by side, one for each core.
SIDE_BY_SIDE = -n auto --maxprocesses 8 --dist loadfile
BIN := $(VENV)/bin

# For `make install`; DESTDIR is put before each, and appears in none of the installed files.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= /etc/systemd/system
LIBDIR = $(PREFIX)/lib/netd
DOCDIR = $(PREFIX)/share/doc/netd

.DEFAULT_GOAL := help
.PHONY: help run test check docs coverage soak attack hosts programs release bench bench-quick deb dist clean install uninstall

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

run: $(VENV)/installed ## serve the built-in config on this machine (loopback, high ports)
	@$(BIN)/netd run -c netd/config/dev.yaml

test: $(VENV)/installed-dev ## run the tests but the slow ones
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not soak and not attack and not release" $(TESTS)

check: $(VENV)/installed-dev ## what a change has to pass: format, lint, types, tests
	$(BIN)/ruff format --check netd tests bench tools
	$(BIN)/ruff check netd tests bench tools
	$(BIN)/mypy
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

docs: $(VENV)/installed-dev ## write docs/reference and man from the models, events, metrics and commands
	$(BIN)/python -m tools.reference

# Workers have other users, and write what they have run themselves.
coverage: $(VENV)/installed-dev ## run the tests but the slow ones, and print what of netd they run
	rm -rf build/coverage
	mkdir -p build/coverage
	mkdir -m 1777 build/coverage/data
	@status=0; $(BIN)/python -m coverage run -m pytest -m "not slow and not soak and not attack and not release" $(TESTS) || status=$$?; \
	$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage html --quiet && \
	$(BIN)/python -m coverage json --quiet -o build/coverage/all.json && \
	$(BIN)/python -m tests.coverage_table build/coverage/all.json && \
	echo "Line by line: build/coverage/html/index.html" && exit $$status

soak: $(VENV)/installed-dev ## a hostile crowd for some minutes
	$(BIN)/python -m pytest -m soak -s tests/test_soak.py

attack: $(VENV)/installed-dev ## try to make netd lose something, in a quarter of an hour, and print a table of what it lost
	$(BIN)/python -m pytest -q -m attack tests/attack

hosts: $(VENV)/installed-dev ## new Debian 12 and 13 hosts: to netd by package and by make install, from xinetd, and back; the image (as root)
	$(BIN)/python -m pytest -m release tests/packaging

programs: ## install the programs that the tests of a release run (Debian; as root)
	@.ci/install release

# A missing program, or a lack of rights, fails a test here.
release: export NETD_REQUIRE_TOOLS = all
release: programs check hosts soak attack ## all that a release has to pass, with all programs (as root)

bench: $(VENV)/installed bench/build/env/installed ## measure netd beside its peers, in 30 minutes (needs cc); ARGS=--help
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/installed bench/build/env/installed ## the same in two minutes
	$(BIN)/python -m bench --quick $(ARGS)

# The peers that are Python packages. One that cannot be installed is named as missing in the report.
bench/build/env/installed: bench/requirements.txt
	@$(call need_python)
	$(PYTHON) -m venv bench/build/env
	-grep -v '^#' $< | while read -r package; do \
		bench/build/env/bin/python -m pip install --quiet --disable-pip-version-check "$$package" || :; done
	@touch $@

deb: ## make the Debian package for the Debian of this host, in dist/ (needs debhelper)
	@PYTHON='$(PYTHON)' WHEELS='$(WHEELS)' packaging/deb dist

dist: $(VENV)/installed-dev ## make the sdist and the wheel, in dist/
	$(BIN)/python -m build --outdir dist .

clean: ## remove what the other targets made here
	rm -rf $(VENV) bench/build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find netd tests bench tools -name __pycache__ -type d -exec rm -rf {} +

INSTALL = PYTHON='$(PYTHON)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' UNITDIR='$(UNITDIR)' LIBDIR='$(LIBDIR)' \
	DOCDIR='$(DOCDIR)' DESTDIR='$(DESTDIR)' WHEELS='$(WHEELS)' packaging/install

install: ## install under PREFIX, with unit file and config (DESTDIR for packagers), or upgrade; a config that is there stays
	@$(call need_python)
	@$(INSTALL) install

uninstall: ## remove what make install put there, but the configs
	@$(INSTALL) uninstall

# The environment is made anew when what it depends on has changed.
$(VENV)/made:
	@$(call need_python)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/installed

define need_python
$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("netd needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + "; say which to take with PYTHON=python3.11")'
endef
