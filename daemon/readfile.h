/* readfile.h - a whole small file into memory.
 *
 * readfile opens a regular file (never a FIFO or a device, which could block or never end) and
 * reads it to its end into `out`, an initialised buf whose content is replaced. A file of more than
 * `max` bytes is refused. The bytes are written to one place in memory only, so that a caller who
 * read a secret can wipe it with buf_wipe_release; on failure what was read is wiped here, and
 * `out` is as it was. Blocking: for the start, a reload, a command-line tool.
 *
 * Errors name the file: ERR_MISSING when there is none, ERR_TYPE when it is not a regular file,
 * ERR_RANGE when it is too large, ERR_IO for what the system says.
 */
#ifndef DAEMON_READFILE_H
#define DAEMON_READFILE_H

#include "lib/config.h"

/* For config_build_with: the mappings that a configuration names. */
extern const struct config_files readfile_mappings;

int readfile(const char *path, size_t max, struct buf *out, struct err *e);

#endif
