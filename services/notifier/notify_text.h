/* notify_text.h - the text of notify.yaml -> notify_conf, every fault with its place; pure
 *
 *	version: 1
 *	receivers:
 *	  - name: ops
 *	    webhook: { url: "https://...", timeout: 10s, headers: { Authorization: "Bearer ..." } }
 *	  - name: on-screen
 *	    log: {}
 *	routes:				# from the top; the first that matches decides, unless it says continue: true
 *	  - match: { severity: critical, group: greenhouse, alert: "TooHot", device: "gh-*" }
 *	    receivers: [ops]
 */
#ifndef ROOST_NOTIFY_TEXT_H
#define ROOST_NOTIFY_TEXT_H

#include "buf.h"
#include "notify_conf.h"

#define NOTIFY_TEXT_MAX 1048576

/* path: for places in messages. ERR_CONFIG: err has sentences, each with file:line:column, one a line (at most 20). */
int notify_text_parse(struct bytes text, const char *path, struct notify_conf **ret_conf, struct buf *err);
void notify_conf_free(struct notify_conf **conf);
/* The receiver of that name: its index, or -1. */
int notify_conf_find(const struct notify_conf *conf, struct bytes name);

#endif
