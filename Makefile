# Roost. `make run` starts everything on this machine; `make test` runs every test.
#
# A folder under services/ is one executable, build/bin/roost-<folder>: its main.c plus the folder's other files.
# Every other file named <tool>_main.c in a folder (supervisor/ too) is a tool: build/bin/roost-<tool>.
# SAN=1 builds with address and undefined-behaviour sanitizers into build-san/; CC=clang builds into build-clang/;
# COVER=1 counts branches, in build-cover/.

SERVICES := connectivity limiter storage rules notifier sink registry
FOLDERS  := $(addprefix services/,$(SERVICES)) supervisor

B := build
ifdef SAN
B := build-san
else ifdef COVER
B := build-cover
else ifneq ($(findstring clang,$(CC)),)
B := build-clang
endif

CSTD     := -std=c11 -D_GNU_SOURCE
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wpointer-arith \
            -Wwrite-strings -Wundef -Wformat=2 -Wvla -Wimplicit-fallthrough -Werror
WARNXX   := -Wall -Wextra -Wshadow -Wconversion -Wpointer-arith -Wundef -Wformat=2 -Wimplicit-fallthrough -Werror
OPT      := -O2 -g
HARDEN   := -fstack-protector-strong -fPIE
FORTIFY  := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
LDHARDEN := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
ifdef SAN
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FORTIFY  :=
endif
ifdef COVER
# Counts are written at exit: one that skips that loses them.
OPT      := -O0 -g --coverage -D_exit=exit
FORTIFY  :=
endif
# What each reading passes is compiled a second time, as a whole program: an eighth fewer instructions a message. Unit tests
# and the others link the plain objects.
LTO      := connectivity limiter storage rules sink
ifneq ($(SAN)$(COVER)$(findstring clang,$(CC)),)
LTO      :=
endif
INC      := -Icommon -I$(B)/gen
CFLAGS   := $(CSTD) $(WARN) $(OPT) $(HARDEN) $(FORTIFY) $(INC) $(EXTRA_CFLAGS)
CXXFLAGS := -std=c++17 $(WARNXX) $(OPT) $(HARDEN) $(FORTIFY) $(INC) -isystem /usr/include/simdjson
LDFLAGS  := $(OPT) $(LDHARDEN)
# libzmq and libczmq from their archives, without what common/bus_without.c stands for. libstdc++ too, where no other C++
# library needs the shared one.
LIBS_BUS := -Wl,-Bstatic -lczmq -lzmq -lsodium -luuid -lbsd -lmd -Wl,-Bdynamic $(B)/lib/common.a
LIBS_COMMON := -largon2 $(LIBS_BUS) -lmsgpackc -lhiredis -lyaml -lxxhash -lssl -lcrypto
STATIC_CXX := -l:libstdc++.a -static-libgcc -lm
LIBS_connectivity := $(LIBS_COMMON) -lsimdjson -lstdc++ -lwslay -l:libz.a -l:libzstd.a -lm
LIBS_limiter := $(LIBS_COMMON) $(STATIC_CXX)
LIBS_storage := $(LIBS_COMMON) $(STATIC_CXX)
LIBS_rules := $(LIBS_COMMON) -lsqlite3 $(STATIC_CXX)
LIBS_notifier := $(LIBS_COMMON) -lsqlite3 $(STATIC_CXX)
LIBS_sink := $(LIBS_COMMON) -lsqlite3 -lzstd $(STATIC_CXX)
LIBS_registry := $(LIBS_COMMON) -lsqlite3 -ljansson $(STATIC_CXX)
LIBS_supervisor := -lmsgpackc -lyaml -lxxhash -ljansson -lmosquitto -lm
LIBS_common := $(LIBS_COMMON) $(STATIC_CXX)

# Short lines; V=1 shows the commands.
ifndef V
.SILENT:
SAY = @echo "  $(1) $(patsubst $(B)/%,%,$@)"
endif
.PHONY: all run test check unit flow fault model soak fuzz bench deps deps-test clean format fences
.SECONDARY:
.DELETE_ON_ERROR:

all:

