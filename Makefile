## A study of knowledge distillation for edge devices: make TARGET [VARIABLE=value ...]
##
## PROFILE=default|smoke|paper   which params/ folder runs; its report is reports/PROFILE
## DATA=my.csv TARGET=fail       your own pass/fail table; report: reports/csv-my
##   GROUP= TIME= DROP=a,b FAIL=  its group and time columns, columns to leave out (as
##                               one CSV record), how it spells a fail
##   NA='-,9999' ONEHOT=site     what says that no reading was taken, columns of text
##                               with a few values: CSV records
##   DECIMAL=, SEP=';' ENCODING=latin-1   found out where they are not given
##   BUDGET=10                   minutes of it;  MAX_BYTES=2000: the most of its file
##   ESCAPE_COST=20              of a fail that passes, in passes that fail: its threshold
## WORKERS=4                     processes at once (default: one per processor)
## DASK=tcp://host:8786          the workers of a Dask cluster that see this folder
## FRESH=1                       forget the finished runs of what is named
## PYTHON=python3.12             makes .venv;  VENV=folder: your own, taken as it is
##

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDEXPANSION:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# --- what is wanted ------------------------------------------------------------------

PROFILE ?= default
REPORT := $(PROFILE)
# A value as one word of the shell, whatever it holds.
q = '$(subst ','\'',$(1))'
ifneq ($(DATA),)
  override PROFILE := csv
  REPORT := csv-$(shell name=$$(basename -- $(call q,$(DATA))); \
    printf %s "$${name%.*}" | LC_ALL=C tr -c 'A-Za-z0-9._-' '-')
endif
own := DATA TARGET GROUP TIME DROP FAIL ONEHOT NA DECIMAL SEP ENCODING
numbers := BUDGET MAX_BYTES ESCAPE_COST
ifneq ($(DATA),)
  export $(own)
endif
ifneq ($(VERIFY),)
  REPORT := verify-$(REPORT)
endif

