#include "tests/uv/listentest.h"

#include <poll.h>

/* ---- what stands above the device ---- */

struct above;

struct owner {
    struct above *above;
    struct listen_client *client;
    struct listen_peer peer;
    size_t bytes_n; /* all it has sent */
    char text[256]; /* the beginning of it */
    size_t text_n;
    bool ended, closed;
    char why[128];
};

struct above {
    struct uvtest *t;
    struct listen *listen;
    char path[512];
    struct owner *owners;
    size_t owners_n, owners_max, ended_n, closed_n;
    size_t read_max; /* the most that was told at once */
    unsigned told;   /* bytes, since somebody set it to 0 */
    bool polite;     /* hangs up on who has ended */
    bool refuse;     /* no memory for anybody */
    void (*on_bytes)(struct owner *o, struct str bytes);
    bool closed;
};

static void *on_opened(void *ctx, struct listen_client *c, const struct listen_peer *peer)
{
    struct above *a = ctx;
    if (a->refuse)
        return NULL;
    assert_true(a->owners_n < a->owners_max);
    struct owner *o = &a->owners[a->owners_n++];
    *o = (struct owner){.above = a, .client = c, .peer = *peer};
    return o;
}

static void on_bytes(void *ctx, void *owner, struct str bytes)
{
    struct above *a = ctx;
    struct owner *o = owner;
    assert_false(o->ended);
    assert_false(o->closed);
    assert_true(bytes.n > 0 && bytes.n <= LISTEN_READ_MAX);
    size_t n = min_size(bytes.n, sizeof o->text - 1 - o->text_n);
    memcpy(o->text + o->text_n, bytes.p, n);
    o->text_n += n;
    o->bytes_n += bytes.n;
    a->told++;
    if (bytes.n > a->read_max)
        a->read_max = bytes.n;
    if (a->on_bytes != NULL)
        a->on_bytes(o, bytes);
}

static void on_ended(void *ctx, void *owner, const char *why)
{
    struct above *a = ctx;
    struct owner *o = owner;
    assert_false(o->ended);
    assert_false(o->closed);
    o->ended = true;
    a->ended_n++;
    snprintf(o->why, sizeof o->why, "%s", why != NULL ? why : "");
    if (a->polite)
        listen_hang_up(o->client);
}

static void on_closed(void *ctx, void *owner)
{
    struct owner *o = owner;
    assert_false(o->closed);
    o->closed = true;
    ((struct above *)ctx)->closed_n++;
}

static struct listen_ops ops_of(struct above *a)
{
    return (struct listen_ops){
        .ctx = a, .opened = on_opened, .bytes = on_bytes, .ended = on_ended, .closed = on_closed};
}

static struct listen_options options_of(const struct above *a)
{
    return (struct listen_options){.name = "events",
                                   .path = a->path,
                                   .fd = -1,
                                   .mode = 0600,
                                   .owner = (uid_t)-1,
                                   .group = (gid_t)-1,
                                   .max_clients = 20000,
                                   .datagram_max = 1024};
}

static void prepare(struct above *a, struct uvtest *t)
{
    *a = (struct above){.t = t, .polite = true, .owners_max = 64};
    a->owners = calloc(a->owners_max, sizeof *a->owners);
    assert_non_null(a->owners);
    signal(SIGPIPE, SIG_IGN);
    snprintf(a->path, sizeof a->path, "%s", uvtest_path(t, "events.sock"));
}

static void open_with(struct above *a, const struct listen_options *o)
{
    const struct listen_ops ops = ops_of(a);
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
    assert_int_equal(a->closed_n, a->owners_n);
    assert_false(a->closed);
    UVTEST_UNTIL(a->t, a->closed);
    free(a->owners);
}

/* ---- who stands before it ---- */

static int knock(const struct above *a)
{
    return listentest_connect(a->path, false);
}

