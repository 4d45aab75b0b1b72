#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/buf.h"
#include "lib/config.h"

#define HEAD                                                                                       \
    "region: us-east-1\nstreams: {a: {kinesis: a}, n: {kinesis: n, sync: never}}\nsources:\n"
#define SOCKET HEAD "  s:\n    socket: /run/s\n    stream: a\n" /* 6 lines */

static struct buf told;

static void hear(void *ctx, const char *line)
{
    (void)ctx;
    if (told.n > 0)
        buf_putc(&told, '\n');
    buf_puts(&told, line);
}

static struct config *try_build(const char *text)
{
    buf_release(&told);
    buf_init(&told, MIB);
    return config_build("x.yaml", str_of(text), hear, NULL);
}

static struct config *build(const char *text)
{
    struct config *c = try_build(text);
    if (c == NULL)
        fail_msg("%s", buf_cstr(&told));
    return c;
}

static void assert_told(const char *text, const char *line)
{
    struct config *c = try_build(text);
    if (c != NULL)
        fail_msg("accepted, but expected: %s", line);
    assert_string_equal(buf_cstr(&told), line);
}

static int forget(void **state)
{
    (void)state;
    buf_release(&told);
    return 0;
}

static void a_socket_needs_only_its_path_and_a_stream(void **state)
{
    (void)state;
    struct config *c = build(SOCKET);
    const struct config_socket *s = &c->sources[0].socket;
    assert_null(c->sources[0].file);
    assert_string_equal(s->path, "/run/s");
    assert_false(s->datagram);
    assert_int_equal(s->mode, 0660);
    assert_null(s->owner);
    assert_int_equal(s->framing, FRAMING_NEWLINE);
    assert_int_equal(s->ack, ACK_NONE);
    assert_int_equal(s->on_full, FULL_BLOCK);
    assert_int_equal(s->max_clients, 1024);
    assert_int_equal(s->idle_ms, 0);
    assert_int_equal(s->allow.uids_n + s->allow.gids_n + s->allow.users_n + s->allow.groups_n, 0);
    assert_int_equal(c->streams[0].sync_ms, 20);
    assert_int_equal(c->streams[0].spool_bytes, 256 * MIB);
    assert_true(c->streams[1].sync_ms == UINT64_MAX);
    config_free(c);
}

static void everything_about_a_socket_can_be_said(void **state)
{
    (void)state;
    struct config *c = build(SOCKET "    format: json\n"
                                    "    framing: length32\n"
                                    "    ack: delivered\n"
                                    "    on_full: drop_newest\n"
                                    "    mode: 0600\n"
                                    "    owner: root\n"
                                    "    group: '4'\n"
                                    "    max_clients: 3\n"
                                    "    idle_timeout: 5m\n"
                                    "    allow: {uids: [0, 4294967294], gids: [7], users: [app],\n"
                                    "            groups: [adm, wheel]}\n");
    const struct config_socket *s = &c->sources[0].socket;
    assert_int_equal(s->framing, FRAMING_LENGTH32);
    assert_int_equal(s->ack, ACK_DELIVERED);
    assert_int_equal(s->on_full, FULL_DROP_NEWEST);
    assert_int_equal(s->mode, 0600);
    assert_string_equal(s->owner, "root");
    assert_string_equal(s->group, "4");
    assert_int_equal(s->idle_ms, 300000);
    assert_int_equal(s->allow.uids_n, 2);
    assert_true(s->allow.uids[1] == 4294967294u);
    assert_int_equal(s->allow.gids[0], 7);
    assert_string_equal(s->allow.users[0], "app");
    assert_string_equal(s->allow.groups[1], "wheel");
    config_free(c);
}

static void a_source_has_a_file_or_a_socket(void **state)
{
    (void)state;
    assert_told(HEAD "  s:\n    stream: a\n",
                "x.yaml:4:3: sources.s.file: is required and missing, or socket");
    assert_told(SOCKET "    file: /x\n", "x.yaml:5:5: sources.s.socket: goes not with file");
    assert_told(SOCKET "    start_at: end\n",
                "x.yaml:7:5: sources.s.start_at: goes only with file");
    assert_told(SOCKET "    multiline: {start: x}\n",
                "x.yaml:7:5: sources.s.multiline: goes only with file");
    assert_told(HEAD "  s: {file: /x, stream: a, ack: durable}\n",
                "x.yaml:4:28: sources.s.ack: goes only with socket");
    assert_told(SOCKET "    format: csv\n    columns: [x]\n",
                "x.yaml:7:5: sources.s.format: csv goes only with file\n"
                "x.yaml:8:5: sources.s.columns: goes only with file");
}

