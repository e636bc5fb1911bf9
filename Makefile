# Front door. The build itself is meson.build; `make help` lists what there is.

HOURS ?= 1
SEEDS ?= 60
FIRST_SEED ?= 1
SECONDS ?= 10

.DEFAULT_GOAL := build
# `build` is also a directory, so every target is one that always runs.
.PHONY: build run test ci sim soak bench fuzz fmt check tidy install help clean

build: ## build into build/
	@scripts/build build

run: ## install what is missing, build, start a cluster on this machine
	@scripts/run $(ARGS)

test: ## build, unit tests, a short simulation, real processes and clients
	@mkdir -p build && : >build/steps.log
	@scripts/test; scripts/summary

ci: ## all that a change must pass: compilers, sanitizers, rules, simulation, fuzzing
	@mkdir -p build && : >build/steps.log
	@scripts/ci; scripts/summary

sim: build ## simulate SEEDS seeds from FIRST_SEED on
	@build/holon-sim --seeds $(SEEDS) --first-seed $(FIRST_SEED) $(ARGS)

soak: ## simulate new seeds and fuzz for HOURS hours; summary in build/soak.log
	@scripts/soak $(HOURS)

bench: ## measure side by side with peers, then what transactions cost
	@scripts/install-packages --bench
	@scripts/build build
	@bench/run $(ARGS); first=$$?; bench/transactions $(ARGS) && exit $$first

fuzz: ## run each fuzz target for SECONDS seconds
	@scripts/fuzz $(SECONDS)

check: ## the quick rules: format, style, layers, globals
	@scripts/check-format
	@scripts/check-style
	@scripts/check-layers
	@scripts/build build
	@scripts/check-globals build

tidy: build ## clang-tidy over src (slow, advisory)
	@scripts/list-sources src | xargs -P "$$(nproc)" -n 4 clang-tidy --quiet -p build

fmt: ## format all C files
	@git ls-files --cached --others --exclude-standard -- '*.c' '*.h' | sort -u | xargs clang-format -i

install: build ## install the holon binary (DESTDIR is honoured)
	@meson install -C build --no-rebuild

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1 \2/p' Makefile | awk '{ printf "  make %-8s", $$2; $$1 = $$2 = ""; print }'
	@echo "  variables: SEEDS, FIRST_SEED, HOURS, SECONDS, ARGS"

clean: ## remove all that was built
	@rm -rf build