/* Let in, as the next owner. */
static int come(struct above *a)
{
    size_t before = a->owners_n;
    int fd = knock(a);
    UVTEST_UNTIL(a->t, a->owners_n == before + 1);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void tell(struct owner *o, const char *text)
{
    assert_true(listen_answer(o->client, str_of(text)));
}

/* What came so far is in `text`; -1 once the other side has hung up. */
static int hear(int fd, char *text, size_t *n, size_t size)
{
    ssize_t got;
    while ((got = recv(fd, text + *n, size - 1 - *n, 0)) > 0)
        *n += (size_t)got;
    text[*n] = '\0';
    return got == 0 || (got < 0 && errno != EAGAIN) ? -1 : 0;
}

static bool hung_up(int fd)
{
    char text[1024];
    size_t n = 0;
    return hear(fd, text, &n, sizeof text) < 0;
}

static void check_hears_and_end(struct above *a, int fd, const char *expected)
{
    char text[1024];
    size_t n = 0;
    UVTEST_UNTIL(a->t, hear(fd, text, &n, sizeof text) < 0);
    assert_string_equal(text, expected);
}

static void check_hears(struct above *a, int fd, const char *expected)
{
    char text[1024];
    size_t n = 0;
    UVTEST_UNTIL(a->t, hear(fd, text, &n, sizeof text) == 0 && n >= strlen(expected));
    assert_string_equal(text, expected);
}

/* As much as the kernel takes. */
static size_t flood(int fd)
{
    static char much[16 * 1024];
    size_t all = 0;
    ssize_t n;
    while ((n = send(fd, much, sizeof much, MSG_NOSIGNAL)) > 0)
        all += (size_t)n;
    return all;
}

/* Runs `does` in a process of another user; its exit code. */
static int as_another(struct above *a, uid_t uid, gid_t gid, const gid_t *gids, size_t gids_n,
                      int (*does)(const struct above *a))
{
    assert_int_equal(chmod(uvtest_dir(a->t), 0755), 0);
    pid_t pid = listentest_fork();
    if (pid == 0) {
        listentest_become(uid, gid, gids, gids_n);
        _exit(does(a));
    }
    return listentest_wait(a->t, pid);
}

/* ---- bytes and answers ---- */

static void what_a_client_says_is_told_and_answers_come_back(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    struct owner *o = &a.owners[0];
    assert_int_equal(o->peer.pid, getpid());
    assert_int_equal(o->peer.uid, geteuid());
    assert_int_equal(o->peer.gid, getegid());
    say(fd, "hello\n");
    UVTEST_UNTIL(a.t, o->bytes_n == 6);
    assert_string_equal(o->text, "hello\n");
    tell(o, "ok 1\n");
    tell(o, "ok 2\n");
    assert_int_equal(listen_waiting(o->client), 10);
    check_hears(&a, fd, "ok 1\nok 2\n");
    assert_int_equal(listen_waiting(o->client), 0);
    close(fd);
    UVTEST_UNTIL(a.t, o->closed);
    assert_true(o->ended);
    assert_string_equal(o->why, "");
    assert_int_equal(listen_counts(a.listen)->clients, 0);
    assert_int_equal(listen_counts(a.listen)->accepted, 1);
    close_above(&a);
}

static void a_client_that_has_said_all_still_gets_its_answers(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.polite = false;
    int fd = come(&a);
    struct owner *o = &a.owners[0];
    say(fd, "last words\n");
    shutdown(fd, SHUT_WR);
    UVTEST_UNTIL(a.t, o->ended);
    assert_string_equal(o->text, "last words\n");
    listentest_turn(a.t, 10);
    assert_false(o->closed);
    tell(o, "ok 1\n");
    check_hears(&a, fd, "ok 1\n");
    tell(o, "ok 2\n");
    listen_hang_up(o->client);
    check_hears_and_end(&a, fd, "ok 2\n");
    UVTEST_UNTIL(a.t, o->closed);
    close(fd);
    close_above(&a);
}

/* What it has written before is read to the end, although nobody is there to hear the answers. */
static void a_client_that_has_closed_is_read_to_its_end(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    struct owner *o = &a.owners[0];
    listen_pause(o->client);
    size_t n = flood(fd);
    assert_true(n > LISTEN_READ_MAX);
    tell(o, "an answer nobody reads\n");
    listentest_turn(a.t, 5);
    close(fd);
    tell(o, "an answer nobody can read\n");
    listentest_turn(a.t, 5);
    assert_int_equal(listen_waiting(o->client), 0);
    tell(o, "and another\n");
    assert_false(o->ended);
    listen_resume(o->client);
    UVTEST_UNTIL(a.t, o->closed);
    assert_true(o->ended);
    assert_string_equal(o->why, "");
    assert_int_equal(o->bytes_n, n);
    close_above(&a);
}

/* Its answers may be hours away: it must not take a place until then. */
static void a_client_that_is_gone_is_not_kept_for_its_answers(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.polite = false;
    int fd = come(&a), half = come(&a);
    listen_owes(a.owners[0].client, true);
    say(fd, "frame\n");
    shutdown(half, SHUT_WR);
    UVTEST_UNTIL(a.t, a.owners[0].bytes_n == 6 && a.owners[1].ended);
    close(fd);
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    assert_false(a.owners[1].closed);
    close(half);
    UVTEST_UNTIL(a.t, a.owners[1].closed);
    close_above(&a);
}

static void hang_up_at_once(struct owner *o, struct str bytes)
{
    (void)bytes;
    assert_true(listen_answer(o->client, STR("goodbye\n")));
    listen_hang_up(o->client);
    listen_hang_up(o->client);
    assert_false(o->closed);
}

static void an_owner_may_hang_up_while_bytes_are_told(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.on_bytes = hang_up_at_once;
    int fd = come(&a), other = come(&a);
    say(fd, "hello\n");
    check_hears_and_end(&a, fd, "goodbye\n");
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    assert_false(a.owners[0].ended);
    assert_false(a.owners[1].closed);
    close(fd);
    close(other);
    close_above(&a);
}

static void hang_up_on_all(struct owner *o, struct str bytes)
{
    (void)bytes;
    for (size_t i = 0; i < o->above->owners_n; i++)
        listen_hang_up(o->above->owners[i].client);
}

static void an_owner_may_hang_up_on_others_that_are_ready_in_the_same_turn(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fds[8];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = come(&a);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        say(fds[i], "x");
    a.on_bytes = hang_up_on_all;
    UVTEST_UNTIL(a.t, a.closed_n == ARRAY_LEN(fds));
    assert_int_equal(a.told, 1);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    close_above(&a);
}

static void without_memory_for_a_client_it_is_closed_without_a_word(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.refuse = true;
    int fd = knock(&a);
    UVTEST_UNTIL(a.t, hung_up(fd));
    assert_int_equal(listen_counts(a.listen)->clients, 0);
    close(fd);
    close_above(&a);
}

static void descriptors_that_a_client_sends_along_are_not_kept(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a), null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    unsigned before = uvtest_count_fds();
    union {
        struct cmsghdr h;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)),
                       .cmsg_level = SOL_SOCKET,
                       .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.h), &null, sizeof null);
    char byte = 'x';
    struct iovec text = {&byte, 1};
    struct msghdr m = {.msg_iov = &text,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    assert_int_equal(sendmsg(fd, &m, 0), 1);
    UVTEST_UNTIL(a.t, a.owners[0].bytes_n == 1);
    assert_int_equal(uvtest_count_fds(), before);
    close(null);
    close(fd);
    close_above(&a);
}

