# `make help` lists the targets. Whatever is built or fetched for the project
# alone lands in build/, but for what npm wants beside its package.json.

SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-builtin-rules --no-print-directory

BUILDER_VERSION     := v0.158.0
GOLANGCI_VERSION    := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
K6_VERSION          := v1.8.1
WEBSOCKETS_VERSION  := 15.0.1
PLATFORMS           := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

BENCH    ?= .
FUZZTIME ?= 20s
SOAK     ?= 10m
VULNDB   ?= https://vuln.go.dev
# Of the soak's faults; none: a random one.
SEED     ?=

COLLECTOR := build/otelcol-wsstats
DEMO      := build/demo
TOOL      := build/wsstats
RIVALS    := build/otelcol-bench
COMPARE   := build/bench-compare
LINTER    := build/bin/golangci-lint-$(GOLANGCI_VERSION)
K6        := build/bin/k6-$(K6_VERSION)
PEERS     := build/venv/websockets-$(WEBSOCKETS_VERSION)
NODE      := examples/node/node_modules/.package-lock.json

# The files of the working tree, committed or not, that match a git pathspec.
files    = $(wildcard $(shell git ls-files -co --exclude-standard -- $(1)))
MODULES := $(filter-out internal/tools,$(patsubst %/,%,$(dir $(call files,'*go.mod'))))
# What the collector and the demo are made of.
MANIFESTS := builder-config.yaml $(call files,'go.*' 'wire/go.*')
RECEIVER  := $(call files,'*.go' 'metadata.yaml' ':!*_test.go' ':!agents' ':!bench' ':!cmd' ':!examples' ':!internal/e2e' ':!internal/tools')
DEMOS     := $(call files,'examples/*' 'agents/go/*' 'wire/*' ':!*_test.go')
# Git takes ':!*_test.go' for all of Go where the other patterns begin alike.
SINKS     := $(call files,'bench/*extension/*.go' 'bench/*exporter/*.go' ':!bench/*_test.go')
BENCHES   := $(call files,'bench/*' ':!bench/*_test.go')
TOOLS     := $(call files,'cmd/wsstats/*' 'agents/go/*' 'wire/*' ':!*_test.go')

# $(call each,command) runs a command in every module.
each = @for m in $(MODULES); do echo "== $$m"; (cd "$$m" && $(1)); done

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: check $(PEERS) $(NODE) $(K6) $(LINTER) ## check this machine; fetch what the tests and the linters need

.PHONY: check
check:
	@scripts/check

.PHONY: run
run: check $(COLLECTOR) $(DEMO) ## start the collector and the demo, and show what the collector wrote
	@exec $(DEMO) --collector $(COLLECTOR)

.PHONY: collector
collector: check $(COLLECTOR) ## build the collector with the receiver: build/otelcol-wsstats

.PHONY: tool
tool: check $(TOOL) ## build wsstats, which is a proxy, loads a receiver and checks messages: build/wsstats

.PHONY: example-node
example-node: check $(TOOL) $(NODE) ## start a Node.js chat and wsstats proxy before it, on localhost:8080
	@exec examples/node/start $(TOOL)

.PHONY: example-chat example-notify example-voice
example-chat: ## start a chat on gorilla/websocket and people in it, on localhost:8391
example-notify: ## start a notification service on coder/websocket and subscribers, on localhost:8392
example-voice: ## start a voice assistant and a speaker, on localhost:8393
example-chat example-notify example-voice: example-%: check $(DEMO)
	@exec build/$*

.PHONY: example-rust-chat
example-rust-chat: ## start a chat in Rust, on localhost:8394; it needs cargo
	@cd agents/rust && exec cargo run --quiet --locked -p rust-chat

.PHONY: test
test: check $(COLLECTOR) $(DEMO) $(TOOL) $(PEERS) $(NODE) $(K6) ## test every module, the whole path included; coverage is shown and held over 85 %
	@scripts/rust test
	@WSSTATS_COLLECTOR=$(CURDIR)/$(COLLECTOR) WSSTATS_DEMO=$(CURDIR)/$(DEMO) WSSTATS_TOOL=$(CURDIR)/$(TOOL) \
		WSSTATS_PYTHON=$(CURDIR)/build/venv/bin/python WSSTATS_K6=$(CURDIR)/$(K6) scripts/test $(MODULES)

.PHONY: cover
cover: test ## the same, then build/coverage.html
	@go tool cover -html=build/coverage.out -o build/coverage.html && echo build/coverage.html

.PHONY: bench
bench: ## run the benchmarks (BENCH=regexp)
	$(call each,go test -run='^$$' -bench='$(BENCH)' -benchmem ./...)
	@scripts/rust bench