COMMON_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(wildcard common/*.c))
$(B)/lib/common.a: $(COMMON_OBJ)
$(B)/lto/lib/common.a: $(patsubst $(B)/obj/%,$(B)/lto/%,$(COMMON_OBJ))

# $(call folder,PATH,NAME): library of all files but the mains, the executable, and the folder's tools
define folder
MAINS_$(2) := $$(wildcard $(1)/main.c $(1)/*_main.c)
OBJ_$(2) := $$(patsubst %.c,$(B)/obj/%.o,$$(filter-out $$(MAINS_$(2)),$$(wildcard $(1)/*.c))) \
            $$(patsubst %.cc,$(B)/obj/%.o,$$(wildcard $(1)/*.cc))
$(B)/lib/$(2).a: $$(OBJ_$(2))
ifneq ($(filter $(2),$(LTO)),)
$(B)/lto/lib/$(2).a: $$(patsubst $(B)/obj/%,$(B)/lto/%,$$(OBJ_$(2)))
$(B)/bin/roost-$(2): LDFLAGS += -flto=auto
$(B)/bin/roost-$(2): $(B)/lto/$(1)/main.o $(B)/lto/lib/$(2).a $(B)/lto/lib/common.a
else
$(B)/bin/$(if $(filter supervisor,$(2)),roost,roost-$(2)): $(B)/obj/$(1)/main.o $(B)/lib/$(2).a $(B)/lib/common.a
endif
	@mkdir -p $$(@D)
	$$(call SAY,LD)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(subst $(B)/lib/,$$(dir $$(lastword $$^)),$$(LIBS_$(2)))
TOOLS_$(2) := $$(patsubst $(1)/%_main.c,$(B)/bin/roost-%,$$(wildcard $(1)/*_main.c))
$$(TOOLS_$(2)): $(B)/bin/roost-%: $(B)/obj/$(1)/%_main.o $(B)/lib/$(2).a $(B)/lib/common.a
	@mkdir -p $$(@D)
	$$(call SAY,LD)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_$(2))
BINS += $$(if $$(wildcard $(1)/main.c),$(B)/bin/$(if $(filter supervisor,$(2)),roost,roost-$(2))) $$(TOOLS_$(2))
endef
$(foreach s,$(SERVICES),$(eval $(call folder,services/$(s),$(s))))
$(eval $(call folder,supervisor,supervisor))

all: $(BINS)

$(B)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(B)/lto/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	gcc-ar rcs $@ $^

$(B)/lto/%.o: %.c
	@mkdir -p $(@D)
	$(call SAY,CC)
	$(CC) $(CFLAGS) -flto -MMD -MP -c -o $@ $<

$(B)/lto/%.o: %.cc
	@mkdir -p $(@D)
	$(call SAY,CXX)
	$(CXX) $(CXXFLAGS) -flto -MMD -MP -c -o $@ $<

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call SAY,CC)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/obj/%.o: %.cc
	@mkdir -p $(@D)
	$(call SAY,CXX)
	$(CXX) $(CXXFLAGS) -MMD -MP -c -o $@ $<

# Unit tests: tests/unit/<folder>/test_<module>.c is one executable, linked with its folder and common/.
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(B)/test/%,$(UNIT_SRC))
unit_folder = $(firstword $(subst /, ,$(patsubst $(B)/test/%,%,$(1))))
# cluster/ is connectivity between stand-ins for bus, loop and Redis, whose real ones must not be linked.
unit_lib = $(patsubst cluster,connectivity,$(call unit_folder,$(1)))
# A test may also use helpers of its folder: tests/unit/<folder>/support_*.c
define unit_rule
$(1): $(B)/obj/$(patsubst $(B)/test/%,tests/unit/%,$(1)).o \
      $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/unit/$(call unit_folder,$(1))/support_*.c)) \
      $(if $(filter cluster,$(call unit_folder,$(1))),$(B)/obj/tests/unit/connectivity/support_mqtt.o) \
      $(if $(filter common,$(call unit_folder,$(1))),,$(B)/lib/$(call unit_lib,$(1)).a) $(B)/lib/common.a
	@mkdir -p $$(@D)
	$$(call SAY,LD)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_$(call unit_lib,$(1))) -lcheck -lsubunit -lrt -lm -lpthread
endef
$(foreach t,$(UNIT_BIN),$(eval $(call unit_rule,$(t))))
# It has a redis-server of its own.
$(B)/test/connectivity/test_auth: $(B)/obj/tests/unit/common/support_redis.o
$(B)/obj/tests/unit/%.o: CFLAGS += $(foreach f,$(FOLDERS),-I$(f)) -Wno-missing-prototypes

# Fuzz targets: tests/fuzz/fuzz_<decoder>.c defines LLVMFuzzerTestOneInput; under any compiler a plain driver replays
# tests/fuzz/corpus/<decoder>/. `make fuzz` searches with libFuzzer (clang), which then is FUZZ_MAIN.
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/test/fuzz/%,$(FUZZ_SRC))
FUZZ_LIB := $(B)/obj/tests/fuzz/support.o $(foreach f,$(notdir $(FOLDERS)),$(B)/lib/$(f).a) $(B)/lib/common.a
FUZZ_MAIN := $(B)/obj/tests/fuzz/replay.o
FUZZ_CC = $(CC)
$(B)/obj/tests/fuzz/%.o: CFLAGS += $(foreach f,$(FOLDERS),-I$(f)) -Wno-missing-prototypes
$(FUZZ_BIN): $(B)/test/fuzz/%: $(B)/obj/tests/fuzz/%.o $(filter-out -%,$(FUZZ_MAIN)) $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(call SAY,LD)
	$(FUZZ_CC) $(LDFLAGS) -o $@ $^ $(filter -%,$(FUZZ_MAIN)) $(LIBS_COMMON) -lsimdjson -lwslay -lsqlite3 -lzstd -lz -ljansson -lm -lstdc++

SUPPORT_SRC := $(wildcard tests/support/*.c)
SUPPORT_BIN := $(patsubst tests/support/%.c,$(B)/test/support/%,$(SUPPORT_SRC))
$(B)/obj/tests/support/%.o: CFLAGS += -Wno-missing-prototypes
$(SUPPORT_BIN): $(B)/test/support/%: $(B)/obj/tests/support/%.o $(B)/lib/common.a
	@mkdir -p $(@D)
	$(call SAY,LD)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_COMMON) -lmosquitto -lsqlite3 $(STATIC_CXX) -ldl

# The generator of `make bench`.
FLOOD := $(B)/test/bench/flood
$(FLOOD): $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/bench/flood*.c))
	@mkdir -p $(@D)
	$(call SAY,LD)
	$(CC) $(LDFLAGS) -o $@ $^

# Its clients over TLS.
TLS_CLIENTS := $(B)/test/bench/tls
$(TLS_CLIENTS): $(B)/obj/tests/bench/tls.o
	@mkdir -p $(@D)
	$(call SAY,LD)
	$(CC) $(LDFLAGS) -o $@ $^ -lssl -lcrypto

# Matching of topics alone: build/test/bench/topics
TOPICS := $(B)/test/bench/topics
$(B)/obj/tests/bench/topics.o: CFLAGS += -Iservices/connectivity
$(TOPICS): $(B)/obj/tests/bench/topics.o $(B)/lib/connectivity.a $(B)/lib/common.a
	@mkdir -p $(@D)
	$(call SAY,LD)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_connectivity)

# Storage in one process with a disk that fails as it is told: tests/support/storage/
STORAGE_DISK := $(patsubst %,$(B)/obj/tests/%.o,support/storage/disk support/storage/disk_cut \
                  support/storage/work unit/storage/support_dir)
STORAGE_FAULTS := $(B)/test/support/storage_points $(B)/test/support/storage_flips
$(B)/obj/tests/support/storage/%.o: CFLAGS += -Iservices/storage -Itests/unit/storage
$(STORAGE_FAULTS): $(B)/test/support/storage_%: $(B)/obj/tests/support/storage/%.o $(STORAGE_DISK) \
                   $(B)/lib/storage.a $(B)/lib/common.a
	@mkdir -p $(@D)
	$(call SAY,LD)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_storage) -ldl

# Libraries that tests preload: tests/support/preload/<name>.c
PRELOAD_LIB := $(patsubst tests/support/preload/%.c,$(B)/test/support/%.so,$(wildcard tests/support/preload/*.c))
$(PRELOAD_LIB): $(B)/test/support/%.so: tests/support/preload/%.c
	@mkdir -p $(@D)
	$(call SAY,CC)
	$(CC) $(CSTD) $(WARN) -O2 -g -fPIC -shared -o $@ $<

-include $(shell find $(B)/obj $(B)/lto -name '*.d' 2>/dev/null)

# Static analysis: a stamp a tool and file, so that only what changed is looked at again. cppcheck and gcc -fanalyzer (C
# only: gcc 12 does not know C++) take half a minute from nothing and are part of `make test`; clang-tidy takes minutes.
LINT_SRC := $(wildcard common/*.c services/*/*.c supervisor/*.c tests/support/*.c tests/bench/*.c tests/unit/*/*.c tests/fuzz/*.c)
LINT_CC  := $(wildcard services/*/*.cc)
LINT_INC := -Icommon $(foreach f,$(FOLDERS),-I$(f)) -isystem /usr/include/simdjson
L        := build/lint
lint_stamps = $(patsubst %,$(L)/%.$(1),$(2))
$(L)/%.c.analyzer: %.c
	@mkdir -p $(@D)
	@echo "  ANALYZE $<"
	gcc $(CSTD) $(LINT_INC) -O1 -fanalyzer -Werror -MMD -MP -MF $(L)/$<.d -MT '$(L)/$<.analyzer $(L)/$<.cppcheck $(L)/$<.tidy' -S -o /dev/null $<
	@touch $@
