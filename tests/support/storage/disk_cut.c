/* disk_cut.c - the states that a power cut may leave of what disk.c recorded */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "err.h"
#include "mem.h"

#define NODES_MAX 256
#define NAMES_MAX 256
#define PENDING_MAX 8192
#define FILE_MAX (2u << 20)

struct node {
	uint64_t inode;
	bool is_dir;
	uint8_t *data; /* durable */
	uint64_t size;
};

struct name {
	uint64_t dir;
	char name[40];
	uint64_t inode;
};

struct model {
	struct node nodes[NODES_MAX];
	size_t node_count;
	struct name names[NAMES_MAX]; /* durable */
	size_t name_count;
	uint32_t pending[PENDING_MAX]; /* operations that no sync covered, in order */
	size_t pending_count;
	uint64_t rng;
};

static uint64_t
next_random(struct model *m)
{
	m->rng ^= m->rng << 13;
	m->rng ^= m->rng >> 7;
	m->rng ^= m->rng << 17;
	return m->rng;
}

static struct node *
node_of(struct model *m, uint64_t inode)
{
	for (size_t i = 0; i < m->node_count; i++)
		if (m->nodes[i].inode == inode)
			return &m->nodes[i];
	ASSERT(m->node_count < NODES_MAX);
	m->nodes[m->node_count] = (struct node){ .inode = inode };
	return &m->nodes[m->node_count++];
}

static void
resize(struct node *n, uint64_t size)
{
	ASSERT(size <= FILE_MAX);
	if (!n->data)
		n->data = xcalloc(1, FILE_MAX);
	if (size < n->size)
		memset(n->data + size, 0, n->size - size);
	n->size = size;
}

static void
put(struct node *n, uint64_t at, const uint8_t *data, uint64_t len)
{
	if (!n->data || n->size < at + len)
		resize(n, at + len);
	memcpy(n->data + at, data, len);
}

static void
drop_name(struct model *m, uint64_t dir, const char *name)
{
	for (size_t i = 0; i < m->name_count; i++)
		if (m->names[i].dir == dir && strcmp(m->names[i].name, name) == 0) {
			m->names[i] = m->names[--m->name_count];
			return;
		}
}

static void
add_name(struct model *m, uint64_t dir, const char *name, uint64_t inode)
{
	drop_name(m, dir, name);
	ASSERT(m->name_count < NAMES_MAX);
	m->names[m->name_count] = (struct name){ .dir = dir, .inode = inode };
	snprintf(m->names[m->name_count++].name, 40, "%s", name);
}

static void
apply_name(struct model *m, const struct op *op)
{
	switch ((unsigned)op->kind) {
	case OP_MKDIR:
		node_of(m, op->inode)->is_dir = true;
		__attribute__((fallthrough));
	case OP_CREATE:
		add_name(m, op->dir, op->name, op->inode);
		break;
	case OP_RENAME:
		drop_name(m, op->dir, op->name);
		__attribute__((fallthrough));
	case OP_LINK:
		add_name(m, op->dir, op->to, op->inode);
		break;
	case OP_UNLINK:
		drop_name(m, op->dir, op->name);
		break;
	}
}

static bool
is_of_file(const struct op *op)
{
	return op->kind == OP_WRITE || op->kind == OP_SIZE;
}

static bool
is_of_dir(const struct op *op)
{
	return op->kind == OP_CREATE || op->kind == OP_MKDIR || op->kind == OP_RENAME ||
	       op->kind == OP_UNLINK || op->kind == OP_LINK;
}

static void
apply_file(struct model *m, const struct op *op)
{
	struct node *n = node_of(m, op->inode);

	if (op->kind == OP_SIZE)
		resize(n, op->at);
	else
		put(n, op->at, (const uint8_t *)(op + 1), op->len);
}

/* All that is pending of this file or directory becomes durable, or (sync failed) never will. */
static void
settle(struct model *m, const struct op *sync)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->pending_count; i++) {
		const struct op *op = disk_op(m->pending[i]);
		bool mine = sync->kind == OP_SYNC_DIR ? is_of_dir(op) && op->dir == sync->inode
						      : is_of_file(op) && op->inode == sync->inode;

		if (!mine)
			m->pending[kept++] = m->pending[i];
		else if (sync->kind == OP_SYNC_DIR)
			apply_name(m, op);
		else if (sync->kind == OP_SYNC)
			apply_file(m, op);
	}
	m->pending_count = kept;
}

