# Targets are listed by `make`. Each does its own set-up.
SHELL := /bin/bash
GO    ?= go
LINT  := $(GO) tool -modfile=tools/lint/go.mod golangci-lint

STACK := kafka druid dynamodb-local kinesis-mock

.DEFAULT_GOAL := help

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the whole system on this machine: simulator, fake Kinesis, worker, Kafka broker, page (Ctrl-C ends it)
	@$(GO) build -o bin/dredge ./cmd/dredge && exec bin/dredge demo $(ARGS)

test: ## unit, property, contract and scenario tests, fuzz seeds; nothing outside the process
	$(GO) vet ./...
	$(GO) test -timeout 10m ./...

full: ## the acceptance tests at their full numbers, where make test runs smaller ones
	DREDGE_FULL=1 $(GO) test -count=1 -timeout 30m -v -run 'TestS3$$|TestS10$$|TestJ8' ./metadata/store
	DREDGE_FULL=1 $(GO) test -count=1 -timeout 30m -v -run 'TestB2' ./consumer/s3
	DREDGE_FULL=1 $(GO) test -count=1 -timeout 30m -v -run 'TestB6' ./test/scenario

truth: ## names against the simulator's ground truth, with the joins of others beside; a dated report with REPORT=file
	$(GO) run ./test/truth $(if $(REPORT),-report $(REPORT)) $(ARGS)

race: ## the same tests under the race detector
	$(GO) test -race -timeout 20m ./...

lint: ## golangci-lint with .golangci.yml
	$(LINT) run ./...

bench: ## all benchmarks and the whole-path comparison; figures for docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem ./flowlog/... ./row/... ./enrich/... ./metadata/... ./pipeline/... ./sink/... ./internal/awsfake/...
	$(GO) run ./test/bench $(ARGS)

bench-identity: ## the figures of identity in docs/performance.md: memory, the collector, look-ups, changes, warm start, answers (2 GB; ten minutes on a quiet machine)
	$(GO) test -run '^$$' -timeout 60m -benchmem -bench 'Memory|Lookup|Apply|P2|Networks' ./metadata/store
	$(GO) test -run '^$$' -timeout 60m -benchmem -bench 'S11|WarmStart' ./metadata/sonar
	$(GO) test -run '^$$' -timeout 60m -bench P3 -benchtime 60x -cpu 1 ./test/bench

fuzz: ## every fuzz target for FUZZTIME (default 30s)
	@test/fuzz.sh

integration: ## against real servers, a real browser, and Amazon's Java KCL briefly (test/integration, quick selection)
	@test/integration.sh

interop: ## Amazon's Java KCL against our AWS fake (needs a JDK and Maven)
	@test/interop/run.sh

stack-up: ## real Kafka, Druid, DynamoDB Local and kinesis-mock on loopback, for trying things by hand
	@for s in $(STACK); do echo "$$s"; test/stack/$$s.sh start | sed 's/^/  /'; done

stack-down: ## end what stack-up started
	@for s in $(STACK); do test/stack/$$s.sh stop; done

stack-status: ## what of the stack runs, with pids and logs
	@for s in $(STACK); do test/stack/$$s.sh status || true; done

chaos: ## three processes, kill -9, SIGSTOP, reshards, throttling; every row counted (10 minutes; ARGS="-duration 60s -kills 4 -stops 1 -reshards 2" for a short one)
	$(GO) run ./test/chaos -report docs/reports/$$(date -u +%Y-%m-%d)-chaos.md $(ARGS)

chaos-exactly-once: ## the same into a real Kafka of three nodes, whose brokers are killed too; nothing may be lost or come twice, and four broken builds must be found out (20 minutes)
	$(GO) run ./test/chaos -sink kafka -mode exactly-once -report docs/reports/$$(date -u +%Y-%m-%d)-chaos-exactly-once.md $(ARGS)

chaos-druid: ## the same with a real Druid behind it: two overlords, a process for each task, both killed; supervisors suspended; four broken builds; counted in Druid's published segments (25 minutes, 6 GB)
	$(GO) run ./test/chaos -sink kafka -mode exactly-once -druid -report docs/reports/$$(date -u +%Y-%m-%d)-chaos-druid.md \
		-duration 10m -rate 3000 -control-rate 1000 -partitions 4 $(ARGS)

chaos-s3: ## gatherers and workers that read S3 exactly once, killed at random; every row counted (15 minutes; ARGS="-duration 60s" for a short one)
	$(GO) run ./test/chaoss3 -report docs/reports/$$(date -u +%Y-%m-%d)-chaos-s3.md $(ARGS)

pictures: ## take the pictures of the page for docs/pictures, of the running demo (needs chromium)
	rm -rf bin/pictures && DREDGE_SHOTS=$(CURDIR)/bin/pictures DREDGE_TEST_CHROMIUM=$$(command -v chromium) \
		$(GO) test -tags integration -count=1 -timeout 20m -run 'TestDemo/Page' ./test/integration
	mkdir -p docs/pictures && cd bin/pictures && for v in desk-light-*; do install -m 644 $$v ../../docs/pictures/$${v#desk-light-}; done
	install -m 644 bin/pictures/desk-dark-overview.png docs/pictures/overview-dark.png
	install -m 644 bin/pictures/phone-dark-talks.png docs/pictures/talks-phone.png

soak: build ## one process for an hour under constant load with churn: memory, goroutines and descriptors flat, books balanced (ARGS="-duration 10m" for a short one)
	$(GO) run ./test/soak -report docs/reports/$$(date -u +%Y-%m-%d)-soak.md $(ARGS)

release: ## binaries for linux and darwin on amd64 and arm64 with completions, a bill of materials each, and checksums, in dist/
	$(GO) run ./deploy/release -out dist $(ARGS)

helm: ## lint and render the chart with helm itself, with every example of values (builds helm into bin/ where none is installed)
	@deploy/helm/check.sh

vulns: ## govulncheck over what dredge calls; asks vuln.go.dev for its database
	$(GO) run golang.org/x/vuln/cmd/govulncheck@latest ./...

sim-scale: ## a day of autoscaling: a model of stream and workers around the real /scale, with a report
	DREDGE_SIM_REPORT=$(CURDIR)/docs/reports/$$(date -u +%Y-%m-%d)-sim-scale.md $(GO) test -count=1 -run TestSimScale ./cmd/dredge

generate: ## rewrite docs/reference and the dashboards of deploy/grafana from the code
	$(GO) run ./cmd/dredge docs --out docs/reference
	$(GO) run ./deploy/grafana

build: ## bin/dredge, static and reproducible
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/dredge ./cmd/dredge

.PHONY: help demo test full truth race lint bench bench-identity fuzz integration interop stack-up stack-down stack-status \
	chaos chaos-exactly-once chaos-druid chaos-s3 pictures soak release helm vulns sim-scale generate build