$(L)/%.cppcheck: % tests/lint/cppcheck.txt
	@mkdir -p $(@D)
	@echo "  CPPCHECK $<"
	cppcheck $(if $(filter %.cc,$<),--std=c++17,--std=c11) -D_GNU_SOURCE '-Djson_array_foreach(a,i,v)=while(next(&i,&v))' -Icommon -I$(dir $<) \
	    --enable=warning,style,performance,portability --inline-suppr --suppressions-list=tests/lint/cppcheck.txt \
	    --error-exitcode=1 --quiet --template='{file}:{line}: {severity}: {message} [{id}]' $<
	@touch $@
$(L)/%.tidy: % .clang-tidy tests/.clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	clang-tidy --quiet $< -- $(if $(filter %.cc,$<),-std=c++17,$(CSTD)) $(LINT_INC) 2>/dev/null
	@touch $@
-include $(shell find $(L) -name '*.d' 2>/dev/null)
lint-fast: $(call lint_stamps,analyzer,$(LINT_SRC)) $(call lint_stamps,cppcheck,$(LINT_SRC) $(LINT_CC))
lint-all: lint-fast $(call lint_stamps,tidy,$(LINT_SRC) $(LINT_CC))
.PHONY: lint lint-fast lint-all

deps:
	@deploy/deps.sh build