/* ---- pauses and fairness ---- */

static void a_paused_client_is_not_read_and_others_are(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a), other = come(&a);
    listen_pause(a.owners[0].client);
    listen_pause(a.owners[0].client);
    say(fd, "later");
    say(other, "now");
    UVTEST_UNTIL(a.t, a.owners[1].bytes_n == 3);
    close(fd); /* what it has said is not lost by that */
    listentest_turn(a.t, 10);
    assert_int_equal(a.owners[0].bytes_n, 0);
    assert_false(a.owners[0].ended);
    listen_resume(a.owners[0].client);
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    assert_string_equal(a.owners[0].text, "later");
    close(other);
    close_above(&a);
}

static void pause_all_at_once(struct owner *o, struct str bytes)
{
    (void)bytes;
    listen_pause_all(o->above->listen, true);
}

static void a_pause_of_all_stops_reading_and_accepting_at_once_and_answers_go_on(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fds[8];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = come(&a);
    a.on_bytes = pause_all_at_once;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        say(fds[i], "x");
    UVTEST_UNTIL(a.t, a.told == 1);
    int late = knock(&a);
    listentest_turn(a.t, 20);
    assert_int_equal(a.told, 1);
    assert_int_equal(a.owners_n, ARRAY_LEN(fds));
    tell(&a.owners[3], "ok 7\n");
    check_hears(&a, fds[3], "ok 7\n");
    a.on_bytes = NULL;
    listen_pause_all(a.listen, false);
    UVTEST_UNTIL(a.t, a.told == ARRAY_LEN(fds) && a.owners_n == ARRAY_LEN(fds) + 1);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    close(late);
    close_above(&a);
}

/* One that has always more, and one with a word to say now and then: of each the same number of
 * reads, and one read is no longer than it may be. */
static void one_that_floods_does_not_starve_another(void **state)
{
    struct above a;
    open_above(&a, *state);
    int loud = come(&a), quiet = come(&a);
    struct owner *o = &a.owners[1];
    for (size_t words = 1; words <= 50; words++) {
        flood(loud);
        say(quiet, "x");
        a.told = 0;
        while (o->bytes_n < words)
            uv_run(&a.t->loop, UV_RUN_ONCE);
        assert_true(a.told <= 4);
    }
    assert_int_equal(a.read_max, LISTEN_READ_MAX);
    close(loud);
    close(quiet);
    close_above(&a);
}

