/* complaints.c - see the header; the list is kept sorted as it grows.
 *
 * Most complaints arrive in the document's order already, so each is put in its place from the end.
 * Those of one place stay in the order in which they came.
 */
#include "lib/complaints.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/err.h"
#include "lib/json.h"

#define LINE_BYTES_MAX 8192

void complaints_init(struct complaints *c)
{
    *c = (struct complaints){0};
}

void complaints_release(struct complaints *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->all[i].text);
    free(c->all);
    complaints_init(c);
}

bool complaints_any(const struct complaints *c)
{
    return c->n > 0 || c->nomem;
}

void complaints_enter(struct complaints *c, const char *file)
{
    c->file = file;
    c->file_n = ++c->files;
}

void complaints_leave(struct complaints *c)
{
    c->file = NULL;
    c->file_n = 0;
}

static bool before(const struct complaint *a, const struct complaint *b)
{
    if (a->file_n != b->file_n)
        return a->file_n < b->file_n;
    return a->line != b->line ? a->line < b->line : a->column < b->column;
}

static bool keep(struct complaints *c, struct complaint new)
{
    if (c->all == NULL)
        c->all = malloc(COMPLAINTS_MAX * sizeof *c->all);
    if (c->all == NULL || new.text == NULL)
        return false;
    size_t at = c->n++;
    for (; at > 0 && before(&new, &c->all[at - 1]); at--)
        c->all[at] = c->all[at - 1];
    c->all[at] = new;
    return true;
}

void complain(struct complaints *c, unsigned line, unsigned column, const char *fmt, ...)
{
    if (c->n == COMPLAINTS_MAX) {
        c->more++;
        return;
    }
    char text[ERR_TEXT_MAX + 512]; /* a path into the document, and a whole err */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n = strlen(text);
    char *copy = malloc(n + 1);
    if (copy != NULL)
        memcpy(copy, text, n + 1);
    if (!keep(c, (struct complaint){c->file_n, line, column, c->file, copy})) {
        free(copy);
        c->nomem = true;
    }
}

/* The C1 controls, two bytes in UTF-8, steer terminals too. */
void complaint_show(struct buf *out, const char *text)
{
    size_t n = strlen(text), bad_n;
    for (size_t i = 0; i < n;) {
        size_t len = json_utf8_len(text + i, n - i, &bad_n);
        unsigned char first = (unsigned char)text[i];
        bool c1 = len == 2 && first == 0xc2 && (unsigned char)text[i + 1] < 0xa0;
        if (len == 0 || first < 0x20 || first == 0x7f || c1)
            buf_putc(out, '?');
        else
            buf_put(out, text + i, len);
        i += len > 0 ? len : 1;
    }
}

void complaint_say(const char *line, complaints_tell_fn *tell, void *ctx)
{
    struct buf shown;
    buf_init(&shown, LINE_BYTES_MAX);
    complaint_show(&shown, line);
    const char *text = buf_cstr(&shown);
    tell(ctx, text != NULL ? text : "a line too long to be told");
    buf_release(&shown);
}

static void say_one(const char *file, const struct complaint *one, complaints_tell_fn *tell,
                    void *ctx)
{
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX);
    buf_printf(&line, "%s:%u:%u: %s", file, one->line, one->column, one->text);
    const char *text = buf_cstr(&line);
    complaint_say(text != NULL ? text : one->text, tell, ctx);
    buf_release(&line);
}

void complaints_tell(struct complaints *c, const char *file, complaints_tell_fn *tell, void *ctx)
{
    for (size_t i = 0; i < c->n && !c->nomem; i++)
        say_one(c->all[i].file_n > 0 ? c->all[i].file : file, &c->all[i], tell, ctx);
    char more[64];
    snprintf(more, sizeof more, "and %zu more", c->more);
    if (c->nomem)
        tell(ctx, "memory ran out");
    else if (c->more > 0)
        tell(ctx, more);
}
