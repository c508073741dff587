# make demo    sets everything up, builds, and shows one encoder learn two tasks without forgetting      (about 10 minutes after the build)
# make test    sets everything up, builds, and runs every test
BUILD ?= build
PYTHON := .deps/oracle/bin/python
JOBS ?= $(shell nproc)

.PHONY: setup setup-oracle build demo demo-ner test unit parity integration lint bench bench-hardening bench-continual bench-positions mutate format sanitize fuzz gpu-bundle test-gpu bench-gpu clean

setup:
	@scripts/setup.sh runtime

setup-oracle:
	@scripts/setup.sh oracle

$(BUILD)/build.ninja: CMakeLists.txt
	cmake -S . -B $(BUILD) -G Ninja

build: setup
	@$(MAKE) --no-print-directory compile

.PHONY: compile
compile: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)

demo: build
	@ENGRAM_BUILD=$(BUILD) CONTROLS=$(CONTROLS) python3 scripts/demo.py

# From web pages and a list of terms to a tagger, and a page with what it found.
demo-ner: build
	@ENGRAM_BUILD=$(BUILD) python3 scripts/demo_ner.py

test: setup-oracle compile
	@BUILD=$(BUILD) scripts/test.sh

# Parts of `make test`, for a build that is there already.
unit:
	@BUILD=$(BUILD) scripts/test.sh unit
parity:
	@BUILD=$(BUILD) scripts/test.sh parity
integration:
	@BUILD=$(BUILD) scripts/test.sh integration

lint: setup-oracle
	@scripts/lint.sh

format:
	@git ls-files '*.cc' '*.h' | xargs clang-format -i

# What one client costs the others, and overload: minutes, on a machine that does nothing else.
bench-hardening: setup-oracle compile
	@ENGRAM_BUILD=$(BUILD) $(PYTHON) bench/hardening.py

bench: setup-oracle compile
	@ENGRAM_BUILD=$(BUILD) $(PYTHON) bench/run.py $(if $(ONLY),--only $(ONLY))

# Every strategy on streams of tasks: runs that are not made yet, for HOURS, and docs/results.md out of all that are.
bench-continual: setup-oracle compile
	@ENGRAM_BUILD=$(BUILD) $(PYTHON) bench/continual.py run --hours $(or $(HOURS),8)
	@$(PYTHON) bench/continual.py report

# What rotary positions beyond the trained ones are worth: half an hour of training, and as much of reading. Goes on where it was stopped.
bench-positions: setup-oracle compile
	@ENGRAM_BUILD=$(BUILD) $(PYTHON) bench/positions.py $(if $(MINUTES),--minutes $(MINUTES))

# Whether the tests notice wrong formulas: one mutation after another in a scratch copy. ONLY=REGEX: some of them.
mutate: setup-oracle
	@$(PYTHON) scripts/mutate.py --jobs $(JOBS) $(if $(ONLY),--only '$(ONLY)')

sanitize: setup
	@scripts/sanitize.sh

# SECONDS of each fuzz target.
fuzz: setup
	@scripts/fuzz.sh $(or $(SECONDS),60)

clean:
	rm -rf build build-sanitized build-tidy build-mutate

# Programs and libraries in one folder for a machine that has only the torch wheel.
BUNDLE ?= build/bundle
gpu-bundle:
	@BUILD=$(BUILD) scripts/gpu_bundle.sh $(BUNDLE)

# On a machine with a GPU and an interpreter (PYTHON_GPU) that has the torch wheel; from a bundle that is there already, or made now.
PYTHON_GPU ?= python3
$(BUNDLE)/bin/test_nn:
	@$(MAKE) --no-print-directory gpu-bundle
test-gpu: $(BUNDLE)/bin/test_nn
	@PYTHON=$(PYTHON_GPU) scripts/test_gpu.sh $(BUNDLE)
bench-gpu: $(BUNDLE)/bin/test_nn
	@ENGRAM_BUILD=$(abspath $(BUNDLE)) $(PYTHON_GPU) bench/gpu.py $(if $(ONLY),--only $(ONLY))
