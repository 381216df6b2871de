/* version.h - of the whole of Roost */
#ifndef ROOST_VERSION_H
#define ROOST_VERSION_H

#define ROOST_VERSION "0.1.0"

#endif
