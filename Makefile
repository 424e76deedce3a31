# make demo: set up .venv, fine-tune the two demo tasks, grade.    make test: set up, run tox.
PYTHON ?= python3
VENV := .venv
# for the grader's tests: Pythons that pyenv has put where nothing else looks
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions
PYTHONS := $(foreach version,3.9 3.13,$(lastword $(wildcard $(PYENV)/$(version).*/bin/python$(version))))
BIN := $(VENV)/bin

export TOKENIZERS_PARALLELISM := false
# a thread that waits by spinning takes the core from whatever else runs
export OMP_WAIT_POLICY := passive

.PHONY: demo test clean

demo: $(VENV)/.demo
	$(BIN)/accelerate launch -q --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		runner/main.py recipes/demo-acceptability.yaml recipes/demo-paraphrase.yaml
	$(BIN)/python -m grading.score --answers recipes/demo/data/questionBAnswer

test: $(VENV)/.test
	$(BIN)/tox run --skip-missing-interpreters true $(if $(strip $(PYTHONS)),--discover $(PYTHONS))

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'tox>=4'
	touch $@

clean:
	rm -rf $(VENV) .tox build *.egg-info
