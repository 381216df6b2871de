/* rule_set.c - the rules in force: every *.yaml of rules_dir, replaced as a whole when a file changes */
#include "rule_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "err.h"
#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "rule_file.h"
#include "rule_text.h"

/* One file and the rules that are in force because of it. */
struct set_file {
	char *name;	    /* without the directory */
	uint64_t signature; /* of its inode: size, times */
	uint64_t hash;	    /* of its text */
	struct rule **rules;
	size_t count;
	size_t refused;
};

struct rule_set {
	char *dir;
	char *accepted_dir;
	struct set_file *files; /* by name */
	size_t file_count;
	bool loaded;	  /* once, at least */
	bool dir_missing; /* said already */
};

struct rule_set *
rule_set_new(const char *dir, const char *accepted_dir)
{
	struct rule_set *set = xcalloc(1, sizeof(*set));

	set->dir = xstrdup(dir);
	if (accepted_dir) {
		set->accepted_dir = xstrdup(accepted_dir);
		if (mkdir(accepted_dir, 0700) != 0 && errno != EEXIST)
			log_error("rules.accepted_failed", LS("path", accepted_dir),
			    LS("why", strerror(errno)));
	}
	return set;
}

static void
file_fini(struct set_file *f)
{
	for (size_t i = 0; i < f->count; i++)
		rule_unref(&f->rules[i]);
	free(f->rules);
	free(f->name);
	*f = (struct set_file){ 0 };
}

static void
files_free(struct set_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++)
		file_fini(&files[i]);
	free(files);
}

void
rule_set_free(struct rule_set **set)
{
	if (*set == NULL)
		return;
	files_free((*set)->files, (*set)->file_count);
	free((*set)->dir);
	free((*set)->accepted_dir);
	free(*set);
	*set = NULL;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct set_file *)a)->name, ((const struct set_file *)b)->name);
}

static const struct set_file *
find_file(const struct set_file *files, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(files[i].name, name) == 0)
			return &files[i];
	}
	return NULL;
}

static uint64_t
signature_of(const struct stat *st)
{
	const int64_t facts[] = { (int64_t)st->st_ino, st->st_size, st->st_mtim.tv_sec,
		st->st_mtim.tv_nsec, st->st_ctim.tv_sec, st->st_ctim.tv_nsec };

	return XXH3_64bits(facts, sizeof(facts));
}

/* The *.yaml files of a directory with their signatures, by name. ERR_IO (errno). */
static int
list_files(const char *dir, struct set_file **ret_files, size_t *ret_count)
{
	struct set_file *files = NULL;
	size_t count = 0;
	struct dirent *entry;
	struct stat st;
	DIR *d = opendir(dir);

	if (d == NULL)
		return ERR_IO;
	while ((entry = readdir(d)) != NULL) {
		size_t len = strlen(entry->d_name);
		if (entry->d_name[0] == '.' || len < 6 ||
		    strcmp(entry->d_name + len - 5, ".yaml") != 0)
			continue;
		if (fstatat(dirfd(d), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
			continue;
		if (count == RULE_SET_FILES_MAX) {
			log_error("rules.too_many_files", LS("path", dir),
			    LU("read", RULE_SET_FILES_MAX));
			break;
		}
		files = xrealloc(files, (count + 1) * sizeof(files[0]));
		files[count++] = (struct set_file){ .name = xstrdup(entry->d_name),
			.signature = signature_of(&st) };
	}
	closedir(d);
	if (count)
		qsort(files, count, sizeof(files[0]), by_name);
	*ret_files = files;
	*ret_count = count;
	return 0;
}

static void
log_problems(const char *path, const struct problems *problems)
{
	for (uint32_t i = 0; i < problems->count; i++) {
		const struct problem *p = &problems->at[i];
		char *at = xasprintf("%s:%u:%u", path, p->line, p->column);
		if (p->warning)
			log_warn("rules.warning", LS("at", at), LS("why", p->text));
		else
			log_error("rules.refused", LS("at", at), LS("why", p->text));
		free(at);
	}
}

static void
keep_rule(struct set_file *f, struct rule *r)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->rules[i]->identity == r->identity)
			return;
	}
	f->rules = xrealloc(f->rules, (f->count + 1) * sizeof(f->rules[0]));
	f->rules[f->count++] = rule_ref(r);
}

static struct rule *
find_rule(const struct set_file *f, const char *group, const char *alert)
{
	for (size_t i = 0; f && i < f->count; i++) {
		if (strcmp(f->rules[i]->group, group) == 0 &&
		    strcmp(f->rules[i]->alert, alert) == 0)
			return f->rules[i];
	}
	return NULL;
}

