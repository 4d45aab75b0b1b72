/* position.h - where a file has been read and delivered to, and how to know the file again.
 *
 * A file is known by inode and by two fingerprints: one of its first bytes (up to FINGERPRINT_MAX)
 * and one of the up to FINGERPRINT_MAX bytes before the delivered offset. Inodes are reused at
 * once and CSV files share their first lines, so neither alone will do. The device number is kept
 * for information: devices are renumbered at boot. In doubt a file is a new one, and data is sent
 * again.
 *
 * The checkpoint is a JSON document. This is version 1, all of it, in this order (white space is
 * free):
 *
 *   {"version": 1,
 *    "generation": 7,                  which checkpoint this is; see below
 *    "sources": [                      one for each source ever started, also without files
 *      {"name": "crimes-csv",          unique
 *       "files": [
 *         {"id": "3",                  decimal in a string, not 0: no other entry has it, ever
 *          "path": "/srv/crimes/a.csv",
 *          "device": "64769",          decimal in a string: it may need all 64 bits
 *          "inode": "1311",            likewise
 *          "offset": 104857600,        0..2^63-1; every record up to it is delivered
 *          "mid_record": false,        true: skip up to the end of the record the offset is in
 *          "seen": 1793419200,         Unix time, seconds: when it was last followed
 *          "size": 104857999,          its size then
 *          "head": {"n": 1024, "hash": "<32 hex digits>"},
 *          "tail": {"n": 1024, "hash": "<32 hex digits>"}}]}]}
 *
 * A checkpoint of many files is kept in two documents, so that its cost goes with the files that
 * move: a whole one, and a recent one that holds only the entries that have changed since the whole
 * one was written, and has its generation. checkpoint_merge puts them together: entries of the
 * recent one take the place of those with the same id, or are added; a recent one of another
 * generation is left over from before the whole one, and is ignored (it is released in any case).
 * But the result then has the higher generation of the two, so that no later whole document can
 * have the one of the left-over.
 *
 * A fingerprint's hash is the first 16 bytes of the SHA-256 of its n bytes; the tail's bytes end
 * at the offset, so its n is at most that. The head's may go beyond it: a file of which nothing is
 * delivered is known by what was in it. A name or path that is not UTF-8 stands, as hex digits,
 * under "name_hex" or "path_hex" instead: file names are bytes, and each must come back as it was.
 * Paths may repeat: a rotated file and its successor had the same one.
 *
 * checkpoint_encode appends it (the caller checks out->failed, keeps positions sane, names and
 * paths not empty, and their numbers within the limits below). It is read back by
 * checkpoint_decode, which accepts only what checkpoint_encode can have written: every field is
 * checked, a newer version is refused with a sentence, and nothing is allocated past
 * CHECKPOINT_SOURCES_MAX and CHECKPOINT_FILES_MAX entries. It returns 0, ERR_SYNTAX, ERR_RANGE (a
 * limit, or another version) or ERR_NOMEM, and writes *c only on success. The decoded set is owned
 * by the caller: checkpoint_release frees it, and leaves it empty.
 */
#ifndef LIB_POSITION_H
#define LIB_POSITION_H

#include "lib/buf.h"
#include "lib/err.h"

#define FINGERPRINT_MAX 1024 /* bytes looked at, at each of the two places */
#define FINGERPRINT_SIZE 16
#define CHECKPOINT_VERSION 1
#define CHECKPOINT_SOURCES_MAX 4096
#define CHECKPOINT_FILES_MAX 200000 /* of all sources together */
#define CHECKPOINT_BYTES_MAX (256 * MIB)

struct fingerprint {
    uint32_t n; /* how many bytes it covers: 0..FINGERPRINT_MAX */
    uint8_t hash[FINGERPRINT_SIZE];
};

/* Of n bytes, at most FINGERPRINT_MAX. */
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
    uint64_t seen_s; /* when somebody last followed it, Unix time in seconds */
    uint64_t size;   /* as last seen */
    uint64_t id;     /* unlike any other in the checkpoint; from 1 */
};

struct checkpoint_source {
    char *name;
    struct checkpoint_file *files;
    size_t files_n;
};

struct checkpoint {
    uint64_t generation;
    struct checkpoint_source *sources;
    size_t sources_n;
};

bool position_sane(const struct position *p);

void checkpoint_encode(const struct checkpoint *c, struct buf *out);
int checkpoint_decode(struct str text, struct checkpoint *c, struct err *e);
void checkpoint_release(struct checkpoint *c);
bool checkpoint_merge(struct checkpoint *whole, struct checkpoint *recent); /* false: no memory */

#endif