.PHONY: bench-compare
bench-compare: check $(RIVALS) $(COMPARE) ## measure the receiver beside OTLP and Zipkin, 20 minutes, and write docs/benchmarks.md
	@$(COMPARE) -collector $(RIVALS) -report docs/benchmarks.md -plots docs/benchmarks -results build/bench-compare.json

.PHONY: bench-compare-short
bench-compare-short: check $(RIVALS) $(COMPARE) ## the same in 2 minutes; fails where a ratio is far from its goal
	@$(COMPARE) -collector $(RIVALS) -short -gate

.PHONY: soak
soak: check $(COLLECTOR) $(TOOL) ## run load with random faults for SOAK (10m), and write docs/soak.md (SEED=number)
	@cd internal/e2e && WSSTATS_COLLECTOR=$(CURDIR)/$(COLLECTOR) WSSTATS_TOOL=$(CURDIR)/$(TOOL) WSSTATS_SOAK=$(SOAK) \
		WSSTATS_SOAK_SEED=$(SEED) WSSTATS_SOAK_REPORT=$(CURDIR)/docs/soak.md go test -count=1 -timeout=0 -v -run='^TestSoak$$' .

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (20s)
	@scripts/fuzz $(FUZZTIME) $(MODULES)

.PHONY: lint
lint: $(LINTER) ## lint and check the format of every module
	$(call each,$(CURDIR)/$(LINTER) run ./...)
	@scripts/rust lint

.PHONY: vuln
vuln: ## look for known vulnerabilities in what is used (VULNDB=URL)
	@found=; for m in $(MODULES); do echo "== $$m"; \
		(cd "$$m" && go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) -db $(VULNDB) ./...) || found=1; done; [[ -z $$found ]]

.PHONY: format
format: $(LINTER) ## format every module
	$(call each,$(CURDIR)/$(LINTER) fmt ./...)
	@scripts/rust format

.PHONY: generate
generate: ## generate code and documentation from metadata.yaml and protocol/wsstats.proto
	@go generate ./...
	@scripts/protogen

.PHONY: cross
cross: ## compile every module for linux, darwin and windows, amd64 and arm64
	$(call each,for p in $(PLATFORMS); do CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -trimpath -o /dev/null ./...; done)

.PHONY: clean
clean: ## remove build/
	@rm -rf build examples/node/node_modules

# The builder writes the distribution's source; go builds it, so that a change
# of the receiver costs seconds.
build/distribution/main.go: $(MANIFESTS)
	@test -e $@ || echo "First build of the collector: fetches and compiles it whole, 2 to 5 minutes on two cores. Later ones take seconds."
	@mkdir -p build
	@go run go.opentelemetry.io/collector/cmd/builder@$(BUILDER_VERSION) --config builder-config.yaml --skip-compilation 2> build/builder.log || { cat build/builder.log >&2; exit 1; }
	@touch $@

$(COLLECTOR): build/distribution/main.go $(RECEIVER)
	@echo "Building $@"
	@cd build/distribution && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o ../$(@F) .

build/bench/main.go: bench/builder-config.yaml bench/go.mod $(call files,'go.*' 'wire/go.*')
	@mkdir -p build
	@go run go.opentelemetry.io/collector/cmd/builder@$(BUILDER_VERSION) --config bench/builder-config.yaml --skip-compilation 2> build/builder.log || { cat build/builder.log >&2; exit 1; }
	@touch $@

$(RIVALS): build/bench/main.go $(RECEIVER) $(SINKS)
	@echo "Building $@"
	@cd build/bench && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o ../$(@F) .

$(COMPARE): $(BENCHES) $(RECEIVER)
	@echo "Building $@"
	@mkdir -p build && go build -C bench -trimpath -buildvcs=false -o ../$@ .

$(DEMO): $(DEMOS)
	@echo "Building $@ and the examples: build/chat, build/notify, build/voice"
	@mkdir -p build && cd examples && go build -buildvcs=false -o ../build/ ./demo ./chat ./notify ./voice

$(TOOL): $(TOOLS)
	@echo "Building $@"
	@mkdir -p build && go build -C cmd/wsstats -trimpath -buildvcs=false -o ../../$@ .

$(LINTER):
	@echo "Building golangci-lint $(GOLANGCI_VERSION): about 2 minutes on two cores."
	@GOBIN=$(CURDIR)/build/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv build/bin/golangci-lint $@

# The other end of a test connection that shares no code with this project.
$(PEERS):
	@scripts/peers build/venv websockets==$(WEBSOCKETS_VERSION) $@

$(K6):
	@scripts/k6 $(K6_VERSION) $@

$(NODE): examples/node/package-lock.json
	@scripts/node-modules $(<D)
