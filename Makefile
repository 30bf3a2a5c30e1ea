# Short names for the scripts; each of them works alone.
.PHONY: run test image standard-image bot-image locks bench

run:
	./run

test:
	./test

image:
	scripts/image sandbox

standard-image:
	scripts/image standard

bot-image:
	scripts/image bot

locks:
	scripts/locks

bench:
	bench/run
