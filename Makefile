# Everything runs in the project's own .venv; `make test` and `make demo` set it up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO_DIR ?= demo
FACES ?=
VIDEO ?=
ROOT ?=
SMOKE ?=
PYTEST_OPTIONS ?=
SMOKE_DIR := runs/smoke
AFFWILD2_RECIPES := cnn-whole cnn-subset1 cnn-subset2 cnn-subset3 cnn-mse cnn-valence-only cnn-arousal-only \
	cnn-rnn1 cnn-gru1 cnn-gru3
# In an order in which a recipe finds what it shares with others done: CNNs, features, heads.
OMG_ALONE := cnn1rnn-scratch cnn3rnn-scratch fusion-model-rnn-scratch
OMG_RECIPES := vggface densenet121 resnet50 affwildnet densenet-rnn cnn1rnn-pool2-pool5-fc cnn3rnn-pool2-pool5-fc \
	fusion-decision fusion-model-fc fusion-model-rnn cnn1rnn-affwild cnn3rnn-affwild fusion-model-rnn-affwild \
	cnn3rnn-conv8-pool5-fc cnn3rnn-conv5-pool5-fc cnn3rnn-conv3-conv7-fc cnn3rnn-conv13-pool5-fc \
	cnn3rnn-conv6-conv7-conv8 cnn3rnn-conv7-conv8-conv9 cnn3rnn-conv3-conv4-conv5 cnn1rnn-no-landmarks \
	cnn3rnn-no-landmarks fusion-model-rnn-no-landmarks cnn2rnn cnn2rnn-1fc cnn2to1rnn cnn3rnn-1fc sequence-40 \
	sequence-60 sequence-80 sequence-100 landmark-embedding-512 landmark-embedding-1024 landmark-embedding-2048 \
	single-task ten-fold submission-1 submission-2 submission-3
HUME_RECIPES := eri-vgg16 eri-resnet50 eri-audio eri-multimodal eri-frames-16 eri-vgg16@fine-tuned \
	eri-resnet50@fine-tuned
RAVDESS_HEADS := mel-gru mel-lstm mel-mean linear-gru window-05-hop-025 window-2-hop-1 log-mel-gru spectrogram-cnn
RAVDESS_RECIPES := $(foreach each,$(RAVDESS_HEADS),$(each) $(each)-intensity)

.PHONY: help install test lint types docs format demo reproduce-affwild2 reproduce-ckplus reproduce-omg \
	reproduce-hume reproduce-ravdess capabilities benchmark clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 22

install: $(INSTALLED) ## Make .venv and install emopipe with everything it needs (pip only)

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("emopipe needs Python 3.11 or newer; run: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,docs]'
	$(BIN)/python -c 'import cv2' 2>/dev/null || $(MAKE) --no-print-directory headless
	touch $@

.PHONY: headless
headless: # opencv-python needs the system's libGL; a bare server has none
	@echo 'libGL is missing on this machine: installing opencv-python-headless of the same version instead of opencv-python.'
	version=$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("opencv-python"))') && \
	$(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check opencv-python-headless==$$version
	$(BIN)/python -c 'import cv2'

# A file's tests share what they train, so a file stays in one process; each process computes on one thread.
test: $(INSTALLED) lint ## Check the style and run every test, the slow ones too
	TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile \
	$(PYTEST_OPTIONS)

lint: $(INSTALLED) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check the types; apart from test because a new numpy may bring new complaints
	$(BIN)/mypy

docs: $(INSTALLED) ## Build the site of the documentation in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(INSTALLED) ## The whole way from video to valence and arousal over time (VIDEO=path adds your own)
	$(BIN)/python examples/demo.py --out $(DEMO_DIR) $(if $(VIDEO),--video '$(VIDEO)') $(if $(FACES),--faces '$(FACES)')

# $(1): recipes of the paper $(2), each with the place of its corpus below the root behind a colon. All are run, whatever
# becomes of one; a smoke run begins afresh.
define reproduce
	@test -n '$(SMOKE)$(ROOT)' || { echo 'Where is the corpus? make $@ ROOT=DIR; or, to see that it runs: make $@ SMOKE=1'; exit 2; }
	$(if $(SMOKE),@rm -rf $(SMOKE_DIR)/$@)
	@status=0; for each in $(1); do \
	$(BIN)/emopipe reproduce $(2)/$${each%%:*} --root $(if $(SMOKE),$(SMOKE_DIR)/$@/data,'$(ROOT)')$${each#*:} \
	$(if $(SMOKE),--smoke --cache $(SMOKE_DIR)/$@/cache --runs $(SMOKE_DIR)/$@/runs --results $(SMOKE_DIR)/$@/results) \
	|| status=1; done; test $$status = 0 || echo 'Not every recipe ended well; what went wrong stands above.'; \
	echo 'All of them in one table: $(BIN)/emopipe recipes compare $(2) $(if $(SMOKE),--results $(SMOKE_DIR)/$@/results)'; \
	exit $$status
endef

reproduce-affwild2: $(INSTALLED) ## Run the paper's experiments on Aff-Wild2: ROOT=its folder, or SMOKE=1 to see that they run
	$(call reproduce,$(addsuffix :,$(AFFWILD2_RECIPES)),rangulov2020)

reproduce-ckplus: $(INSTALLED) ## Likewise on CK+ and JAFFE: ROOT=the folder that holds ckplus and jaffe
	$(call reproduce,cnn-ckplus:/ckplus cnn-ckplus@published-split:/ckplus cnn-jaffe:,rangulov2020)

reproduce-omg: $(INSTALLED) ## The OMG-Emotion paper: ROOT=the folder that holds affwild, affwild2 and omg
	$(call reproduce,$(addsuffix :/omg,$(OMG_ALONE)) $(addsuffix :,$(OMG_RECIPES)),kollias2020)

reproduce-hume: $(INSTALLED) ## The Hume-Reaction paper: ROOT=the corpus folder
	$(call reproduce,$(addsuffix :,$(HUME_RECIPES)),hume2023)

reproduce-ravdess: $(INSTALLED) ## Sound alone, on recordings to download: ROOT=the folder of RAVDESS' speech
	$(call reproduce,$(addsuffix :,$(RAVDESS_RECIPES)),ravdess)

capabilities: $(INSTALLED) ## Run every capability and write docs/capabilities.md; some two hours on two cores
	$(MAKE) --no-print-directory test PYTEST_OPTIONS=--junitxml=runs/tests.xml
	$(BIN)/python benchmarks/capabilities.py --work runs/capabilities --tests runs/tests.xml

benchmark: $(INSTALLED) ## Measure stage one: make benchmark VIDEO=path
	$(BIN)/python benchmarks/stage_one.py '$(VIDEO)'

clean: ## Remove .venv, caches of tools and the demo's output
	rm -rf $(VENV) $(DEMO_DIR) build site *.egg-info .pytest_cache .ruff_cache