static void
keep_all(struct set_file *f, const struct set_file *before)
{
	for (size_t i = 0; before && i < before->count; i++)
		keep_rule(f, before->rules[i]);
}

/* The rules of a file that could be parsed, previous versions in the place of bad ones. */
static void
take_entries(struct set_file *f, const struct set_file *before, const struct rule_file *parsed)
{
	bool nameless = false;

	f->rules = xcalloc(parsed->count ? parsed->count : 1, sizeof(f->rules[0]));
	for (size_t i = 0; i < parsed->count; i++) {
		const struct rule_entry *entry = &parsed->entries[i];
		struct rule *r = entry->rule;

		if (r == NULL && entry->alert)
			r = find_rule(before, parsed->group, entry->alert);
		if (r)
			f->rules[f->count++] = rule_ref(r);
		f->refused += entry->rule == NULL;
		nameless |= entry->alert == NULL;
	}
	/* A rule that lost its name may be any of those that are not here any more. */
	if (nameless)
		keep_all(f, before);
}

static void
accept_text(const struct rule_set *set, const char *name, struct bytes text)
{
	char *path;

	if (set->accepted_dir == NULL)
		return;
	path = xasprintf("%s/%s", set->accepted_dir, name);
	if (rule_file_write(path, text) != 0)
		log_error("rules.accepted_failed", LS("path", path), LS("why", strerror(errno)));
	free(path);
}

/* Fills f (name and signature are there) from dir. quiet: problems were said when the text was current. */
static void
load_file(const struct rule_set *set, const char *dir, struct set_file *f,
    const struct set_file *before, bool quiet)
{
	struct problems *problems = xcalloc(1, sizeof(*problems));
	char *path = xasprintf("%s/%s", dir, f->name);
	struct rule_file parsed;
	struct buf text = { 0 };

	if (rule_file_read(path, &text) != 0) {
		if (!quiet)
			log_error("rules.unreadable", LS("path", path), LS("why", strerror(errno)));
		f->refused = 1;
		f->signature = 0; /* looked at again with the next reload */
		keep_all(f, before);
		goto out;
	}
	f->hash = XXH3_64bits(text.data, text.len);
	if (before && before->hash == f->hash && before->refused == 0) {
		keep_all(f, before);
		goto out;
	}
	if (rule_file_parse(path, buf_bytes(&text), &parsed, problems) == 0) {
		take_entries(f, before, &parsed);
		rule_file_fini(&parsed);
	} else {
		f->refused = 1;
		keep_all(f, before);
	}
	if (!quiet) {
		log_problems(path, problems);
		metric_add(M_RULES_ERRORS, problems->errors);
		if (problems->errors == 0)
			accept_text(set, f->name, buf_bytes(&text));
	}
out:
	problems_fini(problems);
	free(problems);
	free(path);
	buf_fini(&text);
}

/* The texts that were good last time, as what ran before. */
static void
load_accepted(struct rule_set *set)
{
	if (set->accepted_dir == NULL ||
	    list_files(set->accepted_dir, &set->files, &set->file_count) != 0)
		return;
	for (size_t i = 0; i < set->file_count; i++) {
		load_file(set, set->accepted_dir, &set->files[i], NULL, true);
		set->files[i].signature = 0;
		set->files[i].hash = 0;
	}
}

static void
forget_accepted(const struct rule_set *set, const struct set_file *files, size_t n)
{
	for (size_t i = 0; i < set->file_count && set->accepted_dir; i++) {
		if (find_file(files, n, set->files[i].name))
			continue;
		char *path = xasprintf("%s/%s", set->accepted_dir, set->files[i].name);
		unlink(path);
		free(path);
	}
}

/* One identity, one rule: the file that comes first by name has it. */
static void
drop_twins(struct set_file *files, size_t n)
{
	size_t total = 0, mask = 15;

	for (size_t i = 0; i < n; i++)
		total += files[i].count;
	while (mask < total * 2)
		mask = mask * 2 + 1;
	const struct rule **seen = xcalloc(mask + 1, sizeof(seen[0]));
	for (size_t i = 0; i < n; i++) {
		size_t kept = 0;
		for (size_t k = 0; k < files[i].count; k++) {
			struct rule *r = files[i].rules[k];
			size_t slot = r->identity & mask;
			while (seen[slot] && seen[slot]->identity != r->identity)
				slot = (slot + 1) & mask;
			if (seen[slot]) {
				log_error("rules.refused", LS("at", r->file), LU("line", r->line),
				    LS("alert", r->alert), LS("group", r->group),
				    LS("why", "this alert of this group is defined elsewhere"),
				    LS("there", seen[slot]->file),
				    LU("there_line", seen[slot]->line));
				metric_add(M_RULES_ERRORS, 1);
				files[i].refused++;
				rule_unref(&files[i].rules[k]);
				continue;
			}
			seen[slot] = r;
			files[i].rules[kept++] = r;
		}
		files[i].count = kept;
	}
	free(seen);
}

