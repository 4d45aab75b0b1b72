/* An event of Firehose: the first byte chooses the mapping and how much room the answer has. What
 * is said of an event that is none is held against a plain reading of it; an answer must be JSON
 * within its bounds, with every recordId once and in order, data in base64, and each that failed
 * with the data that came. */
#include <stdlib.h>

#include "lib/base64.h"
#include "lib/json.h"
#include "lib/transform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENT_MAX (64 * KIB)

static const char *const mappings[] = {
    "format: json\nflatten: '.'\nsplit_arrays: true\nmax_record: 4KiB\n"
    "add: {day: {from: t, parse: '%F', print: '%d'}}\n",
    "format: csv\ndelimiter: '|'\nquote: none\ncolumns: [a, b]\n"
    "record: {a: {from: a, type: int}, b: {from: b, trim: true}}\n",
    "format: csv\ncolumns: [a, b]\non_bad_value: dead_letter\nrecord: {a: {from: a, type: int}}\n",
    "format: json\npartition_keys: [k, l]\n",
    "format: line\nmax_record: 1KiB\n",
    "format: logfmt\non_no_match: drop\n",
    "format: line\nencoding: utf-16be\n",
    "format: json\nsplit_arrays: true\nrecord: {a: {from: a.b}, t: {from: t, type: string}}\n",
};
static const size_t rooms[] = {300, 2000, 20000, TRANSFORM_ANSWER_MAX};

static void hear(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    abort();
}

static struct transform *open_transform(unsigned which, size_t room)
{
    static struct config *configs[ARRAY_LEN(mappings)];
    if (configs[which] == NULL)
        configs[which] = config_build_mapping("m", str_of(mappings[which]), hear, NULL);
    struct transform *t = transform_new(configs[which]->sources, "host", room, NULL);
    assert(t != NULL);
    return t;
}

struct walk {
    struct json_scan scan;
    struct str id, data, result;
};

/* To the next record of an event or an answer; what it holds is its last of a name. */
static bool next_record(struct walk *w)
{
    if (json_scan_next(&w->scan) != JSON_OBJECT)
        return false;
    w->id = w->data = w->result = (struct str){0};
    while (json_scan_next(&w->scan) == JSON_KEY) {
        struct str name = w->scan.token;
        enum json_token t = json_scan_next(&w->scan);
        struct str text = t == JSON_STRING ? w->scan.token : (struct str){0};
        if (str_eq(name, STR("recordId")))
            w->id = text;
        else if (str_eq(name, STR("data")))
            w->data = text;
        else if (str_eq(name, STR("result")))
            w->result = text;
        if (t == JSON_OBJECT || t == JSON_ARRAY)
            json_scan_skip(&w->scan);
    }
    return true;
}

static bool find_records(struct walk *w, struct str text)
{
    json_scan_init(&w->scan, text);
    if (json_scan_next(&w->scan) != JSON_OBJECT)
        return false;
    while (json_scan_next(&w->scan) == JSON_KEY) {
        bool here = str_eq(w->scan.token, STR("records"));
        enum json_token t = json_scan_next(&w->scan);
        if (here)
            return t == JSON_ARRAY;
        if (t == JSON_OBJECT || t == JSON_ARRAY)
            json_scan_skip(&w->scan);
    }
    return false;
}

static void check_data(struct str data, bool json)
{
    uint8_t *text = malloc(data.n + 1);
    size_t n = 0;
    int rc = base64_decode(text, data.n, data, &n);
    assert(rc == 0 && n > 0 && text[n - 1] == '\n');
    for (size_t at = 0; json && at < n;) {
        const uint8_t *end = memchr(text + at, '\n', n - at);
        bool valid =
            json_valid((struct str){(const char *)text + at, (size_t)(end - text) - at}, NULL);
        assert(valid);
        at = (size_t)(end - text) + 1;
    }
    free(text);
}

static void check_answer(struct str event, struct str answer, const struct transform_done *done,
                         bool json)
{
    struct walk asked, said;
    size_t n = 0, ok = 0, failed = 0;
    bool good = json_valid(answer, NULL) && json_valid(event, NULL) &&
                find_records(&asked, event) && find_records(&said, answer);
    assert(good);
    while (next_record(&asked)) {
        bool there = next_record(&said);
        assert(there && str_eq(asked.id, said.id) && said.id.n > 0);
        if (str_eq(said.result, STR("Ok"))) {
            check_data(said.data, json);
            ok++;
        } else if (str_eq(said.result, STR("ProcessingFailed"))) {
            assert(str_eq(asked.data, said.data));
            failed++;
        } else {
            assert(str_eq(said.result, STR("Dropped")) && said.data.n == 0);
        }
        n++;
    }
    assert(!next_record(&said));
    assert(n == done->records && ok == done->ok && failed == done->failed);
    assert((done->why != NULL) == (failed > 0) && done->no_room <= failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > EVENT_MAX)
        return 0;
    unsigned which = data[0] % ARRAY_LEN(mappings);
    size_t room = rooms[data[0] / ARRAY_LEN(mappings) % ARRAY_LEN(rooms)];
    struct transform *t = open_transform(which, room);
    struct str event = {(const char *)data + 1, size - 1};
    struct transform_done done;
    struct err e = {0};
    struct buf answer;
    buf_init(&answer, room);
    int rc = transform_event(t, event, &answer, &done, &e);
    assert(rc == 0 || e.text[0] != '\0');
    if (rc == ERR_SYNTAX && json_valid(event, NULL))
        assert(strstr(e.text, "twice") != NULL);
    if (rc == 0) {
        assert(answer.n <= room);
        check_answer(event, buf_str(&answer), &done, which != 4 && which != 6);
    }
    buf_release(&answer);
    transform_free(t);
    return 0;
}
