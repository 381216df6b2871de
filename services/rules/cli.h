/* cli.h - `roost rules check|test|list` */
#ifndef ROOST_RULES_CLI_H
#define ROOST_RULES_CLI_H

/* argv[0] is the command. Returns the exit code: 0; 1 something is wrong with the rules; 64 usage. */
int cli_main(int argc, char **argv);

#endif
