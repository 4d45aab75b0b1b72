/* client_in.h - the inside of a client, shared by its files:
 *
 *   client.c      life, bytes to frames, answers
 *   client_put.c  one frame into its records, and these into the spool
 */
#ifndef LIB_CLIENT_IN_H
#define LIB_CLIENT_IN_H

#include "lib/client.h"

/* client_put.c. WAIT: what is missing of the frame is to be offered again, whole. `cut`: text is
 * only the first part of it. */
enum client_result put_frame(struct client *c, struct now now, struct str text, bool cut);

/* client.c. Names the frame once; a reason never holds anything of the record. */
void say_bad(struct client *c, const char *reason);

#endif