/* More are ready than have their turn at once: each has been told before any has been twice. */
static void many_that_flood_take_turns(void **state)
{
    enum { MANY = 200 };
    struct above a;
    prepare(&a, *state);
    a.owners_max = MANY;
    a.owners = realloc(a.owners, MANY * sizeof *a.owners);
    struct listen_options o = options_of(&a);
    open_with(&a, &o);
    int fds[MANY];
    for (size_t i = 0; i < MANY; i++)
        fds[i] = come(&a);
    listen_pause_all(a.listen, true);
    for (size_t i = 0; i < MANY; i++)
        assert_true(flood(fds[i]) > LISTEN_READ_MAX);
    listen_pause_all(a.listen, false);
    unsigned turns = 0;
    size_t told_n = 0;
    for (; told_n < MANY; turns++) {
        a.told = 0;
        uv_run(&a.t->loop, UV_RUN_ONCE);
        assert_true(a.told <= LISTEN_CLIENTS_TURN);
        told_n += a.told;
    }
    assert_true(turns >= MANY / LISTEN_CLIENTS_TURN);
    if (told_n == MANY) {
        for (size_t i = 0; i < MANY; i++)
            assert_int_equal(a.owners[i].bytes_n, LISTEN_READ_MAX);
    } else {
        for (size_t i = 0; i < MANY; i++)
            assert_true(a.owners[i].bytes_n > 0);
    }
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
    close_above(&a);
}

/* ---- time ---- */

static void set_idle(struct above *a, uint64_t idle_ms)
{
    const struct listen_allow everybody = {0};
    assert_true(listen_set(a->listen, 20000, idle_ms, &everybody));
}

static void a_silent_client_may_stay_if_nothing_is_said_about_it(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    listentest_turn(a.t, 5);
    /* nothing can expire: no timer, nobody is woken */
    assert_int_equal(uv_backend_timeout(&a.t->loop), -1);
    say(fd, "x");
    UVTEST_UNTIL(a.t, a.told == 1);
    listentest_turn(a.t, 5);
    assert_int_equal(uv_backend_timeout(&a.t->loop), -1);
    close(fd);
    close_above(&a);
}

static void who_says_nothing_is_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    set_idle(&a, 100); /* also of those who are there */
    uint64_t before = uv_hrtime();
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    assert_true(uv_hrtime() - before >= 90 * UINT64_C(1000000));
    assert_true(hung_up(fd));
    assert_string_equal(a.owners[0].why, "it was silent for too long");
    assert_int_equal(listen_counts(a.listen)->cut_off, 1);
    listentest_turn(a.t, 5);
    assert_int_equal(uv_backend_timeout(&a.t->loop), -1);
    close(fd);
    close_above(&a);
}

static void who_speaks_waits_for_us_or_is_paused_is_not_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    set_idle(&a, 300);
    int speaks = come(&a), waits = come(&a), paused = come(&a);
    listen_owes(a.owners[1].client, true);
    listen_pause(a.owners[2].client);
    uint64_t until = uv_hrtime() + 1000 * UINT64_C(1000000);
    while (uv_hrtime() < until) {
        unsigned told = a.told;
        say(speaks, "x");
        UVTEST_UNTIL(a.t, a.told > told);
    }
    assert_int_equal(a.ended_n, 0);
    listen_pause_all(a.listen, true);
    set_idle(&a, 1);
    listen_owes(a.owners[1].client, false);
    listen_resume(a.owners[2].client);
    for (int i = 0; i < 50; i++) {
        poll(NULL, 0, 1);
        listentest_turn(a.t, 1);
    }
    assert_int_equal(a.ended_n, 0);
    listen_pause_all(a.listen, false);
    UVTEST_UNTIL(a.t, a.closed_n == 3);
    close(speaks);
    close(waits);
    close(paused);
    close_above(&a);
}

static void owe_a_frame(struct owner *o, struct str bytes)
{
    if (memchr(bytes.p, '\n', bytes.n) != NULL)
        listen_expects(o->client, false);
    listen_expects(o->client, bytes.p[bytes.n - 1] != '\n');
}

static void who_sends_a_frame_in_single_bytes_is_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_set_waits(a.listen, 150, 10000);
    a.on_bytes = owe_a_frame;
    int fd = come(&a);
    uint64_t before = uv_hrtime();
    UVTEST_UNTIL(a.t, (send(fd, "x", 1, MSG_NOSIGNAL), hung_up(fd)));
    assert_true(uv_hrtime() - before >= 140 * UINT64_C(1000000));
    assert_string_equal(a.owners[0].why, "it did not finish a frame in time");
    assert_int_equal(listen_counts(a.listen)->cut_off, 1);
    close(fd);
    close_above(&a);
}

static void who_finishes_frames_is_not_cut_off_in_the_middle_of_the_next(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_set_waits(a.listen, 300, 10000);
    a.on_bytes = owe_a_frame;
    int fd = come(&a);
    uint64_t until = uv_hrtime() + 1000 * UINT64_C(1000000);
    while (uv_hrtime() < until) {
        unsigned told = a.told;
        say(fd, "end\nbegin");
        UVTEST_UNTIL(a.t, a.told > told);
    }
    assert_false(a.owners[0].ended);
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    close(fd);
    close_above(&a);
}