STAGES := $(sort $(notdir $(basename $(wildcard params/$(PROFILE)/*.yaml))))
R := reports/$(REPORT)
NB := $(R)/notebooks
EXECUTED := $(STAGES:%=$(NB)/%.ipynb)

# Who needs whom, as far as the profile has them.
needs_02_kd_tabular := 01_teachers
needs_06_prune_quantize := 02_kd_tabular 03_kd_images 05_wafer_label_free
needs_07_edge_watcher := 06_prune_quantize
needs_99_results := $(filter-out 99_results,$(STAGES))

export KD_PROFILE := $(PROFILE)
export KD_REPORT := $(REPORT)
export KD_WORKERS := $(WORKERS)
export KD_DASK := $(DASK)

# FRESH=1 of a stage computes that stage anew, of a report every stage.
fresh := $(if $(FRESH),$(if $(filter report html verify,$(MAKECMDGOALS)),$(STAGES),\
  $(filter $(STAGES),$(MAKECMDGOALS))))
export KD_FRESH := $(strip $(fresh))

# --- the environment -----------------------------------------------------------------

PYTHON ?= python3
VENV := .venv
BIN := $(call q,$(abspath $(VENV))/bin)
READY := $(VENV)/ready
ifeq ($(origin VENV),command line)
  READY :=
endif
python := $(BIN)/python
publish := $(python) -m kdutils.views.publish
uv = $(shell sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.txt)

export PYTHONPATH := $(CURDIR)
export JUPYTER_PATH := $(abspath $(VENV))/share/jupyter
export IPYTHONDIR := $(CURDIR)/.stamps/ipython
export MATPLOTLIBRC := $(CURDIR)/kdutils/views/matplotlibrc
export PYTHONHASHSEED := 0
export SOURCE_DATE_EPOCH := 1577836800
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export VECLIB_MAXIMUM_THREADS := 1

# --- what cannot be followed, in one sentence each -----------------------------------

goals := $(or $(MAKECMDGOALS),help)
profiles := $(notdir $(patsubst %/,%,$(dir $(wildcard params/*/*.yaml))))
ifneq ($(words $(PROFILE))$(findstring |$(PROFILE)|,$(profiles:%=|%|)),1|$(PROFILE)|)
  $(error PROFILE=$(PROFILE) has no parameters: params/$(PROFILE)/*.yaml)
endif
ifneq ($(words $(VENV)),1)
  $(error VENV=$(VENV) must be one folder, without a space in its path)
endif
ifneq ($(WORKERS),)
  ifneq ($(shell [[ $(call q,$(WORKERS)) =~ ^0*[1-9][0-9]*$$ ]] && echo yes),yes)
    $(error WORKERS=$(WORKERS) must be a whole number above 0, e.g. WORKERS=4)
  endif
endif
# Only what stands on the command line: a shell may have a TARGET or a group of its own.
typed = $(if $(findstring command line,$(origin $(1))),$($(1)))
$(foreach v,$(numbers),$(if $(call typed,$(v)),$(if $(shell \
  [[ $(call q,$($(v))) =~ ^[0-9]*\.?[0-9]+$$ ]] && echo yes),, \
  $(error $(v)=$($(v)) must be a number, e.g. $(v)=10))))
lower := $(shell tr A-Z a-z <<< "$(own) $(numbers)") profile workers dask fresh verify python venv
$(foreach v,$(lower),$(if $(call typed,$(v)), \
  $(error $(v)=$($(v)) must be written $(shell tr a-z A-Z <<< $(v))=$($(v)))))
ifeq ($(DATA),)
  $(foreach v,$(filter-out DATA,$(own)) $(numbers),$(if $(call typed,$(v)), \
    $(error $(v)=$($(v)) needs a table, e.g. DATA=my.csv TARGET=fail)))
endif
ifneq ($(filter check report html verify $(STAGES),$(goals)),)
  ifneq ($(DATA),)
    ifneq ($(shell file=$(call q,$(DATA)); test -f "$$file" && test -r "$$file" && echo yes),yes)
      $(error DATA=$(DATA) is not a readable file)
    endif
    ifeq ($(TARGET)$(filter check,$(goals)),)
      $(error DATA=$(DATA) needs the name of its pass/fail column, e.g. TARGET=fail)
    endif
  endif
  ifeq ($(DATA),)
    $(foreach v,$(filter csv,$(PROFILE)) $(filter check,$(goals)), \
      $(error $(if $(filter csv,$(v)),PROFILE=csv,make check) needs a table, e.g. \
        DATA=my.csv TARGET=fail))
  endif
endif

# --- stamps: rewritten only when the content of what they stand for has changed ------

S := .stamps
options = $(foreach v,$(filter-out DATA,$(own)) $(numbers),$($(v));)
MEASURED = $(wildcard reports/$(PROFILE)/measured/edge-*.csv)
STAMP = mkdir -p $(S); { \
  find notebooks params kdutils requirements.txt $(MEASURED) -type f ! -path '*/.*' \
    ! -path '*/__pycache__/*' | LC_ALL=C sort | xargs cksum; \
  $(if $(DATA),echo "$$(cksum < $(call q,$(DATA)))" $(REPORT) $(call q,$(options));) } | awk ' \
  { key = $$3; gsub("/", "-", key) } \
  key ~ /^kdutils-/ { key = key ~ /^kdutils-views-(explorer|pages|render|template)/ ? "pages" : "code" } \
  { now[key] = now[key] $$0 "\n" } \
  END { for (key in now) { \
    stamp = "$(S)/" key; old = ""; \
    while ((getline line < stamp) > 0) old = old line "\n"; \
    close(stamp); \
    if (old != now[key]) { printf "%s", now[key] > stamp; close(stamp) } } }'
ifneq ($(filter-out help clean clean-runs lock,$(goals)),)
  ignored := $(shell $(STAMP))
endif

# Files of the last report that somebody has changed since: then all of it is run again.
SUMS := $(S)/sums-$(REPORT)
sha256 = $$(command -v sha256sum || echo shasum -a 256)
ifneq ($(filter report html,$(goals)),)
  foreign := $(shell test -f $(SUMS) && sums=$$PWD/$(SUMS) && cd $(R) && \
    $(sha256) -c "$$sums" 2> /dev/null | sed -n 's/: FAILED.*//p')
endif
ifneq ($(foreign),)
  $(info $(R): $(words $(foreign)) files are not as the last report wrote them \
    ($(firstword $(foreign)) ...): every notebook runs again)
endif

# --- targets -------------------------------------------------------------------------

.PHONY: help report check smoke html verify lab test lint format data bench row lock \
  clean clean-runs FORCE $(STAGES)

help:
	@awk -F ':.*## ' '/^##/ { sub(/^## ?/, ""); print; next } \
	  /^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile
	@echo "make STAGE       one notebook and what it needs: $(STAGES)"

report: html ## run what has changed, write tables, pages and SHA256SUMS
	@echo "$(R)/index.html"

check: $(READY) ## what is wrong with your table, all at once, and the command that mends it
	@$(python) -m kdutils.data.check $(foreach v,$(own),"$(v)=$$$(v)")

smoke: ## the same on tiny generated data, in minutes: proves the path, claims nothing
	@$(MAKE) report PROFILE=smoke DATA=
	@KD_REPORT=smoke $(python) -m kdutils.views.claims "beats a constant predictor"

html: $(R)/SHA256SUMS $(if $(filter default paper,$(REPORT)),$(S)/readme-$(REPORT)) ## only the pages of it

verify: $(READY) ## make it again beside the report, from its ledger if it has one: what differs?
	@test -f $(R)/SHA256SUMS || $(MAKE) html
	@rm -rf reports/verify-$(REPORT) && mkdir -p reports/verify-$(REPORT)
	@test -n $(call q,$(FRESH)) -o ! -d $(R)/ledger || cp -R $(R)/ledger reports/verify-$(REPORT)
	@$(MAKE) html VERIFY=1
	@$(publish) verify $(R) reports/verify-$(REPORT)
	@$(if $(filter default paper,$(REPORT)),$(publish) readme --check)
	@rm -rf reports/verify-$(REPORT)

lab: export KD_REPORT := scratch-$(REPORT)
lab: $(READY) ## try the notebooks in the browser, on a copy of the report
	@$(publish) copy $(R) reports/scratch-$(REPORT)
	$(BIN)/jupyter lab notebooks

test: $(READY) ## the tests
	$(python) -m pytest -n auto --dist loadfile

lint: $(READY) ## style of code and notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --keep-id --verify $(wildcard notebooks/*.ipynb)

format: $(READY) ## bring code and notebooks into that style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id $(wildcard notebooks/*.ipynb)

data: $(READY) ## find or fetch the data sets of the paper profile: a line each
	@$(python) -m kdutils.data

bench: $(READY) ## time many students at once against one after another: measured/
	$(python) -m kdutils.bench --write $(if $(filter paper,$(PROFILE)),--source mnist --bf16)

lock: ## write requirements.txt anew from pyproject.toml
	$(if $(wildcard $(VENV)/bin/uv),$(BIN)/uv,uv) pip compile --quiet --universal --generate-hashes \
	  --no-emit-index-url --python-version 3.11 --group dev pyproject.toml \
	  --custom-compile-command "make lock" --output-file requirements.txt

row: $(READY) ## compute a row of the scoreboard again: SYSTEM=mnist/student-kd PROFILE=paper
	@$(python) -m kdutils.store $(call q,$(SYSTEM))

clean: ## remove this profile's notebooks, tables, figures and pages; finished runs stay
	rm -rf $(NB) $(R)/tables $(R)/figures $(R)/ship $(R)/*.html $(R)/SHA256SUMS $(SUMS)

clean-runs: ## remove this profile's finished runs: the next report computes them again
	rm -rf $(R)/runs

# --- files ---------------------------------------------------------------------------

# .venv holds exactly what requirements.txt names; uv comes from there too.
ifneq ($(READY),)
$(READY): $(S)/requirements.txt
	@$(call q,$(PYTHON)) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("This needs \
	Python 3.11 or newer, not %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@test -x $(python) || $(call q,$(PYTHON)) -m venv $(VENV)
	@test -x $(BIN)/uv || $(python) -m pip install --quiet $(uv)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(python) requirements.txt
	@cp $< $@
endif

# A profile that reads generated data names their folder as secom_root, images_root or
# wafers_root; made once.
ROOT := $(shell sed -n 's/^[a-z]*_root: *"*\(\.data[^ "]*\)"*/\1/p' params/$(PROFILE)/*.yaml | \
  head -n 1)
SETS := secom mnist pneumoniamnist cifar10 tiny-imagenet sst2 squad minilm mixedwm38 wm811k
MINIATURE := $(foreach name,$(SETS),$(ROOT:%=%/$(name)/GENERATED))
ifneq ($(ROOT),)
$(MINIATURE): $(ROOT)/%/GENERATED: | $(READY)
	@$(python) -c "from kdutils.data.simulate import miniatures as m; m.write('$(ROOT)', '$*')"
endif

# A stage that runs anew: once for each make.
$(S)/fresh-$(REPORT)-%: FORCE
	@rm -rf $(R)/runs/$*

# Stages that train: where their runs are gone, they are computed again.
maps := $(notdir $(basename $(shell grep -ls 'runs[.]map' notebooks/*.ipynb)))

# Stages that read the user's table say so by a parameter of that name.
takes := $(notdir $(basename $(shell grep -ls '^table:' params/$(PROFILE)/*.yaml)))
user = $(if $(DATA),$(if $(filter $*,$(takes)),-r table "$$DATA" -r target "$$TARGET" \
  -r group "$$GROUP" -r time "$$TIME" -r drop "$$DROP" -r fail "$$FAIL" \
  -r onehot "$$ONEHOT" -r na "$$NA" -r decimal "$$DECIMAL" -r sep "$$SEP" \
  -r encoding "$$ENCODING" $(foreach v,$(numbers),$(if $(call typed,$(v)), \
  -p $(shell tr A-Z a-z <<< $(v)) $($(v))))))

$(STAGES): %: $(NB)/%.ipynb
	@echo "$<"

$(EXECUTED): $(NB)/%.ipynb: $(S)/notebooks-%.ipynb $(S)/params-$(PROFILE)-%.yaml \
    $(S)/code $(if $(DATA),$(S)/$(REPORT)) $(if $(foreign),FORCE) \
    $$(if $$(filter $$*,$(fresh)),$(S)/fresh-$(REPORT)-$$*) \
    $$(if $$(filter $$*,$(maps)),$$(if $$(wildcard $(R)/runs/$$*/*.json),,FORCE)) \
    $$(addprefix $(NB)/,$$(addsuffix .ipynb,$$(filter $(STAGES),$$(needs_$$*)))) | $(READY) $(MINIATURE) \
    $(if $(DATA),check)
	@$(publish) check notebooks/$*.ipynb params/$(PROFILE)/$*.yaml $(user)
	@echo "$(REPORT): $*" && mkdir -p $(NB) && rm -f $(NB)/$*.*.ipynb $(SUMS)
	@set -o pipefail; $(BIN)/papermill notebooks/$*.ipynb $(NB)/$*.part.ipynb \
	  -f params/$(PROFILE)/$*.yaml $(user) -k python3 --cwd . \
	  --no-progress-bar --log-output --log-level WARNING 2>&1 | $(SHOW) || \
	  { $(publish) error $(NB)/$*.part.ipynb $(NB)/$*.failed.ipynb || tail -n 1 $(LOG); exit 1; }
	@$(publish) normalise $(NB)/$*.part.ipynb $@

$(NB)/99_results.ipynb: $(S)/params-claimed.csv
$(NB)/07_edge_watcher.ipynb: $(addprefix $(S)/,$(subst /,-,$(MEASURED)))

# Progress lines are shown as they come; what papermill prints itself is kept aside: its
# traceback, and its warnings about parameters, which `check` has settled.
LOG = $(S)/$(REPORT)-$*.log
SHOW = { while IFS= read -r line; do case "$$line" in \
  "Traceback (most"*) break;; "" | "[IPKernelApp]"* | "Passed unknown"*) ;; \
  *) echo "$$line";; esac; done; \
  { echo "$$line"; cat; } > $(LOG); }

$(R)/index.html: $(EXECUTED) $(S)/pages | $(READY)
	@rm -f $(SUMS) && mkdir -p $(R)/tables
	@$(python) -m kdutils.data --csv > $(R)/tables/data.csv
	@$(publish) html $(R)

$(R)/SHA256SUMS: $(R)/index.html
	@$(publish) sums $(R)
	@cp $@ $(SUMS)

$(S)/readme-$(REPORT): $(R)/SHA256SUMS
	@$(publish) readme
	@touch $@
