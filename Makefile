# tailrace - `make help` lists the targets.

CC ?= gcc
BUILD ?= build
SAN ?=
PKGS = libuv libcurl libcrypto jansson yaml-0.1
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
DEV_SRC ?= $(filter-out daemon/tailraced.c daemon/tailrace.c,$(wildcard daemon/*.c))
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

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all help
.SECONDARY:
