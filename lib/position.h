/* position.h - where a file has been read and delivered to, and how to know the file again.
 *
 * A file is known by inode and by two fingerprints: one of its first bytes (up to FINGERPRINT_MAX)
 * and one of the up to FINGERPRINT_MAX bytes before the delivered offset. Inodes are reused at once
 * and CSV files share their first lines, so neither alone will do. The device number is kept for
 * information: devices are renumbered at boot. In doubt a file is a new one, and data is sent again.
 *
 * The checkpoint is a JSON document (version 1): for each source whether it was ever started, and a
 * list of files. checkpoint_encode appends it; checkpoint_decode reads it back, and accepts only what
 * checkpoint_encode can have written: every field is checked, a newer version is refused with a
 * sentence, and nothing is allocated past CHECKPOINT_FILES_MAX entries. The decoded set is owned by
 * the caller (checkpoint_release).
 */
#ifndef LIB_POSITION_H
#define LIB_POSITION_H

#include "lib/buf.h"
#include "lib/err.h"

#define FINGERPRINT_MAX 1024 /* bytes looked at, at each of the two places */
#define FINGERPRINT_SIZE 16
#define CHECKPOINT_VERSION 1
#define CHECKPOINT_FILES_MAX 200000
#define CHECKPOINT_BYTES_MAX (256 * MIB)

struct fingerprint {
    uint32_t n; /* how many bytes it covers: 0..FINGERPRINT_MAX; they end at the offset in question */
    uint8_t hash[FINGERPRINT_SIZE];
};

struct fingerprint fingerprint_of(const void *p, size_t n);
bool fingerprint_eq(const struct fingerprint *a, const struct fingerprint *b);

struct position {
    uint64_t device, inode;
    uint64_t offset;  /* every record that ends at or before it is delivered */
    bool mid_record;  /* the offset is inside an over-long record whose rest is to be skipped */
    struct fingerprint head, tail;
};

struct checkpoint_file {
    char *path;
    struct position at;
};

struct checkpoint_source {
    char *name;
    struct checkpoint_file *files;
    size_t files_n;
};

struct checkpoint {
    struct checkpoint_source *sources;
    size_t sources_n;
};

void checkpoint_encode(const struct checkpoint *c, struct buf *out);
int checkpoint_decode(struct str text, struct checkpoint *c, struct err *e);
void checkpoint_release(struct checkpoint *c);

#endif
