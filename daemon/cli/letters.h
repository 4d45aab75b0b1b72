/* letters.h - the dead letters of one file, read from the state directory.
 *
 * letters_tell calls tell for each dead letter of `source` that came from the file with this inode,
 * oldest first, up to LETTERS_TOLD_MAX; it returns how many there are in all. What cannot be read
 * is passed over: a person may have taken the letters away.
 */
#ifndef DAEMON_CLI_LETTERS_H
#define DAEMON_CLI_LETTERS_H

#include "lib/base.h"

#define LETTERS_TOLD_MAX 20

typedef void letters_tell_fn(void *ctx, uint64_t offset, uint64_t size, const char *reason);

size_t letters_tell(const char *state_dir, const char *source, uint64_t inode,
                    letters_tell_fn *tell, void *ctx);

#endif
