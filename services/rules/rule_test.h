/* rule_test.h - the tests: of a rules file, run on virtual time; pure
 *
 *	- name: text
 *	  device: { id: gh-1, attr: { name: value }, tags: { name: value } }
 *	  feed: { metric: "every 1m: 29 31x12 _x3 true closed" }	first sample at 0s; x12: twelve times; _: none
 *	  expect: [{ at: 11m, alert: Name, state: firing, severity: critical }]
 *
 * The journal ticks once a second. An expectation looks at the state just after its time. */
#ifndef ROOST_RULE_TEST_H
#define ROOST_RULE_TEST_H

#include "rule_index.h"
#include "rule_text.h"

#define TEST_SAMPLES_MAX 1000000
#define TEST_LENGTH_MAX_US (366ll * 86400 * 1000000)

struct rule_test_report {
	void (*on_result)(void *arg, const char *name, bool passed);
	/* An expectation that was not met. */
	void (*on_difference)(void *arg, uint32_t line, uint32_t column, const char *text);
	void *arg;
};

/* Runs the tests of a file against the rules in index. ERR_CONFIG with problems added if a test cannot be read. */
int rule_test_run(const struct rule_file *file, struct rule_index *index, struct problems *problems, const struct rule_test_report *report, size_t *ret_failed);

#endif
