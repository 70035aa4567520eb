# netd: `make run` to try it, `make test` to test it, `make help` for the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# For `make install`; DESTDIR is put before each, and appears in none of the installed files.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= /etc/systemd/system
LIBDIR = $(PREFIX)/lib/netd
DOCDIR = $(PREFIX)/share/doc/netd

.DEFAULT_GOAL := help
.PHONY: help run test check coverage soak attack programs release bench bench-quick clean install uninstall

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

run: $(VENV)/installed ## serve the built-in config on this machine (loopback, high ports)
	@$(BIN)/netd run -c netd/config/dev.yaml

test: $(VENV)/installed-dev ## run the tests but the slow ones
	$(BIN)/python -m pytest -m "not slow and not soak and not attack" $(TESTS)

check: $(VENV)/installed-dev ## what a change has to pass: format, lint, types, tests
	$(BIN)/ruff format --check netd tests bench
	$(BIN)/ruff check netd tests bench
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Workers have other users, and write what they have run themselves.
coverage: $(VENV)/installed-dev ## run the tests but the slow ones, and print what of netd they run
	rm -rf build/coverage
	mkdir -p build/coverage
	mkdir -m 1777 build/coverage/data
	@status=0; $(BIN)/python -m coverage run -m pytest -m "not slow and not soak and not attack" $(TESTS) || status=$$?; \
	$(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage html --quiet && \
	$(BIN)/python -m coverage json --quiet -o build/coverage/all.json && \
	$(BIN)/python -m tests.coverage_table build/coverage/all.json && \
	echo "Line by line: build/coverage/html/index.html" && exit $$status

soak: $(VENV)/installed-dev ## a hostile crowd for some minutes
	$(BIN)/python -m pytest -m soak -s tests/test_soak.py

attack: $(VENV)/installed-dev ## try to make netd lose something, in a quarter of an hour, and print a table of what it lost
	$(BIN)/python -m pytest -q -m attack tests/attack

programs: ## install the programs that the tests of a release run (Debian; as root)
	@.ci/install release

# A missing program, or a lack of rights, fails a test here.
release: export NETD_REQUIRE_TOOLS = all
release: programs check soak attack ## all that a release has to pass, with all programs (as root)

bench: $(VENV)/installed bench/build/env/installed ## measure netd beside its peers, in 20 minutes (needs cc); ARGS=--help
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

clean: ## remove what the other targets made here
	rm -rf $(VENV) bench/build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find netd tests bench -name __pycache__ -type d -exec rm -rf {} +

# The wheels are built before anything is removed, and in a copy, so that root leaves nothing in a user's checkout.
install: ## install under PREFIX, with unit file and config (DESTDIR for packagers); a config that is there stays
	@$(call need_python)
	@set -e; \
	root=; test -z "$(DESTDIR)" || root=$$(realpath -m -- "$(DESTDIR)"); \
	lib="$$root$(LIBDIR)"; etc="$$root$(SYSCONFDIR)/netd"; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	mkdir "$$work/source"; cp -R netd config setup.cfg pyproject.toml README.md LICENSE "$$work/source"; \
	$(PYTHON) -m venv "$$work/venv"; \
	"$$work/venv/bin/python" -m pip wheel --quiet --disable-pip-version-check -w "$$work/wheels" "$$work/source"; \
	next=enable\ --now; test ! -e "$$lib" || next=restart; \
	rm -rf "$$lib"; \
	$(PYTHON) -m venv "$$lib"; \
	"$$lib/bin/python" -m pip install --quiet --disable-pip-version-check --no-index -f "$$work/wheels" netd; \
	find "$$lib" -name __pycache__ -type d -prune -exec rm -rf {} +; \
	test -z "$$root" || find "$$lib/bin" "$$lib/pyvenv.cfg" -type f -exec sed -i "s|$$lib|$(LIBDIR)|g" {} +; \
	install -d "$$root$(PREFIX)/bin" "$$etc/conf.d" "$$root$(UNITDIR)"; \
	ln -sf "$(LIBDIR)/bin/netd" "$$root$(PREFIX)/bin/netd"; \
	install -m 644 config/netd.schema.json "$$etc/netd.schema.json"; \
	config=; rm -f "$$etc/netd.yaml.new"; \
	if ! test -e "$$etc/netd.yaml"; then install -m 644 config/netd.yaml "$$etc/netd.yaml"; \
	elif ! cmp -s config/netd.yaml "$$etc/netd.yaml"; then \
		config=" (it is there and stays; the new one is netd.yaml.new)"; \
		install -m 644 config/netd.yaml "$$etc/netd.yaml.new"; \
	fi; \
	for unit in netd.service netd@.service; do \
		sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' "systemd/$$unit.in" > "$$root$(UNITDIR)/$$unit"; \
	done; \
	install -m 644 systemd/netd.socket "$$root$(UNITDIR)/netd.socket"; \
	rotate="$$root$(SYSCONFDIR)/logrotate.d/netd"; test -e "$$rotate" || install -D -m 644 contrib/logrotate/netd "$$rotate"; \
	doc="$$root$(DOCDIR)"; rm -rf "$$doc"; install -d "$$doc/examples"; cp -R README.md CHANGELOG.md LICENSE docs "$$doc"; \
	cp -R systemd/*.d contrib/fail2ban contrib/lnav "$$doc/examples"; chmod -R u=rwX,go=rX "$$doc"; \
	case $$(readlink -f "$$lib/bin/python") in /root/*|/home/*) \
		echo "The unit cannot run $$(readlink -f "$$lib/bin/python"): it sees no home directory." \
			"Install with a PYTHON= that is not in one." >&2;; esac; \
	echo "Installed$${root:+ below $$root}:"; \
	echo "  program  $(PREFIX)/bin/netd, in $(LIBDIR)"; \
	echo "  config   $(SYSCONFDIR)/netd/netd.yaml$$config"; \
	echo "  units    $(UNITDIR)/netd.service, netd@.service, netd.socket"; \
	echo "  logs     $(SYSCONFDIR)/logrotate.d/netd"; \
	echo "  pages    $(DOCDIR)/docs, with rules for Prometheus and a dashboard for Grafana"; \
	echo "  examples $(DOCDIR)/examples: drop-ins of the unit, sysusers.d, tmpfiles.d, fail2ban, lnav"; \
	test -n "$$root" || echo "Next: systemctl daemon-reload && systemctl $$next netd"

uninstall: ## remove what make install put there, but the configs
	@set -e; \
	root=; test -z "$(DESTDIR)" || root=$$(realpath -m -- "$(DESTDIR)"); etc="$$root$(SYSCONFDIR)/netd"; \
	rm -rf "$$root$(LIBDIR)" "$$root$(DOCDIR)"; \
	rm -f "$$root$(PREFIX)/bin/netd" "$$etc/netd.schema.json" "$$etc/netd.yaml.new"; \
	for unit in netd.service netd@.service netd.socket; do rm -f "$$root$(UNITDIR)/$$unit"; done; \
	rotate="$$root$(SYSCONFDIR)/logrotate.d/netd"; if cmp -s contrib/logrotate/netd "$$rotate"; then rm "$$rotate"; fi; \
	echo "Removed$${root:+ below $$root}: $(PREFIX)/bin/netd, $(LIBDIR), $(DOCDIR), and the units in $(UNITDIR)"; \
	test ! -e "$$etc" || echo "The configs in $(SYSCONFDIR)/netd are left."; \
	test -n "$$root" || echo "Next, where netd still runs: systemctl stop netd; systemctl daemon-reload"

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
