/* replay.c - runs a fuzz target over every file of its corpus and over every prefix of each, under any compiler
 *
 *	fuzz_record tests/fuzz/corpus/record
 *
 * Each input lies in memory of exactly its size, so that a sanitizer sees a read beyond it. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mem.h"

#define FILE_MAX (1 << 20)
/* Prefixes of larger files are taken at steps, their last 4096 bytes one by one. */
#define EACH_PREFIX_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t inputs;

static void
run(const uint8_t *data, size_t size)
{
	uint8_t *copy = xmemdup(data, size);

	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
	inputs++;
}

static int
replay_file(const char *path)
{
	uint8_t *data = xmalloc(FILE_MAX);
	FILE *f = fopen(path, "rb");
	size_t size;

	if (!f) {
		perror(path);
		free(data);
		return 1;
	}
	size = fread(data, 1, FILE_MAX, f);
	fclose(f);
	for (size_t n = 0; n < size;) {
		run(data, n);
		n += size > EACH_PREFIX_MAX && n < size - EACH_PREFIX_MAX ? 97 : 1;
	}
	run(data, size);
	free(data);
	return 0;
}

static int
replay(const char *path)
{
	struct dirent **entries;
	struct stat st;
	int n, failed = 0;

	if (stat(path, &st) != 0) {
		perror(path);
		return 1;
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path);
	n = scandir(path, &entries, NULL, alphasort);
	if (n < 0) {
		perror(path);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.') {
			char *file = xasprintf("%s/%s", path, entries[i]->d_name);

			failed |= replay_file(file);
			free(file);
		}
		free(entries[i]);
	}
	free(entries);
	return failed;
}

int
main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: %s DIRECTORY|FILE ...\n", argv[0]);
		return 64;
	}
	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	printf("%zu inputs\n", inputs);
	return failed || inputs == 0;
}
