#include "tests/uv/listentest.h"

/* ---- what stands above the device ---- */

#define KEPT 512

struct above {
    struct uvtest *t;
    struct listen *listen;
    char path[512];
    size_t told, whole;
    size_t room;             /* how many more it takes before it pauses */
    struct listen_peer peer; /* of the last one */
    size_t n;
    char text[64];          /* the beginning of it */
    unsigned numbers[KEPT]; /* what the first ones began with */
    bool one_by_one;        /* it pauses after each */
    bool closed;
};

static bool on_datagram(void *ctx, const struct listen_peer *peer, struct str bytes, bool whole)
{
    struct above *a = ctx;
    if (a->room == 0) {
        listen_pause_all(a->listen, true);
        return false;
    }
    a->room--;
    a->peer = *peer;
    a->n = bytes.n;
    a->whole += whole;
    size_t n = min_size(bytes.n, sizeof a->text - 1);
    memcpy(a->text, bytes.p, n);
    a->text[n] = '\0';
    if (a->told < KEPT)
        a->numbers[a->told] = (unsigned)strtoul(a->text, NULL, 10);
    a->told++;
    if (a->one_by_one)
        listen_pause_all(a->listen, true);
    return true;
}

static void prepare(struct above *a, struct uvtest *t)
{
    *a = (struct above){.t = t, .room = SIZE_MAX};
    snprintf(a->path, sizeof a->path, "%s", uvtest_path(t, "syslog.sock"));
}

static struct listen_options options_of(const struct above *a)
{
    return (struct listen_options){.name = "syslog",
                                   .path = a->path,
                                   .fd = -1,
                                   .datagram = true,
                                   .mode = 0622,
                                   .owner = (uid_t)-1,
                                   .group = (gid_t)-1,
                                   .max_clients = 1,
                                   .datagram_max = 1000};
}

static void open_with(struct above *a, const struct listen_options *o)
{
    const struct listen_ops ops = {.ctx = a, .datagram = on_datagram};
    a->listen = listentest_open(a->t, o, &ops);
}

static void open_above(struct above *a, struct uvtest *t)
{
    prepare(a, t);
    struct listen_options o = options_of(a);
    open_with(a, &o);
}

static void close_above(struct above *a)
{
    listen_close(a->listen, listentest_on_closed, &a->closed);
    assert_false(a->closed);
    UVTEST_UNTIL(a->t, a->closed);
}

/* ---- who stands before it ---- */

static int come(const struct above *a)
{
    return listentest_connect(a->path, true);
}

static bool try_say(int fd, const char *text)
{
    ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);
    assert_true(n >= 0 || errno == EAGAIN);
    return n >= 0;
}

static void say(int fd, const char *text)
{
    assert_true(try_say(fd, text));
}

/* Numbers from `from` on, as many as the kernel queues. */
static unsigned say_numbers(int fd, unsigned from)
{
    char text[16];
    do
        snprintf(text, sizeof text, "%u", from);
    while (try_say(fd, text) && from++ < 100000);
    return from;
}

static void check_in_order(const struct above *a, unsigned n)
{
    assert_int_equal(a->told, n);
    for (unsigned i = 0; i < n && i < KEPT; i++)
        assert_int_equal(a->numbers[i], i);
}

/* ---- the cases ---- */

static void a_datagram_is_told_with_its_sender(void **state)
{
    struct above a;
    open_above(&a, *state);
    assert_int_equal(uvtest_mode(a.t, "syslog.sock"), 0622);
    int fd = come(&a);
    say(fd, "<13>hello");
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_string_equal(a.text, "<13>hello");
    assert_int_equal(a.whole, 1);
    assert_int_equal(a.peer.pid, getpid());
    assert_int_equal(a.peer.uid, geteuid());
    assert_int_equal(a.peer.gid, getegid());
    say(fd, "");
    UVTEST_UNTIL(a.t, a.told == 2);
    assert_int_equal(a.n, 0);
    assert_int_equal(a.whole, 2);
    listentest_turn(a.t, 5);
    assert_int_equal(uv_backend_timeout(&a.t->loop), -1); /* nobody is woken for nothing */
    close(fd);
    close_above(&a);
    assert_int_equal(access(a.path, F_OK), -1);
}

