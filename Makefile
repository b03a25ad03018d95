# `make desk` works off the sample mailbox, and then serves it until Ctrl-C; `make check` is for every commit, `make test` for every landing; `make soak` proves at length. Each sets up what it needs first.

VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTHON ?= python3

# A run of the tests starts hundreds of interpreters: each would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: desk docs screenshots check check-desk check-library test test-journeys test-desk test-library soak lint bench system-deps clean

# With ONCE=1 the desk ends when the mailbox is worked off.
desk: $(VENV)/.desk
	$(BIN)/pointsman-desk $(if $(ONCE),run,serve)

# The server of Restate, which only npm has.
RESTATE := .restate

# The tests write in memory if there is room for it: a kill takes nothing from it that was written, and power failures and faults of the
# disk have a disk of their own (tests/store/sqlite_disk.py).
IN_MEMORY := $(shell [ -w /dev/shm ] && [ "$$(df -Pk /dev/shm | awk 'NR == 2 {print $$4}')" -gt 2000000 ] && echo PYTEST_DEBUG_TEMPROOT=/dev/shm TMPDIR=/dev/shm)

# The screenshots of the documentation, taken by a real browser on the example and on the sample mails.
screenshots: $(VENV)/.dev
	PYTHONPATH=tests:examples $(BIN)/python -m web.screenshots docs/screenshots

# The documentation as a site, in var/site; a warning is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The tests that mostly compute. Two runs side by side, as for `make test`.
check: lint
	@$(MAKE) --no-print-directory -j2 check-desk check-library

check-desk:
	$(IN_MEMORY) $(BIN)/python -m pytest -q tests/desk/guards tests/desk/nodes tests/desk/mail tests/desk/models

check-library:
	$(IN_MEMORY) $(BIN)/python -m pytest -q $(wildcard tests/test_*.py) tests/definition tests/kernel tests/mappings tests/operations

# Three runs side by side, of about the same computing time: on two cores, one computes while another one waits for a process or a timer.
JOURNEYS := tests/journeys
DESK := $(addprefix tests/,desk docs models server simulation/test_simulation.py store/test_power_loss.py web)

test: lint $(RESTATE)/.installed
	@$(MAKE) --no-print-directory -j3 test-journeys test-desk test-library

test-journeys:
	$(IN_MEMORY) $(BIN)/python -m pytest $(JOURNEYS)

test-desk:
	$(IN_MEMORY) $(BIN)/python -m pytest $(DESK)

test-library:
	$(IN_MEMORY) $(BIN)/python -m pytest $(patsubst %,--ignore=%,$(JOURNEYS) $(DESK))

# The tiers of the tests whose size is a figure, at full size and one after another; each prints its figure and its seed.
TIERS := $(wildcard $(addprefix tests/,kernel/test_machine.py kernel/test_body_machine.py simulation/test_simulation.py simulation/test_mutants.py simulation/test_simulation_postgres.py operations/test_backtest.py restate/test_restate_objects.py restate/test_restate_messages.py restate/test_restate_limits.py restate/test_restate_cases.py restate/test_restate_kills.py restate/test_restate_same_process.py store/test_power_loss.py store/test_io_faults.py store/test_older_files.py \
	journeys/test_soak.py journeys/test_crash.py journeys/test_crash_repertoire.py runtime/test_fan_crashes.py functional/test_killed_bodies.py integrations/test_langgraph_crash.py journeys/test_postgres_fleet.py store/test_postgres_moving.py journeys/test_postgres_moving_repertoire.py journeys/test_postgres_crash_repertoire.py journeys/test_load.py journeys/test_scale.py journeys/test_narrow.py journeys/test_postgres_narrow.py journeys/test_postgres_waiting.py journeys/test_postgres_fan_in.py journeys/test_postgres_deploy.py journeys/test_paid_answers.py journeys/test_imap.py journeys/test_conversations.py restate/test_restate_cluster.py desk/test_wrapped_mails.py))