static void a_socket_is_an_absolute_path(void **state)
{
    (void)state;
    assert_told(HEAD "  s: {socket: run/s, stream: a}\n",
                "x.yaml:4:15: sources.s.socket: \"run/s\" is not the absolute path of a socket");
    assert_told(HEAD "  s: {socket: /run/, stream: a}\n",
                "x.yaml:4:15: sources.s.socket: \"/run/\" is not the absolute path of a socket");
    assert_told(SOCKET "  t: {socket: /run/s, stream: n}\n",
                "x.yaml:7:7: sources.t.socket: another source listens there");
}

static void an_acknowledgement_must_stay_true(void **state)
{
    (void)state;
    assert_told(SOCKET "    ack: durable\n    on_full: drop_oldest\n",
                "x.yaml:8:5: sources.s.on_full: drop_oldest would drop records that were "
                "acknowledged: ack must be none");
    assert_told(HEAD "  s: {socket: /run/s, stream: n, ack: delivered}\n",
                "x.yaml:4:34: sources.s.ack: sync: never of its stream would make an "
                "acknowledgement untrue");
    assert_told(SOCKET "    on_full: drop_oldest\n  t: {socket: /run/t, stream: a, ack: durable}\n",
                "x.yaml:8:3: sources.t.on_full: drop_oldest and acknowledgements do not go "
                "together in one stream");
    config_free(build(SOCKET "    on_full: drop_oldest\n  t: {socket: /run/t, stream: n}\n"));
    config_free(build(HEAD "  s: {socket: /run/s, stream: n}\n"));
}

static void datagrams_are_not_answered_nor_framed(void **state)
{
    (void)state;
    assert_told(SOCKET "    type: datagram\n    ack: durable\n",
                "x.yaml:8:5: sources.s.ack: datagrams take only none: there is nobody to answer");
    assert_told(SOCKET "    type: datagram\n    framing: newline\n    max_clients: 1\n"
                       "    idle_timeout: 1s\n",
                "x.yaml:8:5: sources.s.framing: each datagram is a record by itself\n"
                "x.yaml:9:5: sources.s.max_clients: goes only with type: stream\n"
                "x.yaml:10:5: sources.s.idle_timeout: goes only with type: stream");
    config_free(build(SOCKET "    type: datagram\n    format: syslog\n"));
}

static void who_may_write_is_numbers_and_names(void **state)
{
    (void)state;
    assert_told(SOCKET "    allow: {uids: [app]}\n",
                "x.yaml:7:13: sources.s.allow.uids: \"app\" is not a number of 0 to 4294967294");
    assert_told(SOCKET "    allow: {uids: [000000001000abc]}\n",
                "x.yaml:7:13: sources.s.allow.uids: \"000000001000abc\" is not a number of 0 to "
                "4294967294");
    assert_told(SOCKET "    allow: {gids: [4294967295]}\n",
                "x.yaml:7:13: sources.s.allow.gids: \"4294967295\" is not a number of 0 to "
                "4294967294");
    assert_told(SOCKET "    allow: {uid: [1]}\n",
                "x.yaml:7:13: sources.s.allow.uid: unknown option; the nearest known one is uids");
    assert_told(SOCKET "    allow: {}\n",
                "x.yaml:7:5: sources.s.allow: names nobody; leave it out to allow all");
    assert_told(SOCKET "    allow: {users: []}\n",
                "x.yaml:7:20: sources.s.allow.users: expected a sequence of 1 to 256 names");
    assert_told(SOCKET "    allow: everybody\n",
                "x.yaml:7:12: sources.s.allow: expected a mapping, not a single value");
}

static void a_reload_tells_what_changes_of_a_socket(void **state)
{
    (void)state;
    struct config *before = build(SOCKET), *after = build(SOCKET "    ack: durable\n"
                                                                 "    allow: {uids: [1]}\n");
    buf_reset(&told);
    assert_int_equal(config_diff(before, after, hear, NULL), 0);
    assert_string_equal(buf_cstr(&told), "sources.s.ack: none -> durable\n"
                                         "sources.s.allow: changed");
    config_free(before);
    config_free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_needs_only_its_path_and_a_stream),
        cmocka_unit_test(everything_about_a_socket_can_be_said),
        cmocka_unit_test(a_source_has_a_file_or_a_socket),
        cmocka_unit_test(a_socket_is_an_absolute_path),
        cmocka_unit_test(an_acknowledgement_must_stay_true),
        cmocka_unit_test(datagrams_are_not_answered_nor_framed),
        cmocka_unit_test(who_may_write_is_numbers_and_names),
        cmocka_unit_test(a_reload_tells_what_changes_of_a_socket),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
