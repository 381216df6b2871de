/* import.h - rows of a file into the registry, many under way */
#ifndef ROOST_REGISTRY_IMPORT_H
#define ROOST_REGISTRY_IMPORT_H

#include "cli.h"

/* path: a file, or - for standard input. A device that has no credential, there or in the file, gets a token, printed once as id,token. */
void import_file(struct cli *cli, const char *path);

#endif
