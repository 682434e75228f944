# A thin front for people; the build itself is CMake (CMakePresets.json) and ninja.
#
#   make            release build into build/release        make test     install packages, build, run every test
#   make demo       a guided run on a real device           make bench    measure against loop and qemu
#   make asan       tests under ASan + UBSan                make tsan     unit tests under TSan
#   make vmtest    device tests on other kernels, in virtual machines
#   make fuzz       each fuzz target FUZZ_SECONDS long      make install  DESTDIR= PREFIX=/usr
#   make deb        a Debian package
#   make tidy       clang-tidy over the tree                make format-check   clang-format, dry
#   make clean      remove build/

PREFIX  ?= /usr
DESTDIR ?=
JOBS    ?= $(shell nproc)
FUZZ_SECONDS ?= 60
VM_SUITE ?= normal

RELEASE := build/release

.PHONY: all build deps test vmtest demo bench asan tsan fuzz install deb tidy format-check check clean

all: build

build: deps
	@tools/build.sh release $(JOBS)

deps:
	@tools/install-deps.sh build

test:
	@tools/install-deps.sh build test vm
	@tools/build.sh release $(JOBS)
	@tools/run-tests.sh $(RELEASE)

# VM_SUITE=quick, normal or full: how many of the device scripts, see tests/vm/README.md
vmtest:
	@tools/install-deps.sh build test vm
	@tools/build.sh release $(JOBS) ploop ploopd
	@PLOOP_VM_SUITE=$(VM_SUITE) tools/run-tests.sh $(RELEASE) -L vm

demo:
	@tools/install-deps.sh build demo
	@tools/build.sh release $(JOBS) ploop ploopd
	@tools/demo.sh $(RELEASE)/bin/ploop

bench:
	@tools/install-deps.sh build bench
	@tools/build.sh release $(JOBS)
	@bench/run.sh $(RELEASE) $(BENCH_OPTIONS)

asan:
	@tools/install-deps.sh build test
	@tools/build.sh asan $(JOBS)
	@tools/run-tests.sh build/asan --sanitizer -LE 'device|tools|vm'

tsan:
	@tools/install-deps.sh build test
	@tools/build.sh tsan $(JOBS)
	@tools/run-tests.sh build/tsan --sanitizer -L unit

fuzz:
	@tools/install-deps.sh build test fuzz
	@tools/build.sh fuzz $(JOBS)
	@tools/run-fuzz.sh build/fuzz $(FUZZ_SECONDS)

# Everything under PREFIX, nothing of it refers to the build tree.
install:
	@tools/install-deps.sh build man
	@cmake -S . --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@tools/build.sh release $(JOBS)
	@DESTDIR="$(DESTDIR)" cmake --install $(RELEASE) --prefix $(PREFIX)

# build/release/ploop_VERSION_ARCH.deb
deb:
	@tools/install-deps.sh build man
	@cmake -S . --preset release >/dev/null
	@tools/build.sh release $(JOBS) ploop ploopd man
	@cd $(RELEASE) && rm -f *.deb && cpack -G DEB
	@tools/check_deb $(RELEASE)/ploop_*.deb

tidy:
	@tools/install-deps.sh build tidy
	@tools/build.sh clang-tidy $(JOBS)

format-check:
	@tools/install-deps.sh tidy
	@tools/check_format

check:
	@tools/check_includes && tools/check_sizes --all && tools/check_docs

clean:
	rm -rf build