/* Its owner has more to say than it takes: there is a limit to that, and the client goes. */
static void who_never_reads_is_cut_off_and_others_are_served(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_set_waits(a.listen, 10000, 200);
    int fd = come(&a), other = come(&a);
    char much[64 * 1024];
    memset(much, 'a', sizeof much);
    const struct str answer = {much, sizeof much};
    bool room = true;
    while (room) {
        room = listen_answer(a.owners[0].client, answer);
        listentest_turn(a.t, 1);
        assert_true(listen_waiting(a.owners[0].client) <= LISTEN_ANSWERS_MAX);
    }
    tell(&a.owners[1], "ok 1\n");
    check_hears(&a, other, "ok 1\n");
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    assert_string_equal(a.owners[0].why, "it did not take its answers");
    assert_false(a.owners[1].closed);
    assert_int_equal(listen_counts(a.listen)->cut_off, 1);
    close(fd);
    close(other);
    close_above(&a);
}

static void many_answers_arrive_whole_at_one_who_reads_slowly(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_set_waits(a.listen, 10000, 400);
    int fd = come(&a);
    size_t said = 0, heard = 0;
    char line[16];
    while (said < 2 * MIB) {
        snprintf(line, sizeof line, "ok %07zu\n", said / 11);
        tell(&a.owners[0], line);
        said += 11;
    }
    listen_hang_up(a.owners[0].client);
    char *text = malloc(said + 1);
    ssize_t n = -1;
    UVTEST_UNTIL(a.t, (n = recv(fd, text + heard, min_size(said + 1 - heard, 100000), 0)) == 0 ||
                          (heard += n > 0 ? (size_t)n : 0) > said);
    assert_int_equal(heard, said);
    for (size_t i = 0; i < said; i += 11) {
        snprintf(line, sizeof line, "ok %07zu\n", i / 11);
        assert_memory_equal(text + i, line, 11);
    }
    free(text);
    close(fd);
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    close_above(&a);
}

static void who_takes_some_of_its_answers_now_and_then_is_not_cut_off(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_set_waits(a.listen, 10000, 800);
    int fd = come(&a);
    char *much = calloc(1, LISTEN_ANSWERS_MAX);
    assert_true(listen_answer(a.owners[0].client, (struct str){much, LISTEN_ANSWERS_MAX}));
    uint64_t until = uv_hrtime() + 1600 * UINT64_C(1000000);
    while (uv_hrtime() < until) {
        size_t before = listen_waiting(a.owners[0].client);
        /* the kernel takes more when most of what it had is gone */
        UVTEST_UNTIL(a.t, (recv(fd, much, 180000, 0) > 0 || a.owners[0].ended ||
                           listen_waiting(a.owners[0].client) < before));
        poll(NULL, 0, 100);
    }
    assert_true(listen_waiting(a.owners[0].client) > 0);
    assert_false(a.owners[0].ended);
    UVTEST_UNTIL(a.t, a.owners[0].closed); /* no more is taken */
    free(much);
    close(fd);
    close_above(&a);
}

static void the_time_of_a_pause_is_nobodys_silence(void **state)
{
    struct above a;
    open_above(&a, *state);
    set_idle(&a, 300);
    int fd = come(&a);
    listen_pause_all(a.listen, true);
    uint64_t until = uv_hrtime() + 500 * UINT64_C(1000000);
    while (uv_hrtime() < until) {
        poll(NULL, 0, 10);
        listentest_turn(a.t, 1);
    }
    listen_pause_all(a.listen, false);
    listentest_turn(a.t, 5);
    assert_false(a.owners[0].ended);
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    close(fd);
    close_above(&a);
}

static void a_goodbye_nobody_listens_to_ends_in_time(void **state)
{
    struct above a;
    open_above(&a, *state);
    listen_set_waits(a.listen, 10000, 150);
    int fd = come(&a);
    char *much = calloc(1, MIB);
    assert_true(listen_answer(a.owners[0].client, (struct str){much, MIB}));
    listen_hang_up(a.owners[0].client);
    free(much);
    UVTEST_UNTIL(a.t, a.owners[0].closed);
    assert_false(a.owners[0].ended);
    assert_int_equal(listen_counts(a.listen)->cut_off, 1);
    close(fd);
    close_above(&a);
}

/* ---- limits ---- */

