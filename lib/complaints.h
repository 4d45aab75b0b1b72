/* complaints.h - everything that is wrong with a document, told in the order of the document.
 *
 *   complaints_init(&c);
 *   complain(&c, line, column, "...")   any number of times, in any order
 *   complaints_tell(&c, file, tell, ctx)  one line each: "file:line:column: text"
 *   complaints_release(&c);
 *
 * A document may name others: what is complained of between complaints_enter and complaints_leave
 * is of that file, whose name must live until it is told, and comes after what is of the document.
 *
 * A line holds neither control characters nor broken UTF-8, whatever the document held: both are
 * shown as '?'. At most COMPLAINTS_MAX are kept; the rest are counted, and told as a last line.
 * When memory runs out, `nomem` is set and told in their place.
 *
 * complaint_show appends text in that harmless form; complaint_say tells one such line of its own.
 */
#ifndef LIB_COMPLAINTS_H
#define LIB_COMPLAINTS_H

#include "lib/buf.h"

#define COMPLAINTS_MAX 1000

struct complaint {
    unsigned file_n; /* 0: the document itself */
    unsigned line, column;
    const char *file;
    char *text;
};

struct complaints {
    struct complaint *all;
    size_t n, more; /* those kept, and those only counted */
    bool nomem;
    unsigned files;  /* entered so far */
    unsigned file_n; /* the one it is in; 0: none */
    const char *file;
};

typedef void complaints_tell_fn(void *ctx, const char *line);

void complaints_init(struct complaints *c);
void complaints_release(struct complaints *c);
void complaints_enter(struct complaints *c, const char *file);
void complaints_leave(struct complaints *c);
void complain(struct complaints *c, unsigned line, unsigned column, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool complaints_any(const struct complaints *c);
void complaints_tell(struct complaints *c, const char *file, complaints_tell_fn *tell, void *ctx);

void complaint_show(struct buf *out, const char *text);
void complaint_say(const char *line, complaints_tell_fn *tell, void *ctx);

#endif
