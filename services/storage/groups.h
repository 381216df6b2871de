/* groups.h - which member of a shared follower group owns which partition of a shard; pure
 *
 * Rendezvous hashing over the members' names: when one comes or goes only its own partitions move. Each change of what a
 * member owns gives it a new epoch. A stream that a member opened under an epoch is over as soon as the partition has
 * another owner: one authority per partition, without leases. */
#ifndef ROOST_STORAGE_GROUPS_H
#define ROOST_STORAGE_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus.h"

#define GROUP_NAME_MAX 65 /* with NUL; SUBSCRIBE's limit */
#define GROUP_MEMBERS_MAX 64

struct group_member {
	char name[BUS_NAME_MAX];
	uint64_t life;
	uint64_t epoch; /* of its assignment; 0: none yet */
	bool changed;	/* it must be told (again) what it owns */
};

struct group_slot {
	uint32_t partition;
	struct group_member *owner; /* NULL: nobody */
	uint64_t since;		    /* epoch at which the owner got it */
};

struct group {
	char name[GROUP_NAME_MAX];
	struct group_slot *slots;
	size_t slot_count;
	uint32_t stride; /* between the slots' partitions: the number of shards */
	struct group_member *members[GROUP_MEMBERS_MAX];
	size_t member_count;
	uint64_t epoch;
	bool dirty; /* members came or went since group_rebalance() */
};

/* Partitions shard, shard + shards, ... below partitions. */
void group_init(
    struct group *g, const char *name, uint32_t shard, uint32_t shards, uint32_t partitions);
void group_fini(struct group *g);
/* A member that is there with another life is replaced: it lost what it held. One that is there with the same life will be
 * told again. ERR_FULL. */
int group_join(struct group *g, const char *name, uint64_t life, struct group_member **ret_member);
struct group_member *group_find(const struct group *g, const char *name);
void group_leave(struct group *g, struct group_member **member);
/* Divides the partitions among the members. Epochs are above all that were given and not below journal_end, so that they
 * also grow over restarts. Members with ->changed are to be told. */
void group_rebalance(struct group *g, uint64_t journal_end);
bool group_owns(
    const struct group *g, const char *name, uint64_t life, uint32_t partition, uint64_t epoch);
/* Index in slots, or slot_count. */
size_t group_slot_of(const struct group *g, uint32_t partition);

#endif
