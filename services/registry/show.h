/* show.h - what the registry knows, for people and programs: JSON, lines, and the CSV that import takes */
#ifndef ROOST_REGISTRY_SHOW_H
#define ROOST_REGISTRY_SHOW_H

#include "cli.h"

/* Ends the process if there is no such device. */
void show_device(struct cli *cli, const char *id);
void show_devices(struct cli *cli);
/* Credentials of applications and people. */
void show_users(struct cli *cli);
/* Everything, hashes included: `roost device import` makes the same registry of it. */
void show_export(struct cli *cli);
/* An object of strings on standard output, once something was done: {"id": "gh-1", "token": "..."}; or the values in lines. */
void show_done(struct cli *cli, const char *const (*pairs)[2], size_t n);

#endif
