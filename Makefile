# usui. "make help" lists the targets; all of them work in a clean clone, as root, on Debian 12.

.DEFAULT_GOAL := build
.PHONY: help run test lint bench bench-start bench-machine generate build clean native deps-run deps-test

# Debian packages that are used, each with the first target that needs it and why.
define PACKAGES
run   qemu-system-x86    the lab (bare metal in software), and a peer in benchmarks
run   busybox-static     user space of the default guest
run   kmod               depmod, for the modules of the lab and the default guest
test  qemu-system-arm    the arm64 lab
test  e2fsprogs          mkfs and fsck of the disks that guests write
test  pciutils           lspci, which shows what a guest or a lab finds
test  acpica-tools       iasl, which checks the ACPI tables
test  binutils           objdump, which decodes instructions, too
test  python3-ropgadget  ROPgadget, which counts what can be misused in machine code, too
test  xz-utils           kernels and modules packed by their usual tools
test  zstd               likewise
test  lz4                likewise
test  redis-server       the peer of usui kv, in tests and benchmarks
test  redis-tools        its clients
test  rsync              a peer of usui fsmove, in benchmarks
test  rclone             likewise
test  fio                the load of benchmarks of file systems
test  samba              exports what usui fsmove moves
test  samba-vfs-modules  likewise, with ACLs and streams of Windows
test  smbclient          its client
test  openssh-client     sftp, a client
test  openssh-sftp-server its server
test  nginx-light        exports what usui fsmove moves, too
test  nfs-ganesha        likewise, by file handles
test  nfs-ganesha-vfs    its access to local file systems
test  libnfs-utils       brings libnfs, its client
test  python3            calls that
test  sshfs              a source of usui fsmove
test  xfsprogs           mkfs of a destination of usui fsmove
test  iproute2           ip, which lays cables between network namespaces
test  cpio               reads the archives that internal/initrd writes
test  gcc                the race detector; products are built without cgo
test  libc6-dev          likewise
endef
export PACKAGES

GO    ?= go
BUILD  = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w'

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {sub("%", "NAME", $$1); printf "make %-15s %s\n", $$1, $$2}' Makefile

run: deps-run native ## boot a Debian kernel to a shell under usui
	@bin/usui run

test: deps-test build bin/testrun ## run all tests: host and lab tiers, one table at the end
	@bin/usui run --prepare && bin/usui run --prepare --guest generic
	@bin/testrun

test-long-%: deps-test build bin/testrun ## run the long tests of one capability, as in make test-long-machine
	@bin/usui run --prepare
	@bin/testrun --long --name $*

bench: deps-test build bin/testrun bench-machine ## run all benchmarks
	@bin/testrun --bench

bench-start: native ## compare the start of bin/usui with that of an empty Go program
	@$(GO) test -run '^$$' -bench '^BenchmarkStart$$' ./internal/archtest

bench-machine: deps-run native ## compare boots, memory, disks and networks of usui, QEMU microvm and gokvm in one lab; ARGS=--json
	@$(BUILD) -o bin/peerbench ./machine/vmm/peerbench
	@bin/peerbench $(ARGS)

bench-%: deps-test build bin/testrun ## run the benchmarks of one capability, as in make bench-host
	@bin/testrun --bench --name $*

lint: ## check format, vet, staticcheck and go.mod
	@files=$$(gofmt -l .) && test -z "$$files" || { echo "gofmt -w these:" $$files; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

generate: ## make generated code again (fetches kernel headers); it must not differ from what is committed
	$(GO) generate ./...
	git diff --exit-code -- '*_gen.go' '*_gen_*.go'

build: native ## build all binaries, static, into bin/
	$(BUILD) -o bin/ ./cmd/...
	GOARCH=arm64 $(BUILD) -o bin/arm64/ ./cmd/...

bin/testrun: $(wildcard internal/testrun/*.go)
	@$(GO) build -o $@ ./internal/testrun

native:
	@$(BUILD) -o bin/ ./cmd/...

clean: ## remove what was built; the caches of kernels and images stay
	rm -rf bin results

# deps-run and deps-test install what is missing of PACKAGES, and are silent and quick if nothing is.
deps-run: WANTED = run
deps-test: WANTED = run|test
deps-run deps-test:
	@command -v dpkg-query >/dev/null || { echo "make: no dpkg here: see PACKAGES in the Makefile for what is used" >&2; exit 0; }; \
	wanted=$$(echo "$$PACKAGES" | awk '$$1 ~ /^($(WANTED))$$/ {print $$2}'); \
	missing=$$(for p in $$wanted; do \
		dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	test -z "$$missing" || { echo "installing" $$missing; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
	{ echo "make: install these packages as root, then try again:" $$missing >&2; exit 1; }