AT_LENGTH := POINTSMAN_WALKS=1000000 POINTSMAN_BODY_WALKS=100000 POINTSMAN_SCHEDULES=200000 POINTSMAN_SCHEDULES_POSTGRES=400 POINTSMAN_ANEW=1 POINTSMAN_RESTATE_EVERY=1 POINTSMAN_RESTATE_STORIES=1000 POINTSMAN_RESTATE_SCHEDULE_KILLS=40 POINTSMAN_RESTATE_LOOP_CASES=300 POINTSMAN_RESTATE_LOOP_KILLS=20 POINTSMAN_RESTATE_LOOP_SERVER_KILLS=10 POINTSMAN_RESTATE_DEPLOY_CASES=100 POINTSMAN_RESTATE_WAITING=10000 POINTSMAN_RESTATE_SAME=200 POINTSMAN_BACKTEST_CASES=10000 POINTSMAN_IMAGES=100000 POINTSMAN_OLDER_IMAGES=40 POINTSMAN_ONE_IN=1 POINTSMAN_KILLS=200 POINTSMAN_EFFECTS=2000 POINTSMAN_WAITING=100000 \
	POINTSMAN_HERD=20000 POINTSMAN_STARTS=200000 POINTSMAN_NARROW_KILLS=10 POINTSMAN_NARROW_CASES=80 POINTSMAN_CROWD_KILLS=20 POINTSMAN_CROWD_CASES=600 POINTSMAN_DEPLOY_CASES=2000 POINTSMAN_FAN_INS=400 POINTSMAN_CLAIM_WAITING=100000 \
	POINTSMAN_PAID_KILLS=50 POINTSMAN_MAILS=1000 POINTSMAN_MAIL_KILLS=20 POINTSMAN_REPLY_KILLS=100 POINTSMAN_WRAPPED_MAILS=300 \
	POINTSMAN_FLEET_WORKERS=4 POINTSMAN_FLEET_KILLS=150 POINTSMAN_FLEET_STOPS=60 POINTSMAN_FLEET_CUTS=400 POINTSMAN_FLEET_HOLES=40 POINTSMAN_FLEET_DELAYS=40 POINTSMAN_FLEET_RESTARTS=20 POINTSMAN_STORY_KILLS=40 POINTSMAN_MOVES=100 POINTSMAN_MOVE_CUTS=150 POINTSMAN_VERIFIED=1000 POINTSMAN_RESTATE_CLUSTER_CASES=200

soak: $(VENV)/.dev $(RESTATE)/.installed
	$(AT_LENGTH) $(BIN)/python -m pytest -s -v $(TIERS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The peers have an environment of their own. One that cannot be installed is a row of the table that says so.
PEERS := .venv-peers
PINS := benchmarks/peers/requirements.txt

bench: $(VENV)/.dev $(PEERS)/.installed $(RESTATE)/.installed
	$(BIN)/python -m benchmarks

$(PEERS)/.installed: $(PINS)
	@echo "Setting up $(PEERS)"
	@test -d $(PEERS) || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(PINS) \
		|| while read -r pin; do $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check "$$pin" || true; done < $(PINS)
	@touch $@

# Without the server the run goes on; the next one tries again.
$(RESTATE)/.installed: benchmarks/peers/package.json
	@echo "Setting up $(RESTATE)"
	@mkdir -p $(RESTATE) && cp $< $(RESTATE)/
	@npm install --silent --no-fund --no-audit --fetch-retries=1 --prefix $(RESTATE) && touch $@ \
		|| echo "make: npm could not install the server of $<; the tests that need it are skipped, and fail where CI is set"

# What only the system's package manager has: a mail server for the tests. Everything else comes from PyPI.
system-deps:
	@.ci/system-deps

$(VENV)/.desk: pyproject.toml
	$(call install,desk)

$(VENV)/.dev: pyproject.toml
	$(call install,dev)
	@touch $(VENV)/.desk

$(VENV)/.docs: pyproject.toml
	$(call install,docs)

define install
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not here; install Python 3.11 or newer, or name it with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; name a newer one with PYTHON=..."; exit 1; }
	@echo "Setting up $(VENV)"
	$(if $(UV),@test -d $(VENV) || $(UV) venv --quiet --python $(PYTHON) $(VENV),@test -d $(VENV) || $(PYTHON) -m venv $(VENV))
	$(if $(UV),@$(UV) pip install --quiet --python $(BIN)/python -e '.[$(1)]',@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(1)]')
	@touch $@
endef

clean:
	rm -rf $(VENV) $(PEERS) $(RESTATE) var .mypy_cache .ruff_cache .pytest_cache .hypothesis
