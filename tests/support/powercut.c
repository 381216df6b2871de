/* powercut.c - takes the power from a file system: nothing that it has not written reaches its disk
 *
 * powercut DIR [LEDGER]: EXT4_IOC_SHUTDOWN with NOLOGFLUSH for the file system that DIR is on. What is synced stays, what is in
 * memory alone is gone after the next mount. LEDGER is the load generator's: it stops counting acknowledgements right
 * before the cut, not after it. powercut --hear LEDGER: it counts again. Needs CAP_SYS_ADMIN. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ledger.h"

#define SHUTDOWN _IOR('X', 125, uint32_t) /* linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN */
#define NOLOGFLUSH 2u

static struct ledger_header *
map_ledger(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *p;

	if (fd < 0)
		return NULL;
	p = mmap(NULL, sizeof(struct ledger_header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

static void
set_deaf(struct ledger_header *ledger, uint32_t deaf)
{
	__atomic_store_n(&ledger->deaf, deaf, __ATOMIC_SEQ_CST);
}

int
main(int argc, char **argv)
{
	struct ledger_header *ledger = NULL;
	uint32_t flags = NOLOGFLUSH;
	int fd;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: powercut DIR [LEDGER] | powercut --hear LEDGER\n");
		return 64;
	}
	if (argc == 3) {
		ledger = map_ledger(argv[2]);
		if (!ledger) {
			perror(argv[2]);
			return 1;
		}
	}
	if (ledger && strcmp(argv[1], "--hear") == 0) {
		set_deaf(ledger, 0);
		return 0;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (ledger)
		set_deaf(ledger, 1);
	if (ioctl(fd, SHUTDOWN, &flags) != 0) {
		perror("EXT4_IOC_SHUTDOWN");
		return 1;
	}
	close(fd);
	return 0;
}