deps-test:
	@deploy/deps.sh build test

run: deps
	@$(MAKE) --no-print-directory -j2 all
	@exec $(B)/bin/roost run $(RUN_ARGS)

tests-built: all $(UNIT_BIN) $(FUZZ_BIN) $(SUPPORT_BIN) $(FLOOD) $(TLS_CLIENTS) $(PRELOAD_LIB) $(STORAGE_FAULTS)
.PHONY: tests-built

# The fast part, before each commit.
check: deps-test
	@$(MAKE) --no-print-directory -j2 tests-built
	@B=$(B) tests/run check

# Everything that CI runs.
test: deps-test
	@$(MAKE) --no-print-directory -j2 tests-built
	@B=$(B) tests/run all

# One part: make unit U=storage, make flow T=publish, make fault T=kill (which looks at more than make test does)
fault: export THOROUGH := 1
unit flow fault model: deps-test
	@$(MAKE) --no-print-directory -j2 tests-built
	@B=$(B) tests/run $@ $(U)$(T)

# What it measures and how stands in tests/bench/README.md: make bench T=q1-w100 RUNS=5, make bench QUICK=1
bench:
	@deploy/deps.sh build bench
	@$(MAKE) --no-print-directory -j2 all $(FLOOD) $(B)/test/support/http_load $(B)/test/support/coap_load $(TLS_CLIENTS)
	@B=$(B) T="$(T)" RUNS="$(RUNS)" QUICK="$(QUICK)" APPEND="$(APPEND)" DATA="$(DATA)" tests/bench/run

# All of the static analysis, and every finding of it.
lint:
	@deploy/deps.sh build test lint
	@$(MAKE) --no-print-directory -j2 --keep-going lint-all

# Branches that the unit tests take, and storage with a fault at each system call: build/cover/branches.txt and .json; fails for one that is neither taken nor listed.
cover: deps-test
	@$(MAKE) --no-print-directory -j2 COVER=1 cover-built
	@find build-cover/obj -name '*.gcda' -delete
	@B=build-cover CK_TIMEOUT_MULTIPLIER=8 tests/run unit
	@for start in fresh recover; do for mode in fail short kill; do \
	    build-cover/test/support/storage_points $$mode --start $$start --seed 1 || exit 1; done; done
	@tests/support/cover
cover-built: $(UNIT_BIN) $(STORAGE_FAULTS)
.PHONY: cover cover-built

fuzz: deps-test
ifeq ($(T),live)
	@$(MAKE) --no-print-directory -j2 all
	@B=$(B) PYTHONPATH=tests/support python3 tests/support/mqtt_fuzz.py $(or $(S),60) $(SEED)
else
	@tests/fuzz/search $(or $(S),60) $(T)
endif

format:
	clang-format -i $(shell git ls-files '*.c' '*.cc')

clean:
	rm -rf build build-san build-clang build-cover