static uint64_t
sector_end(uint64_t at, uint64_t end)
{
	uint64_t next = (at / SECTOR + 1) * SECTOR;

	return next < end ? next : end;
}

uint32_t
disk_sectors(uint32_t n)
{
	const struct op *op = disk_op(n);

	return op->kind != OP_WRITE || op->len == 0
		   ? 0
		   : (uint32_t)((op->at + op->len - 1) / SECTOR - op->at / SECTOR + 1);
}

static void
apply_sectors(struct model *m, const struct disk_cut *cut, const struct op *op, bool is_last)
{
	uint64_t at = op->at, end = op->at + op->len;

	for (uint32_t i = 0; at < end; i++) {
		uint64_t next = sector_end(at, end);
		bool there = true;

		if (cut->survival == SURVIVE_RANDOM)
			there = next_random(m) >> 40 & 1;
		else if (is_last)
			there = cut->survival == SURVIVE_HEAD ? i < cut->sector : i != cut->sector;
		if (there)
			put(node_of(m, op->inode), at, (const uint8_t *)(op + 1) + (at - op->at),
			    next - at);
		at = next;
	}
}

/* What no sync covered, as the cut wants it. A file system with a journal keeps the order of names. */
static void
survive(struct model *m, const struct disk_cut *cut)
{
	size_t names = 0, keep;

	if (cut->survival == SURVIVE_NONE)
		return;
	for (size_t i = 0; i < m->pending_count; i++)
		names += is_of_dir(disk_op(m->pending[i]));
	keep = cut->survival == SURVIVE_RANDOM ? next_random(m) % (names + 1) : names;
	for (size_t i = 0; i < m->pending_count; i++) {
		const struct op *op = disk_op(m->pending[i]);

		if (is_of_dir(op)) {
			if (keep > 0) {
				keep--;
				apply_name(m, op);
			}
		} else if (op->kind == OP_SIZE) {
			if (cut->survival != SURVIVE_RANDOM || next_random(m) >> 40 & 1)
				apply_file(m, op);
		} else {
			apply_sectors(m, cut, op, m->pending[i] + 1 == cut->ops);
		}
	}
}

static void
write_tree(const struct model *m, uint64_t dir, const char *path)
{
	for (size_t i = 0; i < m->name_count; i++) {
		const struct name *n = &m->names[i];
		const struct node *node = NULL;
		char below[512];
		int fd;

		if (n->dir != dir)
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, n->name);
		for (size_t k = 0; k < m->node_count; k++)
			if (m->nodes[k].inode == n->inode)
				node = &m->nodes[k];
		if (node && node->is_dir) {
			ASSERT(mkdir(below, 0700) == 0);
			write_tree(m, n->inode, below);
			continue;
		}
		fd = open(below, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		ASSERT(fd >= 0);
		if (node && node->size)
			ASSERT(write(fd, node->data, node->size) == (ssize_t)node->size);
		close(fd);
	}
}

void
disk_materialise(const struct disk_cut *cut, const char *to)
{
	struct model *m = xcalloc(1, sizeof(*m));
	uint64_t root = disk_op(0)->inode;

	m->rng = cut->seed * 0x9e3779b97f4a7c15u | 1;
	for (uint32_t i = 1; i < cut->ops; i++) {
		const struct op *op = disk_op(i);

		switch (op->kind) {
		case OP_SYNC:
			if (!cut->no_data_sync)
				settle(m, op);
			break;
		case OP_SYNC_FAILED:
			settle(m, op);
			break;
		case OP_SYNC_DIR:
			if (!cut->no_dir_sync)
				settle(m, op);
			break;
		case OP_ACK:
		case OP_PASSED:
			break;
		default:
			ASSERT(m->pending_count < PENDING_MAX);
			m->pending[m->pending_count++] = i;
			break;
		}
	}
	survive(m, cut);
	write_tree(m, root, to);
	for (size_t i = 0; i < m->node_count; i++)
		free(m->nodes[i].data);
	free(m);
}

struct disk_known
disk_known_at(uint32_t n)
{
	struct disk_known k = { .id = { 0 } };

	for (uint32_t i = 0; i < n; i++) {
		const struct op *op = disk_op(i);

		if (op->kind == OP_ACK && op->dir) {
			k.id[op->inode] = op->at;
			k.acked[op->inode] = 0;
		} else if (op->kind == OP_ACK) {
			k.acked[op->inode] = op->at;
		} else if (op->kind == OP_PASSED) {
			k.passed[op->inode] = op->at;
		}
	}
	return k;
}