static void one_too_many_is_turned_away_until_there_is_a_place(void **state)
{
    struct above a;
    prepare(&a, *state);
    struct listen_options o = options_of(&a);
    o.max_clients = 2;
    open_with(&a, &o);
    int first = come(&a), second = come(&a), third = knock(&a);
    UVTEST_UNTIL(a.t, hung_up(third));
    assert_int_equal(listen_counts(a.listen)->turned_away, 1);
    assert_int_equal(listen_counts(a.listen)->clients, 2);
    close(first);
    UVTEST_UNTIL(a.t, a.closed_n == 1);
    int fourth = come(&a);
    assert_int_equal(listen_counts(a.listen)->accepted, 4);
    close(second);
    close(third);
    close(fourth);
    close_above(&a);
}

static void without_descriptors_clients_are_turned_away_and_served_again_later(void **state)
{
    struct above a;
    open_above(&a, *state);
    int first = come(&a);
    int waiting[3], hogs[256];
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        waiting[i] = knock(&a);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 200;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    size_t hogs_n = 0;
    while ((hogs[hogs_n] = dup(first)) >= 0)
        hogs_n++;
    UVTEST_UNTIL(a.t, listen_counts(a.listen)->turned_away == ARRAY_LEN(waiting));
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        assert_true(hung_up(waiting[i]));
    say(first, "still here\n");
    UVTEST_UNTIL(a.t, a.owners[0].bytes_n == 11);
    for (size_t i = 0; i < hogs_n; i++)
        close(hogs[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        close(waiting[i]);
    int later = come(&a);
    close(later);
    close(first);
    close_above(&a);
}

static void answer_each(struct owner *o, struct str bytes)
{
    (void)bytes;
    assert_true(listen_answer(o->client, STR("ok\n")));
}

/* As many as the limit of descriptors allows, two of which each connection takes here. */
static void ten_thousand_clients_at_once_are_served(void **state)
{
    struct above a;
    struct rlimit before, high;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    high = before;
    high.rlim_cur = high.rlim_max;
    setrlimit(RLIMIT_NOFILE, &high);
    size_t most = high.rlim_cur > 2 * 10000 + 100 ? 10000 : (size_t)(high.rlim_cur / 2 - 50);
    prepare(&a, *state);
    a.owners_max = most;
    a.owners = realloc(a.owners, most * sizeof *a.owners);
    struct listen_options o = options_of(&a);
    o.idle_ms = 3600000;
    open_with(&a, &o);
    int *fds = malloc(most * sizeof *fds);
    for (size_t i = 0; i < most; i++) {
        fds[i] = knock(&a);
        if (i % 1000 == 999)
            UVTEST_UNTIL(a.t, a.owners_n == i + 1);
    }
    UVTEST_UNTIL(a.t, a.owners_n == most);
    a.on_bytes = answer_each;
    for (size_t i = 0; i < most; i++)
        say(fds[i], "event\n");
    UVTEST_UNTIL(a.t, a.told == most);
    for (size_t i = 0; i < most; i++)
        check_hears(&a, fds[i], "ok\n");
    for (size_t i = 0; i < most; i += 2)
        close(fds[i]);
    UVTEST_UNTIL(a.t, a.closed_n == (most + 1) / 2);
    close_above(&a);
    for (size_t i = 1; i < most; i += 2)
        close(fds[i]);
    free(fds);
    setrlimit(RLIMIT_NOFILE, &before);
}

/* ---- who may ---- */

static int is_served(const struct above *a)
{
    struct err e;
    char byte;
    int fd = unixsock_connect(a->path, false, &e);
    if (fd < 0)
        return 2;
    return send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1 ? 0 : 1;
}

static void who_is_on_the_list_may_come_and_nobody_else(void **state)
{
    if (geteuid() != 0)
        skip(); /* only root can become another user */
    struct above a;
    prepare(&a, *state);
    const uid_t uids[] = {4001};
    const gid_t gids[] = {5001, 5002};
    struct listen_options o = options_of(&a);
    o.mode = 0666;
    o.allow = (struct listen_allow){uids, 1, gids, 2};
    open_with(&a, &o);
    a.on_bytes = answer_each;
    const gid_t strange[] = {7001, 7002}, known[] = {7001, 5002};
    assert_int_equal(as_another(&a, 4001, 6000, strange, 2, is_served), 0);
    assert_int_equal(as_another(&a, 4002, 5001, strange, 2, is_served), 0);
    assert_int_equal(as_another(&a, 4002, 6000, known, 2, is_served), 0);
    assert_int_equal(a.owners[2].peer.uid, 4002);
    assert_int_equal(a.owners[2].peer.gid, 6000);
    assert_int_equal(as_another(&a, 4002, 6000, strange, 2, is_served), 1);
    int fd = knock(&a); /* root is not listed either */
    UVTEST_UNTIL(a.t, hung_up(fd));
    close(fd);
    assert_int_equal(a.owners_n, 3);
    assert_int_equal(listen_counts(a.listen)->refused, 2);
    assert_int_equal(listen_counts(a.listen)->accepted, 5);
    const struct listen_allow everybody = {0};
    assert_true(listen_set(a.listen, 10, 0, &everybody));
    assert_int_equal(as_another(&a, 4002, 6000, strange, 2, is_served), 0);
    close_above(&a);
}

static void who_is_in_very_many_groups_is_known_by_each(void **state)
{
    if (geteuid() != 0)
        skip();
    struct above a;
    prepare(&a, *state);
    static gid_t many[3000];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (gid_t)(10000 + i);
    struct listen_options o = options_of(&a);
    o.mode = 0666;
    o.allow = (struct listen_allow){NULL, 0, &many[2999], 1};
    open_with(&a, &o);
    a.on_bytes = answer_each;
    assert_int_equal(as_another(&a, 4001, 6000, many, 2999, is_served), 1);
    assert_int_equal(as_another(&a, 4001, 6000, many, 3000, is_served), 0);
    assert_int_equal(as_another(&a, 4001, 6000, many + 2936, 64, is_served), 0);
    assert_int_equal(as_another(&a, 4001, 6000, many + 2935, 65, is_served), 0);
    close_above(&a);
}

/* ---- the end ---- */

static void a_close_tells_what_was_sent_and_gives_the_answers_that_are_there(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.on_bytes = answer_each;
    int fd = come(&a), late = knock(&a);
    say(fd, "written before the stop");
    say(late, "by one who was not let in yet");
    listen_close(a.listen, listentest_on_closed, &a.closed);
    assert_int_equal(access(a.path, F_OK), -1);
    assert_int_equal(a.owners_n, 2);
    assert_int_equal(a.closed_n, 2);
    assert_string_equal(a.owners[0].text, "written before the stop");
    assert_string_equal(a.owners[1].text, "by one who was not let in yet");
    check_hears_and_end(&a, fd, "ok\n");
    check_hears_and_end(&a, late, "ok\n");
    UVTEST_UNTIL(a.t, a.closed);
    free(a.owners);
    close(fd);
    close(late);
}

/* The beginning of a stop: what was written is taken, and answers that come later are heard. */
static void after_the_finish_answers_go_on_and_nothing_else(void **state)
{
    struct above a;
    open_above(&a, *state);
    a.polite = false;
    int fd = come(&a), done = come(&a);
    say(fd, "before");
    say(done, "before");
    close(done);
    listen_finish(a.listen);
    assert_int_equal(access(a.path, F_OK), -1);
    assert_string_equal(a.owners[0].text, "before");
    assert_true(a.owners[1].ended);
    say(fd, "after");
    listen_pause_all(a.listen, false);
    UVTEST_UNTIL(a.t, a.owners[1].closed);
    listentest_turn(a.t, 10);
    assert_string_equal(a.owners[0].text, "before");
    tell(&a.owners[0], "ok 1\n");
    check_hears(&a, fd, "ok 1\n");
    listen_finish(a.listen);
    close_above(&a);
    close(fd);
}

static void a_close_in_a_pause_tells_nothing(void **state)
{
    struct above a;
    open_above(&a, *state);
    int fd = come(&a);
    listen_pause_all(a.listen, true);
    int late = knock(&a);
    say(fd, "x");
    close_above(&a);
    assert_true(hung_up(fd));
    assert_true(hung_up(late));
    assert_int_equal(a.owners_n, 1);
    assert_int_equal(a.told, 0);
    close(fd);
    close(late);
}

static void a_close_does_not_wait_for_who_floods_or_does_not_read(void **state)
{
    struct above a;
    open_above(&a, *state);
    int loud = come(&a), deaf = come(&a), gone = come(&a);
    flood(loud);
    char *much = calloc(1, MIB);
    assert_true(listen_answer(a.owners[1].client, (struct str){much, MIB}));
    assert_true(listen_answer(a.owners[2].client, (struct str){much, MIB}));
    free(much);
    listen_hang_up(a.owners[1].client);
    close(gone);
    close_above(&a);
    close(loud);
    close(deaf);
}

/* ---- the socket ---- */

static void a_place_that_is_taken_is_an_error(void **state)
{
    struct above a, b;
    struct err e;
    open_above(&a, *state);
    prepare(&b, a.t);
    const struct listen_ops ops = ops_of(&b);
    struct listen_options o = options_of(&b);
    assert_null(listen_new(&a.t->loop, &o, &ops, &e));
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.text, "another process listens there"));
    assert_int_equal(access(a.path, F_OK), 0);
    UVTEST_UNTIL(a.t, a.closed_n == 1); /* who looked whether somebody listens */
    int fd = come(&a);
    close(fd);
    free(b.owners);
    close_above(&a);
    uvtest_turn_idle(a.t);
}

