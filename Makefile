# tailrace - `make help` lists the targets.

MAKEFLAGS += --no-builtin-rules
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
BUILD ?= build
SAN ?=
PKGS = libuv libcurl libcrypto jansson yaml-0.1 libpcre2-8
WARN = -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
       -Wwrite-strings -Wconversion -Wno-sign-conversion -Wundef -Wformat=2
ifeq ($(SAN),)
OPT = -O2 -g -D_FORTIFY_SOURCE=2
else
OPT = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
endif
VERSION := 0.1.0
CPPFLAGS += -I. -D_GNU_SOURCE -DTAILRACE_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
CFLAGS += $(WARN) $(OPT) -fPIE -fstack-protector-strong -fvisibility=hidden
LDFLAGS += -pie -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=address$(comma)undefined)
comma := ,
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null)

LIB_SRC ?= $(wildcard lib/*.c)
DEV_SRC ?= $(filter-out daemon/tailraced.c daemon/tailrace.c daemon/bootstrap.c,$(wildcard daemon/*.c))
CLI_SRC ?= $(wildcard daemon/cli/*.c)
UNIT_SRC = $(wildcard tests/unit/test_*.c)
UV_SRC = $(wildcard tests/uv/test_*.c)
FUZZ_SRC = $(wildcard tests/fuzz/fuzz_*.c)

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
prog = $(patsubst tests/%.c,$(BUILD)/tests/%,$(1))

LIB = $(BUILD)/libtailrace.a
DEV = $(BUILD)/libdaemon.a
PROGRAMS = $(BUILD)/tailraced $(BUILD)/tailrace

all: $(PROGRAMS) ## build the daemon and the tool

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(call obj,$(LIB_SRC))
	@rm -f $@
	ar rcs $@ $^

$(DEV): $(call obj,$(DEV_SRC))
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/tailraced: $(BUILD)/daemon/tailraced.o $(DEV) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tailrace: $(BUILD)/daemon/tailrace.o $(call obj,$(CLI_SRC)) $(DEV) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The Lambda function, static, so that it needs nothing of the machine it runs on. (ld warns that
# libcrypto could look up names and load modules; nobody asks it to.) With gcc it is compiled for
# itself: optimised as a whole, it takes an eighth less time for a record.
LAMBDA_SRC = $(addprefix daemon/,bootstrap.c lambda.c lambda_http.c log.c readfile.c) $(LIB_SRC)
LAMBDA_OPT = $(if $(SAN)$(findstring clang,$(CC)),,-O3 -flto=auto)
LAMBDA_OBJ = $(call obj,$(if $(LAMBDA_OPT),$(addprefix lambda/,$(LAMBDA_SRC)),$(LAMBDA_SRC)))

$(BUILD)/lambda/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LAMBDA_OPT) -MMD -MP -c -o $@ $<

$(BUILD)/lambda/bootstrap: $(LAMBDA_OBJ)
	@mkdir -p $(@D)
ifeq ($(SAN),)
	$(CC) $(filter-out -pie,$(LDFLAGS)) $(CFLAGS) $(LAMBDA_OPT) -static-pie -Wl,--no-warnings -o $@ $^ \
	  $(shell pkg-config --static --libs yaml-0.1 libpcre2-8 libcrypto 2>/dev/null)
else
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
endif

# A function is bootstrap and mapping.yaml in a zip: conf/aws/mapping.NAME.yaml becomes NAME.zip.
$(BUILD)/lambda/%.zip: conf/aws/mapping.%.yaml $(BUILD)/lambda/bootstrap conf/aws/package.py
	python3 conf/aws/package.py $(BUILD)/lambda/bootstrap $< $@

LAMBDA_ZIPS = $(patsubst conf/aws/mapping.%.yaml,$(BUILD)/lambda/%.zip,$(wildcard conf/aws/mapping.*.yaml)) \
              $(BUILD)/lambda/bootstrap.zip

# And any other becomes bootstrap.zip.
MAPPING ?= conf/aws/mapping.crimes.yaml
$(BUILD)/lambda/bootstrap.zip: $(BUILD)/lambda/bootstrap $(MAPPING) conf/aws/package.py
	python3 conf/aws/package.py $(BUILD)/lambda/bootstrap $(MAPPING) $@

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

$(BUILD)/tests/uv/%: $(BUILD)/tests/uv/%.o $(DEV) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# A fuzz entry point (LLVMFuzzerTestOneInput), linked with a driver that replays files.
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

SIM = $(BUILD)/tests/sim/sim
$(SIM): $(call obj,$(wildcard tests/sim/*.c)) $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lssl $(LIBS)

TESTS = $(call prog,$(UNIT_SRC)) $(call prog,$(UV_SRC)) $(call prog,$(FUZZ_SRC)) $(SIM)
BENCHES = $(call prog,$(wildcard tests/bench/*.c))

programs-for-tests: $(PROGRAMS) $(TESTS) $(BUILD)/lambda/bootstrap

lambda: $(LAMBDA_ZIPS) ## the Lambda function, zipped with each mapping in conf/aws; MAPPING=file for another

setup: ## install what building and testing need (Debian packages, a Python environment, node modules)
	tests/setup.sh

# What must be there before anything can be compiled; a blink when it is.
setup-build:
	@tests/setup.sh build

test: ## install what is needed and run every test; the last line is the count
	@tests/setup.sh
	@tests/.venv/bin/python tests/run.py

tidy: all ## the walls and the house style
	python3 tests/tidy/tidy.py $(BUILD)

demo: ## the main job on this machine: a local Kinesis, a sample, tailraced, and a count of what arrived
	@tests/setup.sh demo
	@$(MAKE) -s all
	@tests/.venv/bin/python tests/demo/demo.py

pipeline: ## the long form of demo: on to the function, S3, Parquet and SQL, all on this machine
	@tests/setup.sh pipeline
	@$(MAKE) -s all lambda
	@TAILRACE_BUILD=$(abspath $(BUILD)) tests/.venv/bin/python tests/pipeline/demo.py

picture: ## draw docs/pipeline.svg anew from docs/picture.py
	python3 docs/picture.py

SEEDS ?= 20000
FIRST ?= 1
sim: $(SIM) ## the simulation, SEEDS=n of them from FIRST=n
	$(SIM) $(FIRST) $(SEEDS)

bench: ## CPU, memory and rate beside the floor program; BENCH='--quick' for a tenth
	@tests/setup.sh bench
	@$(MAKE) -s all $(BENCHES)
	@python3 tests/bench/run.py --build $(BUILD) $(BENCH)
	@python3 tests/bench/sockets.py --build $(BUILD) $(BENCH)

bench-many: ## 10,000 followed files, quiet and with one of them busy
	@tests/setup.sh bench
	@$(MAKE) -s all $(BENCHES)
	@python3 tests/bench/many.py --build $(BUILD) $(BENCH)

bench-lambda: ## the Lambda function beside the same in Node; BENCH='--rounds 2' for less
	@tests/setup.sh bench
	@$(MAKE) -s $(BUILD)/lambda/bootstrap
	@python3 tests/bench/lambda.py --build $(BUILD) $(BENCH)

torture-tail: ## rotations, kills and a bad endpoint, and nothing lost; TORTURE='--kills 200 --seed N'
	@tests/setup.sh
	@$(MAKE) -s all
	@TAILRACE_BUILD=$(abspath $(BUILD)) tests/.venv/bin/python tests/torture/tail.py $(TORTURE)

torture-socket: ## 64 clients, kills and a bad endpoint: what was acknowledged arrives; TORTURE='--kills 200 --seed N'
	@tests/setup.sh
	@$(MAKE) -s all
	@TAILRACE_BUILD=$(abspath $(BUILD)) tests/.venv/bin/python tests/torture/push.py $(TORTURE)

week: ## seven days of rotation of 50 files, hours made short: memory and descriptors must not grow
	@tests/setup.sh
	@$(MAKE) -s all
	@tests/.venv/bin/python tests/torture/week.py

FUZZ_SECONDS ?= 60
fuzz: ## look for new inputs with libFuzzer, FUZZ_SECONDS=n for each entry point
	@tests/setup.sh fuzz
	@BUILD=$(BUILD) tests/fuzz/campaign.sh $(FUZZ_SECONDS)

compile_commands.json: Makefile ## for editors
	@$(MAKE) -s -n -B programs-for-tests 2>/dev/null | grep -E -- ' -c -o ' | \
	  sed -E 's|(.* -c -o [^ ]+ ([^ ]+))|{"directory":"$(CURDIR)","command":"\1","file":"\2"},|; s|\x27"|\\"|g; s|"\x27|\\"|g' | \
	  sed '1s/^/[/; $$s/,$$/]/' >$@

PREFIX ?= /usr
install: all ## install the programs, manuals and the unit below DESTDIR
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(PROGRAMS)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/tailrace.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man5 docs/tailrace.yaml.5
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 docs/tailraced.8
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/tailraced.service systemd/tailraced.socket
	install -D -m 644 systemd/tailrace.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/tailrace.conf
	install -D -m 640 conf/tailrace.yaml $(DESTDIR)/etc/tailrace/tailrace.yaml.example

clean: ## remove what was built
	rm -rf $(BUILD) compile_commands.json

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all lambda $(BUILD)/lambda/bootstrap.zip help clean install setup setup-build programs-for-tests test tidy demo pipeline picture sim bench bench-lambda bench-many torture-tail \
        week fuzz
.SUFFIXES:
.SECONDARY:
