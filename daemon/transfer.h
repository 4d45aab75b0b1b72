/* transfer.h - all of the bytes, or an error; read(2) and write(2) may stop at a part.
 *
 * Blocking, on regular files. False: errno says why; ENOSPC also for a write that gets nowhere,
 * ENODATA for a file that ends before. How much was transferred by then is not told.
 */
#ifndef DAEMON_TRANSFER_H
#define DAEMON_TRANSFER_H

#include "lib/base.h"

bool transfer_write(int fd, struct str bytes); /* where the descriptor stands */
bool transfer_pwrite(int fd, uint64_t place, struct str bytes);
bool transfer_pread(int fd, uint64_t place, char *to, size_t n);

#endif