static void the_managers_socket_is_used_and_left_where_it_is(void **state)
{
    struct above a;
    prepare(&a, *state);
    int manager = listentest_manager(a.path, SOCK_STREAM);
    int early = knock(&a);
    say(early, "early");
    struct listen_options o = options_of(&a);
    o.fd = dup(manager);
    open_with(&a, &o);
    assert_int_not_equal(fcntl(o.fd, F_GETFD) & FD_CLOEXEC, 0);
    UVTEST_UNTIL(a.t, a.told == 1);
    assert_string_equal(a.owners[0].text, "early");
    int late = knock(&a);
    close_above(&a);
    assert_int_equal(a.owners_n, 1); /* who came late waits for the next process */
    assert_int_equal(access(a.path, F_OK), 0);
    assert_false(hung_up(late));
    prepare(&a, *state);
    o.fd = dup(manager);
    open_with(&a, &o);
    UVTEST_UNTIL(a.t, a.owners_n == 1);
    close_above(&a);
    close(early);
    close(late);
    close(manager);
}

static void a_managers_socket_of_the_wrong_kind_is_an_error(void **state)
{
    struct above a;
    struct err e;
    prepare(&a, *state);
    const struct listen_ops ops = ops_of(&a);
    struct listen_options o = options_of(&a);
    o.fd = listentest_manager(a.path, SOCK_DGRAM);
    assert_null(listen_new(&a.t->loop, &o, &ops, &e));
    assert_int_equal(e.code, ERR_TYPE);
    assert_int_equal(unlink(a.path), 0);
    o.datagram = true;
    o.fd = listentest_manager(a.path, SOCK_STREAM);
    assert_null(listen_new(&a.t->loop, &o, &ops, &e));
    o.datagram = false;
    o.fd = socket(AF_UNIX, SOCK_STREAM, 0); /* it does not listen */
    assert_null(listen_new(&a.t->loop, &o, &ops, &e));
    o.fd = open("/dev/null", O_RDONLY);
    assert_null(listen_new(&a.t->loop, &o, &ops, &e));
    assert_int_equal(access(a.path, F_OK), 0);
    uvtest_turn_idle(a.t);
    free(a.owners);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(what_a_client_says_is_told_and_answers_come_back),
        UVTEST(a_client_that_has_said_all_still_gets_its_answers),
        UVTEST(a_client_that_has_closed_is_read_to_its_end),
        UVTEST(a_client_that_is_gone_is_not_kept_for_its_answers),
        UVTEST(an_owner_may_hang_up_while_bytes_are_told),
        UVTEST(an_owner_may_hang_up_on_others_that_are_ready_in_the_same_turn),
        UVTEST(without_memory_for_a_client_it_is_closed_without_a_word),
        UVTEST(descriptors_that_a_client_sends_along_are_not_kept),
        UVTEST(a_paused_client_is_not_read_and_others_are),
        UVTEST(a_pause_of_all_stops_reading_and_accepting_at_once_and_answers_go_on),
        UVTEST(one_that_floods_does_not_starve_another),
        UVTEST(many_that_flood_take_turns),
        UVTEST(a_silent_client_may_stay_if_nothing_is_said_about_it),
        UVTEST(who_says_nothing_is_cut_off),
        UVTEST(who_speaks_waits_for_us_or_is_paused_is_not_cut_off),
        UVTEST(who_sends_a_frame_in_single_bytes_is_cut_off),
        UVTEST(who_finishes_frames_is_not_cut_off_in_the_middle_of_the_next),
        UVTEST(who_never_reads_is_cut_off_and_others_are_served),
        UVTEST(many_answers_arrive_whole_at_one_who_reads_slowly),
        UVTEST(who_takes_some_of_its_answers_now_and_then_is_not_cut_off),
        UVTEST(the_time_of_a_pause_is_nobodys_silence),
        UVTEST(a_goodbye_nobody_listens_to_ends_in_time),
        UVTEST(one_too_many_is_turned_away_until_there_is_a_place),
        UVTEST(without_descriptors_clients_are_turned_away_and_served_again_later),
        UVTEST(ten_thousand_clients_at_once_are_served),
        UVTEST(who_is_on_the_list_may_come_and_nobody_else),
        UVTEST(who_is_in_very_many_groups_is_known_by_each),
        UVTEST(a_close_tells_what_was_sent_and_gives_the_answers_that_are_there),
        UVTEST(after_the_finish_answers_go_on_and_nothing_else),
        UVTEST(a_close_in_a_pause_tells_nothing),
        UVTEST(a_close_does_not_wait_for_who_floods_or_does_not_read),
        UVTEST(a_place_that_is_taken_is_an_error),
        UVTEST(the_managers_socket_is_used_and_left_where_it_is),
        UVTEST(a_managers_socket_of_the_wrong_kind_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