static void one_that_is_too_long_comes_cut_and_says_so(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    char much[3000];
    memset(much, 'a', sizeof much);
    const size_t sizes[] = {999, 1000, 1001, 3000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        a.whole = a.told = 0;
        assert_int_equal(send(fd, much, sizes[i], 0), sizes[i]);
        say(fd, "next");
        UVTEST_UNTIL(a.t, a.told >= 1);
        assert_int_equal(a.whole + (sizes[i] > 1000), a.told);
        UVTEST_UNTIL(a.t, a.told == 2);
        assert_string_equal(a.text, "next");
    }
    a.told = 0;
    a.room = 1;
    assert_int_equal(send(fd, much, 3000, 0), 3000);
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_int_equal(a.n, 1000);
    close(fd);
    close_above(&a);
}

static void one_as_long_as_a_record_may_be_is_whole(void **state)
{
    struct above a;
    prepare(&a, *state);
    struct listen_options o = options_of(&a);
    o.datagram_max = 10 * MIB; /* then one is read at a time */
    open_with(&a, &o);
    int fd = come(&a), room = 4 * 1024 * 1024;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    char *much = calloc(1, 100000);
    assert_int_equal(send(fd, much, 100000, 0), 100000);
    say(fd, "next");
    UVTEST_UNTIL(a.t, a.told == 2);
    assert_string_equal(a.text, "next");
    assert_int_equal(a.whole, 2);
    free(much);
    close(fd);
    close_above(&a);
}

static void many_arrive_in_order(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    unsigned n = 0;
    while (n < 5000) {
        n = say_numbers(fd, n);
        uv_run(&a.t->loop, UV_RUN_ONCE);
    }
    UVTEST_UNTIL(a.t, a.told == n);
    check_in_order(&a, n);
    close(fd);
    close_above(&a);
}

/* The one that found no room comes again, first, and none is told in the pause. */
static void after_a_pause_the_one_that_found_no_room_is_told_first(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    unsigned n = 0, told = 0;
    for (size_t room = 0; n < 400; room = (room + 1) % 7) {
        a.room = room;
        n = say_numbers(fd, n);
        UVTEST_UNTIL(a.t, a.room == 0 && a.told == told + room);
        listentest_turn(a.t, 3);
        told += (unsigned)room;
        assert_int_equal(a.told, told);
        a.room = 0;
        listen_pause_all(a.listen, false);
    }
    a.room = SIZE_MAX;
    UVTEST_UNTIL(a.t, (listen_pause_all(a.listen, false), a.told == n));
    check_in_order(&a, n);
    close(fd);
    close_above(&a);
}

static void a_pause_after_one_that_was_taken_holds_the_next(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.one_by_one = true;
    int fd = come(&a);
    unsigned n = say_numbers(fd, 0);
    assert_true(n > 3);
    for (unsigned told = 1; told <= n; told++) {
        UVTEST_UNTIL(a.t, a.told == told);
        listentest_turn(a.t, 3);
        check_in_order(&a, told);
        listen_pause_all(a.listen, false);
    }
    close(fd);
    close_above(&a);
}

static void in_a_pause_senders_wait_in_the_kernel(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_pause_all(a.listen, true);
    int fd = come(&a);
    unsigned n = say_numbers(fd, 0);
    assert_true(n > 0);
    listentest_turn(a.t, 10);
    assert_int_equal(a.told, 0);
    assert_false(try_say(fd, "one more"));
    listen_pause_all(a.listen, false);
    UVTEST_UNTIL(a.t, a.told == n);
    check_in_order(&a, n);
    close(fd);
    close_above(&a);
}

static void speak_as(struct above *a, uid_t uid, gid_t gid)
{
    pid_t pid = listentest_fork();
    if (pid == 0) {
        listentest_become(uid, gid, NULL, 0);
        struct err e;
        int fd = unixsock_connect(a->path, true, &e);
        _exit(fd >= 0 && send(fd, "x", 1, 0) == 1 ? 0 : 1);
    }
    assert_int_equal(listentest_wait(a->t, pid), 0);
}

static void each_datagram_is_held_against_the_list(void **state)
{
    if (geteuid() != 0)
        skip(); /* only root can become another user */
    struct above a;
    prepare(&a, *state);
    const uid_t uids[] = {4001};
    const gid_t gids[] = {5001};
    struct listen_options o = options_of(&a);
    o.allow = (struct listen_allow){uids, 1, gids, 1};
    open_with(&a, &o);
    assert_int_equal(chmod(uvtest_dir(a.t), 0711), 0);
    speak_as(&a, 4001, 6000);
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_int_equal(a.peer.uid, 4001);
    assert_int_equal(a.peer.gid, 6000);
    speak_as(&a, 4002, 5001);
    UVTEST_UNTIL(a.t, a.told == 2);
    assert_int_equal(a.peer.uid, 4002);
    speak_as(&a, 4002, 6000);
    UVTEST_UNTIL(a.t, listen_counts(a.listen)->refused == 1);
    int fd = come(&a);
    say(fd, "root is not listed");
    UVTEST_UNTIL(a.t, listen_counts(a.listen)->refused == 2);
    assert_int_equal(a.told, 2);
    close(fd);
    close_above(&a);
}

