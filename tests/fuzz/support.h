/* support.h - what several fuzz targets need: an input taken apart, a folder of one's own */
#ifndef ROOST_FUZZ_SUPPORT_H
#define ROOST_FUZZ_SUPPORT_H

#include <stdint.h>

#include "buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input is read from the front; behind its end everything is zero. */
struct input {
	const uint8_t *at;
	const uint8_t *end;
};

struct input input_of(const uint8_t *data, size_t size);
bool input_is_over(const struct input *in);
unsigned input_u8(struct input *in);
unsigned input_u16(struct input *in); /* low byte first */
uint64_t input_u64(struct input *in);
/* At most so many bytes, fewer at the end. */
struct bytes input_bytes(struct input *in, size_t len);
/* u16 length, then so many bytes. */
struct bytes input_block(struct input *in);
struct bytes input_rest(struct input *in);

/* A folder in memory, made at the first call, removed with the process. */
const char *fuzz_dir(void);
/* Its path with this name behind; a ring of 8. */
const char *fuzz_path(const char *name);
void fuzz_write(const char *name, struct bytes content);
/* Removes all in the folder, or in this one below it. */
void fuzz_clear(const char *below);
/* Of what targets provoke only errors are logged (and of these ten of a kind in ten seconds). */
void fuzz_quiet(void);

#endif
