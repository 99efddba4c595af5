GOLANGCI_LINT_VERSION := v2.15.0

export CGO_ENABLED := 0

FUZZTIME := 60s

.PHONY: help build test race fuzz soak chaos lint verify bench memory golden docs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

build: ## one static binary, ./galvani
	go build -trimpath -ldflags '-s -w' -o galvani ./cmd/galvani

test: ## all tests
	go test ./...

race: ## all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

fuzz: ## every fuzz target for FUZZTIME (60s), one after the other; stops at the first finding, which stays in testdata/fuzz as a seed
	grep -rEo '^func Fuzz\w+' --include='*_test.go' . | sed 's|/[^/]*:func | |' | while read -r dir name; do \
		go test $$dir -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s || exit 1; done

soak: ## 5,000 random plans in one process and 500 in worker processes, each beside one device; minutes
	go test ./train -run EveryPlan -v -timeout 0 -rapid.checks=1000
	go test ./cmd/galvani -run EveryPlan -v -timeout 0 -plans=100

FAULTS ?= 500
SEED ?= 0

chaos: ## FAULTS=500 random faults in runs of workers, each compared with an undisturbed run; 1.2 s each. SEED=0 draws one and prints it
	go test ./cmd/galvani -run Chaos -v -timeout 0 -faults=$(FAULTS) -fault-seed=$(SEED) -fault-json=$(CURDIR)/chaos.json

lint: bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## golangci-lint, with the import rules
	$< run ./...

bin/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/golangci-lint $@

verify: ## generated files are what their sources give, go.mod is tidy
	go generate ./...
	go mod tidy
	cd docs/examples/customop && go mod tidy
	git diff --exit-code

bench: ## the training benchmark beside Gorgonia's own machine
	go run ./cmd/galvani bench train

memory: ## measured over planned memory of 60 plans, in worker processes: minutes
	go test ./train -run MeasuredMemory -memory -timeout 30m

golden: ## rewrite golden files from what the code prints now
	go test ./bench ./cmd/galvani ./exec ./parallel -update

docs: ## rewrite the generated parts of docs/
	go test ./cmd/galvani -run 'Reference|PackageTable' -update
