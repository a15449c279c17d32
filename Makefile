# What people and CI call. Long steps say what they do; nothing here hides a program's own output.
#   make demo ARGS="--lang en --once"
#   make test ARGS="-E 'test(withdrawal)'"
#   make bench ARGS="--quick"

ARGS ?=
RUNNER := $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest)

.PHONY: demo test check bench

# Release without link-time optimisation: a cold clone is built within minutes.
demo:
	cargo run --release -p varco -- demo $(ARGS)

# The pure floor first, alone: seconds until the first verdict. Then whatever needs a database or a foreign library.
test:
	cargo test -p varco-core --lib
	@# The compiler compares the error codes of what must not compile only when it is told that it may.
	RUSTC_BOOTSTRAP=1 cargo test -p varco-core --doc
	tests/needs.sh
	cargo test --workspace --exclude varco-core --doc
	@# The program that some tests run: building tests alone does not build it.
	cargo build --workspace --bins
ifeq ($(RUNNER),nextest)
	cargo nextest run --workspace --run-ignored all --no-fail-fast $(ARGS)
else
	cargo test --workspace --lib --bins --tests --examples --no-fail-fast -- --include-ignored $(ARGS)
endif

check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --quiet --workspace --test varco licences

# Measures the program as it is installed for operation. Chapters: make bench ARGS="exchange policy log stalled".
bench:
	cargo build --profile dist -p varco -p varco-tests --bin varco --bench exchange
	cargo bench --profile dist -p varco -p varco-tests --bench exchange -- $(ARGS)
