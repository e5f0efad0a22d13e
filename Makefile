# make check  gofmt, vet, staticcheck, tests that need neither root nor installs: under a minute warm
# make test   installs what is missing (Debian, root) and runs everything
# make long   the full counts; their output belongs into docs/measurements.md
# make deps   only installs what the tests need
GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build check test long deps lint

build:
	$(GO) build -o bin/ .

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags long ./e2e/kubernetes
	$(GO) run $(STATICCHECK) ./...
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null .
	GOOS=windows $(GO) build -o /dev/null .

check: lint
	$(GO) test -short $$($(GO) list ./... | grep -v /e2e/) ./e2e/walls

deps:
	@.ci/deps

test:
	@.ci/test

long:
	@.ci/long