static void send_as(int fd, const struct ucred *who, int rights)
{
    char byte = 'x';
    struct iovec text = {&byte, 1};
    union {
        struct cmsghdr h;
        char bytes[CMSG_SPACE(sizeof *who) + CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr m = {.msg_iov = &text,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = rights >= 0 ? sizeof control : CMSG_SPACE(sizeof *who)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_len = CMSG_LEN(sizeof *who);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_CREDENTIALS;
    memcpy(CMSG_DATA(c), who, sizeof *who);
    if (rights >= 0) {
        c = CMSG_NXTHDR(&m, c);
        c->cmsg_len = CMSG_LEN(sizeof rights);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(c), &rights, sizeof rights);
    }
    _exit(sendmsg(fd, &m, 0) == 1 ? 0 : errno == EPERM ? 1 : 2);
}

static void nobody_but_root_can_say_who_he_is(void **state)
{
    if (geteuid() != 0)
        skip();
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    pid_t pid = listentest_fork();
    if (pid == 0) {
        const struct ucred lie = {.pid = getpid(), .uid = 0, .gid = 0};
        listentest_become(4001, 4001, NULL, 0);
        send_as(fd, &lie, -1);
    }
    assert_int_equal(listentest_wait(a.t, pid), 1);
    assert_int_equal(a.told, 0);
    close(fd);
    close_above(&a);
}

static void descriptors_that_are_sent_along_are_not_kept(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    unsigned before = uvtest_count_fds();
    pid_t pid = listentest_fork();
    if (pid == 0) {
        const struct ucred who = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
        send_as(fd, &who, open("/dev/null", O_RDONLY));
    }
    assert_int_equal(listentest_wait(a.t, pid), 0);
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_int_equal(a.peer.pid, pid);
    assert_int_equal(uvtest_count_fds(), before);
    close(fd);
    close_above(&a);
}

static void a_close_tells_what_is_in_the_kernel(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    unsigned n = say_numbers(fd, 0);
    close_above(&a);
    check_in_order(&a, n);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1); /* nobody is there */
    close(fd);
}

static void a_close_without_room_says_what_is_lost(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    say_numbers(fd, 0);
    a.room = 2;
    close_above(&a);
    assert_int_equal(a.told, 2);
    close(fd);
}

static void the_managers_socket_keeps_its_queue(void **state)
{
    struct above a;
    prepare(&a, *state);
    int manager = listentest_manager(a.path, SOCK_DGRAM), on = 1;
    assert_int_equal(setsockopt(manager, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
    int fd = come(&a);
    say(fd, "before we were there");
    struct listen_options o = options_of(&a);
    o.fd = dup(manager);
    open_with(&a, &o);
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_int_equal(a.peer.pid, getpid());
    say(fd, "for the next process");
    close_above(&a);
    assert_int_equal(a.told, 1);
    assert_int_equal(access(a.path, F_OK), 0);
    prepare(&a, *state);
    o.fd = dup(manager);
    open_with(&a, &o);
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_string_equal(a.text, "for the next process");
    close_above(&a);
    close(fd);
    close(manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(a_datagram_is_told_with_its_sender),
        UVTEST(one_that_is_too_long_comes_cut_and_says_so),
        UVTEST(one_as_long_as_a_record_may_be_is_whole),
        UVTEST(many_arrive_in_order),
        UVTEST(after_a_pause_the_one_that_found_no_room_is_told_first),
        UVTEST(a_pause_after_one_that_was_taken_holds_the_next),
        UVTEST(in_a_pause_senders_wait_in_the_kernel),
        UVTEST(each_datagram_is_held_against_the_list),
        UVTEST(nobody_but_root_can_say_who_he_is),
        UVTEST(descriptors_that_are_sent_along_are_not_kept),
        UVTEST(a_close_tells_what_is_in_the_kernel),
        UVTEST(a_close_without_room_says_what_is_lost),
        UVTEST(the_managers_socket_keeps_its_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
