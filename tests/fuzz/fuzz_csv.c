/* The first byte says where to cut, and by its lowest bit whether quotes count, and the second
 * which delimiter; rows must not depend on the cut. */
#include "lib/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    uint64_t value;
    size_t rows;
};

static void stir(struct digest *d, const void *p, size_t n)
{
    const uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++)
        d->value = (d->value ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static void stir_row(struct digest *d, const struct csv_row *row)
{
    stir(d, &row->n, sizeof row->n);
    for (size_t i = 0; i < row->n; i++) {
        stir(d, &row->fields[i].n, sizeof row->fields[i].n);
        stir(d, row->fields[i].p, row->fields[i].n);
    }
    d->rows++;
}

/* Takes the rows of text[at..end) and returns the offset of what is left. */
static size_t take(struct csv_row *row, struct str text, size_t at, size_t end, char delimiter,
                   struct digest *d)
{
    for (;;) {
        struct str part = {text.p + at, end - at};
        enum csv_result got = csv_row_next(row, part, delimiter, end == text.n);
        assert(got != CSV_NOMEM);
        assert(row->begin <= row->used && row->used <= part.n);
        at += row->used;
        if (got == CSV_MORE)
            return at;
        assert(row->used > row->begin && row->n > 0);
        assert(got == CSV_WIDE ? row->n == CSV_FIELDS_MAX : row->n <= CSV_FIELDS_MAX);
        stir_row(d, row);
    }
}

static struct digest read_all(struct csv_row *row, struct str text, size_t cut, char delimiter)
{
    struct digest d = {0};
    size_t at = 0;
    if (cut < text.n)
        at = take(row, text, 0, cut, delimiter, &d);
    at = take(row, text, at, text.n, delimiter, &d);
    assert(at == text.n);
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || data[1] == '"' || data[1] == '\n' || data[1] == '\r')
        return 0;
    static struct csv_row row;
    struct str text = {(const char *)data + 2, size - 2};
    csv_row_init(&row, size);
    row.no_quotes = data[0] % 2 == 1;
    struct digest whole = read_all(&row, text, text.n, (char)data[1]);
    struct digest parts = read_all(&row, text, data[0] * text.n / 256, (char)data[1]);
    assert(whole.value == parts.value && whole.rows == parts.rows);
    csv_row_release(&row);
    return 0;
}
