/* ask.h - a request on the control socket, read from its line.
 *
 * One JSON object, flat, each member at most once, in any order:
 *
 *   {"do":"who"}
 *   {"do":"positions","inode":"1311"}
 *   {"do":"sources"}
 *   {"do":"rewind","source":"crimes-csv","device":"64769","inode":"1311","offset":104857600}
 *
 * Device and inode are decimal digits in a string, because they may need all 64 bits; an offset is
 * a number from 0 to 2^63-1. What the answers look like stands in daemon/control.h.
 *
 * ask_parse accepts exactly the members that the request needs: an unknown one, a missing one and
 * one too many are errors, so that a request never does less than whoever sent it believes. It
 * returns 0 or ERR_SYNTAX, with a sentence, and writes *a only on success.
 */
#ifndef LIB_ASK_H
#define LIB_ASK_H

#include "lib/err.h"
#include "lib/json.h"

#define ASK_SOURCE_MAX 64 /* bytes of a source's name */

enum ask_what { ASK_WHO, ASK_POSITIONS, ASK_SOURCES, ASK_REWIND };

struct ask {
    enum ask_what what;
    char source[ASK_SOURCE_MAX + 1];
    uint64_t device, inode, offset;
};

int ask_parse(struct str line, struct ask *a, struct err *e);

#endif