static int
by_identity(const void *a, const void *b)
{
	const struct rule *x = *(const struct rule *const *)a, *y = *(const struct rule *const *)b;

	return x->identity < y->identity ? -1 : x->identity > y->identity;
}

static struct rule **
all_rules(const struct set_file *files, size_t n, size_t *ret_count)
{
	struct rule **all;
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += files[i].count;
	all = xcalloc(count ? count : 1, sizeof(all[0]));
	count = 0;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < files[i].count; k++)
			all[count++] = files[i].rules[k];
	}
	if (count)
		qsort(all, count, sizeof(all[0]), by_identity);
	*ret_count = count;
	return all;
}

/* Says what a reload does before it is done. True if it does anything. */
static bool
say_difference(const struct rule_set *set, const struct set_file *files, size_t n, bool first)
{
	size_t old_count, new_count, added = 0, removed = 0, changed = 0, same = 0, retold = 0,
				     i = 0, k = 0;
	struct rule **old = all_rules(set->files, set->file_count, &old_count);
	struct rule **new = all_rules(files, n, &new_count);

	while (i < old_count || k < new_count) {
		if (k == new_count || (i < old_count && old[i]->identity < new[k]->identity)) {
			log_info("rules.removed", LS("group", old[i]->group),
			    LS("alert", old[i]->alert),
			    LS("now", "its firing alerts are told as cleared"));
			removed++;
			i++;
		} else if (i == old_count || new[k]->identity < old[i]->identity) {
			added++;
			k++;
		} else {
			if (old[i]->meaning != new[k]->meaning) {
				log_info("rules.changed", LS("group", new[k]->group),
				    LS("alert", new[k]->alert), LS("kept", "values, firing alerts"),
				    LS("reset", "pending alerts"));
				changed++;
			} else if (old[i] != new[k]) {
				retold++;
			} else {
				same++;
			}
			i++;
			k++;
		}
	}
	bool any = first || added || removed || changed || retold;
	if (any)
		log_info("rules.loaded", LS("path", set->dir), LU("rules", new_count),
		    LU("added", added), LU("removed", removed), LU("changed", changed),
		    LU("unchanged", same + retold));
	free(old);
	free(new);
	return any;
}

static bool
is_same(const struct rule_set *set, const struct set_file *files, size_t n)
{
	if (n != set->file_count)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(files[i].name, set->files[i].name) != 0 ||
		    files[i].signature != set->files[i].signature || set->files[i].signature == 0)
			return false;
	}
	return true;
}

bool
rule_set_reload(struct rule_set *set)
{
	bool first = !set->loaded, differs;
	struct set_file *files;
	size_t n;

	if (list_files(set->dir, &files, &n) != 0) {
		if (!set->dir_missing)
			log_error("rules.no_directory", LS("path", set->dir),
			    LS("why", strerror(errno)),
			    LS("now", "the rules that ran before go on"));
		set->dir_missing = true;
		if (first)
			load_accepted(set);
		set->loaded = true;
		return first;
	}
	set->dir_missing = false;
	if (!first && is_same(set, files, n)) {
		files_free(files, n);
		return false;
	}
	if (first)
		load_accepted(set);
	for (size_t i = 0; i < n; i++)
		load_file(set, set->dir, &files[i],
		    find_file(set->files, set->file_count, files[i].name), false);
	drop_twins(files, n);
	differs = say_difference(set, files, n, first);
	forget_accepted(set, files, n);
	files_free(set->files, set->file_count);
	set->files = files;
	set->file_count = n;
	set->loaded = true;
	return differs;
}

struct rule_index *
rule_set_index(const struct rule_set *set)
{
	size_t count;
	struct rule **all = all_rules(set->files, set->file_count, &count);
	struct rule_index *index = rule_index_new(all, count);

	free(all);
	return index;
}

size_t
rule_set_count(const struct rule_set *set)
{
	size_t count = 0;

	for (size_t i = 0; i < set->file_count; i++)
		count += set->files[i].count;
	return count;
}

size_t
rule_set_refused(const struct rule_set *set)
{
	size_t count = 0;

	for (size_t i = 0; i < set->file_count; i++)
		count += set->files[i].refused;
	return count;
}
